/* hybrid load: an archive or an OCI layout becomes images of the store. */
#include <unistd.h>

#include "image_helper.h"
#include "verbs.h"

struct settings {
    const char *input;
    const char *name;
    bool quiet;
};

static const struct cli_option options[] = {
    { .name = "input",
      .letter = 'i',
      .kind = CLI_TEXT,
      .argument = "FILE",
      .help = "Read FILE, as Docker spells it; the same as the operand",
      .offset = offsetof(struct settings, input) },
    { .name = "name",
      .kind = CLI_TEXT,
      .argument = "REFERENCE",
      .help = "Name the image so, instead of by the names in the archive",
      .offset = offsetof(struct settings, name) },
    { .name = "quiet",
      .letter = 'q',
      .kind = CLI_FLAG,
      .help = "Do not show progress",
      .offset = offsetof(struct settings, quiet) },
    { 0 },
};

static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    const struct settings *given = settings;
    if (given->input && count > 0)
        return error_set(err, EXIT_OURS, "load takes one FILE or DIR; \"-\" is standard input");
    if (!given->input && count == 0 && isatty(STDIN_FILENO))
        return error_set(err, EXIT_OURS,
                         "load reads FILE, DIR, or an archive on standard input, "
                         "which is a terminal");
    char *const input[] = { given->input ? (char *)given->input : "-", NULL };
    const struct settings passed = { .name = given->name, .quiet = given->quiet };
    return image_helper_verb(cli, "load", &passed, count == 0 ? input : operands, err);
}

const struct verb verb_load = {
    .name = "load",
    .group = CLI_GROUP_IMAGES,
    .synopsis = "[OPTIONS] [FILE|DIR|-]",
    .summary = "Load images from an archive or an OCI layout",
    .description =
        "FILE is an OCI archive or a docker-archive (as docker save, podman save, skopeo and\n"
        "buildah write them), plain or compressed; DIR is an OCI layout; \"-\" is standard input,\n"
        "and so is nothing.\n"
        "The format is recognised by the content. Layers may be plain, gzip or zstd. Every digest\n"
        "is verified. If anything is wrong, nothing is loaded and the store is as before.",
    .examples = "hybrid load debian.tar\n"
                "docker save debian | hybrid load -\n"
                "hybrid load --name app:1.0 ./layout",
    .options = options,
    .settings_size = sizeof(struct settings),
    .max_operands = 1,
    .run = run,
};
