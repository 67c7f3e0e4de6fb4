/* For tests that need a network namespace of their own. */
#ifndef HYBRID_TEST_NAMESPACE_H
#define HYBRID_TEST_NAMESPACE_H

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { NOT_HERE = 77 }; /* what is to be tested is not to be had on this machine */

/* Runs it in a child with an empty network namespace, and returns what it does: 0, NOT_HERE, or
 * where it failed. */
static inline int call_in_namespace(int (*inside)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(unshare(CLONE_NEWNET) < 0 ? NOT_HERE : inside());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* The same for the whole of a test. */
static inline void run_in_namespace(int (*inside)(void))
{
    int result = call_in_namespace(inside);
    if (result == NOT_HERE) {
        print_message("SKIP: no network namespace, or what the test needs in it\n");
        skip();
    }
    assert_int_equal(result, 0);
}

#endif
