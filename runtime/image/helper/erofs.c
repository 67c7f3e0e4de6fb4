#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/image/document.h"
#include "runtime/image/helper/layer.h"

enum { BLOCK_BYTES = 4096 };

/*
 * SOURCE_DATE_EPOCH makes mkfs.erofs write this time as its own instead of now, and clamp later
 * file times to it: a time later than every file's keeps them all. The extended inode form holds
 * times and 32-bit ids of each file.
 */
static const char *const mkfs_environment[] = { "SOURCE_DATE_EPOCH=99999999999", "LC_ALL=C",
                                                "PATH=/usr/local/sbin:/usr/local/bin:"
                                                "/usr/sbin:/usr/bin:/sbin:/bin",
                                                NULL };

__attribute__((noreturn)) static void exec_mkfs(const struct staging *staging, const char *tree,
                                                const char *file, int output_fd, pid_t parent)
{
    const char *const arguments[] = { "mkfs.erofs",
                                      "--quiet",
                                      "-U",
                                      "00000000-0000-0000-0000-000000000000",
                                      "-Eforce-inode-extended",
                                      file,
                                      tree,
                                      NULL };
    staging_die_with(parent);
    if (fchdir(staging->fd) == 0 && dup2(output_fd, STDOUT_FILENO) >= 0 &&
        dup2(output_fd, STDERR_FILENO) >= 0) {
        umask(0077);
        (void)execvpe(arguments[0], (char *const *)arguments, (char *const *)mkfs_environment);
    }
    _exit(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

/* Reads to the end, keeping what fits; the rest is dropped, so that the writer never blocks. */
static void collect_output(int fd, char *text, size_t size)
{
    char rest[512];
    ssize_t length = io_read_all(fd, text, size - 1);
    text[length > 0 ? length : 0] = '\0';
    while (io_read_all(fd, rest, sizeof rest) > 0)
        ;
}

/* Its last message is the cause: "<E> erofs: ...". */
static const char *find_message(char *output)
{
    size_t length = strlen(output);
    while (length > 0 && (output[length - 1] == '\n' || output[length - 1] == ' '))
        output[--length] = '\0';
    const char *line = strrchr(output, '\n');
    return line ? line + 1 : output;
}

static int report(int status, char *output, struct error *err)
{
    char printable[512];
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_NOT_FOUND)
        return error_set(err, EXIT_OURS,
                         "cannot run mkfs.erofs: not found; install the package erofs-utils");
    if (WIFSIGNALED(status))
        return error_set(err, EXIT_OURS, "mkfs.erofs was ended by signal %d", WTERMSIG(status));
    return error_set(err, EXIT_OURS, "mkfs.erofs failed: %s",
                     document_printable(find_message(output), printable, sizeof printable));
}

static int run_mkfs(const struct staging *staging, const char *tree, const char *file,
                    struct error *err)
{
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    _cleanup_close_ int reader = pipe_fds[0];
    int writer = pipe_fds[1];
    const pid_t self = getpid();
    pid_t child = fork();
    if (child == 0)
        exec_mkfs(staging, tree, file, writer, self);
    cleanup_close(&writer);
    if (child < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot fork");
    char output[2048];
    int status;
    collect_output(reader, output, sizeof output);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return error_set_errno(err, EXIT_OURS, errno, "cannot wait for mkfs.erofs");
    return report(status, output, err);
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
