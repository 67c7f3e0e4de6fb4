/* hybrid image prune: removes images that nobody needs. */
#include <string.h>

#include "image_helper.h"
#include "verbs.h"

struct settings {
    bool all, force;
};

static const struct cli_option options[] = {
    CLI_OPTION_FLAG(struct settings, all, "all", 'a',
                    "Remove every image that no workload uses, with all its names"),
    CLI_OPTION_FLAG(struct settings, force, "force", 'f',
                    "Nothing is asked in any case; Docker's scripts give it"),
    { 0 },
};

/* Docker's other `image` verbs are verbs of their own here, as they are there. */
static int refuse(const char *word, struct error *err)
{
    static const struct {
        const char *word, *verb;
    } others[] = { { "ls", "images" },       { "list", "images" },    { "rm", "rmi" },
                   { "load", "load" },       { "save", "save" },      { "import", "import" },
                   { "history", "history" }, { "pull", "pull" },      { "push", "push" },
                   { "tag", "tag" },         { "inspect", "inspect" } };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(others[i].word, word) == 0)
            return error_set(err, EXIT_OURS, "image %s: it is called `hybrid %s` here", word,
                             others[i].verb);
    return error_set(err, EXIT_OURS, "image: unknown verb \"%.80s\"; there is `hybrid image prune`",
                     word);
}

static int run(const struct cli *cli, const void *settings, char **operands, size_t count,
               struct error *err)
{
    (void)count;
    if (strcmp(operands[0], "prune") != 0)
        return refuse(operands[0], err);
    return image_helper_verb(cli, "prune", settings, operands + 1, err);
}

const struct verb verb_image = {
    .name = "image",
    .group = CLI_GROUP_IMAGES,
    .synopsis = "prune [OPTIONS]",
    .summary = "Remove images that nobody needs: image prune",
    .description = "Without --all: images without a name that no workload uses.",
    .examples = "hybrid image prune --all",
    .options = options,
    .settings_size = sizeof(struct settings),
    .min_operands = 1,
    .max_operands = 1,
    .run = run,
};
