#include "scratch.h"

#include "cleanup.h"
#include "spawn.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* What a workload can write; only what it does write takes room. */
static const off_t SCRATCH_SIZE = 10LL * 1024 * 1024 * 1024;

/*
 * The file is full of zeros already: nothing has to be discarded or zeroed, neither now nor later
 * by the guest. One large flex group keeps what is written small; 220 KiB in all, some 10 ms.
 */
static char *const MAKE_ARGUMENTS[] = {
    (char *)"mke2fs",
    (char *)"-q",
    (char *)"-F",
    (char *)"-t",
    (char *)"ext4",
    (char *)"-m",
    (char *)"0",
    (char *)"-b",
    (char *)"4096",
    (char *)"-i",
    (char *)"16384",
    (char *)"-G",
    (char *)"512",
    (char *)"-J",
    (char *)"size=16",
    (char *)"-O",
    (char *)"^resize_inode",
    (char *)"-E",
    (char *)"nodiscard,lazy_journal_init=1,lazy_itable_init=1,packed_meta_blocks=1",
    (char *)"/proc/self/fd/3",
    NULL,
};

/* Debian keeps it in /sbin, which is not in everybody's PATH. */
static const char *const PROGRAMS[] = { "/sbin/mke2fs", "/usr/sbin/mke2fs", "/usr/bin/mke2fs" };

static const char *find_program(struct error *err)
{
    for (size_t i = 0; i < sizeof PROGRAMS / sizeof PROGRAMS[0]; i++) {
        if (access(PROGRAMS[i], X_OK) == 0)
            return PROGRAMS[i];
    }
    (void)error_set(err, EXIT_OURS,
                    "cannot make the VM's writable layer: mke2fs is not there; install e2fsprogs, "
                    "or use --rm, which needs no disk");
    (void)error_see_doctor(err, "disk");
    return NULL;
}

static int make_file_system(int fd, struct error *err)
{
    char output[512] = "";
    int ends[2];
    const char *program = find_program(err);
    if (!program)
        return -1;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    _cleanup_close_ int read_end = ends[0];
    struct spawn_request request = { .path = program,
                                     .argv = MAKE_ARGUMENTS,
                                     .fds = &fd,
                                     .fd_count = 1,
                                     .stdout_fd = -1,
                                     .stderr_fd = ends[1] };
    struct spawned spawned;
    int result = spawn_program(&request, &spawned, err);
    (void)close(ends[1]);
    if (result < 0)
        return -1;
    size_t have = 0;
    for (ssize_t n = 1; n > 0 && have<sizeof output - 1; have += n> 0 ? (size_t)n : 0)
        n = read(read_end, output + have, sizeof output - 1 - have);
    int status = spawn_wait(&spawned);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    output[strcspn(output, "\n")] = '\0';
    return error_set(err, EXIT_OURS, "cannot make the VM's writable layer: mke2fs failed%s%s",
                     *output ? ": " : "", output);
}

int scratch_open(const char *data_dir, struct error *err)
{
    _cleanup_free_ char *path = NULL, *temporary = NULL;
    if (asprintf(&path, "%s/scratch.ext4", data_dir) < 0 ||
        asprintf(&temporary, "%s.new", path) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0)
        return take_fd(&fd);
    if (errno != ENOENT)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open the writable layer %s", path);
    /* Under another name until it is complete: a half-made one would never be repaired. */
    fd = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || ftruncate(fd, SCRATCH_SIZE) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make the writable layer %s",
                               temporary);
    if (make_file_system(fd, err) < 0) {
        (void)unlink(temporary);
        return -1;
    }
    if (rename(temporary, path) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot rename %s", temporary);
    return take_fd(&fd);
}
