#include "container.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "disk_rate.h"
#include "hooks.h"
#include "layers.h"
#include "notify.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/plan/compose.h"
#include "stamp.h"

struct workload {
    struct sandbox_child child;
    pid_t pid; /* stays known after the end */
    struct cgroup *cgroup;
    struct layers layers;
    struct notify notify; /* who decides about its system calls */
    int terminal_fd;      /* our own copy of the master, for resizing; -1 */
    bool ended;
};

static void close_stdio(const int stdio[3])
{
    for (int i = 0; i < 3; i++)
        cleanup_close(&stdio[i]);
}

/* Makes <data_dir>/upper and work, unless an earlier start has. */
static int make_writable_layer(const struct workload_spec *spec, const struct layers *layers,
                               char upper[PATH_MAX], char work[PATH_MAX], struct error *err)
{
    (void)snprintf(upper, PATH_MAX, "%s/upper", spec->paths.data_dir);
    (void)snprintf(work, PATH_MAX, "%s/work", spec->paths.data_dir);
    if (mkdir(spec->paths.data_dir, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make %s", spec->paths.data_dir);
    if (mkdir(work, 0700) < 0 && errno != EEXIST)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make %s", work);
    if (mkdir(upper, 0755) == 0)
        return sandbox_imitate_root(upper, (const char *const *)layers->paths, layers->count,
                                    spec->plan, err);
    return errno == EEXIST ? 0 : error_set_errno(err, EXIT_OURS, errno, "cannot make %s", upper);
}

void container_cgroup_name(const struct plan *plan, const char *id, char name[PATH_MAX])
{
    const char *path = plan->cgroup_path;
    if (path)
        (void)snprintf(name, PATH_MAX, "%s", path + strspn(path, "/"));
    else
        (void)snprintf(name, PATH_MAX, "hybrid-%s", id);
}

/*
 * A container is one of perhaps many users of its namespace's interfaces, which others have made:
 * a queueing discipline there would limit them too, and stay when it has gone.
 */
int container_check_plan(const struct plan *plan, struct error *err)
{
    for (int i = PLAN_DISK_RATES; i < PLAN_RATES; i++) {
        if (plan->resources.rates[i] > 0)
            return error_set(err, EXIT_OURS,
                             "%s (annotation %s): a container shares the interfaces of its network "
                             "namespace with "
                             "whoever else is in there; limit them with tc(8), or use "
                             "--isolation=vm, whose networks hybrid limits itself",
                             rate_option((enum plan_rate)i), rate_annotation((enum plan_rate)i));
    }
    return 0;
}

static int create_cgroup(struct workload *workload, const struct workload_spec *spec,
                         struct error *err)
{
    char name[PATH_MAX];
    if (spec->hold && spec->hold->no_cgroup)
        return 0;
    struct plan_resources resources = spec->plan->resources;
    struct disk_rate_settings disks;
    if (disk_rate_make(&resources, spec->paths.data, &disks, err) < 0)
        return -1;
    if (disks.count > 0) { /* our own document: it has no settings */
        resources.settings = disks.settings;
        resources.setting_count = disks.count;
    }
    container_cgroup_name(spec->plan, spec->id, name);
    workload->cgroup =
        spec->scope ? cgroup_create_in_scope(spec->scope, spec->paths.state_dir, &resources, err)
                    : cgroup_create(name, spec->paths.state_dir, &resources, err);
    return workload->cgroup ? 0 : -1;
}

/* Fills the request's fields that follow from the cgroup. */
static void join_cgroup(struct sandbox_request *request, const struct cgroup *cgroup)
{
    request->cgroup_fd = cgroup ? cgroup_birth_fd(cgroup) : -1;
    request->cgroup_name = cgroup ? cgroup_name(cgroup) : NULL;
    if (cgroup)
        request->task_fd_count =
            cgroup_task_fds(cgroup, &request->task_fds, &request->task_hierarchies);
}

/* The child is at the point where its mounts are made and its root is not yet entered. */
static int run_hooks(struct workload *workload, const struct plan *plan, const char *state,
                     struct error *err)
{
    if (sandbox_mount(&workload->child, err) < 0)
        return -1;
    pid_t pid = workload->pid;
    /* prestart is older than "creating", and its users expect what there was before. */
    return hooks_run(plan, PLAN_HOOKS_PRESTART, state, "created", pid, err) < 0
               ? -1
               : hooks_run(plan, PLAN_HOOKS_CREATE_RUNTIME, state, "creating", pid, err);
}

/* A container that is held is started by another process, which does this then. */
static int prepare_notify(struct workload *workload, const struct workload_spec *spec,
                          struct error *err)
{
    const struct notify_process process = {
        .container = spec->plan,
        .id = spec->id,
        .bundle = spec->bundle,
        .status = "created",
        .container_pid = workload->pid,
        .pid = workload->pid,
    };
    workload->child.pass_listener = notify_send;
    workload->child.listener_context = &workload->notify;
    return spec->hold ? 0 : notify_prepare(&workload->notify, &process, err);
}

static int spawn(struct workload *workload, const struct workload_spec *spec, struct error *err)
{
    char upper[PATH_MAX], work[PATH_MAX];
    struct sandbox_root root = {
        .layers = (const char *const *)workload->layers.paths,
        .layer_count = workload->layers.count,
        .upper_in_memory = !spec->keep_writable,
    };
    if (root.layer_count > 0 && spec->keep_writable) {
        if (make_writable_layer(spec, &workload->layers, upper, work, err) < 0)
            return -1;
        root.upper = upper;
        root.work = work;
    }
    _cleanup_free_ char *hook_state = hooks_open_state(spec->id, spec->bundle, spec->plan);
    if (!hook_state)
        return error_set(err, EXIT_OURS, "out of memory");
    struct sandbox_request request = {
        .plan = spec->plan,
        .root = &root,
        .stdio = { spec->stdio[0], spec->stdio[1], spec->stdio[2] },
        .join_pidfd = -1,
        .death_signal = spec->hold ? 0 : SIGKILL,
        .start_listener = spec->hold ? spec->hold->start_listener : NULL,
        .keep_fds = spec->hold ? spec->hold->keep_fds : 0,
        .keep_keyring = spec->hold && spec->hold->keep_keyring,
        .hook_state = hook_state,
        .rows = spec->rows,
        .columns = spec->columns,
    };
    join_cgroup(&request, workload->cgroup);
    if (sandbox_spawn(&request, &workload->child, err) < 0)
        return -1;
    workload->pid = workload->child.pid;
    if (prepare_notify(workload, spec, err) < 0)
        return -1;
    if (hooks_are_awaited(spec->plan) && run_hooks(workload, spec->plan, hook_state, err) < 0)
        return -1;
    return sandbox_set_up(&workload->child, err);
}

static int create_parts(struct workload *workload, const struct workload_spec *spec,
                        int *terminal_fd, struct error *err)
{
    if ((spec->layer_count > 0 &&
         layers_acquire(spec->paths.root, spec->layer_files, spec->layer_ids, spec->layer_count,
                        &workload->layers, err) < 0) ||
        create_cgroup(workload, spec, err) < 0 || spawn(workload, spec, err) < 0 ||
        cgroup_settle(workload->cgroup, err) < 0)
        return -1;
    if (workload->child.terminal_fd >= 0) {
        workload->terminal_fd = fcntl(workload->child.terminal_fd, F_DUPFD_CLOEXEC, 3);
        if (workload->terminal_fd < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot keep the terminal");
    }
    *terminal_fd = take_fd(&workload->child.terminal_fd);
    return 0;
}

static void container_destroy(struct workload *workload)
{
    if (!workload)
        return;
    if (workload->ended)
        workload->child.pid = 0; /* reaped: the number may be another's by now */
    sandbox_abandon(&workload->child);
    if (workload->cgroup) {
        struct error ignored; /* what cannot be removed now, the next clean-up finds by its name */
        (void)cgroup_settle(workload->cgroup, &ignored);
        (void)cgroup_remove(cgroup_name(workload->cgroup), &ignored);
        cgroup_close(workload->cgroup);
    }
    cleanup_close(&workload->terminal_fd);
    layers_release(&workload->layers);
    notify_free(&workload->notify);
    free(workload);
}

int container_release(struct workload *workload, struct error *err)
{
    int result = sandbox_release(&workload->child, err);
    if (result < 0) {
        container_destroy(workload);
        return -1;
    }
    notify_free(&workload->notify);
    cgroup_close(workload->cgroup);
    cleanup_close(&workload->terminal_fd);
    layers_release(&workload->layers);
    free(workload);
    return 0;
}

static struct workload *container_create(const struct workload_spec *spec, int *terminal_fd,
                                         struct error *err)
{
    *terminal_fd = -1;
    struct workload *workload = calloc(1, sizeof *workload);
    if (!workload) {
        close_stdio(spec->stdio);
        (void)error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    workload->child = (struct sandbox_child){ .pidfd = -1, .sync_fd = -1, .terminal_fd = -1 };
    workload->terminal_fd = -1;
    int created = create_parts(workload, spec, terminal_fd, err);
    close_stdio(spec->stdio);
    if (created == 0) {
        stamp("namespaces");
        return workload;
    }
    container_destroy(workload);
    return NULL;
}

static int container_start(struct workload *workload, struct error *err)
{
    return sandbox_execute(&workload->child, err);
}

static pid_t container_pid(const struct workload *workload)
{
    return workload->pid;
}

static const char *container_cgroup(const struct workload *workload)
{
    return workload->cgroup ? cgroup_name(workload->cgroup) : "";
}

static size_t container_poll_fds(const struct workload *workload, struct pollfd *fds, size_t max)
{
    if (max == 0 || workload->ended)
        return 0;
    fds[0] = (struct pollfd){ .fd = workload->child.pidfd, .events = POLLIN };
    return 1;
}

/*
 * The end of the first process is the end of the container: the kernel has killed all others of its
 * pid namespace before it lets us know. (Only a plan without a pid namespace of its own can leave
 * some; they die with the cgroup.)
 */
static int container_dispatch(struct workload *workload, const struct pollfd *fds, size_t count,
                              void (*exec_ended)(void *context, uint32_t number, int status,
                                                 const struct error *error),
                              void *context, struct workload_exit *exit)
{
    (void)exec_ended; /* `hybrid exec` is the parent of its own process */
    (void)context;
    if (workload->ended || count == 0 || !(fds[0].revents & (POLLIN | POLLHUP)))
        return 0;
    siginfo_t info = { 0 };
    if (waitid(P_PIDFD, (id_t)workload->child.pidfd, &info, WEXITED | WNOHANG) < 0) {
        *exit = (struct workload_exit){ .status = EXIT_OURS, .failed = true };
        (void)error_set_errno(&exit->error, EXIT_OURS, errno, "cannot wait for process %d",
                              (int)workload->pid);
    } else if (info.si_pid == 0) {
        return 0;
    } else {
        *exit = (struct workload_exit){
            .status =
                info.si_code == CLD_EXITED ? info.si_status : EXIT_SIGNAL_BASE + info.si_status,
            .oom = cgroup_oom_kills(workload->cgroup) > 0,
        };
    }
    workload->ended = true;
    return 1;
}

static int container_signal(struct workload *workload, int signal, bool all, struct error *err)
{
    if (all) {
        cgroup_signal(workload->cgroup, signal);
        return 0;
    }
    if (syscall(SYS_pidfd_send_signal, workload->child.pidfd, signal, NULL, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot send signal %d to process %d", signal,
                               (int)workload->pid);
    return 0;
}

static int container_pause(struct workload *workload, bool pause, struct error *err)
{
    return cgroup_freeze(workload->cgroup, pause, err);
}

static int container_resize(struct workload *workload, uint32_t process, uint16_t rows,
                            uint16_t columns, struct error *err)
{
    struct winsize size = { .ws_row = rows, .ws_col = columns };
    if (process != 0 || workload->terminal_fd < 0)
        return error_set(err, EXIT_OURS, "process %u has no terminal here", process);
    if (ioctl(workload->terminal_fd, TIOCSWINSZ, &size) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot set the size of the terminal");
    return 0;
}

const struct workload_ops container_ops = {
    .name = "container",
    .create = container_create,
    .start = container_start,
    .pid = container_pid,
    .cgroup = container_cgroup,
    .poll_fds = container_poll_fds,
    .dispatch = container_dispatch,
    .signal = container_signal,
    .pause = container_pause,
    .resize = container_resize,
    .destroy = container_destroy,
};

static int prepare_exec_notify(const struct container_exec_request *request,
                               struct sandbox_child *child, struct error *err)
{
    const struct workload_join *join = request->join;
    const struct notify_process process = {
        .container = join->base,
        .id = join->id,
        .bundle = join->bundle,
        .status = "running",
        .container_pid = join->pid,
        .pid = child->pid,
    };
    child->pass_listener = notify_send;
    child->listener_context = request->notify;
    return notify_prepare(request->notify, &process, err);
}

int container_exec(const struct container_exec_request *request, struct sandbox_child *child,
                   struct error *err)
{
    *child = (struct sandbox_child){ .pidfd = -1, .sync_fd = -1, .terminal_fd = -1 };
    struct sandbox_request process = {
        .plan = request->plan,
        .stdio = { request->stdio[0], request->stdio[1], request->stdio[2] },
        .cgroup_fd = -1,
        .join_pidfd = request->join->pidfd,
        .death_signal = request->outlives ? 0 : SIGKILL,
        .keep_fds = request->keep_fds,
        .rows = request->rows,
        .columns = request->columns,
    };
    struct cgroup *cgroup = *request->join->cgroup ? cgroup_open(request->join->cgroup, err) : NULL;
    int result = *request->join->cgroup && !cgroup ? -1 : 0;
    _cleanup_close_ int nested = cgroup ? cgroup_open_nested(cgroup, request->join->pid) : -1;
    if (result == 0) {
        join_cgroup(&process, cgroup);
        if (nested >= 0)
            process.cgroup_fd = nested;
        result = sandbox_spawn(&process, child, err);
    }
    if (result == 0)
        result = sandbox_set_up(child, err);
    cgroup_close(cgroup);
    close_stdio(request->stdio);
    if (result == 0 && prepare_exec_notify(request, child, err) < 0) {
        sandbox_abandon(child);
        result = -1;
    }
    return result;
}

int container_cleanup(const struct workload_paths *paths, const char *cgroup, struct error *err)
{
    int result = *cgroup ? cgroup_remove(cgroup, err) : 0;
    layers_reap(paths->root);
    return result;
}
