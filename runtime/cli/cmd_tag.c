/* hybrid tag: another name for an image. */
#include "image_helper.h"
#include "runtime/image/store.h"
#include "verbs.h"

static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    (void)settings, (void)count;
    const char *const arguments[] = { "tag", NULL };
    struct store_image image;
    if (store_open_image_or_embedded(cli->runtime.store, cli->runtime.root, cli->runtime.exe_dir,
                                     operands[0], &image, err) <= 0)
        return -1;
    store_image_free(&image);
    return image_helper_exec(cli, arguments, operands, err);
}

const struct verb verb_tag = {
    .name = "tag",
    .group = CLI_GROUP_IMAGES,
    .synopsis = "IMAGE NAME[:TAG]",
    .summary = "Give an image another name",
    .description = "An image that has the name already loses it; without another name it stays "
                   "under its id.",
    .examples = "hybrid tag debian:12 registry.example/base:1",
    .settings_size = 1,
    .min_operands = 2,
    .max_operands = 2,
    .run = run,
};
