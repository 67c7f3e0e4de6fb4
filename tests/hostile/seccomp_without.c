/*
 * A table of seccomp rules with one entry less for one kind of thread: SECCOMP_TABLE, which is
 * vmm/seccomp_rules.c unless who includes this says otherwise. Linked into a program for the tests
 * in place of the table; the program's name says which:
 * ".../without-INDEX-KIND" (enum seccomp_thread). Any other name leaves the table whole; "list" as
 * argument prints it.
 */
#ifndef SECCOMP_TABLE
#define SECCOMP_TABLE "vmm/seccomp_rules.c"
#endif
#define seccomp_rules      whole_rules
#define seccomp_rule_count whole_rule_count
#include SECCOMP_TABLE /* NOLINT(bugprone-suspicious-include): to change it */
#undef seccomp_rules
#undef seccomp_rule_count

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RULES = sizeof whole_rules / sizeof whole_rules[0] };

/* seccomp.h declares them constant: nobody else writes to them. */
struct seccomp_rule seccomp_rules[RULES];
size_t seccomp_rule_count = RULES;

static void list_rules(void)
{
    for (size_t i = 0; i < RULES; i++)
        (void)printf("%zu %u %s %u %s\n", i, whole_rules[i].threads, whole_rules[i].name,
                     whole_rules[i].condition, whole_rules[i].reason);
}

__attribute__((constructor)) static void take_one_out(int argument_count, char **arguments)
{
    const char *name = strrchr(arguments[0], '/');
    size_t index;
    unsigned kind;
    memcpy(seccomp_rules, whole_rules, sizeof whole_rules);
    if (argument_count == 2 && strcmp(arguments[1], "list") == 0) {
        list_rules();
        exit(0);
    }
    /* NOLINTNEXTLINE(cert-err34-c): seccomp.py's numbers */
    if (name && sscanf(name, "/without-%zu-%u", &index, &kind) == 2 && index < RULES)
        seccomp_rules[index].threads &= ~kind;
}
