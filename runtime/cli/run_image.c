#include "run_image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
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
    int found = store_open_image_or_embedded(cli->runtime.store, cli->runtime.root,
                                             cli->runtime.exe_dir, name, image, err);
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

/* A list of strings with one more in front, which is taken over. */
static int put_first(char ***list, size_t count, char **first)
{
    char **grown = realloc(*list, (count + 1) * sizeof *grown);
    if (!grown)
        return -1;
    memmove(grown + 1, grown, count * sizeof *grown);
    grown[0] = take_pointer(first);
    *list = grown;
    return 0;
}

int run_image_add_probe(const struct cli *cli, struct store_image *image, struct error *err)
{
    _cleanup_free_ char *file = NULL, *id = NULL;
    struct stat status;
    if (!getenv("HYBRID_PROBE"))
        return 0;
    if (asprintf(&file, "%s/probe.erofs", cli->runtime.exe_dir) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    if (stat(file, &status) < 0)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot find the probe %s; it belongs beside hybrid-vmm: run make, "
                               "or make install",
                               file);
    /* Mounts of layers are shared by name: another build's probe is another layer. */
    if (asprintf(&id, "probe-%llx-%llx", (unsigned long long)status.st_ino,
                 (unsigned long long)status.st_mtim.tv_sec * 1000000000ULL +
                     (unsigned long long)status.st_mtim.tv_nsec) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    if (put_first(&image->layer_files, image->layer_count, &file) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    if (put_first(&image->layer_ids, image->layer_count, &id) < 0) {
        free(image->layer_files[0]); /* the two lists are as long as each other */
        memmove(image->layer_files, image->layer_files + 1,
                image->layer_count * sizeof *image->layer_files);
        return error_set(err, EXIT_OURS, "out of memory");
    }
    image->layer_count++;
    return 0;
}
