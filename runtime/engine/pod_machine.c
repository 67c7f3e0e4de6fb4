/* A pod's keeper: made once, found again, removed. */
#include "pod_machine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "engine.h"
#include "io.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/launch/workload.h"
#include "runtime/network/network.h"
#include "runtime/plan/compose.h"
#include "runtime/state/local_socket.h"
#include "runtime/state/state.h"
#include "runtime/vm/pod.h"
#include "runtime/vm/vm.h"
#include "title.h"

#define RECORD_FILE "pod.json"
#define LOCK_FILE   "pod.lock"

enum {
    FIRST_FD = 3,
    START_MS = (VM_POD_STEPS * VM_STEP_LONGEST * VM_STEP_SECONDS + VM_STEPS_SLACK) * 1000,
    LOCK_PAUSE_MS = 20,     /* until it is asked for again */
    GRACE_MS = 15000,       /* for containers that are being stopped when the sandbox is deleted */
    END_PATIENCE_MS = 3000, /* for a keeper to tell its containers that it is over */
    KILL_PATIENCE_MS = 10000, /* for a keeper that was killed to be gone */
};

/* What the keeper of a pod is made of. */
struct making {
    const struct runtime *runtime;
    struct state sandbox;
    json_t *config;
    struct plan plan; /* of the sandbox */
    struct paths paths;
    struct cgroup_scope scope;
    char *cgroup;
    struct vm_pod pod;
};

/* --- the record ----------------------------------------------------------------------------------
 */

static bool has_ended(int pidfd, int milliseconds)
{
    struct pollfd ended = { .fd = pidfd, .events = POLLIN };
    return poll(&ended, 1, milliseconds) == 1;
}

static int refuse_killed(struct error *err)
{
    return error_set(err, EXIT_OURS,
                     "the container was killed while it waited for the VM of its pod");
}

/* process: nobody needs it once that has ended, a pidfd; -1: it is waited for without limit. */
static int take_lock(const char *directory, int process, int *lock, struct error *err)
{
    _cleanup_close_ int place = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int fd =
        place < 0 ? -1 : openat(place, LOCK_FILE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int result = fd < 0 ? -1 : flock(fd, LOCK_EX | LOCK_NB);
    while (fd >= 0 && result < 0 && (errno == EWOULDBLOCK || errno == EINTR)) {
        if (has_ended(process, LOCK_PAUSE_MS))
            return refuse_killed(err);
        result = flock(fd, LOCK_EX | LOCK_NB);
    }
    if (result < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot lock %s/" LOCK_FILE, directory);
    *lock = take_fd(&fd);
    return 0;
}

static int write_record(const char *directory, pid_t pid, const char *cgroup, struct error *err)
{
    _cleanup_close_ int place = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    json_auto_t *record = json_pack("{s:i, s:I, s:s}", "pid", (int)pid, "pidStart",
                                    (json_int_t)state_process_start(pid), "cgroup", cgroup);
    _cleanup_free_ char *text = record ? json_dumps(record, JSON_COMPACT) : NULL;
    _cleanup_close_ int fd =
        openat(place, RECORD_FILE ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (!text || fd < 0 || io_write_all(fd, text, strlen(text)) < 0 ||
        renameat(place, RECORD_FILE ".new", place, RECORD_FILE) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot write %s/" RECORD_FILE, directory);
    return 0;
}

/* New reference; NULL: there was no keeper yet. */
static json_t *read_record(const char *directory)
{
    json_error_t ignored;
    _cleanup_close_ int place = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    _cleanup_close_ int fd = openat(place, RECORD_FILE, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? NULL : json_loadfd(fd, 0, &ignored);
}

/* --- its end -------------------------------------------------------------------------------------
 */

/* The recorded keeper, a pidfd; -1: it has ended. */
static int open_keeper(const json_t *record, pid_t *pid)
{
    uint64_t start = (uint64_t)json_integer_value(json_object_get(record, "pidStart"));
    *pid = (pid_t)json_integer_value(json_object_get(record, "pid"));
    _cleanup_close_ int pidfd = *pid > 0 ? (int)syscall(SYS_pidfd_open, *pid, 0) : -1;
    /* Looked at after it was opened: the number cannot have become another process's in between. */
    return pidfd >= 0 && state_process_lives(*pid, start) ? take_fd(&pidfd) : -1;
}

static int end_keeper(const json_t *record, int patience, struct error *err)
{
    pid_t pid;
    _cleanup_close_ int pidfd = open_keeper(record, &pid);
    if (pidfd < 0 || has_ended(pidfd, patience))
        return 0;
    (void)syscall(SYS_pidfd_send_signal, pidfd, POD_END_SIGNAL, NULL, 0);
    if (has_ended(pidfd, END_PATIENCE_MS))
        return 0;
    (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    return has_ended(pidfd, KILL_PATIENCE_MS)
               ? 0
               : error_set(err, EXIT_OURS, "hybrid-pod, process %d, does not end", (int)pid);
}

/* The keeper that was recorded, and whatever a killed one left. */
static int remove_keeper(const char *directory, const char *network, int patience,
                         struct error *err)
{
    json_auto_t *record = read_record(directory);
    const char *cgroup = json_string_value(json_object_get(record, "cgroup"));
    if (!record)
        return 0;
    if (end_keeper(record, patience, err) < 0 ||
        (cgroup && cgroup_belongs_to(cgroup, directory) && cgroup_remove(cgroup, err) < 0))
        return -1;
    return network ? network_remove_leftovers(network, err) : 0;
}

int pod_end_machine(const char *directory, const char *network, struct error *err)
{
    _cleanup_close_ int lock = -1;
    _cleanup_close_ int place = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (faccessat(place, LOCK_FILE, F_OK, 0) < 0)
        return 0; /* no container of it was ever started */
    if (take_lock(directory, -1, &lock, err) < 0)
        return -1;
    return remove_keeper(directory, network, GRACE_MS, err);
}

/* --- what it is made of --------------------------------------------------------------------------
 */

/* systemd makes the machine's cgroup where it made the sandbox's. "": an engine that writes paths,
 * and one that has written none. */
static int name_cgroup(struct making *making, struct error *err)
{
    const char *id = making->sandbox.id, *path = making->plan.cgroup_path;
    _cleanup_free_ char *machine_path = NULL;
    _cleanup_free_ char *machine_id = NULL;
    struct cgroup_scope own = { 0 };
    struct error no_scope;
    if (!making->sandbox.cgroup || !*making->sandbox.cgroup)
        return error_set(err, EXIT_OURS,
                         "cannot make the VM of the pod of %s: a VM is bounded by its cgroup, and "
                         "the sandbox has none (--cgroup-manager=disabled)",
                         id);
    if (asprintf(&making->cgroup, "%s-vm", making->sandbox.cgroup) < 0 ||
        asprintf(&machine_id, "%s-vm", id) < 0 ||
        (path && asprintf(&machine_path, "%s-vm", path) < 0))
        return error_set(err, EXIT_OURS, "out of memory");
    bool in_scope = cgroup_scope_make(path, id, NULL, &own, &no_scope) == 0 &&
                    strcmp(own.path, making->sandbox.cgroup) == 0;
    cgroup_scope_free(&own);
    if (!in_scope)
        return 0;
    if (cgroup_scope_make(machine_path, machine_id, NULL, &making->scope, err) < 0)
        return -1;
    making->pod.scope = &making->scope;
    free(making->cgroup);
    making->cgroup = strdup(making->scope.path);
    return making->cgroup ? 0 : error_set(err, EXIT_OURS, "out of memory");
}

static uint64_t size_of(const char *shm)
{
    struct statvfs status;
    return shm && statvfs(shm, &status) == 0 ? (uint64_t)status.f_blocks * status.f_frsize : 0;
}

static int gather(struct making *making, const char *sandbox, struct error *err)
{
    const struct runtime *runtime = making->runtime;
    if (state_read(runtime->root, sandbox, &making->sandbox, err) < 0)
        return -1;
    if (making->sandbox.status != STATE_CREATED && making->sandbox.status != STATE_RUNNING)
        return error_set(err, EXIT_OURS, "cannot start a container of a pod whose sandbox %s is %s",
                         sandbox, state_status_name(making->sandbox.status));
    making->config = pod_read_config(runtime, sandbox, err);
    if (!making->config ||
        plan_parse(json_incref(making->config), PLAN_PARSE_SANDBOX, &making->plan, err) < 0 ||
        pod_size_machine(making->config, &making->plan, &making->pod.resources, err) < 0 ||
        paths_make(runtime, sandbox, &making->paths, err) < 0 || name_cgroup(making, err) < 0)
        return -1;
    making->pod.id = making->sandbox.id;
    making->pod.paths = making->paths.paths;
    making->pod.cgroup = making->cgroup;
    making->pod.shm_size = size_of(pod_find_shm(making->config));
    making->pod.sandbox_pid = making->sandbox.pid;
    return 0;
}

static void making_free(struct making *making)
{
    plan_free(&making->plan);
    json_decref(making->config);
    state_free(&making->sandbox);
    paths_free(&making->paths);
    cgroup_scope_free(&making->scope);
    free(making->cgroup);
}

/* --- its beginning -------------------------------------------------------------------------------
 */

/* Nothing of the engine that had us started stays open, or is written to. */
static int settle(int starter, struct error *err)
{
    sigset_t none;
    (void)sigemptyset(&none);
    for (int number = 1; number < NSIG; number++)
        (void)signal(number, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setsid();
    (void)umask(022);
    int null = cgroup_open_device("/dev/null", O_RDWR);
    if (null < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot open /dev/null for hybrid-pod");
    int result = chdir("/");
    for (int fd = 0; result >= 0 && fd < FIRST_FD; fd++)
        result = dup2(null, fd);
    if (result >= 0 && starter != FIRST_FD)
        result = dup2(starter, FIRST_FD);
    (void)fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC);
    if (result < 0 || close_range(FIRST_FD + 1, ~0U, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot prepare the streams of hybrid-pod");
    return 0;
}

/* The keeper's process. It begins when it has been recorded. */
__attribute__((noreturn)) static void run_keeper(struct making *making, int starter)
{
    char word;
    struct error err = { 0 };
    title_set("hybrid-pod", making->sandbox.id);
    bool settled = settle(starter, &err) == 0;
    int answer = settled ? FIRST_FD : starter;
    if (io_read_all(answer, &word, 1) != 1)
        _exit(EXIT_OURS);
    if (settled)
        making->pod.sandbox = engine_open_process(&making->sandbox, &err);
    struct keeper *keeper =
        settled && making->pod.sandbox >= 0 ? keeper_create(&making->pod, &err) : NULL;
    /* Who started it may have been killed: the next one finds what it has made. */
    (void)send(answer, &err, sizeof err, MSG_NOSIGNAL);
    (void)close(answer);
    if (keeper)
        keeper_run(keeper);
    _exit(keeper ? 0 : EXIT_OURS);
}

/* Until it has said how it went, or the container's process has ended, for which it is made. */
static int await_keeper(int socket, int process, struct error *err)
{
    struct error answer;
    struct pollfd news[] = { { .fd = socket, .events = POLLIN },
                             { .fd = process, .events = POLLIN } };
    int ready = poll(news, 2, START_MS);
    while (ready < 0 && errno == EINTR)
        ready = poll(news, 2, START_MS);
    if (ready > 0 && news[0].revents == 0)
        return refuse_killed(err);
    if (ready <= 0 || io_read_all(socket, &answer, sizeof answer) != (ssize_t)sizeof answer)
        return error_set(err, EXIT_OURS, "hybrid-pod, the keeper of the pod's VM, %s",
                         ready <= 0 ? "does not answer" : "was killed");
    if (answer.exit_code == 0)
        return 0;
    *err = answer;
    return -1;
}

static int fork_keeper(struct making *making, int process, struct error *err)
{
    int ends[2];
    struct error ignored;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pair of sockets");
    _cleanup_close_ int ours = ends[0];
    pid_t pid = fork();
    if (pid == 0)
        run_keeper(making, ends[1]);
    int cause = errno;
    (void)close(ends[1]);
    if (pid < 0)
        return error_set_errno(err, EXIT_OURS, cause, "cannot start hybrid-pod");
    const char *directory = making->paths.state_dir;
    int result = write_record(directory, pid, making->cgroup, err);
    if (result == 0 && send(ours, "", 1, MSG_NOSIGNAL) != 1)
        result = error_set(err, EXIT_OURS, "hybrid-pod was killed");
    if (result == 0)
        result = await_keeper(ours, process, err);
    if (result == 0)
        return 0;
    (void)kill(pid, SIGKILL); /* our child: nobody else has its number */
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    (void)remove_keeper(directory, NULL, 0, &ignored); /* the next one tries again */
    return -1;
}

static bool answers(const char *directory)
{
    _cleanup_close_ int connection = local_socket_connect(directory, POD_SOCKET);
    return connection >= 0;
}

/*
 * One that lives and does not answer has lost its machine, and ends, or was told to stop, and ends
 * when its containers have, whose time that is; or who had it started was killed meanwhile.
 * Returns 1 if it answers, 0 if there is none, -1 with *err: no other can be made yet.
 */
static int find_keeper(const char *directory, struct error *err)
{
    pid_t pid;
    if (answers(directory))
        return 1;
    json_auto_t *record = read_record(directory);
    _cleanup_close_ int pidfd = open_keeper(record, &pid);
    for (int waited = 0; waited < END_PATIENCE_MS; waited += LOCK_PAUSE_MS) {
        if (pidfd < 0 || has_ended(pidfd, LOCK_PAUSE_MS))
            return 0;
        if (answers(directory))
            return 1;
    }
    return error_set(err, EXIT_OURS,
                     "the VM of the pod is being stopped, and containers still run in it, or is "
                     "still being started (hybrid-pod, process %d): try again when they have ended",
                     (int)pid);
}

/* With the lock: whether there is a keeper that answers, or one is made. */
static int make_keeper(const struct runtime *runtime, const char *sandbox, const char *directory,
                       int process, struct error *err)
{
    struct making making = { .runtime = runtime };
    if (answers(directory))
        return 0;
    /* First whether there is to be another one: containers may still run in the one there is. */
    int result = gather(&making, sandbox, err);
    int found = result == 0 ? find_keeper(directory, err) : 0;
    if (result == 0 && found == 0)
        result = remove_keeper(directory, NULL, 0, err);
    if (result == 0 && found == 0)
        result = fork_keeper(&making, process, err);
    making_free(&making);
    return found < 0 ? -1 : result;
}

int pod_start_machine(const struct runtime *runtime, const char *sandbox, int process,
                      struct error *err)
{
    _cleanup_close_ int lock = -1;
    _cleanup_free_ char *directory = state_directory(runtime->root, sandbox, err);
    if (!directory || take_lock(directory, process, &lock, err) < 0)
        return -1;
    return make_keeper(runtime, sandbox, directory, process, err);
}
