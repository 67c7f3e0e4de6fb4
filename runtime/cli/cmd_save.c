/* hybrid save: images become an archive. */
#include <unistd.h>

#include "image_helper.h"
#include "runtime/image/store.h"
#include "verbs.h"

struct settings {
    const char *output;
};

static const struct cli_option options[] = {
    CLI_OPTION(CLI_TEXT, struct settings, output, "output", 'o', "FILE",
               "Write FILE (default: standard output)"),
    { 0 },
};

static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    const struct settings *given = settings;
    if (!given->output && isatty(STDOUT_FILENO))
        return error_set(err, EXIT_OURS,
                         "an archive is not for a terminal to show: write it to a file with -o");
    for (size_t i = 0; i < count; i++) {
        struct store_image image;
        if (store_open_image_or_embedded(cli->runtime.store, cli->runtime.root,
                                         cli->runtime.exe_dir, operands[i], &image, err) <= 0)
            return -1;
        store_image_free(&image);
    }
    return image_helper_verb(cli, "save", settings, operands, err);
}

const struct verb verb_save = {
    .name = "save",
    .group = CLI_GROUP_IMAGES,
    .synopsis = "[OPTIONS] IMAGE [IMAGE...]",
    .summary = "Write images to an OCI archive",
    .description =
        "Manifests, configurations and layers are those that were pulled or loaded, byte for "
        "byte,\n"
        "and are verified on the way. `hybrid load`, podman, skopeo and Docker read the archive.\n"
        "FILE appears when it is complete.",
    .examples = "hybrid save debian:12 -o debian.tar\n"
                "hybrid save app:1 app:2 | ssh host hybrid load -",
    .options = options,
    .settings_size = sizeof(struct settings),
    .min_operands = 1,
    .max_operands = -1,
    .run = run,
};
