/*
 * The whole monitor as a process: jailed, filtered, with micro kernels that end in every way a
 * machine can. Needs root and /dev/kvm; a KVM that cannot run Linux is good enough.
 */
/* link: vmm */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "include/io.h"
#include "include/machine.h"
#include "vmm/arch.h"
#include "vmm/jail.h"
#include "vmm/machine.h"

#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* The micro kernels: position-independent 64-bit code, entered as the boot protocol says. */
extern const char kernel_reset[], kernel_triple_fault[], kernel_print[], kernel_devices[],
    kernel_loop[], kernels_end[];

__asm__(".pushsection .rodata\n"
        ".code64\n"
        "kernel_reset:\n"
        "    movb $0xfe, %al\n"
        "    outb %al, $0x64\n"
        "1:  jmp 1b\n"
        "kernel_triple_fault:\n" /* no IDT: the first exception cannot be delivered */
        "    ud2\n"
        "kernel_print:\n" /* 100,000 bytes of console, then reset */
        "    movw $0x3f8, %dx\n"
        "    movl $100000, %ecx\n"
        "    movb $'x', %al\n"
        "2:  outb %al, %dx\n"
        "    decl %ecx\n"
        "    jnz 2b\n"
        "    movb $0xfe, %al\n"
        "    outb %al, $0x64\n"
        "kernel_devices:\n" /* maps the fourth GiB: PDPT at 0xa000, an own PD at 0xd000 */
        "    movq $0xd003, 0xa018\n"
        "    movl $0xd000, %edi\n"
        "    movl $0xc0000083, %eax\n"
        "4:  movq %rax, (%rdi)\n"
        "    addl $0x200000, %eax\n"
        "    addl $8, %edi\n"
        "    cmpl $0xe000, %edi\n"
        "    jne 4b\n"
        /* reads and writes each register word of the device pages, and before and behind them */
        "    movl $0xcfffff00, %ebx\n"
        "3:  movl (%rbx), %eax\n"
        "    movl %eax, (%rbx)\n"
        "    addl $4, %ebx\n"
        "    cmpl $0xd0002200, %ebx\n"
        "    jne 3b\n"
        "    movb $0xfe, %al\n"
        "    outb %al, $0x64\n"
        "kernel_loop:\n"
        "    jmp kernel_loop\n"
        "kernels_end:\n"
        ".popsection\n");

enum { MICRO_MEMORY = 32 << 20, MICRO_ENTRY = 0x1000000, NOBODY = 65534 };

/* An ELF file whose entry is `code`. */
static int make_kernel(const char *code)
{
    struct {
        Elf64_Ehdr header;
        Elf64_Phdr segment;
        char text[1024];
    } file = { .header = { .e_type = ET_EXEC,
                           .e_machine = EM_X86_64,
                           .e_entry = MICRO_ENTRY,
                           .e_phoff = sizeof(Elf64_Ehdr),
                           .e_phentsize = sizeof(Elf64_Phdr),
                           .e_phnum = 1 },
               .segment = { .p_type = PT_LOAD,
                            .p_offset = sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr),
                            .p_paddr = MICRO_ENTRY,
                            .p_filesz = sizeof file.text,
                            .p_memsz = sizeof file.text } };
    memcpy(file.header.e_ident, ELFMAG, SELFMAG);
    file.header.e_ident[EI_CLASS] = ELFCLASS64;
    memcpy(file.text, code, (size_t)(kernels_end - code));
    int fd = memfd_create("kernel", MFD_CLOEXEC);
    assert_int_equal(write(fd, &file, sizeof file), sizeof file);
    return fd;
}

struct monitor {
    pid_t pid;
    int control, console;
};

/* What main() does for a machine, in a child. */
static void monitor_main(struct options *options)
{
    struct error err;
    int fds[] = { options->kernel_fd, options->kvm_fd, options->control_fd, options->console_fd };
    struct machine *machine = calloc(1, sizeof *machine);
    (void)signal(SIGPIPE, SIG_IGN);
    machine->control.fd = options->control_fd;
    const struct jail_network none = { .kept = false };
    if (jail_isolate(&none, &err) < 0 ||
        jail_enter(fds, 4, NOBODY, NOBODY, &none, &machine->jail, &err) < 0 ||
        machine_build(machine, options, &err) < 0) {
        struct machine_message message = { .type = MACHINE_ENDED, .end = MACHINE_END_SETUP };
        control_send(&machine->control, &message, err.message);
        _exit(EXIT_OURS);
    }
    _exit(machine_run(machine));
}

static struct monitor monitor_start(const char *kernel)
{
    int control[2], console[2];
    struct monitor monitor;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
    assert_int_equal(pipe2(console, O_CLOEXEC), 0);
    struct options options = { .kernel_fd = make_kernel(kernel),
                               .kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC),
                               .control_fd = control[1],
                               .console_fd = console[1],
                               .scratch_fd = -1,
                               .share_fd = -1,
                               .memory = MICRO_MEMORY,
                               .cpus = 2,
                               .command_line = "quiet" };
    monitor.pid = fork();
    if (monitor.pid == 0)
        monitor_main(&options);
    (void)close(options.kernel_fd);
    (void)close(options.kvm_fd);
    (void)close(control[1]);
    (void)close(console[1]);
    monitor.control = control[0];
    monitor.console = console[0];
    return monitor;
}

/* The next message, with its text. Returns its type, 0 at the end of file. */
static uint32_t monitor_receive(const struct monitor *monitor, struct machine_message *message,
                                char text[MACHINE_MAX_MESSAGE])
{
    static char packet[MACHINE_MAX_MESSAGE];
    ssize_t n = recv(monitor->control, packet, sizeof packet, 0);
    if (n < (ssize_t)sizeof *message)
        return 0;
    memcpy(message, packet, sizeof *message);
    memcpy(text, packet + sizeof *message, (size_t)n - sizeof *message);
    text[(size_t)n - sizeof *message] = '\0';
    return message->type;
}

static int monitor_wait(struct monitor *monitor)
{
    int status;
    assert_int_equal(waitpid(monitor->pid, &status, 0), monitor->pid);
    (void)close(monitor->control);
    (void)close(monitor->console);
    return status;
}

/* Whether this test can be made here; says why not. */
static int can_run(void)
{
#ifdef __SANITIZE_ADDRESS__
    print_message("SKIP: the sanitizer makes system calls of its own, which the filters forbid\n");
    return 0;
#else
    if (geteuid() != 0) {
        print_message("SKIP: needs root\n");
        return 0;
    }
    if (access("/dev/kvm", R_OK | W_OK) < 0) {
        print_message("SKIP: needs /dev/kvm\n");
        return 0;
    }
    return 1;
#endif
}

static void test_ends(void **state)
{
    const struct {
        const char *kernel, *text;
        uint32_t end;
        int status;
    } cases[] = {
        { kernel_reset, "the guest asked for a reset", MACHINE_END_RESET, 0 },
        { kernel_triple_fault, "triple fault (vCPU 0: rip 0x", MACHINE_END_SHUTDOWN, 1 },
        { kernel_print, "the guest asked for a reset", MACHINE_END_RESET, 0 },
        { kernel_devices, "the guest asked for a reset", MACHINE_END_RESET, 0 },
    };
    (void)state;
    if (!can_run())
        skip();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct machine_message message = { 0 };
        char text[MACHINE_MAX_MESSAGE] = "";
        struct monitor monitor = monitor_start(cases[i].kernel);
        uint32_t type = monitor_receive(&monitor, &message, text);
        if (type != MACHINE_RUNNING)
            fail_msg("case %zu: message %u: %s", i, type, text);
        assert_int_equal(monitor_receive(&monitor, &message, text), MACHINE_ENDED);
        if (message.end != cases[i].end || !strstr(text, cases[i].text))
            fail_msg("case %zu: end %u: %s", i, message.end, text);
        assert_true(message.exits > 0);
        int status = monitor_wait(&monitor);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), cases[i].status);
    }
}

static void test_pause_and_death_of_the_owner(void **state)
{
    struct machine_message message = { 0 };
    char text[MACHINE_MAX_MESSAGE] = "";
    (void)state;
    if (!can_run())
        skip();
    struct monitor monitor = monitor_start(kernel_loop);
    assert_int_equal(monitor_receive(&monitor, &message, text), MACHINE_RUNNING);
    const uint32_t requests[] = { MACHINE_PAUSE, MACHINE_RESUME, MACHINE_RESUME,
                                  MACHINE_PAUSE, MACHINE_PAUSE,  MACHINE_RESUME };
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        struct machine_message request = { .type = requests[i] };
        assert_int_equal(io_send_fds(monitor.control, &request, sizeof request, NULL, 0), 0);
        assert_int_equal(monitor_receive(&monitor, &message, text), MACHINE_DONE);
    }
    (void)shutdown(monitor.control, SHUT_RDWR);
    int status = monitor_wait(&monitor); /* the machine ends with its owner */
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

/* A guest that gets nowhere: where it stood is told, and the machine ends. */
static void test_stalled(void **state)
{
    struct machine_message message = { 0 }, request = { .type = MACHINE_STALLED };
    char text[MACHINE_MAX_MESSAGE] = "";
    (void)state;
    if (!can_run())
        skip();
    struct monitor monitor = monitor_start(kernel_loop);
    assert_int_equal(monitor_receive(&monitor, &message, text), MACHINE_RUNNING);
    assert_int_equal(io_send_fds(monitor.control, &request, sizeof request, NULL, 0), 0);
    assert_int_equal(monitor_receive(&monitor, &message, text), MACHINE_ENDED);
    assert_int_equal(message.end, MACHINE_END_STALLED);
    assert_non_null(strstr(text, "(vCPU 0: rip 0x"));
    assert_non_null(strstr(text, "; vsock: status 0x0 interrupt 0x0"));
    int status = monitor_wait(&monitor);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

static void test_offers(void **state)
{
    struct machine_message message = { 0 };
    char text[MACHINE_MAX_MESSAGE] = "";
    int pipes[2] = { -1, -1 };
    (void)state;
    if (!can_run())
        skip();
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    struct monitor monitor = monitor_start(kernel_loop);
    assert_int_equal(monitor_receive(&monitor, &message, text), MACHINE_RUNNING);
    const struct {
        uint32_t type, flags;
        size_t fd_count;
        uint32_t answer; /* 0: none */
    } cases[] = {
        { MACHINE_OFFER, 0, 2, 0 },
        { MACHINE_OFFER, 0, 2, MACHINE_FAILED }, /* the port is offered already */
        { MACHINE_WITHDRAW, 0, 0, MACHINE_DONE },
        { MACHINE_WITHDRAW, 0, 0, MACHINE_FAILED },
        { MACHINE_OFFER, 0, 0, MACHINE_FAILED },
        { MACHINE_OFFER, MACHINE_OFFER_NO_INPUT, 2, MACHINE_FAILED },
        { MACHINE_OFFER, 77, 1, MACHINE_FAILED },
        { MACHINE_OFFER, 3, 1, MACHINE_FAILED },
        { MACHINE_OFFER, MACHINE_OFFER_NO_OUTPUT, 1, 0 },
        { MACHINE_WITHDRAW, 0, 0, MACHINE_DONE },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct machine_message request = { .type = cases[i].type,
                                           .port = 5,
                                           .flags = cases[i].flags };
        assert_int_equal(
            io_send_fds(monitor.control, &request, sizeof request, pipes, cases[i].fd_count), 0);
        if (cases[i].answer && monitor_receive(&monitor, &message, text) != cases[i].answer)
            fail_msg("case %zu: message %u: %s", i, message.type, text);
    }
    struct machine_message unknown = { .type = 999 };
    assert_int_equal(io_send_fds(monitor.control, &unknown, sizeof unknown, NULL, 0), 0);
    int status = monitor_wait(&monitor);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}

/* The probe answers, one way or the other, and says what is wrong. */
static void test_probe(void **state)
{
    struct error err = { .exit_code = 0 };
    (void)state;
    if (access("/dev/kvm", R_OK | W_OK) < 0) {
        print_message("SKIP: needs /dev/kvm\n");
        skip();
    }
    int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (arch_probe(fd, &err) < 0)
        assert_non_null(strstr(err.message, "KVM cannot run a Linux guest"));
    assert_int_equal(arch_probe(null, &err), -1);
    assert_non_null(strstr(err.message, "does not answer as /dev/kvm"));
    (void)close(fd);
    (void)close(null);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),    cmocka_unit_test(test_pause_and_death_of_the_owner),
        cmocka_unit_test(test_stalled), cmocka_unit_test(test_offers),
        cmocka_unit_test(test_probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
