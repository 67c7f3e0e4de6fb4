/* hybrid push: an image of the store goes to a registry. */
#include "image_helper.h"
#include "verbs.h"

struct settings {
    bool plain_http, quiet;
};

static const struct cli_option options[] = {
    CLI_OPTION_FLAG(struct settings, plain_http, "plain-http", 0,
                    "The registry speaks HTTP without TLS"),
    CLI_OPTION_FLAG(struct settings, quiet, "quiet", 'q', "Print nothing unless it fails"),
    { 0 },
};

static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    (void)count;
    return image_helper_verb(cli, "push", settings, operands, err);
}

const struct verb verb_push = {
    .name = "push",
    .group = CLI_GROUP_IMAGES,
    .synopsis = "[OPTIONS] NAME[:TAG]",
    .summary = "Send an image to a registry",
    .description =
        "The name says where to; `hybrid tag` gives an image such a name. Blobs that are there\n"
        "already, or in a repository beside it, are not sent. What is sent is byte for byte what\n"
        "was pulled, loaded or imported.",
    .examples = "hybrid tag app:1 registry.example/team/app:1\n"
                "hybrid push registry.example/team/app:1",
    .options = options,
    .settings_size = sizeof(struct settings),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
