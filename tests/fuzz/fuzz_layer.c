/* link: helper image plan */
/* Layers: archives, plain or compressed, to EROFS files. */
#include "input.h"
#include "staging.h"

#include "runtime/image/helper/layer.h"

#include <sys/stat.h>

static void report(void *context, int64_t bytes)
{
    (void)context;
    assert(bytes >= 0);
}

/* What an entry could have written beside its tree. */
static void check_outside(const struct staging *staging)
{
    struct stat status;
    assert(fstat(staging->fd, &status) == 0 && status.st_nlink == 2);
    assert(fstat(staging->store->tmp_fd, &status) == 0 && status.st_nlink == 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct layer_progress progress = { report, NULL };
    char diff_id[STORE_DIGEST_HEX + 1] = "";
    char file[STORE_DIGEST_HEX + 8];
    struct error err = { 0 };
    const struct staging *staging = fuzz_staging();
    const struct blob blob = fuzz_blob(staging, data, size);
    if (layer_find_diff_id(staging, &blob, diff_id, &err) < 0) {
        assert(err.exit_code != 0 && err.message[0] != '\0');
        return 0;
    }
    if (layer_convert(staging, &blob, diff_id, &progress, &err) < 0)
        assert(err.exit_code != 0 && err.message[0] != '\0');
    layer_file_name(diff_id, file);
    assert(tree_remove(staging->fd, file) == 0);
    check_outside(staging);
    return 0;
}
