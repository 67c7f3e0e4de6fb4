#include "runtime/image/helper/output.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "cleanup.h"

enum { FILE_MODE = 0600 }; /* images may hold secrets */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static char *directory_of(const char *path)
{
    const char *base = base_name(path);
    return base == path ? strdup(".") : strndup(path, (size_t)(base - path));
}

static bool is_special(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && !S_ISREG(status.st_mode);
}

int output_place(const char *path, char **place, struct error *err)
{
    *place = is_special(path) ? strdup(path) : directory_of(path);
    return *place ? 0 : error_set(err, EXIT_OURS, "out of memory");
}

static int open_directory(const char *path, struct error *err)
{
    _cleanup_free_ char *directory = directory_of(path);
    if (!directory)
        return error_set(err, EXIT_OURS, "out of memory");
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? error_set_errno(err, EXIT_OURS, errno, "cannot open directory %s", directory)
                  : fd;
}

static int choose_name(struct output *output, struct error *err)
{
    uint64_t number;
    if (getrandom(&number, sizeof number, 0) != sizeof number)
        return error_set_errno(err, EXIT_OURS, errno, "cannot get random bytes");
    (void)snprintf(output->temporary, sizeof output->temporary, ".hybrid-%016" PRIx64, number);
    return 0;
}

/* A file without a name vanishes with its writer; where there are none, it has one meanwhile. */
static int open_file(struct output *output, struct error *err)
{
    output->fd = openat(output->dir_fd, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, FILE_MODE);
    if (output->fd >= 0)
        return 0;
    if (choose_name(output, err) < 0)
        return -1;
    output->fd = openat(output->dir_fd, output->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                        FILE_MODE);
    if (output->fd >= 0)
        return 0;
    output->temporary[0] = '\0';
    return error_set_errno(err, EXIT_OURS, errno, "cannot make %s", output->path);
}

int output_begin(const char *path, struct output *output, struct error *err)
{
    *output = (struct output){ .path = path, .dir_fd = -1, .fd = -1 };
    if (!path) {
        output->path = "standard output";
        output->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
    } else if (is_special(path)) {
        output->fd = open(path, O_WRONLY | O_CLOEXEC);
    } else {
        output->dir_fd = open_directory(path, err);
        return output->dir_fd < 0 ? -1 : open_file(output, err);
    }
    return output->fd >= 0 ? 0
                           : error_set_errno(err, EXIT_OURS, errno, "cannot open %s", output->path);
}

int output_commit(struct output *output, struct error *err)
{
    char self[64];
    if (output->dir_fd < 0)
        return 0;
    (void)snprintf(self, sizeof self, "/proc/self/fd/%d", output->fd);
    if (!output->temporary[0]) {
        if (choose_name(output, err) < 0)
            return -1;
        if (linkat(AT_FDCWD, self, output->dir_fd, output->temporary, AT_SYMLINK_FOLLOW) < 0) {
            output->temporary[0] = '\0';
            return error_set_errno(err, EXIT_OURS, errno, "cannot name %s", output->path);
        }
    }
    if (fsync(output->fd) < 0 ||
        renameat(output->dir_fd, output->temporary, output->dir_fd, base_name(output->path)) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot write %s", output->path);
    output->temporary[0] = '\0';
    if (fsync(output->dir_fd) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot sync the directory of %s",
                               output->path);
    return 0;
}

void output_end(struct output *output)
{
    if (output->temporary[0])
        (void)unlinkat(output->dir_fd, output->temporary, 0);
    cleanup_close(&output->fd);
    cleanup_close(&output->dir_fd);
}
