/* hybrid verify: who signed an image. */
#include "image_helper.h"
#include "verbs.h"

struct settings {
    const char *key;
    bool plain_http, quiet;
};

static const struct cli_option options[] = {
    CLI_OPTION(CLI_TEXT, struct settings, key, "key", 0, "FILE", "The signer's public key, PEM"),
    CLI_OPTION_FLAG(struct settings, plain_http, "plain-http", 0,
                    "The registry speaks HTTP without TLS"),
    CLI_OPTION_FLAG(struct settings, quiet, "quiet", 'q', "Print nothing unless it fails"),
    { 0 },
};

static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    const struct settings *given = settings;
    (void)count;
    if (!given->key)
        return error_set(err, EXIT_OURS, "verify: whose signature? --key=FILE");
    return image_helper_verb(cli, "verify", settings, operands, err);
}

const struct verb verb_verify = {
    .name = "verify",
    .group = CLI_GROUP_IMAGES,
    .synopsis = "--key=FILE [OPTIONS] NAME",
    .summary = "Check an image's signature, and remember who signed it",
    .description =
        "Looks in the registry of an image that is here for the signatures that cosign keeps with\n"
        "it, under the tag sha256-DIGEST.sig. If one is of the key, over this manifest's digest "
        "and\n"
        "this repository's name, that is written down beside the image: a policy's rules with\n"
        "\"signature\" see it from then on, for this digest and exactly this key.",
    .examples = "  hybrid verify --key /etc/hybrid/keys/team.pem registry.example/team/app:1",
    .options = options,
    .settings_size = sizeof(struct settings),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
