/* hybrid rmi: removes images. */
#include "image_helper.h"
#include "verbs.h"

struct settings {
    bool force;
};

static const struct cli_option options[] = {
    CLI_OPTION_FLAG(struct settings, force, "force", 'f',
                    "Remove the image even if a workload uses it"),
    { 0 },
};

static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    (void)count;
    return image_helper_verb(cli, "rmi", settings, operands, err);
}

const struct verb verb_rmi = {
    .name = "rmi",
    .group = CLI_GROUP_IMAGES,
    .synopsis = "[OPTIONS] IMAGE [IMAGE...]",
    .summary = "Remove images",
    .description =
        "IMAGE is a name, or an id prefix of at least 4 digits, which removes all names of the\n"
        "image. Layers that other images, or workloads that exist, still use are kept.",
    .examples = "hybrid rmi debian:12\n"
                "hybrid rmi $(hybrid images -q)",
    .options = options,
    .settings_size = sizeof(struct settings),
    .min_operands = 1,
    .max_operands = -1,
    .run = run,
};
