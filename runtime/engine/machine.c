#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "cleanup.h"
#include "console.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/launch/launch.h"
#include "runtime/launch/workload.h"
#include "runtime/monitor/attach.h"
#include "runtime/monitor/monitor.h"
#include "runtime/vm/vm.h"

enum {
    FIRST_FD = 3,
    ANSWER_SECONDS = 90,
    START_SECONDS = VM_STEPS * VM_STEP_LONGEST * VM_STEP_SECONDS + VM_STEPS_SLACK,
};

/* --- a process that stays ------------------------------------------------------------------------
 */

/* A raw terminal of the host: the VM's own does the editing. The slave is the monitor's alone,
 * which does not wait for whoever has the master to read. */
static int open_terminal(int *master, int *slave, struct error *err)
{
    struct termios modes;
    int unlock = 0;
    _cleanup_close_ int ours = cgroup_open_device("/dev/ptmx", O_RDWR | O_NOCTTY);
    if (ours >= 0 && ioctl(ours, TIOCSPTLCK, &unlock) == 0)
        *slave = ioctl(ours, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (*slave < 0 || tcgetattr(*slave, &modes) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a terminal");
    cfmakeraw(&modes);
    if (tcsetattr(*slave, TCSANOW, &modes) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a terminal raw");
    *master = take_fd(&ours);
    return 0;
}

/*
 * In the child: the streams are the terminal, if there is one, and `keep` becomes descriptor
 * FIRST_FD, and nothing else stays open: what an engine leaked would keep its pipes open for as
 * long as the workload lives.
 */
static int settle(int keep, int slave)
{
    sigset_t set;
    attach_signals(&set);
    (void)sigaddset(&set, SIGTTIN);
    (void)sigaddset(&set, SIGTTOU);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    for (int fd = 0; slave >= 0 && fd < FIRST_FD; fd++)
        if (dup2(slave, fd) < 0)
            return -1;
    if (keep != FIRST_FD && dup2(keep, FIRST_FD) < 0)
        return -1;
    (void)fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC);
    return close_range(FIRST_FD + 1, ~0U, 0);
}

/* --- create --------------------------------------------------------------------------------------
 */

__attribute__((noreturn)) static void run_monitor(const struct workload_spec *spec, int client,
                                                  int slave)
{
    /* 0 stays the terminal for TIOCSCTTY; the monitor keeps a copy for its size. */
    struct monitor_hold hold = { .terminal = -1, .messages = -1 };
    struct monitor_request request = {
        .ops = &vm_ops,
        .spec = *spec,
        .lock = -1,
        .client = FIRST_FD,
        .interactive = true,
        .hold = &hold,
    };
    if (settle(client, slave) < 0)
        _exit(EXIT_OURS);
    hold.messages = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, FIRST_FD + 1);
    if (slave >= 0)
        hold.terminal = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, FIRST_FD + 1);
    _exit(monitor_run(&request));
}

/* Waits until it says that it stands in for the workload. */
static int await_creation(int socket, struct error *err)
{
    for (;;) {
        struct control_message message;
        int received = control_receive(socket, &message, NULL, NULL);
        if (received < 0 && errno == EINTR)
            continue;
        if (received <= 0)
            return error_set(err, EXIT_OURS, "the monitor of the VM was killed");
        if (message.type == CONTROL_CREATED)
            return 0;
        if (message.type == CONTROL_EXITED)
            return error_set(err, message.value, "%s", message.text);
    }
}

void machine_abandon(struct machine *machine)
{
    if (machine->pid > 0) {
        (void)kill(machine->pid, SIGKILL);
        while (waitpid(machine->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    machine->pid = 0;
    cleanup_close(&machine->terminal_fd);
    machine->terminal_fd = -1;
}

int machine_create(const struct workload_spec *spec, struct machine *machine, struct error *err)
{
    int ends[2];
    _cleanup_close_ int slave = -1;
    *machine = (struct machine){ .terminal_fd = -1 };
    if (spec->plan->terminal && open_terminal(&machine->terminal_fd, &slave, err) < 0)
        return -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pair of sockets");
    _cleanup_close_ int ours = ends[0];
    machine->pid = fork();
    if (machine->pid == 0)
        run_monitor(spec, ends[1], slave);
    int cause = errno;
    (void)close(ends[1]);
    int result = machine->pid < 0
                     ? error_set_errno(err, EXIT_OURS, cause, "cannot start the monitor")
                     : await_creation(ours, err);
    if (result < 0)
        machine_abandon(machine);
    return result;
}

/* --- start, kill ---------------------------------------------------------------------------------
 */

int machine_ask(const struct runtime *runtime, const struct state *state,
                const struct control_message *question, struct error *err)
{
    struct timeval patience = { .tv_sec = question->type == CONTROL_START ? START_SECONDS
                                                                          : ANSWER_SECONDS };
    struct control_message answer;
    struct error unreachable;
    _cleanup_close_ int socket = workload_connect(runtime, state->id, &unreachable);
    if (socket < 0)
        return error_set(err, EXIT_OURS, "%s: container not running", state->id);
    (void)setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (control_send(socket, question, NULL, 0) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot reach the monitor of %s", state->id);
    int received = control_receive(socket, &answer, NULL, NULL);
    if (received <= 0)
        return error_set(err, EXIT_OURS, "the monitor of %s %s", state->id,
                         received < 0 ? "does not answer" : "has ended");
    return answer.type == CONTROL_FAILED ? error_set(err, answer.value, "%s", answer.text) : 0;
}

int machine_start(const struct runtime *runtime, const struct state *state, struct error *err)
{
    const struct control_message question = { .type = CONTROL_START };
    return machine_ask(runtime, state, &question, err);
}

int machine_pause(const struct runtime *runtime, const struct state *state, bool pause,
                  struct error *err)
{
    const struct control_message question = { .type = pause ? CONTROL_FREEZE : CONTROL_THAW };
    return machine_ask(runtime, state, &question, err);
}

int machine_signal(const struct runtime *runtime, const struct state *state, int signal, bool all,
                   struct error *err)
{
    const struct control_message question = { .type = CONTROL_SIGNAL,
                                              .value = signal,
                                              .flags = all ? CONTROL_ALL : 0 };
    return machine_ask(runtime, state, &question, err);
}

void machine_ask_to_end(const struct runtime *runtime, const struct state *state)
{
    const struct control_message question = { .type = CONTROL_SIGNAL, .value = SIGKILL };
    struct error ignored; /* it is killed otherwise */
    _cleanup_close_ int socket = workload_connect(runtime, state->id, &ignored);
    if (socket >= 0)
        (void)control_send(socket, &question, NULL, 0);
}

/* --- exec ----------------------------------------------------------------------------------------
 */

/* Closes all descriptors but the streams and two: as in settle. Returns 0, or -1. */
static int close_others(int one, int other)
{
    unsigned int low = (unsigned int)(one < other ? one : other);
    unsigned int high = (unsigned int)(one < other ? other : one);
    if (low > FIRST_FD && close_range(FIRST_FD, low - 1, 0) < 0)
        return -1;
    if (high > low + 1 && close_range(low + 1, high - 1, 0) < 0)
        return -1;
    return close_range(high + 1, ~0U, 0);
}

/* The process that stands for one in the VM. started: closed without a byte if it did not start. */
__attribute__((noreturn)) static void run_stand_in(const struct runtime *runtime,
                                                   const struct state *state, int process_file,
                                                   const struct plan *plan, int started, int slave)
{
    struct error err = { 0 };
    int status = -1;
    (void)prctl(PR_SET_NAME, "hybrid-exec");
    (void)setsid();
    for (int fd = 0; slave >= 0 && fd < FIRST_FD; fd++)
        if (dup2(slave, fd) < 0)
            _exit(EXIT_OURS);
    if (slave >= 0)
        (void)ioctl(STDIN_FILENO, TIOCSCTTY, 0);
    if (close_others(process_file, started) < 0)
        _exit(EXIT_OURS);
    int socket = workload_connect(runtime, state->id, &err);
    if (socket >= 0)
        status = launch_exec_remote(runtime, socket, process_file, plan, true, started, &err);
    if (status < 0) {
        runtime->warn(err.message);
        status = err.exit_code;
    }
    _exit(status);
}

static int await_stand_in(pid_t pid, int started, const struct engine_exec_options *options,
                          struct error *err)
{
    char byte;
    ssize_t n;
    int status;
    do
        n = read(started, &byte, sizeof byte);
    while (n < 0 && errno == EINTR);
    if (n == 1)
        return options->pid_file ? pid_file_write(options->pid_file, pid, err) : 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) != 0
               ? WEXITSTATUS(status)
               : error_set(err, EXIT_OURS, "the process could not be started");
}

int machine_exec_detached(const struct runtime *runtime, const struct state *state,
                          int process_file, const struct plan *plan,
                          const struct engine_exec_options *options, struct error *err)
{
    int started[2];
    _cleanup_close_ int master = -1;
    _cleanup_close_ int slave = -1;
    if (console_check(options->console_socket, plan->terminal, err) < 0 ||
        (plan->terminal && open_terminal(&master, &slave, err) < 0))
        return -1;
    if (pipe2(started, O_CLOEXEC) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make a pipe");
    _cleanup_close_ int ours = started[0];
    pid_t pid = fork();
    if (pid == 0) {
        (void)close(ours);
        cleanup_close(&master);
        run_stand_in(runtime, state, process_file, plan, started[1], slave);
    }
    int cause = errno;
    (void)close(started[1]);
    if (pid < 0)
        return error_set_errno(err, EXIT_OURS, cause, "cannot start a process");
    if (master >= 0 && console_send(options->console_socket, take_fd(&master), err) < 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
        return -1;
    }
    return await_stand_in(pid, ours, options, err);
}
