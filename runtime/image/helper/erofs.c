#include <fcntl.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "runtime/image/helper/layer.h"
#include "runtime/image/helper/tool.h"

enum { BLOCK_BYTES = 4096 };

/*
 * SOURCE_DATE_EPOCH makes mkfs.erofs write this time as its own instead of now, and clamp later
 * file times to it: a time later than every file's keeps them all. The extended inode form holds
 * times and 32-bit ids of each file.
 */
static int run_mkfs(const struct staging *staging, const char *tree, const char *file,
                    struct error *err)
{
    const char *const arguments[] = { "mkfs.erofs",
                                      "--quiet",
                                      "-U",
                                      "00000000-0000-0000-0000-000000000000",
                                      "-Eforce-inode-extended",
                                      file,
                                      tree,
                                      NULL };
    const struct tool mkfs = { .arguments = arguments,
                               .setting = "SOURCE_DATE_EPOCH=99999999999",
                               .package = "erofs-utils",
                               .dir_fd = staging->fd };
    return tool_run(&mkfs, err) == 0 ? 0 : -1;
}

/* The layers of an image become partitions of one disk, laid end to end in whole blocks. */
static int pad(const struct staging *staging, const char *file, struct error *err)
{
    struct stat status;
    _cleanup_close_ int fd = openat(staging->fd, file, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &status) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open what mkfs.erofs made");
    off_t padded = (status.st_size + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    if (ftruncate(fd, padded) < 0 || fchmod(fd, 0400) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot pad what mkfs.erofs made");
    return 0;
}

int erofs_make(const struct staging *staging, const char *tree, const char *file, struct error *err)
{
    return run_mkfs(staging, tree, file, err) < 0 ? -1 : pad(staging, file, err);
}
