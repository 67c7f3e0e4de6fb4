/* Seccomp profiles compiled and loaded: what a child process finds is what the profile says. */
/* link: plan */
#include "test_plan_json.h"

#include "runtime/plan/compose.h"
#include "runtime/plan/compose_parts.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define DEFAULT_SET      UINT64_C(0xa80425fb) /* Docker's 14 */
#define BIT(number)      (UINT64_C(1) << (number))
#define SYS_ADMIN        21
#define SYS_TIME         25
#define NOT_YET_ASSIGNED 1000

enum { KILLED = 255, LOAD_FAILED = 254 };

/* A system call in a child under the program; its errno, 0 for success, or KILLED. */
static int probe(const uint8_t *program, size_t length, unsigned int flags, const long call[4])
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct sock_fprog code = { (unsigned short)(length / sizeof(struct sock_filter)),
                                   (struct sock_filter *)program };
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
            syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &code) < 0)
            _exit(LOAD_FAILED);
        (void)signal(SIGSYS, SIG_DFL); /* cmocka catches it */
        errno = 0;
        long result = syscall(call[0], call[1], call[2], call[3], 0, 0, 0);
        if (result == 0 && call[0] == SYS_clone)
            (void)syscall(SYS_exit_group, 0); /* the grandchild */
        /* Not _exit: sanitizers make calls of their own there, which the filter may refuse. */
        (void)syscall(SYS_exit_group, result == -1 ? errno : 0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : KILLED;
}

static int probe_profile(const json_t *profile, const long call[4])
{
    uint8_t *program = NULL;
    size_t length;
    unsigned int flags;
    struct error error = { 0 };
    if (seccomp_compile(profile, &program, &length, &flags, &error) < 0)
        fail_msg("%s", error.message);
    int result = probe(program, length, flags, call);
    free(program);
    return result;
}

/* Calls that succeed or fail for a reason of their own, never for want of a privilege. */
static const struct {
    const char *name;
    uint64_t capabilities;
    long call[4];
    int expected;
} default_cases[] = {
    { "getpid", DEFAULT_SET, { SYS_getpid }, 0 },
    { "close of nothing", DEFAULT_SET, { SYS_close, -1 }, EBADF },
    { "socket inet", DEFAULT_SET, { SYS_socket, AF_INET, SOCK_STREAM }, 0 },
    { "socket unix", DEFAULT_SET, { SYS_socket, AF_UNIX, SOCK_STREAM }, 0 },
    { "socket netlink", DEFAULT_SET, { SYS_socket, AF_NETLINK, SOCK_RAW }, 0 },
    { "socket vsock", DEFAULT_SET, { SYS_socket, AF_VSOCK, SOCK_STREAM }, EPERM },
    { "socket alg", DEFAULT_SET, { SYS_socket, AF_ALG, SOCK_SEQPACKET }, EPERM },
    { "socket family 200", DEFAULT_SET, { SYS_socket, 200, SOCK_STREAM }, EPERM },
    { "personality query", DEFAULT_SET, { SYS_personality, 0xffffffff }, 0 },
    { "personality ADDR_NO_RANDOMIZE", DEFAULT_SET, { SYS_personality, ADDR_NO_RANDOMIZE }, EPERM },
    { "clone of a process", DEFAULT_SET, { SYS_clone, SIGCHLD }, 0 },
    { "clone with a user namespace", DEFAULT_SET, { SYS_clone, CLONE_NEWUSER | SIGCHLD }, EPERM },
    { "clone with a cgroup namespace",
      DEFAULT_SET,
      { SYS_clone, CLONE_NEWCGROUP | SIGCHLD },
      EPERM },
    { "clone3", DEFAULT_SET, { SYS_clone3, 0, 0 }, ENOSYS },
    { "clone3 with SYS_ADMIN", DEFAULT_SET | BIT(SYS_ADMIN), { SYS_clone3, 0, 0 }, EINVAL },
    { "unshare of nothing", DEFAULT_SET, { SYS_unshare, 0 }, EPERM },
    { "unshare with SYS_ADMIN", DEFAULT_SET | BIT(SYS_ADMIN), { SYS_unshare, 0 }, 0 },
    { "mount", DEFAULT_SET, { SYS_mount, 0, 0, 0 }, EPERM },
    { "mount with SYS_ADMIN", DEFAULT_SET | BIT(SYS_ADMIN), { SYS_mount, 0, 0, 0 }, EFAULT },
    { "chroot", DEFAULT_SET, { SYS_chroot, 0 }, EFAULT },
    { "chroot without SYS_CHROOT", 0, { SYS_chroot, 0 }, EPERM },
    { "settimeofday", DEFAULT_SET, { SYS_settimeofday, 1, 0 }, EPERM },
    { "settimeofday with SYS_TIME", BIT(SYS_TIME), { SYS_settimeofday, 1, 0 }, EFAULT },
    { "keyctl", DEFAULT_SET, { SYS_keyctl, 99 }, EPERM },
    { "io_uring_setup", DEFAULT_SET, { SYS_io_uring_setup, 0, 0 }, EPERM },
    { "userfaultfd", DEFAULT_SET, { SYS_userfaultfd, -1 }, EPERM },
    { "a system call of the future", DEFAULT_SET, { NOT_YET_ASSIGNED }, ENOSYS },
    { "an x32 number", DEFAULT_SET, { 0x40000000 + NOT_YET_ASSIGNED }, EPERM },
    { "a number below zero", DEFAULT_SET, { -2 }, EPERM },
};

static void test_default_profile(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof default_cases / sizeof *default_cases; i++) {
        json_t *profile = seccomp_default_profile(default_cases[i].capabilities);
        int result = probe_profile(profile, default_cases[i].call);
        json_decref(profile);
        if (result != default_cases[i].expected)
            fail_msg("%s: %d (%s), expected %d (%s)", default_cases[i].name, result,
                     strerror(result), default_cases[i].expected,
                     strerror(default_cases[i].expected));
    }
}

static const struct {
    const char *profile;
    long call[4];
    int expected;
} custom_cases[] = {
    { "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['getppid'],'action':"
      "'SCMP_ACT_ERRNO'}]}",
      { SYS_getppid },
      EPERM },
    { "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['getppid'],'action':"
      "'SCMP_ACT_ERRNO','errnoRet':42}]}",
      { SYS_getppid },
      42 },
    { "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['getppid'],'action':"
      "'SCMP_ACT_KILL_PROCESS'}]}",
      { SYS_getppid },
      KILLED },
    { "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['getppid'],'action':"
      "'SCMP_ACT_TRAP'}]}",
      { SYS_getppid },
      KILLED },
    { "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['getppid'],'action':"
      "'SCMP_ACT_TRACE','errnoRet':7}]}",
      { SYS_getppid },
      ENOSYS }, /* nobody traces */
    { "{'defaultAction':'SCMP_ACT_LOG','flags':['SECCOMP_FILTER_FLAG_LOG',"
      "'SECCOMP_FILTER_FLAG_SPEC_ALLOW']}",
      { SYS_getppid },
      0 },
    { "{'defaultAction':'SCMP_ACT_ERRNO','defaultErrnoRet':13,'syscalls':[{'names':['exit_group']"
      ",'action':'SCMP_ACT_ALLOW'}]}",
      { SYS_getppid },
      13 },
    { "{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[{'names':['exit_group','not_a_call'],"
      "'action':'SCMP_ACT_ALLOW'}]}",
      { NOT_YET_ASSIGNED },
      ENOSYS },
    { "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['lseek'],'action':'SCMP_ACT_ERRNO',"
      "'args':[{'index':0,'value':5,'op':'SCMP_CMP_EQ'},{'index':1,'value':6,'op':"
      "'SCMP_CMP_GE'}]}]}",
      { SYS_lseek, 5, 6 },
      EPERM },
    { "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['lseek'],'action':'SCMP_ACT_ERRNO',"
      "'args':[{'index':0,'value':5,'op':'SCMP_CMP_EQ'},{'index':1,'value':6,'op':"
      "'SCMP_CMP_GE'}]}]}",
      { SYS_lseek, 99, 6 },
      EBADF },
    { "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['lseek'],'action':'SCMP_ACT_ERRNO',"
      "'args':[{'index':0,'value':240,'valueTwo':80,'op':'SCMP_CMP_MASKED_EQ'}]}]}",
      { SYS_lseek, 0x15f },
      EPERM },
    /* Two conditions on one argument: each of the rule's is enough. */
    { "{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[{'names':['exit_group'],'action':"
      "'SCMP_ACT_ALLOW'},{'names':['lseek'],'action':'SCMP_ACT_ALLOW','args':["
      "{'index':0,'value':97,'op':'SCMP_CMP_EQ'},"
      "{'index':0,'value':98,'op':'SCMP_CMP_EQ'}]}]}",
      { SYS_lseek, 97, 0 },
      EBADF },
    { "{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[{'names':['exit_group'],'action':"
      "'SCMP_ACT_ALLOW'},{'names':['lseek'],'action':'SCMP_ACT_ALLOW','args':["
      "{'index':0,'value':97,'op':'SCMP_CMP_EQ'},"
      "{'index':0,'value':98,'op':'SCMP_CMP_EQ'}]}]}",
      { SYS_lseek, 98, 0 },
      EBADF },
    { "{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[{'names':['exit_group'],'action':"
      "'SCMP_ACT_ALLOW'},{'names':['lseek'],'action':'SCMP_ACT_ALLOW','args':["
      "{'index':0,'value':97,'op':'SCMP_CMP_EQ'},"
      "{'index':0,'value':98,'op':'SCMP_CMP_EQ'}]}]}",
      { SYS_lseek, 99, 0 },
      EPERM },
    { "{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[{'names':['exit_group'],'action':"
      "'SCMP_ACT_ALLOW'},{'names':['lseek'],'action':'SCMP_ACT_ALLOW','args':["
      "{'index':0,'value':97,'op':'SCMP_CMP_EQ'},"
      "{'index':0,'value':98,'op':'SCMP_CMP_EQ'},{'index':1,'value':6,'op':'SCMP_CMP_EQ'}]}]}",
      { SYS_lseek, 99, 6 },
      EBADF },
    { "{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[{'names':['exit_group'],'action':"
      "'SCMP_ACT_ALLOW'},{'names':['lseek'],'action':'SCMP_ACT_ALLOW','args':["
      "{'index':0,'value':97,'op':'SCMP_CMP_EQ'},"
      "{'index':0,'value':98,'op':'SCMP_CMP_EQ'},{'index':1,'value':6,'op':'SCMP_CMP_EQ'}]}]}",
      { SYS_lseek, 99, 7 },
      EPERM },
    { "{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[{'names':['exit_group'],'action':"
      "'SCMP_ACT_ALLOW'},{'names':['lseek'],'action':'SCMP_ACT_ALLOW','args':["
      "{'index':2,'value':9,'op':'SCMP_CMP_EQ'},"
      "{'index':2,'value':10,'op':'SCMP_CMP_EQ'},"
      "{'index':2,'value':11,'op':'SCMP_CMP_EQ'},"
      "{'index':2,'value':12,'op':'SCMP_CMP_EQ'},"
      "{'index':2,'value':13,'op':'SCMP_CMP_EQ'},"
      "{'index':2,'value':13,'op':'SCMP_CMP_EQ'},"
      "{'index':2,'value':14,'op':'SCMP_CMP_EQ'},"
      "{'index':2,'value':15,'op':'SCMP_CMP_EQ'}]}]}",
      { SYS_lseek, 99, 0, 15 },
      EBADF },
    { "{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[{'names':['exit_group'],'action':"
      "'SCMP_ACT_ALLOW'},{'names':['lseek'],'action':'SCMP_ACT_ALLOW','args':["
      "{'index':2,'value':9,'op':'SCMP_CMP_EQ'},"
      "{'index':2,'value':10,'op':'SCMP_CMP_EQ'},"
      "{'index':2,'value':11,'op':'SCMP_CMP_EQ'},"
      "{'index':2,'value':12,'op':'SCMP_CMP_EQ'},"
      "{'index':2,'value':13,'op':'SCMP_CMP_EQ'},"
      "{'index':2,'value':13,'op':'SCMP_CMP_EQ'},"
      "{'index':2,'value':14,'op':'SCMP_CMP_EQ'},"
      "{'index':2,'value':15,'op':'SCMP_CMP_EQ'}]}]}",
      { SYS_lseek, 99, 0, 16 },
      EPERM },
};

static void test_custom_profiles(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof custom_cases / sizeof *custom_cases; i++) {
        json_t *profile = load(custom_cases[i].profile);
        int result = probe_profile(profile, custom_cases[i].call);
        json_decref(profile);
        if (result != custom_cases[i].expected)
            fail_msg("%s: %d, expected %d", custom_cases[i].profile, result,
                     custom_cases[i].expected);
    }
}

static const struct {
    const char *profile;
    const char *message;
} bad_profiles[] = {
    { "[]", "linux.seccomp must be an object" },
    { "{}", "linux.seccomp.defaultAction must be given" },
    { "{'defaultAction':5}", "linux.seccomp.defaultAction must be a string" },
    { "{'defaultAction':'SCMP_ACT_ALOW'}",
      "linux.seccomp.defaultAction \"SCMP_ACT_ALOW\" is unknown or not supported; did you mean "
      "SCMP_ACT_ALLOW" },
    { "{'defaultAction':'SCMP_ACT_NOTIFY'}",
      "linux.seccomp: SCMP_ACT_NOTIFY needs an agent that decides: say with listenerPath where it "
      "listens" },
    { "{'defaultAction':'SCMP_ACT_ALLOW','listenerPath':'agent','syscalls':[{'names':['mkdir'],"
      "'action':'SCMP_ACT_NOTIFY'}]}",
      "linux.seccomp.listenerPath must be an absolute path" },
    { "{'defaultAction':'SCMP_ACT_ALLOW','defaultErrnoRet':1}",
      "linux.seccomp.defaultErrnoRet has no meaning with SCMP_ACT_ALLOW; remove it" },
    { "{'defaultAction':'SCMP_ACT_ERRNO','defaultErrnoRet':5000}",
      "linux.seccomp.defaultErrnoRet must be a whole number from 0 to 4095" },
    { "{'defaultAction':'SCMP_ACT_ERRNO','listenerMetadata':'x'}",
      "linux.seccomp.listenerMetadata needs a listenerPath" },
    { "{'defaultAction':'SCMP_ACT_ERRNO','listenerPath':'/x','flags':["
      "'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV']}",
      "linux.seccomp.flags: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV has a meaning only with "
      "SCMP_ACT_NOTIFY" },
    { "{'defaultAction':'SCMP_ACT_ERRNO','flags':['SECCOMP_FILTER_FLAG_NEW_LISTENER']}",
      "linux.seccomp.flags \"SECCOMP_FILTER_FLAG_NEW_LISTENER\" is unknown or not supported; one "
      "of them is "
      "SECCOMP_FILTER_FLAG_TSYNC" },
    { "{'defaultAction':'SCMP_ACT_ERRNO','architectures':['SCMP_ARCH_X64']}",
      "linux.seccomp.architectures \"SCMP_ARCH_X64\" is unknown or not supported; did you mean "
      "SCMP_ARCH_X86" },
    { "{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[{'action':'SCMP_ACT_ALLOW'}]}",
      "linux.seccomp.syscalls[0].names must be a list with at least one system call" },
    { "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['opem'],'action':"
      "'SCMP_ACT_ERRNO'}]}",
      "linux.seccomp.syscalls[0]: system call \"opem\" is unknown here, so it cannot be filtered; "
      "correct the name or remove it" },
    { "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['open'],'action':'SCMP_ACT_ERRNO',"
      "'args':[{'index':6,'value':1,'op':'SCMP_CMP_EQ'}]}]}",
      "linux.seccomp.syscalls[0].args[0].index must be a whole number from 0 to 5" },
    { "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['open'],'action':'SCMP_ACT_ERRNO',"
      "'args':[{'index':0,'value':1,'op':'SCMP_CMP_EG'}]}]}",
      "linux.seccomp.syscalls[0].args[0].op \"SCMP_CMP_EG\" is unknown or not supported; did you "
      "mean SCMP_CMP_EQ" },
};

static void test_bad_profiles(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_profiles / sizeof *bad_profiles; i++) {
        json_t *profile = load(bad_profiles[i].profile);
        struct error error = { 0 };
        uint8_t *program;
        size_t length;
        unsigned int flags;
        assert_int_equal(seccomp_compile(profile, &program, &length, &flags, &error), -1);
        assert_string_equal(error.message, bad_profiles[i].message);
        assert_int_equal(error.exit_code, EXIT_OURS);
        assert_null(program);
        json_decref(profile);
    }
}

static void test_no_profile(void **state)
{
    (void)state;
    uint8_t *program;
    size_t length = 1;
    unsigned int flags;
    struct error error = { 0 };
    assert_int_equal(seccomp_compile(NULL, &program, &length, &flags, &error), 0);
    assert_null(program);
    assert_int_equal(length, 0);
}

/* Docker's format -> linux.seccomp, as compact JSON, or the error. */
static const struct {
    const char *profile;
    uint64_t capabilities;
    const char *expected;
} resolved[] = {
#define HEAD "{'defaultAction':'SCMP_ACT_ERRNO',"
#define RULE "'names':['mount'],'action':'SCMP_ACT_ALLOW'"
#define NONE "{'defaultAction':'SCMP_ACT_ERRNO','architectures':['SCMP_ARCH_X86_64'],'syscalls':[]}"
#define ONE                                                                                        \
    "{'defaultAction':'SCMP_ACT_ERRNO','architectures':['SCMP_ARCH_X86_64'],'syscalls':[{"         \
    "'names':['mount'],'action':'SCMP_ACT_ALLOW'}]}"
    { HEAD "'syscalls':[{" RULE "}]}", 0, ONE },
    { HEAD "'syscalls':[{'name':'mount','action':'SCMP_ACT_ALLOW','comment':'x'}]}", 0,
      "{'defaultAction':'SCMP_ACT_ERRNO','architectures':['SCMP_ARCH_X86_64'],'syscalls':[{"
      "'action':'SCMP_ACT_ALLOW','names':['mount']}]}" },
    { HEAD "'syscalls':[{" RULE ",'includes':{'caps':['CAP_SYS_ADMIN']}}]}", 0, NONE },
    { HEAD "'syscalls':[{" RULE ",'includes':{'caps':['CAP_SYS_ADMIN']}}]}", BIT(SYS_ADMIN), ONE },
    { HEAD "'syscalls':[{" RULE ",'includes':{'caps':['CAP_SYS_ADMIN','CAP_CHOWN']}}]}",
      BIT(SYS_ADMIN), NONE },
    { HEAD "'syscalls':[{" RULE ",'excludes':{'caps':['CAP_SYS_ADMIN']}}]}", 0, ONE },
    { HEAD "'syscalls':[{" RULE ",'excludes':{'caps':['CAP_SYS_ADMIN']}}]}", BIT(SYS_ADMIN), NONE },
    { HEAD "'syscalls':[{" RULE ",'includes':{'arches':['arm64']}}]}", 0, NONE },
    { HEAD "'syscalls':[{" RULE ",'includes':{'arches':['arm64','amd64']}}]}", 0, ONE },
    { HEAD "'syscalls':[{" RULE ",'excludes':{'arches':['amd64']}}]}", 0, NONE },
    { HEAD "'syscalls':[{" RULE ",'includes':{'minKernel':'4.8'}}]}", 0, ONE },
    { HEAD "'syscalls':[{" RULE ",'excludes':{'minKernel':'4.8'}}]}", 0, NONE },
    { HEAD "'syscalls':[{" RULE ",'includes':{'minKernel':'6.9'}}]}", 0,
      "seccomp profile: syscalls[0].includes.minKernel 6.9 is newer than 6.1, the "
      "oldest kernel that is supported; leave the rule or its condition out" },
    { HEAD "'syscalls':[{" RULE ",'includes':{'minKernel':'4.x'}}]}", 0,
      "seccomp profile: syscalls[0].includes.minKernel must be a version such as 4.8" },
    { HEAD "'syscalls':[{" RULE ",'includes':{'caps':['CAP_SYS_ADMIM']}}]}", 0,
      "seccomp profile: unknown capability CAP_SYS_ADMIM; did you mean CAP_SYS_ADMIN" },
    { HEAD "'archMap':[{'architecture':'SCMP_ARCH_X86_64','subArchitectures':['SCMP_ARCH_X86']},{"
           "'architecture':'SCMP_ARCH_AARCH64'}]}",
      0,
      "{'defaultAction':'SCMP_ACT_ERRNO','architectures':['SCMP_ARCH_X86_64','SCMP_ARCH_X86'],"
      "'syscalls':[]}" },
    { HEAD "'archMap':[{'architecture':'SCMP_ARCH_X86_64'}],'architectures':['SCMP_ARCH_X86']}", 0,
      "seccomp profile: has both architectures and archMap; use one of them" },
    { "{'syscalls':[]}", 0, "seccomp profile: must be a JSON object with defaultAction" },
    { HEAD "'syscalls':[7]}", 0, "seccomp profile: syscalls[0] must be an object" },
};

static void test_resolve(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof resolved / sizeof *resolved; i++) {
        json_t *profile = load(resolved[i].profile);
        struct error error = { 0 };
        json_t *result = seccomp_profile_resolve(profile, resolved[i].capabilities, &error);
        if (!result) {
            assert_string_equal(error.message, resolved[i].expected);
        } else {
            json_t *expected = load(resolved[i].expected);
            if (!json_equal(result, expected))
                fail_msg("row %zu: %s", i, json_dumps(result, JSON_COMPACT));
            json_decref(expected);
        }
        json_decref(result);
        json_decref(profile);
    }
}

static void test_cache_key(void **state)
{
    (void)state;
    json_t *profile = seccomp_default_profile(DEFAULT_SET);
    json_t *other = seccomp_default_profile(0);
    char *key = seccomp_cache_key(profile);
    char *again = seccomp_cache_key(profile);
    char *other_key = seccomp_cache_key(other);
    assert_string_equal(key, again);
    assert_string_not_equal(key, other_key);
    free(key);
    free(again);
    free(other_key);
    json_decref(profile);
    json_decref(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_profile), cmocka_unit_test(test_custom_profiles),
        cmocka_unit_test(test_bad_profiles),    cmocka_unit_test(test_no_profile),
        cmocka_unit_test(test_resolve),         cmocka_unit_test(test_cache_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
