/* The image store: whether it can be read and written, and whether it is whole. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "doctor.h"
#include "io.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/image/index.h"

enum { LEAST_FREE_MIB = 4 }; /* the records of a workload, and the policy's */

/* As `hybrid system check --quick`: everything but the content of blobs and layers. */
__attribute__((noreturn)) static void become_check(const struct runtime *runtime, int output)
{
    char program[4096];
    (void)snprintf(program, sizeof program, "%s/hybrid-image", runtime->exe_dir);
    int null = cgroup_open_device("/dev/null", O_RDWR);
    (void)signal(SIGPIPE, SIG_DFL); /* a check that is not read to its end is ended by it */
    if (null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(output, STDOUT_FILENO) >= 0 &&
        dup2(null, STDERR_FILENO) >= 0)
        (void)execl(program, program, "--store", runtime->store, "--root", runtime->root, "check",
                    "--quick", "--", (char *)NULL);
    _exit(EXIT_OURS);
}

/* The first problem that the check names. Returns 1: there is one, 0: the store is sound, or -1:
 * it could not be checked. */
static int find_problem(const struct runtime *runtime, char *problem, size_t size)
{
    int ends[2], status;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    _cleanup_close_ int reader = ends[0], writer = ends[1];
    pid_t child = fork();
    if (child == 0)
        become_check(runtime, writer);
    cleanup_close(&writer);
    writer = -1;
    ssize_t length = io_read_all(reader, problem, size - 1);
    problem[length < 0 ? 0 : length] = '\0';
    cleanup_close(&reader); /* a long list ends the check early: its first line is enough */
    reader = -1;
    problem[strcspn(problem, ";\n")] = '\0';
    if (child < 0 || waitpid(child, &status, 0) < 0)
        return -1;
    bool found = !WIFEXITED(status) || WEXITSTATUS(status) == 1;
    return found && *problem ? 1 : WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static void look_content(const struct runtime *runtime, size_t count, struct finding *finding)
{
    char problem[300];
    struct statvfs space;
    if (statvfs(runtime->data, &space) < 0) {
        finding_set(finding, FINDING_NOTE, NULL, "%s: %s", runtime->data, strerror(errno));
        return;
    }
    unsigned long long free_mib = (unsigned long long)space.f_bavail * space.f_frsize >> 20;
    if (free_mib < LEAST_FREE_MIB) {
        finding_set(finding, FINDING_MISSING,
                    "remove what is not needed (hybrid system prune, hybrid rm), or name another "
                    "place by --data",
                    "%s: %zu images, and room for nothing: %llu MiB free", runtime->data, count,
                    free_mib);
        return;
    }
    int damaged = find_problem(runtime, problem, sizeof problem);
    if (damaged > 0)
        finding_set(
            finding, FINDING_NOTE, "hybrid system check tells all, --repair removes what is broken",
            "%s: %zu images, %llu MiB free; damaged: %s", runtime->data, count, free_mib, problem);
    else if (damaged < 0)
        finding_set(finding, FINDING_NOTE, "hybrid system check tells why",
                    "%s: %zu images, %llu MiB free; they could not be checked", runtime->data,
                    count, free_mib);
    else
        finding_set(finding, FINDING_GOOD, NULL, "%s: %zu images, nothing missing, %llu MiB free",
                    runtime->data, count, free_mib);
}

void doctor_look_store(const struct runtime *runtime, struct finding *finding)
{
    struct index_list list;
    struct error err = { 0 };
    if (index_list(runtime->store, &list, &err) < 0) {
        finding_set(finding, FINDING_MISSING,
                    geteuid() == 0 ? "hybrid system check --repair, or name another one by --data"
                                   : "run hybrid as root",
                    "%s", err.message);
        return;
    }
    size_t count = list.count;
    index_list_free(&list);
    if (access(runtime->data, F_OK) < 0)
        finding_set(finding, FINDING_GOOD, NULL, "%s does not exist yet: made when needed",
                    runtime->data);
    else if (access(runtime->data, R_OK | W_OK | X_OK) < 0)
        finding_set(finding, FINDING_MISSING,
                    errno == EROFS ? "mount it writable, or name another one by --data"
                                   : "run hybrid as root, or name another one by --data",
                    "%s: %s", runtime->data, strerror(errno));
    else
        look_content(runtime, count, finding);
}
