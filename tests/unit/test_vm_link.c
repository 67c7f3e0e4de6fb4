/* link: vm network state sandbox cgroup program */
/* A hostile guest and a hostile monitor: every frame at the wrong time ends the machine. */
#include "cleanup.h"
#include "runtime/vm/parts.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct fake { /* the far ends */
    struct workload *vm;
    int guest, monitor;
};

static struct fake make(enum vm_stage stage)
{
    int wire[2], control[2];
    struct fake fake = { .vm = calloc(1, sizeof *fake.vm) };
    assert_non_null(fake.vm);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wire), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
    fake.vm->id = (char *)"test";
    fake.vm->machine.monitor.pidfd = fake.vm->machine.threads_fd = -1;
    fake.vm->machine.console.fd = -1;
    fake.vm->stage = stage;
    fake.vm->wire_fd = wire[0];
    fake.vm->reader.fd = wire[0];
    fake.vm->machine.control_fd = control[0];
    fake.guest = wire[1];
    fake.monitor = control[1];
    return fake;
}

static void drop(struct fake *fake)
{
    wire_next(&fake->vm->reader);
    cleanup_close(&fake->vm->wire_fd);
    cleanup_close(&fake->vm->machine.control_fd);
    cleanup_close(&fake->guest);
    cleanup_close(&fake->monitor);
    free(fake->vm);
}

static void say(const struct fake *fake, uint32_t type, uint32_t process, const void *payload,
                size_t length)
{
    assert_int_equal(wire_send(fake->guest, type, process, payload, length, NULL, 0, 1000), 0);
}

static void tell(const struct fake *fake, uint32_t type, uint32_t kind, const char *text)
{
    char packet[256];
    struct machine_message message = { .type = type, .end = kind };
    size_t length = sizeof message + strlen(text);
    memcpy(packet, &message, sizeof message);
    (void)snprintf(packet + sizeof message, sizeof packet - sizeof message, "%s", text);
    assert_int_equal(send(fake->monitor, packet, length, MSG_NOSIGNAL), (ssize_t)length);
}

static void end(const struct fake *fake, uint32_t kind, const char *text)
{
    tell(fake, MACHINE_ENDED, kind, text);
}

static const struct wire_ready READY = { .version = WIRE_VERSION };

static void test_ordinary_life(void **state)
{
    (void)state;
    struct error err = { 0 };
    struct fake fake = make(VM_RUNNING);
    struct wire_exited exited = { .status = 7, .flags = WIRE_EXITED_OOM };
    say(&fake, WIRE_READY, 0, &READY, sizeof READY);
    say(&fake, WIRE_PREPARED, 0, NULL, 0);
    say(&fake, WIRE_STARTED, 0, NULL, 0);
    say(&fake, WIRE_EXITED, 0, &exited, sizeof exited);
    assert_int_equal(link_wait_for(fake.vm, VM_READY, 1000, &err), 0);
    assert_int_equal(fake.vm->stage, VM_READY); /* one frame at a time */
    assert_int_equal(link_wait_for(fake.vm, VM_PREPARED, 1000, &err), 0);
    assert_int_equal(link_wait_for(fake.vm, VM_STARTED, 1000, &err), 0);
    assert_int_equal(link_wait_for(fake.vm, VM_EXITED, 1000, &err), 0);
    assert_int_equal(fake.vm->exit.status, 7);
    assert_true(fake.vm->exit.oom);
    assert_false(fake.vm->exit.failed);
    drop(&fake);
}

static void test_violations(void **state)
{
    (void)state;
    const struct wire_ready old = { .version = WIRE_VERSION + 1 };
    const struct wire_exited exited = { .status = 0 }, large = { .status = 256 },
                             flagged = { .flags = 0x80 };
    const struct wire_error error = { .exit_code = 126 }, success = { .exit_code = 0 };
    const struct wire_stats stats = { 0 };
    const struct {
        enum vm_stage stage;
        uint32_t type, process;
        const void *payload;
        size_t length;
    } cases[] = {
        { VM_RUNNING, WIRE_READY, 0, &old, sizeof old },
        { VM_READY, WIRE_READY, 0, &READY, sizeof READY },
        { VM_RUNNING, WIRE_PREPARED, 0, NULL, 0 },
        { VM_STARTED, WIRE_PREPARED, 0, NULL, 0 },
        { VM_READY, WIRE_STARTED, 0, NULL, 0 },
        { VM_STARTED, WIRE_STARTED, 0, NULL, 0 },
        { VM_STARTED, WIRE_STARTED, 9, NULL, 0 }, /* no such session */
        { VM_READY, WIRE_EXITED, 0, &exited, sizeof exited },
        { VM_STARTED, WIRE_EXITED, 0, &large, sizeof large },
        { VM_STARTED, WIRE_EXITED, 0, &flagged, sizeof flagged },
        { VM_STARTED, WIRE_EXITED, 9, &exited, sizeof exited },
        { VM_STARTED, WIRE_ERROR, 0, &error, sizeof error },
        { VM_READY, WIRE_ERROR, 0, &success, sizeof success },
        { VM_STARTED, WIRE_ERROR, 9, &error, sizeof error },
        { VM_STARTED, WIRE_STATS_REPLY, 0, &stats, sizeof stats }, /* nobody asked */
        { VM_STARTED, WIRE_SHUTDOWN, 0, NULL, 0 },                 /* the host's to say */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fake fake = make(cases[i].stage);
        say(&fake, cases[i].type, cases[i].process, cases[i].payload, cases[i].length);
        (void)link_pump(fake.vm);
        if (!fake.vm->exit.failed || fake.vm->exit.status != EXIT_OURS)
            fail_msg("case %zu was accepted", i);
        assert_non_null(strstr(fake.vm->exit.error.message, "broke the protocol"));
        drop(&fake);
    }
}

static void test_command_not_found(void **state)
{
    (void)state;
    struct error err = { 0 };
    struct {
        struct wire_error head;
        char text[12];
    } payload = { { .exit_code = EXIT_NOT_FOUND }, "no \033[2J such" };
    struct fake fake = make(VM_PREPARED);
    say(&fake, WIRE_ERROR, 0, &payload, sizeof payload);
    assert_int_equal(link_wait_for(fake.vm, VM_STARTED, 1000, &err), -1);
    assert_int_equal(err.exit_code, EXIT_NOT_FOUND);
    assert_string_equal(err.message, "no ?[2J such"); /* nothing that a terminal obeys */
    assert_false(fake.vm->exit.failed);
    drop(&fake);
}

/* What the guest says of itself is shown, never obeyed. */
static void test_texts_for_a_terminal(void **state)
{
    (void)state;
    const struct {
        const char *said, *shown;
    } cases[] = {
        { "a\tb\177c\r", "a?b?c?" },
        { "\033]0;title\007", "?]0;title?" },
        { "\xc2\x9b"
          "2J",
          "??2J" }, /* U+009B begins an escape sequence */
        { "\x9b"
          "2J",
          "?2J" }, /* and so does the bare byte */
        { "\xc2\xa0\xc3\xa9", "\xc2\xa0\xc3\xa9" },
        { "\xe2\x82\xac \xf0\x9f\x90\xb3", "\xe2\x82\xac \xf0\x9f\x90\xb3" },
        { "\xe0\x82\x9b", "???" },      /* overlong */
        { "\xed\xa0\x80", "???" },      /* a surrogate */
        { "\xf4\x90\x80\x80", "????" }, /* beyond Unicode */
        { "\xe2\x82", "??" },           /* cut short */
        { "\xff\xc0\x80", "???" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = { 0 };
        struct fake fake = make(VM_PREPARED);
        char payload[sizeof(struct wire_error) + 64];
        const struct wire_error head = { .exit_code = EXIT_NOT_FOUND };
        memcpy(payload, &head, sizeof head);
        memcpy(payload + sizeof head, cases[i].said, strlen(cases[i].said));
        say(&fake, WIRE_ERROR, 0, payload, sizeof head + strlen(cases[i].said));
        assert_int_equal(link_wait_for(fake.vm, VM_STARTED, 1000, &err), -1);
        assert_string_equal(err.message, cases[i].shown);
        drop(&fake);
    }
}

/* A monitor that was taken over and floods us gets a bounded share of each turn. */
static void test_flood_of_the_monitor(void **state)
{
    (void)state;
    const struct machine_message message = { .type = 4711 };
    int sent = 0, left = 0;
    struct fake fake = make(VM_STARTED);
    while (send(fake.monitor, &message, sizeof message, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        sent++;
    assert_in_range(sent, 100, 1000000);
    (void)link_pump(fake.vm);
    while (recv(fake.vm->machine.control_fd, (char[sizeof message]){ 0 }, sizeof message,
                MSG_DONTWAIT) > 0)
        left++;
    assert_in_range(sent - left, 1, sent - 1);
    assert_false(fake.vm->exit.failed);
    drop(&fake);
}

static void test_machine_ends(void **state)
{
    (void)state;
    const struct {
        enum vm_stage stage;
        uint32_t kind;
        const char *text, *console, *expected, *reached;
    } cases[] = {
        { VM_RUNNING, MACHINE_END_SHUTDOWN, "rip 0x0", "", "triple fault (rip 0x0)",
          "said nothing" },
        { VM_RUNNING, MACHINE_END_RESET, "", "Kernel panic - not syncing: VFS", "kernel panicked",
          "hybrid-init did not get ready" },
        { VM_RUNNING, MACHINE_END_RESET, "", "bye", "powered off unasked", "did not get ready" },
        { VM_SPAWNED, MACHINE_END_SETUP, "no memory", "", "no memory", "was not entered" },
        { VM_STARTED, MACHINE_END_KVM, "internal error 1", "", "internal error 1",
          "the workload was running" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = { 0 };
        int console[2];
        struct fake fake = make(cases[i].stage);
        assert_int_equal(pipe2(console, O_CLOEXEC | O_NONBLOCK), 0);
        fake.vm->machine.console.fd = console[0];
        assert_true(write(console[1], cases[i].console, strlen(cases[i].console)) >= 0);
        end(&fake, cases[i].kind, cases[i].text);
        cleanup_close(&fake.guest);
        fake.guest = -1;
        assert_int_equal(link_wait_for(fake.vm, VM_EXITED, 1000, &err), -1);
        assert_int_equal(err.exit_code, EXIT_OURS);
        assert_non_null(strstr(err.message, cases[i].expected));
        assert_non_null(strstr(err.message, cases[i].reached));
        assert_non_null(strstr(err.message, cases[i].console)); /* its last words */
        (void)close(console[0]);
        (void)close(console[1]);
        drop(&fake);
    }
}

/* The first of any number is kept, fit for a terminal, and known while the machine goes on. */
static void test_warning(void **state)
{
    (void)state;
    struct fake fake = make(VM_STARTED);
    assert_string_equal(fake.vm->machine.warning, "");
    tell(&fake, MACHINE_WARNING, 0, "the disk\x1b[2J failed");
    for (int i = 0; i < 3; i++) {
        (void)link_pump(fake.vm);
        assert_string_equal(fake.vm->machine.warning, "the disk?[2J failed");
        tell(&fake, MACHINE_WARNING, 0, "again");
    }
    assert_int_equal(fake.vm->stage, VM_STARTED);
    assert_false(fake.vm->exit.failed);
    drop(&fake);
}

/* It goes into a document: no character is cut in two where there is no more room. */
static void test_long_warning(void **state)
{
    (void)state;
    for (int shift = 0; shift < 2; shift++) {
        static const char e_acute[2] = { '\xc3', '\xa9' };
        struct fake fake = make(VM_STARTED);
        char packet[512] = { 0 };
        const struct machine_message message = { .type = MACHINE_WARNING };
        const size_t room = sizeof fake.vm->machine.warning - 1;
        size_t length = sizeof message;
        memcpy(packet, &message, sizeof message);
        if (shift)
            packet[length++] = '-';
        for (; length + sizeof e_acute <= sizeof packet; length += sizeof e_acute)
            memcpy(packet + length, e_acute, sizeof e_acute);
        assert_int_equal(send(fake.monitor, packet, length, MSG_NOSIGNAL), (ssize_t)length);
        link_drain_control(fake.vm);
        assert_int_equal(strlen(fake.vm->machine.warning),
                         room % 2 == (size_t)shift ? room : room - 1);
        assert_memory_equal(fake.vm->machine.warning, packet + sizeof message,
                            strlen(fake.vm->machine.warning));
        drop(&fake);
    }
}

static void test_no_progress(void **state)
{
    (void)state;
    struct error err = { 0 };
    struct fake fake = make(VM_RUNNING);
    assert_int_equal(link_wait_for(fake.vm, VM_READY, 20, &err), -1);
    assert_non_null(strstr(err.message, "no progress"));
    /* hybrid-vmm was asked where the guest stands. */
    struct machine_message asked = { .type = 0 };
    assert_int_equal(recv(fake.monitor, &asked, sizeof asked, MSG_DONTWAIT), sizeof asked);
    assert_int_equal(asked.type, MACHINE_STALLED);
    drop(&fake);
}

/* Two that want one processor, of which this is the parent: the other is kept waiting. */
static void compete(pid_t other, const struct vm_machine *machine)
{
    const int64_t deadline = wire_clock_milliseconds() + 20000;
    while (machine_kept_waiting(machine) < 100 && wire_clock_milliseconds() < deadline)
        for (volatile int i = 0; i < 1000000; i++)
            ;
    assert_true(machine_kept_waiting(machine) >= 100);
    assert_int_equal(kill(other, 0), 0);
}

/* A machine that had no processor has not hung. */
static void test_no_processor(void **state)
{
    (void)state;
    struct error err = { 0 };
    cpu_set_t before, one;
    if (access("/proc/self/schedstat", R_OK) < 0)
        skip(); /* a kernel without it */
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    CPU_ZERO(&one);
    for (int cpu = 0; CPU_COUNT(&one) == 0; cpu++)
        if (CPU_ISSET(cpu, &before))
            CPU_SET(cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    pid_t busy = fork();
    if (busy == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            ;
    }
    struct fake fake = make(VM_RUNNING);
    fake.vm->machine.monitor.pid = busy;
    machine_open_threads(&fake.vm->machine);
    compete(busy, &fake.vm->machine);
    pid_t monitor = fork(); /* says at once where the guest stands, when it is asked */
    if (monitor == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        char asked[sizeof(struct machine_message)];
        if (recv(fake.monitor, asked, sizeof asked, 0) == sizeof asked)
            end(&fake, MACHINE_END_STALLED, "here");
        _exit(0);
    }
    int64_t begun = wire_clock_milliseconds();
    assert_int_equal(link_wait_for(fake.vm, VM_READY, 1000, &err), -1);
    assert_true(wire_clock_milliseconds() - begun >= 1000 + 100);
    assert_non_null(strstr(err.message, "no progress for 1 seconds (here)"));
    assert_int_equal(waitpid(monitor, NULL, 0), monitor);
    assert_int_equal(kill(busy, SIGKILL), 0);
    assert_int_equal(waitpid(busy, NULL, 0), busy);
    assert_int_equal(sched_setaffinity(0, sizeof before, &before), 0);
    cleanup_close(&fake.vm->machine.threads_fd);
    drop(&fake);
}

static void test_last_frames_before_the_end(void **state)
{
    (void)state;
    struct error err = { 0 };
    struct wire_exited exited = { .status = 3 };
    struct fake fake = make(VM_STARTED);
    say(&fake, WIRE_EXITED, 0, &exited, sizeof exited);
    cleanup_close(&fake.guest);
    fake.guest = -1;
    end(&fake, MACHINE_END_RESET, "");
    assert_int_equal(link_wait_for(fake.vm, VM_EXITED, 1000, &err), 0);
    assert_int_equal(fake.vm->exit.status, 3);
    drop(&fake);
}

static void count_ended(void *context, uint32_t number, int status, const struct error *error)
{
    int *seen = context;
    *seen += number == 4 && status == EXIT_NOT_EXECUTABLE && error ? 1 : 100;
}

static void ignore_ended(void *context, uint32_t number, int status, const struct error *error)
{
    (void)context;
    (void)number;
    (void)status;
    (void)error;
}

static void expect_closed(const struct fake *fake, uint32_t port)
{
    struct machine_message message;
    assert_int_equal(recv(fake->monitor, &message, sizeof message, MSG_DONTWAIT), sizeof message);
    assert_int_equal(message.type, MACHINE_CLOSE);
    assert_int_equal(message.port, port);
}

/* A guest may never take up the streams of what has ended, or never let go of them. */
static void test_streams_of_what_has_ended(void **state)
{
    (void)state;
    int seen = 0;
    struct wire_exited exited = { .status = 0 };
    struct fake fake = make(VM_STARTED);
    memcpy(fake.vm->ports, (uint32_t[]){ 0, 80, 81 }, sizeof fake.vm->ports);
    fake.vm->sessions[1] = (struct vm_session){ .used = true, .number = 4, .ports = { 70, 71, 0 } };
    fake.vm->exec_ended = ignore_ended;
    fake.vm->exec_context = &seen;
    say(&fake, WIRE_STARTED, 4, NULL, 0);
    say(&fake, WIRE_EXITED, 4, &exited, sizeof exited);
    say(&fake, WIRE_EXITED, 0, &exited, sizeof exited);
    for (int i = 0; i < 3; i++)
        assert_true(link_pump(fake.vm));
    assert_false(fake.vm->exit.failed);
    assert_int_equal(fake.vm->stage, VM_EXITED);
    for (uint32_t port = 70; port <= 71; port++)
        expect_closed(&fake, port);
    for (uint32_t port = 80; port <= 81; port++)
        expect_closed(&fake, port);
    drop(&fake);
}

static void test_session_that_fails(void **state)
{
    (void)state;
    int seen = 0;
    struct wire_error head = { .exit_code = EXIT_NOT_EXECUTABLE };
    struct fake fake = make(VM_STARTED);
    fake.vm->sessions[1] = (struct vm_session){ .used = true, .number = 4, .ports = { 70, 0, 71 } };
    fake.vm->exec_ended = count_ended;
    fake.vm->exec_context = &seen;
    say(&fake, WIRE_ERROR, 4, &head, sizeof head);
    assert_true(link_pump(fake.vm));
    assert_int_equal(seen, 1);
    assert_null(link_find_session(fake.vm, 4));
    assert_false(fake.vm->exit.failed);
    /* Its streams were perhaps never connected: they are taken back. */
    struct machine_message message;
    expect_closed(&fake, 70);
    expect_closed(&fake, 71);
    /* That there was nothing to take back is no failure of the machine. */
    message = (struct machine_message){ .type = MACHINE_FAILED, .port = 70 };
    assert_int_equal(send(fake.monitor, &message, sizeof message, MSG_NOSIGNAL), sizeof message);
    (void)link_pump(fake.vm);
    assert_false(fake.vm->exit.failed);
    drop(&fake);
}

/* No frame may come twice, so no flood of them keeps the monitor busy. */
static void test_session_that_starts_twice(void **state)
{
    (void)state;
    struct fake fake = make(VM_STARTED);
    fake.vm->sessions[1] = (struct vm_session){ .used = true, .number = 4 };
    say(&fake, WIRE_STARTED, 4, NULL, 0);
    say(&fake, WIRE_STARTED, 4, NULL, 0);
    assert_true(link_pump(fake.vm));
    assert_false(fake.vm->exit.failed);
    (void)link_pump(fake.vm);
    assert_true(fake.vm->exit.failed);
    drop(&fake);
}

/* A guest is told to power off. Deaf: it does nothing. Else it says so to the monitor. */
static void shut_down_and_expect(bool deaf, bool kept, const char *expected)
{
    char note[384];
    struct fake fake = make(VM_EXITED);
    fake.vm->keep_writable = kept;
    if (!deaf)
        end(&fake, MACHINE_END_RESET, "");
    link_shut_down(fake.vm, 20);
    if (kept) {
        struct wire_frame header;
        assert_int_equal(recv(fake.guest, &header, sizeof header, MSG_DONTWAIT),
                         (ssize_t)sizeof header);
        assert_int_equal(header.type, WIRE_SHUTDOWN);
    }
    assert_int_equal(fake.vm->cut_off, *expected != 0);
    vm_ops.say_farewell(fake.vm, note, sizeof note); /* does not ask and wait again */
    assert_string_equal(note, expected);
    const char *warning = vm_ops.warning(fake.vm);
    if (*expected)
        assert_non_null(strstr(expected, warning));
    assert_int_equal(*warning != 0, *expected != 0);
    drop(&fake);
}

static void test_guest_that_does_not_power_off(void **state)
{
    (void)state;
    shut_down_and_expect(true, true,
                         "the VM of test: its guest did not power off within 10 seconds of being "
                         "told to, and was killed; what it wrote last may be missing from its "
                         "writable layer");
    shut_down_and_expect(true, false, ""); /* a layer in memory: it is not even asked */
    shut_down_and_expect(false, true, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ordinary_life),
        cmocka_unit_test(test_violations),
        cmocka_unit_test(test_command_not_found),
        cmocka_unit_test(test_texts_for_a_terminal),
        cmocka_unit_test(test_flood_of_the_monitor),
        cmocka_unit_test(test_machine_ends),
        cmocka_unit_test(test_warning),
        cmocka_unit_test(test_long_warning),
        cmocka_unit_test(test_no_progress),
        cmocka_unit_test(test_no_processor),
        cmocka_unit_test(test_last_frames_before_the_end),
        cmocka_unit_test(test_streams_of_what_has_ended),
        cmocka_unit_test(test_session_that_fails),
        cmocka_unit_test(test_session_that_starts_twice),
        cmocka_unit_test(test_guest_that_does_not_power_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
