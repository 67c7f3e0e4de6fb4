/* What to tell the user when a machine is lost: what happened, how far it had come, its last words.
 */
#include "parts.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

static const char *const STAGES[VM_STAGES] = {
    [VM_SPAWNED] = "hybrid-vmm was started, but the guest kernel was not entered",
    [VM_RUNNING] = "the guest kernel was entered, but said nothing",
    [VM_SPEAKING] = "the guest kernel ran, but hybrid-init did not get ready",
    [VM_READY] = "hybrid-init was ready and setting the workload up",
    [VM_PREPARED] = "the workload was set up and about to be executed",
    [VM_STARTED] = "the workload was running",
    [VM_EXITED] = "the workload had ended",
};

static bool is_ready_pod(const struct workload *vm)
{
    return vm->kind == VM_POD && vm->stage == VM_PREPARED;
}

static const char *remedy(const struct workload *vm)
{
    if (is_ready_pod(vm))
        return "start the pod again";
    if (vm->stage >= VM_STARTED)
        return "start it again; if it happens again, --isolation=container runs the same image "
               "without a VM";
    return "HYBRID_VM_KERNEL_ARGUMENTS=loglevel=7 in the environment shows all kernel messages; "
           "--isolation=container runs the same image without a VM";
}

void diagnose(struct workload *vm, const char *what, struct error *err)
{
    char tail[1200];
    console_read(&vm->machine.console);
    console_tail(&vm->machine.console, tail, sizeof tail);
    (void)error_set(err, EXIT_OURS, "the VM of %s failed: %s; stage reached: %s; %s%s%s", vm->id,
                    what,
                    is_ready_pod(vm) ? "containers of the pod could run in it" : STAGES[vm->stage],
                    remedy(vm), *tail ? "\nthe guest's console ended with:\n" : "", tail);
}

/* Its socket closes a moment before the process that we wait for has ended. */
enum { LAST_BREATH = 1000 }; /* milliseconds */

/* hybrid-vmm is gone without a word. */
static void describe_silence(struct workload *vm, char *text, size_t size)
{
    siginfo_t info = { 0 };
    struct pollfd ended = { .fd = vm->machine.monitor.pidfd, .events = POLLIN };
    (void)poll(&ended, 1, LAST_BREATH);
    if (vm->machine.monitor.pid <= 0 ||
        waitid(P_PIDFD, (id_t)vm->machine.monitor.pidfd, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ||
        info.si_pid == 0) {
        (void)snprintf(text, size, "hybrid-vmm closed its control socket");
        return;
    }
    bool by_signal = info.si_code != CLD_EXITED || info.si_status > EXIT_SIGNAL_BASE;
    int number =
        info.si_status > EXIT_SIGNAL_BASE ? info.si_status - EXIT_SIGNAL_BASE : info.si_status;
    if (by_signal && vm->cgroup && cgroup_oom_kills(vm->cgroup) > 0)
        (void)snprintf(text, size,
                       "the host's out-of-memory killer ended hybrid-vmm (limit of its cgroup)");
    else if (by_signal)
        (void)snprintf(text, size, "hybrid-vmm was ended by signal %d (%s)", number,
                       strsignal(number));
    else
        (void)snprintf(text, size, "hybrid-vmm exited with status %d", info.si_status);
}

/* Whether hybrid-vmm gave up because the server of its shares did not do its part. */
static bool blame_server(const struct workload *vm, char *text, size_t size)
{
    static const char words[] = "vhost-user:";
    struct pollfd ended = { .fd = vm->machine.server.process.pidfd, .events = POLLIN };
    if (strncmp(vm->machine.text, words, sizeof words - 1) != 0)
        return false;
    (void)poll(&ended, 1, LAST_BREATH);
    return share_server_failed(&vm->machine.server, text, size);
}

/* What the keeper has said, who diagnosed it; or that it went without a word. */
static void diagnose_pod(const struct workload *vm, struct error *err)
{
    if (vm->machine.ended)
        *err = vm->keepers_word;
    else
        (void)error_set(err, EXIT_OURS,
                        "the VM of the pod of %s was lost: the process that kept it, hybrid-pod, "
                        "was killed; start the pod again",
                        vm->id);
}

void diagnose_end(struct workload *vm, struct error *err)
{
    char what[1200];
    if (vm->kind == VM_CONTAINER) {
        diagnose_pod(vm, err);
        return;
    }
    console_read(&vm->machine.console);
    bool panic = console_contains(&vm->machine.console, "Kernel panic");
    if (!vm->machine.ended)
        describe_silence(vm, what, sizeof what);
    else if (vm->machine.end == MACHINE_END_RESET && panic)
        (void)snprintf(what, sizeof what, "the guest kernel panicked");
    else if (vm->machine.end == MACHINE_END_RESET)
        (void)snprintf(what, sizeof what, "the guest powered off unasked");
    else if (vm->machine.end == MACHINE_END_SHUTDOWN)
        (void)snprintf(what, sizeof what, "the guest ended with a triple fault (%s)",
                       vm->machine.text);
    else if (!blame_server(vm, what, sizeof what))
        (void)snprintf(what, sizeof what, "%s", vm->machine.text);
    diagnose(vm, what, err);
}
