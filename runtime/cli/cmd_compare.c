/* hybrid compare: what each isolation costs and buys, measured on this machine. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "runtime/compare/compare.h"
#include "verbs.h"

struct settings {
    int64_t runs;
    const char *only, *html;
    bool json, quiet;
    struct option_list isolations;
};

static const struct settings defaults = { .runs = 10 };

static const struct cli_option options[] = {
    { .name = "runs",
      .letter = 'n',
      .kind = CLI_NUMBER,
      .argument = "NUMBER",
      .offset = offsetof(struct settings, runs),
      .minimum = 1,
      .maximum = 1000,
      .help = "Starts in each isolation (default 10)" },
    CLI_OPTION(CLI_TEXT, struct settings, only, "only", 0, "TOPIC,...",
               "Measure these topics only; `hybrid explain` lists them"),
    CLI_OPTION(CLI_LIST, struct settings, isolations, "isolation", 0, "KIND",
               "Only in this one: container, container-without-seccomp or vm"),
    CLI_OPTION(CLI_TEXT, struct settings, html, "html", 0, "FILE",
               "Write a page with charts too, which needs no other file"),
    CLI_OPTION_FLAG(struct settings, json, "json", 0, "Print JSON in place of the table"),
    CLI_OPTION_FLAG(struct settings, quiet, "quiet", 'q', "Do not say what is being measured"),
    { 0 },
};

static int refuse(const char *option, const char *word, const char *const *names, struct error *err)
{
    const char *near = nearest_name(word, names);
    return error_set(err, EXIT_OURS, "compare: --%s: there is no \"%.60s\"%s%s%s", option, word,
                     near ? "; did you mean \"" : "; `hybrid compare --help` tells more",
                     near ? near : "", near ? "\"?" : "");
}

static int choose_topics(const char *only, bool topics[TOPICS], struct error *err)
{
    const char *names[TOPICS + 1] = { NULL };
    for (int i = 0; i < TOPICS; i++) {
        names[i] = compare_topics[i].name;
        topics[i] = only == NULL;
    }
    if (!only)
        return 0;
    _cleanup_free_ char *copy = strdup(only);
    char *rest = NULL;
    if (!copy)
        return error_set(err, EXIT_OURS, "out of memory");
    for (char *word = strtok_r(copy, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        int topic = compare_find_topic(word);
        if (topic < 0)
            return refuse("only", word, names, err);
        topics[topic] = true;
    }
    return 0;
}

static int choose_isolations(const struct option_list *list, bool isolations[ISOLATIONS],
                             struct error *err)
{
    const char *names[ISOLATIONS + 1] = { NULL };
    for (int i = 0; i < ISOLATIONS; i++) {
        names[i] = compare_isolations[i].name;
        isolations[i] = list->count == 0;
    }
    for (size_t word = 0; word < list->count; word++) {
        bool found = false;
        for (int i = 0; i < ISOLATIONS; i++) {
            if (strcmp(names[i], list->values[word]) == 0)
                found = isolations[i] = true;
        }
        if (!found)
            return refuse("isolation", list->values[word], names, err);
    }
    return 0;
}

static int finish_page(FILE *page, const char *path, struct error *err)
{
    bool failed = ferror(page) != 0;
    if (fclose(page) != 0 || failed)
        return error_set_errno(err, EXIT_OURS, errno, "cannot write %s", path);
    return 0;
}

static int measure(const struct cli *cli, const struct settings *settings,
                   const struct compare_request *request, FILE *page, struct error *err)
{
    json_t *document = compare_measure(request, err);
    if (!document)
        return -1;
    if (settings->json)
        cli_print_json(cli->out, document);
    else
        compare_print_table(document, cli->out);
    if (page) {
        (void)ftruncate(fileno(page), 0); /* fails where it means nothing: a pipe */
        compare_print_html(document, page);
    }
    json_decref(document);
    return 0;
}

static int run(const struct cli *cli, const void *given, char **operands, size_t count,
               struct error *err)
{
    const struct settings *settings = given;
    char program[PATH_MAX] = "";
    struct compare_request request = {
        .program = program,
        .runtime = &cli->runtime,
        .image = operands[0],
        .command = (const char *const *)operands + 1,
        .runs = (int)settings->runs,
        .progress = settings->quiet ? NULL : stderr,
    };
    (void)count;
    if (choose_topics(settings->only, request.topics, err) < 0 ||
        choose_isolations(&settings->isolations, request.isolations, err) < 0)
        return -1;
    if (geteuid() != 0)
        return error_set(err, EXIT_OURS,
                         "compare runs workloads, for which it must be root; "
                         "use sudo");
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot find the program");
    FILE *page = NULL;
    bool new_page = settings->html && access(settings->html, F_OK) < 0;
    /* Before minutes of measuring; what is there stays until something takes its place. */
    if (settings->html && !(page = fopen(settings->html, "ae")))
        return error_set_errno(err, EXIT_OURS, errno, "cannot write %s", settings->html);
    int result = measure(cli, settings, &request, page, err);
    if (page && finish_page(page, settings->html, result == 0 ? err : NULL) < 0)
        result = -1;
    if (result < 0 && new_page)
        (void)unlink(settings->html);
    return result;
}

const struct verb verb_compare = {
    .name = "compare",
    .group = CLI_GROUP_OTHER,
    .synopsis = "[OPTIONS] IMAGE [COMMAND [ARG...]]",
    .summary = "Measure what each isolation costs and buys on this machine",
    .description =
        "Runs the image as a container, as a container without seccomp, and as a VM, and prints "
        "what\n"
        "was measured side by side. COMMAND is what `start` measures; without one, a program that\n"
        "writes a line. All else is measured by a program of hybrid's own, which is put below the\n"
        "image for that. What cannot be measured here says why.",
    .examples = "  hybrid compare busybox\n"
                "  hybrid compare --only start,memory -n 30 busybox uname -a\n"
                "  hybrid compare --html compare.html busybox\n"
                "  hybrid compare --json --only reach busybox | jq .topics[0].rows[0]",
    .options = options,
    .settings_size = sizeof(struct settings),
    .defaults = &defaults,
    .min_operands = 1,
    .max_operands = -1,
    .operand_ends_options = true,
    .run = run,
};
