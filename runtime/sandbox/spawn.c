/* The caller's side: make the child, let it go on step by step, learn what went wrong. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "context.h"
#include "io.h"
#include "namespaces.h"
#include "path.h"

static int send_request(int sync_fd, uint32_t type, const int *fd, struct error *err)
{
    struct sandbox_message message = { .type = type };
    if (io_send_fds(sync_fd, &message, sizeof message, fd, fd ? 1 : 0) < 0)
        return sandbox_fail(err, "cannot reach the new process");
    return 0;
}

/* What only the caller can do for a child in a user namespace: its id maps, and a root of layers.
 */
static int equip_user_namespace(const struct sandbox_request *request,
                                const struct sandbox_child *child, struct error *err)
{
    int mapped = request->plan->namespaces.path[PLAN_NS_USER]
                     ? namespaces_check_maps(request->plan, child->pid, err)
                     : namespaces_write_maps(request->plan, child->pid, err);
    if (mapped < 0)
        return -1;
    if (!request->root || request->root->layer_count == 0)
        return 0;
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/ns/user", (int)child->pid);
    _cleanup_close_ int user_namespace = open(path, O_RDONLY | O_CLOEXEC);
    if (user_namespace < 0)
        return sandbox_fail(err, "cannot open %s", path);
    _cleanup_close_ int root = root_make_outside(request, user_namespace, err);
    return root < 0 ? -1 : send_request(child->sync_fd, SANDBOX_ROOT, &root, err);
}

static int spawn(const struct sandbox_request *request, struct sandbox_child *child,
                 struct error *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return sandbox_fail(err, "cannot make a socket pair");
    child->sync_fd = pair[0];
    _cleanup_close_ int other = pair[1];
    struct namespaces_restore restore = { -1, -1 };
    struct namespaces_joined joined;
    int pid = namespaces_open(request, &joined, err) < 0 ||
                      namespaces_prepare(request, &joined, &restore, err) < 0
                  ? -1
                  : birth_on_processors(request, &joined, &child->pidfd, err);
    if (pid == 0) {
        (void)close(pair[0]);
        child_run(request, &joined, other);
    }
    namespaces_close(&joined);
    if (pid > 0)
        child->pid = pid;
    if (namespaces_restore(&restore, err) < 0 || pid < 0)
        return -1;
    bool equip = request->join_pidfd < 0 && namespaces_have_user(request);
    return equip ? equip_user_namespace(request, child, err) : 0;
}

int sandbox_spawn(const struct sandbox_request *request, struct sandbox_child *child,
                  struct error *err)
{
    *child = (struct sandbox_child){
        .pidfd = -1, .sync_fd = -1, .terminal_fd = -1, .plan = request->plan
    };
    if (spawn(request, child, err) == 0)
        return 0;
    sandbox_abandon(child);
    return -1;
}

/* The child ended without a word: say how. */
static int explain_silence(struct sandbox_child *child, struct error *err)
{
    siginfo_t info = { 0 };
    if (waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED | WNOWAIT) == 0 &&
        info.si_code != CLD_EXITED)
        return error_set(err, EXIT_OURS,
                         "the process was ended by signal %d (%s) while it was set up%s",
                         info.si_status, strsignal(info.si_status),
                         info.si_status == SIGKILL ? "; is the memory limit too small?" : "");
    return error_set(err, EXIT_OURS, "the process ended while it was set up");
}

/*
 * An O_PATH descriptor of what the child would find if it had our rights: among its own mounts,
 * which keep what they forbid (MNT_LOCK_READONLY and the like). A clone of ours would not: root of
 * the user namespace could make it writable. A relative source is the bundle's, where we are.
 */
static int open_source(const struct sandbox_child *child, const char *source, const char *resolved)
{
    char place[64];
    (void)snprintf(place, sizeof place, "/proc/%d/root", (int)child->pid);
    _cleanup_close_ int root = open(place, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return -1;
    if (resolved)
        return path_open_real(root, resolved, O_PATH);
    if (*source == '/')
        return path_open(root, source, O_PATH);
    _cleanup_free_ char *here = getcwd(NULL, 0);
    _cleanup_free_ char *path = NULL;
    if (!here || asprintf(&path, "%s/%s", here, source) < 0)
        return -1;
    return path_open(root, path, O_PATH);
}

/* The bind that a step is; NULL: it is none. */
static const struct plan_mount *find_bind(const struct sandbox_child *child, uint32_t number)
{
    const struct plan_step *step =
        number < child->plan->step_count ? &child->plan->steps[number] : NULL;
    bool bind = step && step->kind == PLAN_MOUNT && strcmp(step->mount.type, "bind") == 0;
    return bind ? &step->mount : NULL;
}

static int give_source(const struct sandbox_child *child, uint32_t number, bool may_lack,
                       struct error *err)
{
    const struct plan *plan = child->plan;
    const struct plan_mount *mount = find_bind(child, number);
    bool of_root = number == SANDBOX_STEP_ROOT && plan->root_path;
    if (!mount && !of_root)
        return error_set(err, EXIT_OURS, "the new process asked for what is not its");
    _cleanup_close_ int source = mount ? open_source(child, mount->source, mount->resolved)
                                       : open_source(child, plan->root_path, plan->root_resolved);
    if (source < 0 && !may_lack)
        return sandbox_fail(err, "cannot bind %s", mount ? mount->source : plan->root_path);
    return send_request(child->sync_fd, SANDBOX_GIVEN, source < 0 ? NULL : &source, err);
}

static int give_mapped(const struct sandbox_child *child, uint32_t number, int tree,
                       struct error *err)
{
    const struct plan_mount *mount = find_bind(child, number);
    if (!mount || !mount->idmap)
        return error_set(err, EXIT_OURS, "the new process asked for what is not its");
    if (idmap_set(mount, tree, child->pid, err) < 0)
        return -1;
    return send_request(child->sync_fd, SANDBOX_GIVEN, &tree, err);
}

static int give_node(const struct sandbox_child *child, uint32_t number, struct error *err)
{
    const struct plan *plan = child->plan;
    const struct plan_step *step = number < plan->step_count ? &plan->steps[number] : NULL;
    if (!step || step->kind != PLAN_DEVICE)
        return error_set(err, EXIT_OURS, "the new process asked for what is not its");
    _cleanup_close_ int node = -1;
    if (node_make(plan, &step->device, child->pid, &node, err) < 0)
        return -1;
    return send_request(child->sync_fd, SANDBOX_GIVEN, node < 0 ? NULL : &node, err);
}

/* Serves a message that is a question on the way. Returns 1, 0 if it is none, or -1 with *err. */
static int serve_question(const struct sandbox_child *child, const struct sandbox_message *message,
                          const int *fds, size_t fd_count, struct error *err)
{
    int result, fd = fd_count > 0 ? fds[0] : -1;
    switch (message->type) {
    case SANDBOX_SOURCE:
    case SANDBOX_PEER:
        result = give_source(child, message->step, message->type == SANDBOX_PEER, err);
        break;
    case SANDBOX_MAP:
        result = give_mapped(child, message->step, fd, err);
        break;
    case SANDBOX_NODE:
        result = give_node(child, message->step, err);
        break;
    case SANDBOX_LISTENING:
        result = listener_accept(child, fd, err);
        break;
    default:
        return 0;
    }
    cleanup_close(&fd);
    return result == 0 ? 1 : -1;
}

/* Receives the child's answer. Returns its type; 0 if the child has gone; -1 with *err. */
static int receive_answer(struct sandbox_child *child, struct error *err)
{
    struct sandbox_message message;
    int fds[IO_MAX_FDS], asked;
    size_t fd_count;
    do {
        ssize_t n = io_receive_fds(child->sync_fd, &message, sizeof message, fds, &fd_count);
        if (n < 0 && errno != ECONNRESET)
            return sandbox_fail(err, "cannot hear from the new process");
        if (n <= 0)
            return 0;
        if (n != (ssize_t)sizeof message)
            return error_set(err, EXIT_OURS, "the new process sent a message of the wrong size");
        asked = serve_question(child, &message, fds, fd_count, err);
    } while (asked > 0);
    if (asked < 0) { /* it waits for an answer that will not come */
        (void)syscall(SYS_pidfd_send_signal, child->pidfd, SIGKILL, NULL, 0);
        return -1;
    }
    if (fd_count == 1)
        child->terminal_fd = fds[0];
    if (message.type == SANDBOX_FAILED) {
        *err = message.error;
        err->message[sizeof err->message - 1] = '\0';
    }
    return (int)message.type;
}

/* Lets the child go on to the point where it says `wanted`. */
static int advance(struct sandbox_child *child, int wanted, struct error *err)
{
    int answer = send_request(child->sync_fd, SANDBOX_SET_UP, NULL, err);
    if (answer == 0)
        answer = receive_answer(child, err);
    if (answer == wanted)
        return 0;
    if (answer == 0)
        (void)explain_silence(child, err);
    sandbox_abandon(child);
    return -1;
}

int sandbox_mount(struct sandbox_child *child, struct error *err)
{
    return advance(child, SANDBOX_MOUNTED, err);
}

int sandbox_set_up(struct sandbox_child *child, struct error *err)
{
    return advance(child, SANDBOX_READY, err);
}

int sandbox_release(struct sandbox_child *child, struct error *err)
{
    int result = send_request(child->sync_fd, SANDBOX_RELEASE, NULL, err);
    if (result == 0)
        child->pid = 0; /* not ours any more */
    sandbox_abandon(child);
    return result;
}

int sandbox_execute(struct sandbox_child *child, struct error *err)
{
    int answer = send_request(child->sync_fd, SANDBOX_EXECUTE, NULL, err);
    if (answer == 0)
        answer = receive_answer(child, err);
    if (answer == 0) {
        cleanup_close(&child->sync_fd);
        child->sync_fd = -1;
        return 0; /* execve closed the socket; if a signal did, waiting for the child tells */
    }
    sandbox_abandon(child);
    return -1;
}

void sandbox_abandon(struct sandbox_child *child)
{
    if (child->pid > 0) {
        (void)kill(child->pid, SIGKILL);
        while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    cleanup_close(&child->pidfd);
    cleanup_close(&child->sync_fd);
    cleanup_close(&child->terminal_fd);
    *child = (struct sandbox_child){ .pidfd = -1, .sync_fd = -1, .terminal_fd = -1 };
}
