/* Processes set up by a plan. The root is the host's own directory tree, in a mount namespace of
 * its own. */
/* link: sandbox program */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "cleanup.h"
#include "io.h"
#include "runtime/sandbox/sandbox.h"

enum { OUTPUT_SIZE = 4096, MAX_STEPS = 8 };

static const char *const environment[] = { "PATH=/usr/bin:/bin", "HOME=/root", NULL };

/* A plan around one command, with further steps before it. */
struct fixture {
    struct plan_step steps[MAX_STEPS];
    struct plan plan;
    const char *argv[5];
    char output[OUTPUT_SIZE];
    int status; /* wait status of the command */
    struct error error;
};

static void add_step(struct fixture *fixture, struct plan_step step)
{
    assert_true(fixture->plan.step_count < MAX_STEPS);
    fixture->steps[fixture->plan.step_count++] = step;
}

static void begin(struct fixture *fixture, const char *root_path)
{
    if (geteuid() != 0) {
        print_message("SKIP: needs root, to make namespaces and mounts\n");
        skip();
    }
    *fixture = (struct fixture){ .status = -1 };
    fixture->plan.steps = fixture->steps;
    fixture->plan.root_path = root_path;
    fixture->plan.namespaces.create = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS;
}

static void use_argv(struct fixture *fixture, const char *a, const char *b, const char *c)
{
    fixture->argv[0] = a;
    fixture->argv[1] = b;
    fixture->argv[2] = c;
    add_step(fixture, (struct plan_step){ .kind = PLAN_EXEC,
                                          .exec = { .argv = fixture->argv, .env = environment } });
}

static void use_shell(struct fixture *fixture, const char *script)
{
    add_step(fixture, (struct plan_step){ .kind = PLAN_ROOT });
    /* What shows /proc/self in the new pid namespace. */
    add_step(fixture, (struct plan_step){ .kind = PLAN_MOUNT,
                                          .mount = { .type = "proc", .target = "/proc" } });
    use_argv(fixture, "sh", "-c", script);
}

/* Runs the plan to its end. Returns 0, or -1 with fixture->error. */
static int run_with(struct fixture *fixture, int keep_fds)
{
    int out[2];
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    _cleanup_close_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct sandbox_root root = { 0 };
    struct sandbox_request request = {
        .plan = &fixture->plan,
        .root = &root,
        .stdio = { null, out[1], out[1] },
        .cgroup_fd = -1,
        .join_pidfd = -1,
        .keep_fds = keep_fds,
        .death_signal = SIGKILL,
    };
    struct sandbox_child child;
    int result = sandbox_spawn(&request, &child, &fixture->error);
    (void)close(out[1]);
    if (result == 0)
        result = sandbox_set_up(&child, &fixture->error);
    if (result == 0)
        result = sandbox_execute(&child, &fixture->error);
    ssize_t length = io_read_all(out[0], fixture->output, OUTPUT_SIZE - 1);
    assert_true(length >= 0);
    (void)close(out[0]);
    if (result == 0) {
        assert_int_equal(waitpid(child.pid, &fixture->status, 0), child.pid);
        (void)close(child.pidfd);
    }
    return result;
}

static void expect_output(struct fixture *fixture, const char *output)
{
    if (run_with(fixture, 0) < 0)
        fail_msg("%s", fixture->error.message);
    assert_string_equal(fixture->output, output);
    assert_true(WIFEXITED(fixture->status) && WEXITSTATUS(fixture->status) == 0);
}

static void test_runs_as_first_process(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, "/");
    use_shell(&fixture, "echo $$ $HOME");
    expect_output(&fixture, "1 /root\n");
}

static void test_reports_the_status(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, "/");
    use_shell(&fixture, "exit 7");
    assert_int_equal(run_with(&fixture, 0), 0);
    assert_int_equal(WEXITSTATUS(fixture.status), 7);
}

/* Handlers, ignored signals and the mask of the caller end before the command. */
static void test_signals_are_reset(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, "/");
    use_shell(&fixture, "exec grep -hE 'Sig(Blk|Ign)' /proc/self/status");
    sigset_t mask, before;
    (void)sigemptyset(&mask);
    (void)sigaddset(&mask, SIGUSR1);
    (void)sigprocmask(SIG_BLOCK, &mask, &before);
    void (*pipe_before)(int) = signal(SIGPIPE, SIG_IGN);
    void (*realtime_before)(int) = signal(SIGRTMAX, SIG_IGN);
    int result = run_with(&fixture, 0);
    (void)signal(SIGPIPE, pipe_before);
    (void)signal(SIGRTMAX, realtime_before);
    (void)sigprocmask(SIG_SETMASK, &before, NULL);
    assert_int_equal(result, 0);
    assert_string_equal(fixture.output, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

/* CVE-2024-21626: descriptors of the caller without close-on-exec do not reach the command. */
static void test_leaked_descriptors_are_closed(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, "/");
    use_shell(&fixture, "fd=0; while [ $fd -lt 40 ]; do"
                        " [ -e /proc/self/fd/$fd ] && echo $fd; fd=$((fd + 1)); done; exit 0");
    int leaks[5];
    for (size_t i = 0; i < sizeof leaks / sizeof *leaks; i++)
        leaks[i] = open("/", O_RDONLY | O_DIRECTORY); /* NOLINT: the leak is the point */
    expect_output(&fixture, "0\n1\n2\n");
    for (size_t i = 0; i < sizeof leaks / sizeof *leaks; i++)
        (void)close(leaks[i]);
}

static void test_leaked_working_directories_are_refused(void **state)
{
    (void)state;
    int leak = open("/", O_RDONLY | O_DIRECTORY); /* NOLINT: the leak is the point */
    for (int fd = 3; fd <= 20; fd++) {
        struct fixture fixture;
        char path[64];
        begin(&fixture, "/");
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        add_step(&fixture, (struct plan_step){ .kind = PLAN_ROOT });
        add_step(&fixture, (struct plan_step){ .kind = PLAN_CWD, .path = path });
        use_argv(&fixture, "pwd", NULL, NULL);
        assert_int_equal(run_with(&fixture, 0), -1);
        assert_int_equal(fixture.error.exit_code, EXIT_OURS);
    }
    (void)close(leak);
}

struct failure {
    const char *command;
    int exit_code;
    const char *text;
};

static void test_commands_that_cannot_run(void **state)
{
    (void)state;
    char directory[] = "/tmp/hybrid-spawn-XXXXXX";
    assert_non_null(mkdtemp(directory));
    char no_format[64], no_interpreter[64], plain[64];
    (void)snprintf(no_format, sizeof no_format, "%s/format", directory);
    (void)snprintf(no_interpreter, sizeof no_interpreter, "%s/script", directory);
    (void)snprintf(plain, sizeof plain, "%s/plain", directory);
    const struct {
        const char *path, *text;
        mode_t mode;
    } files[] = {
        { no_format, "echo no first line\n", 0755 },
        { no_interpreter, "#!/no/such/interpreter\n", 0755 },
        { plain, "text\n", 0644 },
    };
    for (size_t i = 0; i < 3; i++) {
        _cleanup_close_ int fd = open(files[i].path, O_WRONLY | O_CREAT | O_CLOEXEC, files[i].mode);
        assert_int_equal(write(fd, files[i].text, strlen(files[i].text)), strlen(files[i].text));
    }
    const struct failure table[] = {
        { "no-such-command", EXIT_NOT_FOUND, "not found in PATH (/usr/bin:/bin)" },
        { "/no/such/command", EXIT_NOT_FOUND, "/no/such/command" },
        { "", EXIT_NOT_FOUND, "not found" },
        { no_interpreter, EXIT_NOT_FOUND, "interpreter" },
        { no_format, EXIT_NOT_EXECUTABLE, "exec format error" },
        { plain, EXIT_NOT_EXECUTABLE, "permission denied" },
        { "/tmp", EXIT_NOT_EXECUTABLE, "permission denied" },
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct fixture fixture;
        begin(&fixture, "/");
        add_step(&fixture, (struct plan_step){ .kind = PLAN_ROOT });
        use_argv(&fixture, table[i].command, NULL, NULL);
        assert_int_equal(run_with(&fixture, 0), -1);
        assert_int_equal(fixture.error.exit_code, table[i].exit_code);
        if (!strstr(fixture.error.message, table[i].text))
            fail_msg("\"%s\" is not in \"%s\"", table[i].text, fixture.error.message);
    }
    for (size_t i = 0; i < 3; i++)
        (void)unlink(files[i].path);
    (void)rmdir(directory);
}

/* CVE-2019-19921 and its successors. */
static void test_linked_proc_is_refused(void **state)
{
    (void)state;
    char root[] = "/tmp/hybrid-spawn-XXXXXX", link[64], elsewhere[64];
    assert_non_null(mkdtemp(root));
    (void)snprintf(link, sizeof link, "%s/proc", root);
    (void)snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", root);
    assert_int_equal(mkdir(elsewhere, 0755), 0);
    assert_int_equal(symlink("elsewhere", link), 0);
    struct fixture fixture;
    begin(&fixture, root);
    add_step(&fixture, (struct plan_step){ .kind = PLAN_MOUNT,
                                           .mount = { .type = "proc", .target = "/proc" } });
    use_argv(&fixture, "true", NULL, NULL);
    assert_int_equal(run_with(&fixture, 0), -1);
    assert_non_null(strstr(fixture.error.message, "real directory"));
    (void)unlink(link);
    (void)rmdir(elsewhere);
    (void)rmdir(root);
}

static void test_capabilities(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, "/");
    const uint64_t sets = 1U << 0 | 1U << 10; /* CHOWN, NET_BIND_SERVICE */
    add_step(&fixture, (struct plan_step){ .kind = PLAN_ROOT });
    add_step(&fixture, (struct plan_step){ .kind = PLAN_MOUNT,
                                           .mount = { .type = "proc", .target = "/proc" } });
    add_step(&fixture, (struct plan_step){ .kind = PLAN_USER, .user = { .uid = 7, .gid = 8 } });
    add_step(&fixture,
             (struct plan_step){ .kind = PLAN_CAPABILITIES,
                                 .capabilities = { .bounding = sets, .permitted = sets } });
    add_step(&fixture, (struct plan_step){ .kind = PLAN_NO_NEW_PRIVS });
    use_argv(&fixture, "grep", "-E", "^(Uid|Gid|Groups|Cap|NoNew)");
    fixture.argv[3] = "/proc/self/status";
    expect_output(&fixture, "Uid:\t7\t7\t7\t7\nGid:\t8\t8\t8\t8\nGroups:\t \n"
                            "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\n"
                            "CapEff:\t0000000000000000\nCapBnd:\t0000000000000401\n"
                            "CapAmb:\t0000000000000000\nNoNewPrivs:\t1\n");
}

/* A named user: the own group is among the supplementary ones, and root's files are out of reach at
 * execve. */
static void test_named_users(void **state)
{
    (void)state;
    const struct plan_step user = { .kind = PLAN_USER, .user = { .name = "1:7" } };
    const uint64_t all = 1U << 1 | 1U << 2; /* DAC_OVERRIDE, DAC_READ_SEARCH */
    const struct plan_step capabilities = {
        .kind = PLAN_CAPABILITIES,
        .capabilities = { .bounding = all, .permitted = all, .effective = all },
    };
    struct fixture fixture;
    begin(&fixture, "/");
    add_step(&fixture, (struct plan_step){ .kind = PLAN_ROOT });
    add_step(&fixture, user);
    add_step(&fixture, capabilities);
    use_argv(&fixture, "id", "-G", NULL);
    expect_output(&fixture, "7\n");
    char path[] = "/tmp/hybrid-spawn-XXXXXX";
    _cleanup_close_ int fd = mkostemp(path, O_CLOEXEC);
    assert_int_equal(write(fd, "#!/bin/sh\n", 10), 10);
    assert_int_equal(fchmod(fd, 0700), 0);
    cleanup_close(&fd);
    fd = -1;
    begin(&fixture, "/");
    add_step(&fixture, (struct plan_step){ .kind = PLAN_ROOT });
    add_step(&fixture, user);
    add_step(&fixture, capabilities);
    use_argv(&fixture, path, NULL, NULL);
    assert_int_equal(run_with(&fixture, 0), -1);
    assert_int_equal(fixture.error.exit_code, EXIT_NOT_EXECUTABLE);
    (void)unlink(path);
}

static void test_init_forwards_and_reaps(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, "/");
    use_shell(&fixture, "(sleep 0.05 & exit 0); kill -TERM 1; sleep 5; exit 3");
    fixture.plan.init = true;
    assert_int_equal(run_with(&fixture, 0), 0);
    assert_true(WIFEXITED(fixture.status));
    assert_int_equal(WEXITSTATUS(fixture.status), EXIT_SIGNAL_BASE + SIGTERM);
}

static void test_an_abandoned_child_ends(void **state)
{
    (void)state;
    struct fixture fixture;
    begin(&fixture, "/");
    use_shell(&fixture, "echo must not run");
    struct sandbox_root root = { 0 };
    struct sandbox_request request = { .plan = &fixture.plan,
                                       .root = &root,
                                       .stdio = { 0, 1, 2 },
                                       .cgroup_fd = -1,
                                       .join_pidfd = -1 };
    struct sandbox_child child;
    assert_int_equal(sandbox_spawn(&request, &child, &fixture.error), 0);
    pid_t pid = child.pid;
    sandbox_abandon(&child);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
    sandbox_abandon(&child); /* twice is fine */
}

/* A process in a user namespace of its own, for others to join. */
static pid_t hold_user_namespace(char path[64])
{
    int ready[2];
    char byte = 0, name[64];
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        byte = unshare(CLONE_NEWUSER) == 0 ? 1 : 0;
        (void)!write(ready[1], &byte, 1);
        (void)pause();
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_true(byte);
    (void)close(ready[0]);
    (void)close(ready[1]);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(name, sizeof name, "/proc/%d/%s", (int)pid, i ? "gid_map" : "uid_map");
        _cleanup_close_ int fd = open(name, O_WRONLY | O_CLOEXEC);
        assert_int_equal(write(fd, "0 100000 1000", 13), 13);
    }
    (void)snprintf(path, 64, "/proc/%d/ns/user", (int)pid);
    return pid;
}

/* From now on, whoever asks for this system call is killed. */
static int forbid(unsigned int number)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = sizeof filter / sizeof *filter, .filter = filter };
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
                   syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0
               ? -1
               : 0;
}

/* What is wrong; NULL: nothing. In a process of its own, which has no other children. */
static const char *spawn_in_user_namespace(const struct sandbox_request *request,
                                           unsigned int forbidden, bool succeeds)
{
    struct sandbox_child child;
    struct error error = { 0 };
    char path[64], parent[16], seen[512] = "";
    if (setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 }) < 0 || forbid(forbidden) < 0)
        return "cannot forbid a system call";
    int result = sandbox_spawn(request, &child, &error);
    if (!succeeds) {
        if (result == 0 || !strstr(error.message, "was ended"))
            return "an end is not told";
    } else {
        if (result < 0)
            return error.message[0] ? "refused" : "refused without a word";
        (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)child.pid);
        (void)snprintf(parent, sizeof parent, " %d ", (int)getpid());
        _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (read(fd, seen, sizeof seen - 1) <= 0 || !strstr(seen, parent))
            return "it is not our child";
        sandbox_abandon(&child);
    }
    return waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD ? NULL : "a process is left";
}

/* Whoever is killed meanwhile: no process is left, and a child that was made is known. */
static void test_births_in_a_joined_user_namespace(void **state)
{
    (void)state;
    const struct {
        const char *what;
        unsigned int forbidden;
        bool succeeds;
    } table[] = {
        { "nobody is killed", SYS_reboot, true },
        { "the one between, at first", SYS_setpgid, false },
        { "the one between, before the child is made", SYS_setns, false },
        { "the one between, when the child is made", SYS_exit_group, true },
        { "the child, before it says that it is there", SYS_sendto, false },
    };
    struct fixture fixture;
    char path[64];
    begin(&fixture, "/");
    use_shell(&fixture, "echo must not run");
    pid_t holder = hold_user_namespace(path);
    fixture.plan.namespaces.path[PLAN_NS_USER] = path;
    struct sandbox_root root = { 0 };
    struct sandbox_request request = { .plan = &fixture.plan,
                                       .root = &root,
                                       .stdio = { 0, 1, 2 },
                                       .cgroup_fd = -1,
                                       .join_pidfd = -1 };
    const char *failed = NULL;
    for (size_t i = 0; !failed && i < sizeof table / sizeof *table; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            const char *wrong =
                spawn_in_user_namespace(&request, table[i].forbidden, table[i].succeeds);
            if (wrong)
                print_error("%s: %s\n", table[i].what, wrong);
            (void)kill(getpid(), wrong ? SIGKILL : SIGTERM); /* exit_group may be forbidden */
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        failed = WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM ? NULL : table[i].what;
    }
    (void)kill(holder, SIGKILL);
    assert_int_equal(waitpid(holder, NULL, 0), holder);
    if (failed)
        fail_msg("%s", failed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_as_first_process),
        cmocka_unit_test(test_reports_the_status),
        cmocka_unit_test(test_signals_are_reset),
        cmocka_unit_test(test_leaked_descriptors_are_closed),
        cmocka_unit_test(test_leaked_working_directories_are_refused),
        cmocka_unit_test(test_commands_that_cannot_run),
        cmocka_unit_test(test_linked_proc_is_refused),
        cmocka_unit_test(test_capabilities),
        cmocka_unit_test(test_named_users),
        cmocka_unit_test(test_init_forwards_and_reaps),
        cmocka_unit_test(test_an_abandoned_child_ends),
        cmocka_unit_test(test_births_in_a_joined_user_namespace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
