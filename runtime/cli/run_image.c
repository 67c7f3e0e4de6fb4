#include "run_image.h"

#include <string.h>

#include "image_helper.h"
#include "runtime/image/platform.h"

static const char policy_missing[] = "missing";
static const char policy_always[] = "always";
static const char policy_never[] = "never";

const char *const run_image_policies[] = { policy_missing, policy_always, policy_never, NULL };

static int pull(const struct cli *cli, char *name, bool missing, bool quiet, struct error *err)
{
    const char *arguments[] = { "pull", NULL, NULL, NULL };
    char *const operands[] = { name, NULL };
    size_t used = 1;
    if (missing)
        arguments[used++] = "--missing";
    if (quiet)
        arguments[used++] = "--quiet";
    return image_helper_run(cli, arguments, operands, err);
}

/* A name that only an image id or nothing at all can be called is no registry's. */
static bool can_be_pulled(const char *name)
{
    char *reference = reference_normalize(name, NULL);
    free(reference);
    return reference && strncmp(name, "sha256:", strlen("sha256:")) != 0;
}

static int find(const struct cli *cli, char *name, const char *policy, bool quiet,
                struct store_image *image, struct error *err)
{
    if (strcmp(policy, policy_always) == 0) {
        if (!can_be_pulled(name))
            return error_set(err, EXIT_OURS,
                             "--pull=always: \"%.200s\" is not the name of an image", name);
        int status = pull(cli, name, false, quiet, err);
        return status != 0 ? status : store_open_image(cli->runtime.store, name, image, err);
    }
    int found =
        store_open_image_or_embedded(cli->runtime.store, cli->runtime.exe_dir, name, image, err);
    if (found != 0)
        return found < 0 ? -1 : 0;
    if (strcmp(policy, policy_never) == 0 || !can_be_pulled(name))
        return -1;
    int status = pull(cli, name, true, quiet, err);
    return status != 0 ? status : store_open_image(cli->runtime.store, name, image, err);
}

int run_image_open(const struct cli *cli, char *name, const char *policy, bool quiet,
                   struct store_image *image, struct error *err)
{
    const struct platform host = platform_host();
    int status = find(cli, name, policy, quiet, image, err);
    if (status != 0)
        return status;
    return platform_check(&host, image->config, image->reference, err);
}
