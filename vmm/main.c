/* hybrid-vmm: one jailed process that runs one virtual machine. include/machine.h is its manual. */
#include "cleanup.h"
#include "vmm/arch.h"
#include "vmm/jail.h"
#include "vmm/machine.h"
#include "vmm/options.h"
#include "vmm/seccomp.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static int main_probe(const struct options *options)
{
    struct error err;
    if (arch_probe(options->kvm_fd, &err) < 0) {
        (void)printf("%s\n", err.message);
        return 1;
    }
    (void)printf("KVM can run Linux guests\n");
    return 0;
}

/* The files that the jailed process keeps. Returns their number. */
static size_t main_list_fds(const struct options *options, int *fds)
{
    const int single[] = { options->kernel_fd,  options->kvm_fd,     options->control_fd,
                           options->scratch_fd, options->console_fd, options->share_fd };
    size_t count = 0;
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++) {
        if (single[i] >= 0)
            fds[count++] = single[i];
    }
    for (size_t i = 0; i < options->disk_count; i++)
        fds[count++] = options->disk_fds[i];
    for (size_t i = 0; i < options->net_count; i++)
        fds[count++] = options->nets[i].fd;
    return count;
}

static int main_fail(const struct control *control, const struct error *err)
{
    struct machine_message message = { .type = MACHINE_ENDED, .end = MACHINE_END_SETUP };
    control_send(control, &message, err->message);
    return err->exit_code;
}

static int main_machine(const struct options *options)
{
    struct error err;
    int fds[MACHINE_MAX_DISK_FILES + MACHINE_MAX_NETS + 8];
    size_t fd_count = main_list_fds(options, fds);
    struct control early = { .fd = options->control_fd };
    const struct jail_network none = { .kept = false };
    struct jail_extras jail;
    if (jail_isolate(&none, &err) < 0 ||
        jail_enter(fds, fd_count, (uid_t)options->uid, (gid_t)options->gid, &none, &jail, &err) < 0)
        return main_fail(&early, &err);
    _cleanup_free_ struct machine *machine = calloc(1, sizeof *machine);
    if (!machine) {
        (void)error_set(&err, EXIT_OURS, "out of memory");
        return main_fail(&early, &err);
    }
    machine->control.fd = options->control_fd;
    machine->jail = jail;
    if (machine_build(machine, options, &err) < 0)
        return main_fail(&early, &err);
    if (options->control_fd >= 0) /* the caller's terminal is no business of a guest's monitor */
        (void)dup2(STDIN_FILENO, STDERR_FILENO);
    return machine_run(machine);
}

int main(int argument_count, char **arguments)
{
    struct options options;
    struct error err;
    (void)mallopt(M_ARENA_MAX, 1); /* one heap for all threads: each arena would cost its own */
    (void)signal(SIGPIPE, SIG_IGN);
    if (options_parse(&options, argument_count - 1, arguments + 1, &err) < 0) {
        (void)fprintf(stderr, "hybrid-vmm: %s\n", err.message);
        return err.exit_code;
    }
    if (options.help) {
        options_print_help(stdout);
        return 0;
    }
    if (options.system_calls) {
        seccomp_print(stdout);
        return 0;
    }
    if (options.version) {
        (void)printf("hybrid-vmm version %s\n", HYBRID_VERSION);
        return 0;
    }
    int status = options.probe ? main_probe(&options) : main_machine(&options);
    (void)fflush(stdout);
    _exit(status); /* other threads still wait: nothing of exit(3) is theirs to run */
}
