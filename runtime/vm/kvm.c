/* Whether this machine can run VMs. The presence of /dev/kvm says nothing: a micro guest does. */
#include "spawn.h"
#include "vm.h"

#include "cleanup.h"
#include "io.h"
#include "runtime/cgroup/cgroup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { PROBE_TIMEOUT = 20 * 1000 }; /* milliseconds; under 5 on hardware, seconds when emulated */

#define USE_CONTAINER "or use --isolation=container, which shares the host's kernel"

static int open_device(struct error *err)
{
    int fd = cgroup_open_device("/dev/kvm", O_RDWR);
    if (fd >= 0)
        return fd;
    const char *remedy =
        "see `dmesg | grep kvm` for why the kernel does not offer it, " USE_CONTAINER;
    if (errno == ENOENT)
        remedy =
            "this kernel has no KVM, its module is not loaded (modprobe kvm_intel or kvm_amd), "
            "or the processor's virtualization is off in the firmware; in a virtual machine "
            "its provider must allow nested virtualization; " USE_CONTAINER;
    else if (errno == EACCES || errno == EPERM)
        remedy = "run hybrid as root, or allow the device in the container that hybrid itself runs "
                 "in (--device /dev/kvm), " USE_CONTAINER;
    int cause = errno;
    return error_set(err, EXIT_OURS, "cannot start a VM: cannot open /dev/kvm: %s; %s",
                     strerror(cause), remedy);
}

/* What a probe's result depends on: this boot of the host, and the program that probes. */
static int make_key(const char *program, char *key, size_t size, struct error *err)
{
    char boot[64] = "";
    struct stat status;
    _cleanup_close_ int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && io_read_all(fd, boot, sizeof boot - 1) > 0)
        boot[strcspn(boot, "\n")] = '\0';
    if (stat(program, &status) < 0)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot find the virtual machine monitor %s; is hybrid installed "
                               "completely?",
                               program);
    (void)snprintf(key, size, "%s %" PRId64 " %" PRId64 ".%09ld\n", boot, (int64_t)status.st_size,
                   (int64_t)status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
    return 0;
}

static bool cache_has(const char *path, const char *key)
{
    char text[256] = "";
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return fd >= 0 && io_read_all(fd, text, sizeof text - 1) > 0 && strcmp(text, key) == 0;
}

/* A cache that cannot be written costs the next start a few milliseconds: no error. */
static void cache_write(const char *root, const char *path, const char *key)
{
    _cleanup_free_ char *directory = NULL, *temporary = NULL;
    if (asprintf(&directory, "%s/cache", root) < 0 ||
        asprintf(&temporary, "%s.%d", path, (int)getpid()) < 0)
        return;
    (void)mkdir(directory, 0700);
    _cleanup_close_ int fd =
        open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && io_write_all(fd, key, strlen(key)) == 0 && rename(temporary, path) == 0)
        return;
    (void)unlink(temporary);
}

/* Reads the probe's one line. Returns whether it ended in time. */
static bool read_line(int fd, char *line, size_t size)
{
    size_t have = 0;
    struct pollfd readable = { .fd = fd, .events = POLLIN };
    line[0] = '\0';
    while (poll(&readable, 1, PROBE_TIMEOUT) > 0) {
        char discarded[256];
        bool full = have + 1 >= size;
        ssize_t n =
            full ? read(fd, discarded, sizeof discarded) : read(fd, line + have, size - 1 - have);
        if (n <= 0) {
            line[strcspn(line, "\n")] = '\0';
            return true;
        }
        if (!full)
            line[have += (size_t)n] = '\0';
    }
    return false;
}

static int probe(const char *program, int kvm_fd, struct error *err)
{
    char line[1024];
    int ends[2];
    char *argv[] = { (char *)"hybrid-vmm", (char *)"--probe", (char *)"--kvm-fd=3", NULL };
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    _cleanup_close_ int output = ends[0];
    _cleanup_close_ int input = ends[1];
    struct spawn_request request = { .path = program,
                                     .argv = argv,
                                     .fds = &kvm_fd,
                                     .fd_count = 1,
                                     .stdout_fd = input,
                                     .stderr_fd = input };
    struct spawned spawned;
    if (spawn_program(&request, &spawned, err) < 0)
        return -1;
    cleanup_close(&input);
    input = -1;
    bool in_time = read_line(output, line, sizeof line);
    if (!in_time)
        (void)syscall(SYS_pidfd_send_signal, spawned.pidfd, SIGKILL, NULL, 0);
    int status = spawn_wait(&spawned);
    if (in_time && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (in_time && *line) /* the probe's own words: cause and remedy */
        return error_set(err, EXIT_OURS, "cannot start a VM: %s", line);
    return error_set(err, EXIT_OURS,
                     "cannot start a VM: the test guest that shows whether KVM works here %s; see "
                     "`dmesg | grep kvm`, " USE_CONTAINER,
                     in_time ? "ended without a word" : "did not end in time");
}

int vm_open_kvm(const struct workload_paths *paths, struct error *err)
{
    char key[256];
    _cleanup_free_ char *program = NULL, *cache = NULL;
    if (asprintf(&program, "%s/hybrid-vmm", paths->exe_dir) < 0 ||
        asprintf(&cache, "%s/cache/kvm", paths->root) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    if (make_key(program, key, sizeof key, err) < 0)
        return -1;
    _cleanup_close_ int fd = open_device(err);
    if (fd < 0)
        return -1;
    if (!cache_has(cache, key)) {
        if (probe(program, fd, err) < 0)
            return -1;
        cache_write(paths->root, cache, key); /* only success: a module may be loaded any time */
    }
    return take_fd(&fd);
}
