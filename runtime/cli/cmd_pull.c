/* hybrid pull: an image of a registry becomes one of the store. */
#include "image_helper.h"
#include "verbs.h"

struct settings {
    const char *platform;
    bool plain_http, quiet;
};

static const struct cli_option options[] = {
    CLI_OPTION(CLI_TEXT, struct settings, platform, "platform", 0, "OS/ARCH[/VARIANT]",
               "Take the image for this platform (default: this machine's)"),
    CLI_OPTION_FLAG(struct settings, plain_http, "plain-http", 0,
                    "The registry speaks HTTP without TLS"),
    CLI_OPTION_FLAG(struct settings, quiet, "quiet", 'q', "Print nothing unless it fails"),
    { 0 },
};

static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    (void)count;
    return image_helper_verb(cli, "pull", settings, operands, err);
}

const struct verb verb_pull = {
    .name = "pull",
    .group = CLI_GROUP_IMAGES,
    .synopsis = "[OPTIONS] NAME[:TAG|@DIGEST]",
    .summary = "Fetch an image from a registry",
    .description =
        "NAME is read as Docker does: \"debian\" is docker.io/library/debian:latest. Layers that\n"
        "are here already are not fetched; others come side by side, are resumed where a\n"
        "connection breaks, and are verified. Credentials are those of `docker login`. Mirrors,\n"
        "and registries without trusted certificates, stand in /etc/hybrid/registries.json;\n"
        "see hybrid(1). If anything is wrong, the store is as before.",
    .examples = "hybrid pull debian:12\n"
                "hybrid pull registry.example/team/app@sha256:...\n"
                "hybrid pull --plain-http 192.168.1.5:5000/app",
    .options = options,
    .settings_size = sizeof(struct settings),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
