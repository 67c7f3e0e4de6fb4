#include "runtime/image/helper/session.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "runtime/image/helper/collect.h"
#include "runtime/image/helper/confine.h"
#include "runtime/image/helper/links.h"

/* The signals that end a session, and the end of its processes. */
static void signals_to_wait_for(sigset_t *set)
{
    static const int numbers[] = { SIGCHLD, SIGINT, SIGTERM, SIGHUP };
    (void)sigemptyset(set);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        (void)sigaddset(set, numbers[i]);
}

/* Who is killed cannot say so itself. Of the worker's children, it tells. */
static void explain(bool is_worker, int status)
{
    struct error err = { 0 };
    if (!WIFSIGNALED(status) || (!is_worker && WTERMSIG(status) != SIGSYS))
        return;
    (void)confine_explain("a process of hybrid-image", status, &err);
    (void)fprintf(stderr, "hybrid: %s\n", err.message);
}

/*
 * Waits for the worker, or for a signal to end it. Returns the exit status: the worker's, or 128+n.
 * As a subreaper this process also waits for the worker's own children, which die with it: when
 * all are gone, nobody writes to the staging directory any more.
 */
static int supervise(pid_t worker, const sigset_t *signals)
{
    int status = EXIT_OURS;
    bool signalled = false;
    for (;;) {
        int ended;
        pid_t child = waitpid(-1, &ended, WNOHANG);
        if (child < 0 && errno == ECHILD)
            return status;
        if (child > 0 && !signalled)
            explain(child == worker, ended);
        if (child == worker && !signalled)
            status = WIFEXITED(ended) ? WEXITSTATUS(ended) : EXIT_OURS;
        if (child > 0)
            continue;
        int number = sigwaitinfo(signals, NULL);
        if (number > 0 && number != SIGCHLD && !signalled) {
            signalled = true;
            status = EXIT_SIGNAL_BASE + number;
            (void)kill(worker, SIGKILL);
        }
    }
}

__attribute__((noreturn)) static void run_worker(const struct staging *staging,
                                                 const struct session *session,
                                                 const sigset_t *unblocked, int holder)
{
    struct error err = { 0 };
    staging_die_with_holder(holder);
    /* A signal to the whole foreground group is the supervisor's to answer. */
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)sigprocmask(SIG_SETMASK, unblocked, NULL);
    int result = session->work(staging, session->context, &err);
    if (result < 0)
        (void)fprintf(stderr, "hybrid: %s\n", err.message);
    _exit(result < 0 ? EXIT_OURS : 0);
}

/*
 * What a command that was killed between its commit's steps left is found by nobody else. all: look
 * for it, whatever the links say. Which layers workloads need is not known without a root: then it
 * is left to the next command that has one.
 */
static int collect(const struct store *store, const char *root, bool all, struct error *err)
{
    int64_t bytes = 0;
    if (!root)
        return 0;
    _cleanup_close_ int lock = store_lock(store, err);
    if (lock < 0)
        return -1;
    return all || !links_are_right(store, lock)
               ? collect_garbage(store, lock, root, &bytes, NULL, err)
               : 0;
}

/* What this command has held may have been removed meanwhile by everybody else. */
static int end_staging(const struct store *store, struct staging *staging, struct error *err)
{
    _cleanup_close_ int lock = store_lock(store, err);
    if (lock < 0)
        return -1;
    int result = links_are_right(store, lock) ? links_release_staging(staging, err) : 0;
    return staging_end(staging, err) < 0 ? -1 : result;
}

/*
 * A child that may be the first of a pid namespace, and then sees no parent. *holder: in the parent
 * the end of a pipe that it holds for as long as the child is to live, in the child the other end,
 * for staging_die_with_holder. Returns as fork does, -1 with *err.
 */
static pid_t fork_held(int *holder, struct error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    pid_t child = fork();
    if (child < 0)
        (void)error_set_errno(err, EXIT_OURS, errno, "cannot fork");
    *holder = ends[child == 0 ? 0 : 1];
    (void)close(ends[child == 0 ? 1 : 0]);
    return child;
}

static int run_in(const struct store *store, const struct session *session, struct error *err)
{
    struct staging staging;
    _cleanup_close_ int holder = -1;
    bool swept;
    sigset_t signals;
    sigset_t unblocked;
    signals_to_wait_for(&signals);
    (void)signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would hide how children end */
    (void)sigprocmask(SIG_BLOCK, &signals, &unblocked);
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot become a subreaper");
    if (staging_begin(store, &staging, &swept, err) < 0)
        return -1;
    /* Where an image is damaged and nothing was left, the work may go on: its commit tells. */
    struct error ignored;
    if (collect(store, session->root, swept, swept ? err : &ignored) < 0 && swept) {
        (void)staging_end(&staging, NULL);
        return -1;
    }
    (void)fflush(stdout);
    pid_t worker = fork_held(&holder, err);
    if (worker == 0)
        run_worker(&staging, session, &unblocked, holder);
    cleanup_close(&session->handover); /* who serves the work ends when its other end closes */
    int status = worker < 0 ? -1 : supervise(worker, &signals);
    if (end_staging(store, &staging, err) < 0)
        return -1;
    if (status != 0 && collect(store, session->root, false, worker < 0 ? NULL : err) < 0)
        return -1;
    return status;
}

int session_run(const char *store_path, const struct session *session, struct error *err)
{
    struct store store;
    if (store_open(store_path, &store, err) < 0)
        return -1;
    int status = session_confine(&store, session->root, session->place, err) < 0
                     ? -1
                     : run_in(&store, session, err);
    store_close(&store);
    return status;
}

int session_confine(const struct store *store, const char *root, const struct landlock_place *place,
                    struct error *err)
{
    struct landlock_place places[3] = { { .access = LANDLOCK_CHANGE, .fd = store->fd } };
    size_t count = 1;
    if (root)
        places[count++] = (struct landlock_place){ .access = LANDLOCK_READ, .path = root };
    if (place)
        places[count++] = *place;
    return confine_enter(CONFINE_STORE, places, count, err);
}

int session_guard(int (*work)(void *context, struct error *err), void *context, struct error *err)
{
    int status;
    _cleanup_close_ int holder = -1;
    (void)signal(SIGCHLD, SIG_DFL);
    (void)fflush(stdout);
    pid_t child = fork_held(&holder, err);
    if (child < 0)
        return -1;
    if (child == 0) {
        staging_die_with_holder(holder);
        status = work(context, err);
        if (status < 0)
            (void)fprintf(stderr, "hybrid: %s\n", err->message);
        bool printed = fflush(stdout) == 0;
        if (!printed)
            (void)fprintf(stderr, "hybrid: cannot write to standard output\n");
        _exit(status < 0 || !printed ? EXIT_OURS : status);
    }
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return error_set_errno(err, EXIT_OURS, errno, "cannot wait for a process");
    return WIFEXITED(status) ? WEXITSTATUS(status)
                             : confine_explain("a process of hybrid-image", status, err);
}
