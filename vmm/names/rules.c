/* The system calls of hybrid-names: the table of vmm/seccomp.h for this program. */
#include "vmm/names/rules.h"

#include "vmm/seccomp.h"

#include <sys/socket.h>
#include <sys/syscall.h>

#define CALL(call, reason)                                                                         \
    {                                                                                              \
        SECCOMP_STARTUP | SECCOMP_LOOP, __NR_##call, #call, SECCOMP_ALWAYS, 0, 0, reason           \
    }
#define CALL_IF(call, condition, argument, value, reason)                                          \
    {                                                                                              \
        SECCOMP_STARTUP | SECCOMP_LOOP, __NR_##call, #call, condition, argument,                   \
            (uint32_t)(value), reason                                                              \
    }

/*
 * A socket that is not connected takes no write, and nothing else sends: so connect decides who is
 * spoken to. A filter sees its pointer, not what that leads to; it is the one page that was made
 * read-only before, and no call is left that could change a page.
 */
const struct seccomp_rule seccomp_rules[] = {
    CALL(ppoll, "wait for questions and answers"),
    CALL(read, "questions of the guest; answers of the name server"),
    CALL(write, "questions to the name server; answers to the guest"),
    CALL(close, "the socket of a question that is over"),
    CALL_IF(socket, SECCOMP_WHOLE, 0, AF_INET, "one a question"),
    CALL_IF(connect, SECCOMP_WHOLE, 1, NAMES_SERVER_PAGE, "to the name server and nobody else"),
    CALL(clock_gettime, "what time is it? (where the kernel gives no clock without a call)"),
    CALL(exit_group, "the end"),
};

const size_t seccomp_rule_count = sizeof seccomp_rules / sizeof seccomp_rules[0];
