/* hybrid import: a tree becomes an image of one layer. */
#include "image_helper.h"
#include "verbs.h"

struct settings {
    struct option_list changes;
    const char *message;
    bool quiet;
};

static const struct cli_option options[] = {
    CLI_OPTION(CLI_LIST, struct settings, changes, "change", 'c', "INSTRUCTION",
               "Configure the image, as a Dockerfile does: 'CMD [\"sh\"]'"),
    CLI_OPTION(CLI_TEXT, struct settings, message, "message", 'm', "TEXT",
               "What `hybrid history` tells of it"),
    CLI_OPTION_FLAG(struct settings, quiet, "quiet", 'q', "Print nothing unless it fails"),
    { 0 },
};

static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    (void)count;
    return image_helper_verb(cli, "import", settings, operands, err);
}

const struct verb verb_import = {
    .name = "import",
    .group = CLI_GROUP_IMAGES,
    .synopsis = "[OPTIONS] TAR|DIR|- NAME[:TAG]",
    .summary = "Make an image of a root file system",
    .description =
        "TAR is a tar archive of a tree, plain, gzip or zstd; \"-\" is one on standard input; DIR\n"
        "is a directory, packed with owners, times, links and extended attributes.\n"
        "Instructions of --change are CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER,\n"
        "VOLUME and WORKDIR.",
    .examples = "hybrid import -c 'CMD [\"sh\"]' rootfs.tar.gz debian:local\n"
                "mmdebstrap bookworm - | hybrid import -c 'ENV LANG=C.UTF-8' - debian:local",
    .options = options,
    .settings_size = sizeof(struct settings),
    .min_operands = 2,
    .max_operands = 2,
    .run = run,
};
