/* A pod's machine: what its guest may say to the keeper, and the keeper to containers. */
/* link: vm network state sandbox cgroup program */
#include "cleanup.h"
#include "runtime/vm/parts.h"
#include "runtime/vm/pod.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct fake { /* the far ends */
    struct workload *vm;
    int guest, keeper;
};

static struct fake make(enum vm_kind kind, enum vm_stage stage)
{
    int wire[2], keeper[2];
    struct fake fake = { .vm = calloc(1, sizeof *fake.vm) };
    assert_non_null(fake.vm);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wire), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, keeper), 0);
    machine_init(&fake.vm->machine);
    fake.vm->id = (char *)"test";
    fake.vm->kind = kind;
    fake.vm->stage = stage;
    fake.vm->wire_fd = fake.vm->reader.fd = wire[0];
    fake.vm->keeper_fd = kind == VM_CONTAINER ? keeper[0] : -1;
    fake.vm->machine.control_fd = kind == VM_CONTAINER ? -1 : keeper[0];
    fake.guest = wire[1];
    fake.keeper = keeper[1];
    return fake;
}

static void drop(struct fake *fake)
{
    wire_next(&fake->vm->reader);
    for (size_t i = 0; i < WIRE_MAX_PROCESSES; i++)
        free(fake->vm->sessions[i].error);
    cleanup_close(&fake->vm->wire_fd);
    cleanup_close(&fake->vm->keeper_fd);
    cleanup_close(&fake->vm->machine.control_fd);
    machine_close_threads(&fake->vm->machine);
    cleanup_close(&fake->guest);
    cleanup_close(&fake->keeper);
    free(fake->vm);
}

static void say(const struct fake *fake, uint32_t type, uint32_t process, const char *text)
{
    const struct wire_error head = { .exit_code = EXIT_OURS };
    size_t length = type == WIRE_ERROR ? sizeof head : 0;
    assert_int_equal(
        wire_send(fake->guest, type, process, &head, length, text, text ? strlen(text) : 0, 1000),
        0);
}

static bool asked_to_kill(const struct fake *fake)
{
    struct pod_message message = { 0 };
    return recv(fake->keeper, &message, sizeof message, MSG_DONTWAIT) > 0 &&
           message.type == POD_KILL;
}

static void close_keeper(struct fake *fake)
{
    (void)close(fake->keeper);
    fake->keeper = -1;
}

/* --- a container -------------------------------------------------------------------------------
 */

static void test_keeper_that_is_killed(void **state)
{
    (void)state;
    for (int hung_up = 0; hung_up < 2; hung_up++) {
        struct fake fake = make(VM_CONTAINER, VM_STARTED);
        close_keeper(&fake);
        if (hung_up) { /* the machine goes with it */
            (void)close(fake.guest);
            fake.guest = -1;
        }
        (void)link_pump(fake.vm);
        assert_true(fake.vm->exit.failed);
        assert_int_equal(fake.vm->exit.status, EXIT_OURS);
        assert_non_null(strstr(fake.vm->exit.error.message, "hybrid-pod, was killed"));
        drop(&fake);
    }
}

static void test_keeper_that_says_why(void **state)
{
    (void)state;
    struct fake fake = make(VM_CONTAINER, VM_STARTED);
    const struct pod_message message = { .type = POD_ENDED, .status = 137, .text = "it is over" };
    assert_int_equal(pod_send(fake.keeper, &message, NULL, 0), 0);
    close_keeper(&fake);
    (void)close(fake.guest);
    fake.guest = -1;
    (void)link_pump(fake.vm);
    assert_true(fake.vm->exit.failed);
    assert_int_equal(fake.vm->exit.status, 137);
    assert_string_equal(fake.vm->exit.error.message, "it is over");
    drop(&fake);
}

/* Its init in the guest ends, by the guest's own doing: the pod's others go on. */
static void test_init_that_ends(void **state)
{
    (void)state;
    struct fake fake = make(VM_CONTAINER, VM_STARTED);
    (void)shutdown(fake.guest, SHUT_RDWR);
    (void)link_pump(fake.vm);
    assert_true(fake.vm->exit.failed);
    assert_non_null(strstr(fake.vm->exit.error.message, "its init in the VM of its pod has ended"));
    assert_false(asked_to_kill(&fake));
    drop(&fake);
}

/* With the connection come the threads of the machine: what they were kept waiting counts from then
 * on. Nothing more is taken. */
static void test_what_comes_with_it(void **state)
{
    (void)state;
    for (size_t given = 1; given <= 4; given++) {
        struct fake fake = make(VM_CONTAINER, VM_SPAWNED);
        struct workload *vm = fake.vm;
        const struct pod_message message = { .type = POD_ATTACHED, .first = 5 };
        int threads = open("/proc/self/task", O_PATH | O_DIRECTORY | O_CLOEXEC);
        const int fds[] = { vm->wire_fd, threads, threads, threads };
        bool accepted = given == 2 || given == 3;
        assert_int_equal(pod_send(fake.keeper, &message, fds, given), 0);
        cleanup_close(&vm->wire_fd);
        vm->wire_fd = -1;
        (void)close(threads);
        assert_true(claim_read(vm));
        assert_int_equal(vm->stage, accepted ? VM_SPEAKING : VM_SPAWNED);
        assert_int_equal(vm->machine.threads_fd >= 0, given == 3);
        assert_int_equal(vm->first_share, accepted ? 5 : 0);
        if (given == 3)
            assert_in_range(machine_kept_waiting(&vm->machine), vm->machine.kept_before,
                            vm->machine.kept_before + 10000);
        drop(&fake);
    }
}

/* What breaks the protocol cannot be made to end by a word. */
static void test_violations_of_a_container(void **state)
{
    (void)state;
    static const struct {
        uint32_t type, process;
    } frames[] = {
        { WIRE_DONE, WIRE_REQUEST_PROCESS },  /* of nothing that was asked */
        { WIRE_ERROR, WIRE_REQUEST_PROCESS }, /* the same */
        { WIRE_DONE, WIRE_MAIN_PROCESS },       { WIRE_PREPARED, WIRE_MAIN_PROCESS },
        { WIRE_STARTED, WIRE_REQUEST_PROCESS },
    };
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        struct fake fake = make(VM_CONTAINER, VM_STARTED);
        say(&fake, frames[i].type, frames[i].process, NULL);
        (void)link_pump(fake.vm);
        if (!fake.vm->exit.failed || !strstr(fake.vm->exit.error.message, "broke the protocol"))
            fail_msg("frame %zu: %s", i, fake.vm->exit.error.message);
        assert_true(asked_to_kill(&fake));
        drop(&fake);
    }
}

static void count_ended(void *context, uint32_t number, int status, const struct error *error)
{
    int *seen = context;
    *seen += number == 4 && status == EXIT_OURS && error && !strcmp(error->message, "no") ? 1 : 100;
}

/* An exec session may end while nobody can be told, since a request waits for its answer. */
static void test_requests(void **state)
{
    (void)state;
    int seen = 0;
    struct error err = { 0 };
    struct workload_exit ended;
    const struct wire_freeze freeze = { .frozen = 1 };
    struct fake fake = make(VM_CONTAINER, VM_STARTED);
    fake.vm->sessions[1] = (struct vm_session){ .used = true, .number = 4 };
    say(&fake, WIRE_ERROR, 4, "no");
    say(&fake, WIRE_DONE, WIRE_REQUEST_PROCESS, NULL);
    assert_int_equal(link_request(fake.vm, WIRE_FREEZE, &freeze, sizeof freeze, &err), 0);
    assert_int_equal(vm_ops.dispatch(fake.vm, NULL, 0, count_ended, &seen, &ended), 0);
    assert_int_equal(seen, 1);
    say(&fake, WIRE_ERROR, WIRE_REQUEST_PROCESS, "it cannot");
    assert_int_equal(link_request(fake.vm, WIRE_FREEZE, &freeze, sizeof freeze, &err), -1);
    assert_string_equal(err.message, "it cannot");
    drop(&fake);
    seen = 0;

    fake = make(VM_CONTAINER, VM_STARTED);
    fake.vm->sessions[1] = (struct vm_session){ .used = true, .number = 4 };
    fake.vm->requests = 1; /* of one that was given up */
    say(&fake, WIRE_ERROR, WIRE_REQUEST_PROCESS, "the one before");
    say(&fake, WIRE_ERROR, 4, "no");
    assert_true(link_pump(fake.vm));
    assert_true(link_pump(fake.vm));
    assert_false(fake.vm->exit.failed);
    assert_int_equal(fake.vm->requests, 0);
    assert_int_equal(vm_ops.dispatch(fake.vm, NULL, 0, count_ended, &seen, &ended), 0);
    assert_int_equal(seen, 1);
    assert_int_equal(vm_ops.dispatch(fake.vm, NULL, 0, count_ended, &seen, &ended), 0);
    assert_int_equal(seen, 1);
    assert_null(link_find_session(fake.vm, 4));
    drop(&fake);
}

/* Of a freeze that failed, which may only be late, nobody is to be left standing. */
static void test_freeze_that_fails(void **state)
{
    (void)state;
    struct error err = { 0 };
    struct wire_freeze asked;
    struct fake fake = make(VM_CONTAINER, VM_STARTED);
    struct wire_reader guest = { .fd = fake.guest, .to_guest = true };
    say(&fake, WIRE_ERROR, WIRE_REQUEST_PROCESS, "it cannot");
    assert_int_equal(vm_ops.pause(fake.vm, true, &err), -1);
    assert_string_equal(err.message, "it cannot");
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(wire_read(&guest), WIRE_FRAME);
        assert_int_equal(guest.head.type, WIRE_FREEZE);
        memcpy(&asked, guest.payload, sizeof asked);
        assert_int_equal(asked.frozen, 1 - i);
        wire_next(&guest);
    }
    assert_int_equal(fake.vm->requests, 1);
    say(&fake, WIRE_DONE, WIRE_REQUEST_PROCESS, NULL); /* of the thaw: no violation */
    say(&fake, WIRE_DONE, WIRE_REQUEST_PROCESS, NULL);
    assert_int_equal(vm_ops.pause(fake.vm, true, &err), 0);
    assert_int_equal(fake.vm->requests, 0);
    drop(&fake);
}

/* SIGKILL does not wait for a guest to thaw what is to die: its timer sees to that. */
static void test_kill_of_a_frozen_one(void **state)
{
    (void)state;
    struct error err = { 0 };
    struct wire_freeze asked;
    struct fake fake = make(VM_CONTAINER, VM_STARTED);
    struct wire_reader guest = { .fd = fake.guest, .to_guest = true };
    fake.vm->kill_timer = -1;
    assert_int_equal(vm_ops.signal(fake.vm, SIGKILL, false, &err), 0);
    int64_t before = wire_clock_milliseconds();
    assert_int_equal(vm_ops.pause(fake.vm, false, &err), 0); /* nobody answers */
    assert_true(wire_clock_milliseconds() - before < 5000);
    assert_int_equal(wire_read(&guest), WIRE_FRAME);
    assert_int_equal(guest.head.type, WIRE_SIGNAL);
    wire_next(&guest);
    assert_int_equal(wire_read(&guest), WIRE_FRAME);
    assert_int_equal(guest.head.type, WIRE_FREEZE);
    memcpy(&asked, guest.payload, sizeof asked);
    assert_int_equal(asked.frozen, 0);
    wire_next(&guest);
    say(&fake, WIRE_DONE, WIRE_REQUEST_PROCESS, NULL); /* late, and no violation */
    assert_true(link_pump(fake.vm));
    assert_false(fake.vm->exit.failed);
    cleanup_close(&fake.vm->kill_timer);
    drop(&fake);
}

static bool expect_closed(int control, uint32_t port)
{
    struct machine_message message = { 0 };
    return recv(control, &message, sizeof message, MSG_DONTWAIT) == (ssize_t)sizeof message &&
           message.type == MACHINE_CLOSE && message.port == port;
}

/* Its init ends, or is said to; the guest, which goes on, may hold its streams, and those of what
 * was executed in it, for ever. */
static void test_streams_that_a_guest_holds(void **state)
{
    (void)state;
    int control[2];
    struct fake fake = make(VM_CONTAINER, VM_STARTED);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
    fake.vm->machine.control_fd = control[0];
    memcpy(fake.vm->ports, (uint32_t[]){ 0, 80, 81 }, sizeof fake.vm->ports);
    fake.vm->sessions[1] = (struct vm_session){ .used = true, .number = 4, .ports = { 70 } };
    (void)shutdown(fake.guest, SHUT_RDWR);
    (void)link_pump(fake.vm);
    assert_true(fake.vm->exit.failed);
    assert_true(expect_closed(control[1], 80) && expect_closed(control[1], 81));
    close_keeper(&fake);
    claim_detach(fake.vm);
    assert_true(expect_closed(control[1], 80) && expect_closed(control[1], 81));
    assert_true(expect_closed(control[1], 70));
    (void)close(control[1]);
    drop(&fake);
}

/* Before its command is there, a container that hangs may be the only one that does. */
static void test_container_without_progress(void **state)
{
    (void)state;
    struct error err = { 0 };
    struct machine_message message = { 0 };
    int control[2];
    char end;
    struct fake fake = make(VM_CONTAINER, VM_READY);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control), 0);
    fake.vm->machine.control_fd = control[0];
    assert_int_equal(link_wait_for(fake.vm, VM_PREPARED, 20, &err), -1);
    assert_non_null(strstr(err.message, "no progress"));
    assert_false(asked_to_kill(&fake));
    assert_int_equal(recv(control[1], &message, sizeof message, MSG_DONTWAIT), -1);
    assert_int_equal(recv(fake.guest, &end, 1, MSG_DONTWAIT), 0); /* its init ends by that */
    (void)close(control[1]);
    drop(&fake);
}

/* --- the keeper --------------------------------------------------------------------------------
 */

static void note_refused(void *context, uint32_t number, const struct error *error)
{
    int *seen = context;
    *seen += number == 3 && strcmp(error->message, "full?[2J") == 0 ? 1 : 100;
}

static void test_guest_of_a_pod(void **state)
{
    (void)state;
    int seen = 0;
    struct fake fake = make(VM_POD, VM_PREPARED);
    fake.vm->refused = note_refused;
    fake.vm->refused_context = &seen;
    fake.vm->refusable = 1;
    say(&fake, WIRE_ERROR, 3, "full\033[2J");
    assert_true(link_pump(fake.vm));
    assert_int_equal(seen, 1);
    assert_false(fake.vm->exit.failed);
    say(&fake, WIRE_ERROR, 3, "full"); /* no flood of them */
    (void)link_pump(fake.vm);
    assert_int_equal(seen, 1);
    assert_non_null(strstr(fake.vm->exit.error.message, "broke the protocol"));
    drop(&fake);
}

/* It has no workload: nothing that one says is taken. */
static void test_violations_of_a_pod(void **state)
{
    (void)state;
    static const struct {
        enum vm_stage stage;
        uint32_t type, process;
    } frames[] = {
        { VM_PREPARED, WIRE_STARTED, WIRE_MAIN_PROCESS },
        { VM_PREPARED, WIRE_PREPARED, WIRE_MAIN_PROCESS },
        { VM_PREPARED, WIRE_ERROR, WIRE_MAIN_PROCESS },
        { VM_PREPARED, WIRE_DONE, WIRE_REQUEST_PROCESS },
        { VM_READY, WIRE_STARTED, 1 },
        { VM_READY, WIRE_ERROR, 1 },
    };
    for (size_t i = 0; i < sizeof frames / sizeof frames[0]; i++) {
        struct fake fake = make(VM_POD, frames[i].stage);
        say(&fake, frames[i].type, frames[i].process, NULL);
        (void)link_pump(fake.vm);
        if (!fake.vm->exit.failed || !strstr(fake.vm->exit.error.message, "broke the protocol"))
            fail_msg("frame %zu: %s", i, fake.vm->exit.error.message);
        drop(&fake);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keeper_that_is_killed),
        cmocka_unit_test(test_keeper_that_says_why),
        cmocka_unit_test(test_what_comes_with_it),
        cmocka_unit_test(test_init_that_ends),
        cmocka_unit_test(test_violations_of_a_container),
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_freeze_that_fails),
        cmocka_unit_test(test_kill_of_a_frozen_one),
        cmocka_unit_test(test_streams_that_a_guest_holds),
        cmocka_unit_test(test_container_without_progress),
        cmocka_unit_test(test_guest_of_a_pod),
        cmocka_unit_test(test_violations_of_a_pod),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
