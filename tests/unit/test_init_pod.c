/* link: init sandbox cgroup plan network program */
/*
 * A pod's PID 1 and the inits of its containers, as processes of this machine: who serves which
 * connection, and who notices whose end. What needs a guest, from CONFIG on, is not asked for.
 */
#include "guest-init/guest.h"
#include "guest-init/log.h"

#include "cleanup.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

/* No cgroup of any host has such a number. */
#define FIRST  UINT32_C(4000000001)
#define SECOND (FIRST + 1)
enum { SECONDS = 20 };

/* --- in place of the guest's ---------------------------------------------------------------------
 */

/* Nobody is to read of it: not the kernel's log either. */
void log_error(const char *format, ...)
{
    (void)format;
}

static socklen_t name_port(pid_t host, uint32_t port, struct sockaddr_un *address)
{
    *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
    int length = snprintf(address->sun_path + 1, sizeof address->sun_path - 1, "hybrid-test-%d-%u",
                          (int)host, port);
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

/* The host is this test; PID 1 is its child, and only that connects. */
int stream_connect(uint32_t port, struct error *err)
{
    struct sockaddr_un address;
    socklen_t length = name_port(getppid(), port, &address);
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, length) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot connect to port %u of the host",
                               port);
    return take_fd(&fd);
}

/* --- the host's side -----------------------------------------------------------------------------
 */

struct pod {
    pid_t pid; /* of PID 1 */
    struct wire_reader reader;
};

static __attribute__((noreturn)) void be_first_process(int control_fd)
{
    static struct guest guest = { .role = GUEST_OWN, .signal_fd = -1 };
    struct error err;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1); /* as PID 1 is */
    guest.control_fd = control_fd;
    int status = serve_open_signals(&guest, &err) < 0 || serve(&guest, &err) < 0;
    if (guest.role == GUEST_POD)
        pod_end(&guest);
    _exit(status);
}

static enum wire_result await_frame(struct wire_reader *reader)
{
    wire_next(reader);
    for (;;) {
        enum wire_result result = wire_read(reader);
        struct pollfd readable = { .fd = reader->fd, .events = POLLIN };
        if (result != WIRE_AGAIN)
            return result;
        assert_int_equal(poll(&readable, 1, SECONDS * 1000), 1);
    }
}

static void expect(struct wire_reader *reader, uint32_t type, uint32_t process)
{
    assert_int_equal(await_frame(reader), WIRE_FRAME);
    assert_int_equal(reader->head.type, type);
    assert_int_equal(reader->head.process, process);
}

/* Its text contains `words`. */
static void expect_error(struct wire_reader *reader, uint32_t process, const char *words)
{
    expect(reader, WIRE_ERROR, process);
    assert_non_null(strstr((char *)reader->payload + sizeof(struct wire_error), words));
}

static void expect_ready(struct wire_reader *reader)
{
    struct wire_ready ready;
    expect(reader, WIRE_READY, WIRE_MAIN_PROCESS);
    memcpy(&ready, reader->payload, sizeof ready);
    assert_int_equal(ready.version, WIRE_VERSION);
}

static void say(const struct wire_reader *reader, uint32_t type, uint32_t process,
                const void *fixed, size_t length)
{
    assert_int_equal(wire_send(reader->fd, type, process, fixed, length, NULL, 0, 1000), 0);
}

static void hang_up(struct wire_reader *reader)
{
    wire_next(reader);
    (void)close(reader->fd);
    reader->fd = -1;
}

static struct pod boot(void)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    struct pod pod = { .pid = fork(), .reader = { .fd = pair[0] } };
    assert_true(pod.pid >= 0);
    if (pod.pid == 0) {
        (void)close(pair[0]);
        be_first_process(pair[1]);
    }
    (void)close(pair[1]);
    expect_ready(&pod.reader);
    return pod;
}

/* A machine that is a pod's. Its clock is right, so that nobody sets it. */
static struct pod boot_pod(void)
{
    struct pod pod = boot();
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    struct wire_pod request = { .clock_seconds = now.tv_sec,
                                .clock_nanoseconds = (uint32_t)now.tv_nsec };
    say(&pod.reader, WIRE_POD, WIRE_MAIN_PROCESS, &request, sizeof request);
    expect(&pod.reader, WIRE_PREPARED, WIRE_MAIN_PROCESS);
    return pod;
}

/* Returns how PID 1 has ended. */
static int await_end(struct pod *pod)
{
    int status;
    assert_int_equal(waitpid(pod->pid, &status, 0), pod->pid);
    hang_up(&pod->reader);
    return status;
}

static void shut_down(struct pod *pod)
{
    say(&pod->reader, WIRE_SHUTDOWN, WIRE_MAIN_PROCESS, NULL, 0);
    assert_int_equal(await_frame(&pod->reader), WIRE_CLOSED);
    assert_int_equal(await_end(pod), 0);
}

static void ask_for_container(const struct pod *pod, uint32_t port, uint32_t number)
{
    struct wire_container request = { .port = port, .number = number };
    say(&pod->reader, WIRE_CONTAINER, WIRE_MAIN_PROCESS, &request, sizeof request);
}

/* The control connection of a new container; *init: its process. */
static struct wire_reader start_container(const struct pod *pod, uint32_t number, pid_t *init)
{
    struct sockaddr_un address;
    socklen_t length = name_port(getpid(), number, &address);
    _cleanup_close_ int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (const struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(listener, 1), 0);
    ask_for_container(pod, number, number);
    struct wire_reader reader = { .fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC) };
    assert_true(reader.fd >= 0);
    expect_ready(&reader);
    if (init) {
        char path[64];
        (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pod->pid,
                       (int)pod->pid);
        _cleanup_fclose_ FILE *file = fopen(path, "re");
        assert_non_null(file);
        assert_int_equal(fscanf(file, "%d", init), 1); /* NOLINT(cert-err34-c) */
    }
    return reader;
}

/* --- the tests -----------------------------------------------------------------------------------
 */

static void test_two_containers(void **state)
{
    (void)state;
    struct pod pod = boot_pod();
    struct wire_reader one = start_container(&pod, FIRST, NULL);
    struct wire_reader other = start_container(&pod, SECOND, NULL);
    struct wire_stats stats;
    say(&other, WIRE_STATS, WIRE_MAIN_PROCESS, NULL, 0);
    expect(&other, WIRE_STATS_REPLY, WIRE_MAIN_PROCESS);
    memcpy(&stats, other.payload, sizeof stats);
    assert_int_equal(stats.pids, 0);
    say(&one, WIRE_SHUTDOWN, WIRE_MAIN_PROCESS, NULL, 0);
    assert_int_equal(await_frame(&one), WIRE_CLOSED);
    hang_up(&one);
    say(&other, WIRE_STATS, WIRE_MAIN_PROCESS, NULL, 0); /* it has not noticed */
    expect(&other, WIRE_STATS_REPLY, WIRE_MAIN_PROCESS);
    one = start_container(&pod, FIRST + 9, NULL);
    shut_down(&pod); /* takes both along */
    assert_int_equal(await_frame(&one), WIRE_CLOSED);
    assert_int_equal(await_frame(&other), WIRE_CLOSED);
    hang_up(&one);
    hang_up(&other);
}

static void test_requests_before_there_is_a_process(void **state)
{
    (void)state;
    struct pod pod = boot_pod();
    struct wire_reader container = start_container(&pod, FIRST, NULL);
    const struct wire_freeze freeze = { .frozen = 1 };
    const char limits[] = "{\"pids\":{\"limit\":5}}";
    say(&container, WIRE_FREEZE, WIRE_REQUEST_PROCESS, &freeze, sizeof freeze);
    expect_error(&container, WIRE_REQUEST_PROCESS, "is not running");
    say(&container, WIRE_UPDATE, WIRE_REQUEST_PROCESS, limits, sizeof limits - 1);
    expect_error(&container, WIRE_REQUEST_PROCESS, "has not been made");
    say(&container, WIRE_EXEC, 1, &(struct wire_process){ 0 }, sizeof(struct wire_process));
    expect_error(&container, 1, "is not running");
    hang_up(&container);
    shut_down(&pod);
}

static bool is_namespace_of(int fd, pid_t pid)
{
    char path[64];
    struct stat given, theirs;
    (void)snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)pid);
    assert_int_equal(stat(path, &theirs), 0);
    assert_int_equal(fstat(fd, &given), 0);
    return given.st_ino == theirs.st_ino && given.st_dev == theirs.st_dev;
}

/* Nothing to join, on PID 1's connection: the container gets none of its own. */
static void test_processes_of_nobody(void **state)
{
    (void)state;
    struct pod pod = boot_pod();
    struct wire_reader container = start_container(&pod, FIRST, NULL); /* it has none yet */
    const uint32_t whose[] = { FIRST, SECOND, FIRST + 2 };
    for (size_t i = 0; i < sizeof whose / sizeof whose[0]; i++) {
        struct wire_container request = { .port = SECOND, .number = SECOND, .processes = whose[i] };
        say(&pod.reader, WIRE_CONTAINER, WIRE_MAIN_PROCESS, &request, sizeof request);
        expect_error(&pod.reader, SECOND, "has none, or has ended");
    }
    hang_up(&container);
    shut_down(&pod);
}

/* What its init has said of a container's namespace is there for all who ask for it. */
static void test_processes_of_a_container(void **state)
{
    (void)state;
    int news[2];
    struct error err = { 0 };
    static struct guest first_process, init;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, news),
                     0);
    init.news_fd = news[1];
    first_process.members[3] =
        (struct pod_member){ .pid = 1, .number = FIRST, .news_fd = news[0], .pids_fd = -1 };
    assert_int_equal(pids_open(&first_process, FIRST, &err), -1);
    assert_int_equal(pids_announce(&init, getpid(), &err), 0);
    for (int i = 0; i < 2; i++) {
        _cleanup_close_ int fd = pids_open(&first_process, FIRST, &err);
        assert_true(fd >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC);
        assert_true(is_namespace_of(fd, getpid()));
    }
    assert_int_equal(pids_open(&first_process, SECOND, &err), -1);
    pod_note_end(&first_process, 1, 0); /* closes what it has of it */
    assert_int_equal(pids_open(&first_process, FIRST, &err), -1);
    assert_int_equal(pids_announce(&init, getpid(), &err), -1);
    (void)close(news[1]);
}

static void expect_powerless(pid_t pid)
{
    char path[64], line[256];
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "Name:", 5) == 0)
            assert_string_equal(line, "Name:\thybrid-pause\n");
        if (strncmp(line, "Cap", 3) == 0)
            assert_non_null(strstr(line, "0000000000000000"));
        if (strncmp(line, "Uid:", 4) == 0)
            assert_string_equal(line, "Uid:\t65534\t65534\t65534\t65534\n");
    }
}

/* Root of a container that shares its namespace may send them, and all of them would end. */
static void expect_undying(pid_t pid)
{
    static const int SIGNALS[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1 };
    for (size_t i = 0; i < sizeof SIGNALS / sizeof *SIGNALS; i++)
        assert_int_equal(kill(pid, SIGNALS[i]), 0);
    (void)poll(NULL, 0, 200);
    assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
}

/* One for all, and another one when that has ended. */
static void test_processes_of_the_pod(void **state)
{
    (void)state;
    struct error err = { 0 };
    static struct guest guest;
    if (geteuid() != 0)
        skip(); /* it takes root to make a namespace */
    pid_t first = 0;
    for (int i = 0; i < 3; i++) {
        _cleanup_close_ int fd = pids_open(&guest, WIRE_PODS_PROCESSES, &err);
        if (fd < 0)
            fail_msg("%s", err.message);
        assert_true(is_namespace_of(fd, guest.pause));
        assert_false(is_namespace_of(fd, getpid()));
        expect_powerless(guest.pause);
        expect_undying(guest.pause);
        if (i == 1)
            assert_int_equal(guest.pause, first);
        first = guest.pause;
        if (i == 0)
            continue;
        assert_int_equal(kill(guest.pause, SIGKILL), 0);
        assert_int_equal(waitpid(guest.pause, NULL, 0), first);
        pod_note_end(&guest, first, SIGKILL);
        assert_int_equal(guest.pause, 0);
    }
}

static void test_no_connection(void **state)
{
    (void)state;
    struct pod pod = boot_pod();
    ask_for_container(&pod, FIRST, SECOND); /* where nobody listens */
    expect_error(&pod.reader, SECOND, "cannot connect to port 4000000001");
    struct wire_reader container = start_container(&pod, FIRST, NULL);
    hang_up(&container);
    shut_down(&pod);
}

/* PID 1 tells nobody: the connection does, which nobody else holds. */
static void test_init_that_is_killed(void **state)
{
    (void)state;
    pid_t init;
    struct pod pod = boot_pod();
    struct wire_reader container = start_container(&pod, FIRST, &init);
    assert_int_equal(kill(init, SIGKILL), 0);
    assert_int_equal(await_frame(&container), WIRE_CLOSED);
    hang_up(&container);
    container = start_container(&pod, SECOND, NULL);
    hang_up(&container);
    shut_down(&pod);
}

/* A container's init keeps nothing of PID 1's open, above all not its connection. */
static void test_first_process_that_is_killed(void **state)
{
    (void)state;
    struct pod pod = boot_pod();
    struct wire_reader container = start_container(&pod, FIRST, NULL);
    assert_int_equal(kill(pod.pid, SIGKILL), 0);
    assert_int_equal(await_frame(&pod.reader), WIRE_CLOSED);
    assert_true(WIFSIGNALED(await_end(&pod)));
    say(&container, WIRE_STATS, WIRE_MAIN_PROCESS, NULL, 0); /* no machine's end took it along */
    expect(&container, WIRE_STATS_REPLY, WIRE_MAIN_PROCESS);
    say(&container, WIRE_SHUTDOWN, WIRE_MAIN_PROCESS, NULL, 0);
    assert_int_equal(await_frame(&container), WIRE_CLOSED);
    hang_up(&container);
}

static void test_host_that_is_gone(void **state)
{
    (void)state;
    struct pod pod = boot_pod();
    struct wire_reader container = start_container(&pod, FIRST, NULL);
    hang_up(&pod.reader);
    assert_int_equal(await_frame(&container), WIRE_CLOSED);
    hang_up(&container);
    assert_int_equal(await_end(&pod), 1 << 8);
}

static void test_forgotten_shares(void **state)
{
    (void)state;
    struct pod pod = boot_pod();
    const struct wire_forget some = { .first = 3, .count = 2 };
    say(&pod.reader, WIRE_FORGET, WIRE_MAIN_PROCESS, &some, sizeof some);
    struct wire_reader container = start_container(&pod, FIRST, NULL); /* it goes on */
    hang_up(&container);
    shut_down(&pod);
}

/* A host that sends such a frame is not the one that this was made for. */
static void test_wrong_connection(void **state)
{
    (void)state;
    static const uint8_t payload[sizeof(struct wire_config)];
    const struct {
        bool pod;
        uint32_t type, length;
    } cases[] = {
        { false, WIRE_CONTAINER, sizeof(struct wire_container) },
        { false, WIRE_FORGET, sizeof(struct wire_forget) },
        { false, WIRE_FREEZE, sizeof(struct wire_freeze) },
        { false, WIRE_UPDATE, 2 },
        { true, WIRE_POD, sizeof(struct wire_pod) },
        { true, WIRE_CONFIG, sizeof(struct wire_config) },
        { true, WIRE_START, 0 },
        { true, WIRE_STATS, 0 },
        { true, WIRE_FREEZE, sizeof(struct wire_freeze) },
        { true, WIRE_CONTAINER, sizeof(struct wire_container) }, /* without a number */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct pod pod = cases[i].pod ? boot_pod() : boot();
        say(&pod.reader, cases[i].type, WIRE_MAIN_PROCESS, payload, cases[i].length);
        if (await_frame(&pod.reader) != WIRE_CLOSED)
            fail_msg("case %zu was accepted", i);
        assert_int_equal(await_end(&pod), 1 << 8);
    }
    struct pod pod = boot_pod();
    const struct wire_forget many = { .first = 1, .count = WIRE_MAX_FORGET + 1 };
    say(&pod.reader, WIRE_FORGET, WIRE_MAIN_PROCESS, &many, sizeof many);
    assert_int_equal(await_frame(&pod.reader), WIRE_CLOSED);
    assert_int_equal(await_end(&pod), 1 << 8);
}

/* On a container's connection it ends this container, and no other. */
static void test_wrong_frame_for_a_container(void **state)
{
    (void)state;
    static const uint8_t payload[sizeof(struct wire_pod)];
    struct pod pod = boot_pod();
    struct wire_reader good = start_container(&pod, FIRST, NULL);
    struct wire_reader bad = start_container(&pod, SECOND, NULL);
    say(&bad, WIRE_POD, WIRE_MAIN_PROCESS, payload, sizeof payload);
    assert_int_equal(await_frame(&bad), WIRE_CLOSED);
    say(&good, WIRE_STATS, WIRE_MAIN_PROCESS, NULL, 0);
    expect(&good, WIRE_STATS_REPLY, WIRE_MAIN_PROCESS);
    hang_up(&bad);
    hang_up(&good);
    shut_down(&pod);
}

/* What a pod's machine has not got is refused; what its containers share stays the guest's own. */
static void test_surroundings(void **state)
{
    (void)state;
    static struct guest guest = { .role = GUEST_CONTAINER };
    enum { OWN = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWCGROUP };
    const struct {
        const char *refused; /* NULL: it is accepted */
        uint32_t layers, flags;
        uint64_t memory;
        const char *ipc, *uts;
        int missing; /* of its namespaces: CLONE_NEW... */
    } cases[] = {
        { NULL, 0, 0, 0, "/proc/self/ns/ipc", "/proc/self/ns/uts", 0 },
        { NULL, 0, 0, 1 << 20, NULL, NULL, 0 },
        { NULL, 0, 0, 0, NULL, NULL, CLONE_NEWCGROUP },
        { "no layers", 1, 0, 0, NULL, NULL, 0 },
        { "no disk", 0, WIRE_SCRATCH_DISK, 0, NULL, NULL, 0 },
        { "no files of the host", 0, WIRE_SHARES, 0, NULL, NULL, 0 },
        { "sandbox-memory", 0, 0, INT64_MAX, NULL, NULL, 0 },
        { "ipc: there is no /proc/9/ns/ipc", 0, 0, 0, "/proc/9/ns/ipc", NULL, 0 },
        { "uts: there is no /proc/self/ns/ipc", 0, 0, 0, NULL, "/proc/self/ns/ipc", 0 },
        { "needs its own", 0, 0, 0, NULL, NULL, CLONE_NEWPID },
        { "needs its own", 0, 0, 0, NULL, NULL, CLONE_NEWNS },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = { 0 };
        struct wire_config config = { .process.flags = cases[i].flags,
                                      .layer_count = cases[i].layers,
                                      .memory_limit = cases[i].memory };
        struct plan *plan = &guest.workload.plan;
        plan->namespaces.create = OWN & ~cases[i].missing;
        plan->namespaces.path[PLAN_NS_IPC] = cases[i].ipc;
        plan->namespaces.path[PLAN_NS_UTS] = cases[i].uts;
        int result = container_adopt(&guest, &config, &err);
        if (cases[i].refused ? result == 0 || !strstr(err.message, cases[i].refused) : result < 0)
            fail_msg("case %zu: %d, %s", i, result, err.message);
        if (result == 0) {
            assert_int_equal(plan->namespaces.create, OWN);
            assert_null(plan->namespaces.path[PLAN_NS_IPC]);
            assert_null(plan->namespaces.path[PLAN_NS_UTS]);
        }
    }
}

/* What the frame has named and what the document says must be one. */
static void test_surroundings_with_processes(void **state)
{
    (void)state;
    static struct guest guest = { .role = GUEST_CONTAINER, .pids_fd = 5 };
    const struct {
        const char *refused; /* NULL: it is accepted */
        const char *path;
        bool joins;
    } cases[] = {
        { NULL, "/proc/self/ns/pid", true },
        { "pid: there is no /proc/self/ns/pid", "/proc/self/ns/pid", false },
        { "pid: there is no /proc/9/ns/pid", "/proc/9/ns/pid", true },
        { "pid: there is no container", NULL, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = { 0 };
        struct wire_config config = { 0 };
        struct plan *plan = &guest.workload.plan;
        plan->namespaces.create =
            CLONE_NEWNS | CLONE_NEWCGROUP | (cases[i].path ? 0 : CLONE_NEWPID);
        plan->namespaces.path[PLAN_NS_PID] = cases[i].path;
        guest.joins = cases[i].joins;
        int result = container_adopt(&guest, &config, &err);
        if (cases[i].refused ? result == 0 || !strstr(err.message, cases[i].refused) : result < 0)
            fail_msg("case %zu: %d, %s", i, result, err.message);
        if (result == 0)
            assert_string_equal(plan->namespaces.path[PLAN_NS_PID], "/proc/self/fd/5");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_containers),
        cmocka_unit_test(test_requests_before_there_is_a_process),
        cmocka_unit_test(test_processes_of_nobody),
        cmocka_unit_test(test_processes_of_a_container),
        cmocka_unit_test(test_processes_of_the_pod),
        cmocka_unit_test(test_no_connection),
        cmocka_unit_test(test_init_that_is_killed),
        cmocka_unit_test(test_first_process_that_is_killed),
        cmocka_unit_test(test_host_that_is_gone),
        cmocka_unit_test(test_forgotten_shares),
        cmocka_unit_test(test_wrong_connection),
        cmocka_unit_test(test_wrong_frame_for_a_container),
        cmocka_unit_test(test_surroundings),
        cmocka_unit_test(test_surroundings_with_processes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
