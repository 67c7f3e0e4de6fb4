/* hybrid import: a tree becomes an image of one layer. */
#include <stdlib.h>

#include "cleanup.h"
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
    const struct settings *given = settings;
    size_t used = 0;
    _cleanup_free_ const char **arguments =
        calloc(2 * given->changes.count + IMAGE_HELPER_MAX_ARGUMENTS, sizeof *arguments);
    if (!arguments)
        return error_set(err, EXIT_OURS, "out of memory");
    arguments[used++] = "import";
    if (given->quiet)
        arguments[used++] = "--quiet";
    if (given->message) {
        arguments[used++] = "--message";
        arguments[used++] = given->message;
    }
    for (size_t i = 0; i < given->changes.count; i++) {
        arguments[used++] = "--change";
        arguments[used++] = given->changes.values[i];
    }
    return image_helper_exec(cli, arguments, operands, err);
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
