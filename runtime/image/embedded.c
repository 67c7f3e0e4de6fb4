/* The embedded image: loaded by hybrid-image when it is first asked for. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "document.h"
#include "index.h"
#include "io.h"
#include "runtime/cgroup/cgroup.h"
#include "store.h"

static const char embedded_reference[] = "docker.io/library/busybox:latest";

bool store_name_is_embedded(const char *name)
{
    _cleanup_free_ char *reference = reference_normalize(name, NULL);
    return reference && strcmp(reference, embedded_reference) == 0;
}

/* In the child: only async-signal-safe calls, whatever threads the caller has. */
__attribute__((noreturn)) static void exec_helper(const char *helper, const char *const *arguments,
                                                  int null, int stderr_fd)
{
    if (dup2(null, STDIN_FILENO) >= 0 && dup2(null, STDOUT_FILENO) >= 0 &&
        dup2(stderr_fd, STDERR_FILENO) >= 0)
        execv(helper, (char *const *)arguments);
    _exit(EXIT_NOT_FOUND);
}

/* Runs the helper to its end. What it says on stderr becomes *err if it fails. */
static int run_helper(const char *helper, const char *const *arguments, struct error *err)
{
    int pipe_fds[2];
    _cleanup_close_ int null = cgroup_open_device("/dev/null", O_RDWR);
    if (null < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open /dev/null");
    if (pipe2(pipe_fds, O_CLOEXEC) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    _cleanup_close_ int reader = pipe_fds[0];
    _cleanup_close_ int writer = pipe_fds[1];
    pid_t child = fork();
    if (child < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot fork");
    if (child == 0)
        exec_helper(helper, arguments, null, writer);
    cleanup_close(&writer);
    writer = -1;
    char said[1024];
    ssize_t length = io_read_all(reader, said, sizeof said - 1);
    said[length > 0 ? length : 0] = '\0';
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return error_set_errno(err, EXIT_OURS, errno, "cannot wait for %s", helper);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    said[strcspn(said, "\n")] = '\0';
    const char *message = strncmp(said, "hybrid: ", 8) == 0 ? said + 8 : said;
    if (*message)
        return error_set(err, EXIT_OURS, "cannot load the embedded image: %s", message);
    (void)error_set(err, EXIT_OURS,
                    "cannot load the embedded image: %s could not be run; reinstall hybrid "
                    "or the libraries that it needs",
                    helper);
    return error_see_doctor(err, "images");
}

static int load_embedded(const char *store_dir, const char *root, const char *exe_dir,
                         struct error *err)
{
    _cleanup_free_ char *helper = NULL;
    _cleanup_free_ char *archive = NULL;
    if (asprintf(&helper, "%s/hybrid-image", exe_dir) < 0 ||
        asprintf(&archive, "%s/images/busybox.tar", exe_dir) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    const char *const arguments[] = { helper, "--store", store_dir, "--root", root,
                                      "load", "-q",      archive,   NULL };
    return run_helper(helper, arguments, err);
}

int store_prepare_embedded(const char *store_dir, const char *root, const char *exe_dir,
                           struct error *err)
{
    _cleanup_free_ char *index = NULL;
    if (asprintf(&index, "%s/index", store_dir) < 0)
        return error_set(err, EXIT_OURS, "out of memory");
    if (access(index, F_OK) == 0 || errno != ENOENT)
        return 0;
    return load_embedded(store_dir, root, exe_dir, err);
}

int store_open_image_or_embedded(const char *store_dir, const char *root, const char *exe_dir,
                                 const char *name, struct store_image *image, struct error *err)
{
    int found = store_find_image(store_dir, name, image, err);
    if (found != 0 || !store_name_is_embedded(name))
        return found;
    if (load_embedded(store_dir, root, exe_dir, err) < 0)
        return -1;
    return store_open_image(store_dir, name, image, err) < 0 ? -1 : 1;
}
