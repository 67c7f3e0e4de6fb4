/* What `hybrid --help` and `hybrid VERB --help` print, made from the tables. */
#include <string.h>

#include "cli.h"

enum { HELP_COLUMN = 30 };

static const char *const group_titles[] = {
    [CLI_GROUP_WORKLOADS] = "Workloads",
    [CLI_GROUP_IMAGES] = "Images",
    [CLI_GROUP_ENGINES] = "OCI runtime, for container engines",
    [CLI_GROUP_OTHER] = "Other",
};

void cli_print_overview(FILE *out)
{
    (void)fputs(
        "Usage: hybrid [GLOBAL OPTIONS] VERB [OPTIONS] [ARGUMENTS]\n\n"
        "Run an OCI image as a container on this kernel, or in a small virtual machine with a\n"
        "kernel of its own: the same image, the same options, the same behaviour.\n",
        out);
    for (size_t group = 0; group < sizeof group_titles / sizeof *group_titles; group++) {
        bool titled = false;
        for (size_t i = 0; cli_verbs[i]; i++) {
            if (cli_verbs[i]->group != group)
                continue;
            if (!titled)
                (void)fprintf(out, "\n%s:\n", group_titles[group]);
            titled = true;
            (void)fprintf(out, "  %-10s %s\n", cli_verbs[i]->name, cli_verbs[i]->summary);
        }
    }
    (void)fputs(
        "\nGlobal options:\n"
        "  --root=DIR   Runtime directory (default /run/hybrid; environment HYBRID_ROOT)\n"
        "  --data=DIR   Images and writable layers (default /var/lib/hybrid; HYBRID_DATA)\n"
        "  --log=FILE   Append errors to FILE too, where container engines look for them\n"
        "  --log-format=FORMAT\n"
        "               text (the default) or json\n"
        "  --debug      Log every call too\n"
        "  --cgroup-manager=MANAGER\n"
        "               cgroupfs (the default); systemd: it makes a scope; or disabled: the\n"
        "               caller's cgroup is kept\n"
        "  --systemd-cgroup\n"
        "               The same as --cgroup-manager=systemd\n"
        "  --policy=FILE  Policy in place of /etc/hybrid/policy.json\n"
        "  --version    Print the version\n"
        "  --help       Print this; `hybrid VERB --help` explains a verb\n"
        "\nExamples:\n"
        "  hybrid run --rm busybox uname -a\n"
        "  hybrid run --rm --isolation=vm busybox uname -a\n"
        "  hybrid run -it --rm -m 128m --cpus 0.5 busybox sh\n"
        "  hybrid run -d --name web IMAGE && hybrid logs -f web\n",
        out);
}

static void print_option(const struct cli_option *option, FILE *out)
{
    char left[80];
    (void)snprintf(left, sizeof left, "  %c%c%s --%s%s%s", option->letter ? '-' : ' ',
                   option->letter ? option->letter : ' ', option->letter ? "," : " ", option->name,
                   option->argument ? "=" : "", option->argument ? option->argument : "");
    if (strlen(left) >= HELP_COLUMN)
        (void)fprintf(out, "%s\n%-*s%s\n", left, HELP_COLUMN, "", option->help);
    else
        (void)fprintf(out, "%-*s%s\n", HELP_COLUMN, left, option->help);
}

static void print_refused(const struct verb *verb, FILE *out)
{
    size_t column = 0;
    for (const struct cli_option *option = verb->options; option && option->name; option++) {
        if (option->kind != CLI_REFUSED)
            continue;
        if (column == 0)
            (void)fputs("\nOptions of Docker that are refused here:\n ", out);
        if (column + strlen(option->name) + 3 > 90) {
            (void)fputs("\n ", out);
            column = 0;
        }
        column += (size_t)fprintf(out, " --%s", option->name);
    }
    if (column > 0)
        (void)fputc('\n', out);
}

void cli_print_help(const struct verb *verb, FILE *out)
{
    (void)fprintf(out, "Usage: hybrid %s%s%s\n\n%s.\n", verb->name, *verb->synopsis ? " " : "",
                  verb->synopsis, verb->summary);
    if (verb->description)
        (void)fprintf(out, "\n%s\n", verb->description);
    bool titled = false;
    for (const struct cli_option *option = verb->options; option && option->name; option++) {
        if (option->kind == CLI_REFUSED)
            continue;
        if (!titled)
            (void)fputs("\nOptions:\n", out);
        titled = true;
        print_option(option, out);
    }
    print_refused(verb, out);
    if (verb->examples)
        (void)fprintf(out, "\nExamples:\n%s\n", verb->examples);
}
