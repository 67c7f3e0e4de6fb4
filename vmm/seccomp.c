#include "vmm/seccomp.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { SECCOMP_AUDIT_ARCH = AUDIT_ARCH_X86_64 };
#elif defined(__aarch64__)
#define SECCOMP_AUDIT_ARCH AUDIT_ARCH_AARCH64
#endif

static void seccomp_emit(struct sock_filter *program, size_t *length, struct sock_filter step)
{
    program[(*length)++] = step;
}

/* The high half of an argument is to be 0; the low half is the accumulator's then. */
static void seccomp_emit_whole(struct sock_filter *program, size_t *length, uint32_t argument,
                               uint32_t value)
{
    const uint32_t high = argument + (uint32_t)sizeof(uint32_t);
    const struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, high),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1),
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        seccomp_emit(program, length, steps[i]);
}

/* The whole of a rule without condition: compare the call, answer. */
static void seccomp_emit_plain(struct sock_filter *program, size_t *length, uint32_t call,
                               uint32_t answer)
{
    seccomp_emit(program, length,
                 (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1));
    seccomp_emit(program, length, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, answer));
}

/* What follows if the call is the rule's: the steps up to its "allow", which all else skips. */
static void seccomp_emit_condition(struct sock_filter *program, size_t *length,
                                   const struct seccomp_rule *rule)
{
    /* Both architectures are little-endian: the low half of an argument comes first. */
    const uint32_t low =
        (uint32_t)(offsetof(struct seccomp_data, args) + sizeof(uint64_t) * rule->argument);
    const struct {
        uint32_t half;
        struct sock_filter test;
    } tests[] = {
        [SECCOMP_EQUALS] = { low, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, rule->value, 0, 1) },
        [SECCOMP_CLEAR] = { low, BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, rule->value, 1, 0) },
        [SECCOMP_HIGH] = { low + (uint32_t)sizeof(uint32_t),
                           BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0) },
    };
    if (rule->condition == SECCOMP_WHOLE) {
        seccomp_emit_whole(program, length, low, rule->value);
        return;
    }
    seccomp_emit(
        program, length,
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, tests[rule->condition].half));
    seccomp_emit(program, length, tests[rule->condition].test);
}

/* SECCOMP_RULE_STEPS at most: compare the call, compare its argument, allow. */
static void seccomp_emit_rule(struct sock_filter *program, size_t *length,
                              const struct seccomp_rule *rule)
{
    const uint32_t call = (uint32_t)rule->call;
    if (rule->condition == SECCOMP_ALWAYS || rule->condition == SECCOMP_ABSENT) {
        seccomp_emit_plain(program, length, call,
                           rule->condition == SECCOMP_ALWAYS ? SECCOMP_RET_ALLOW
                                                             : SECCOMP_RET_ERRNO | ENOSYS);
        return;
    }
    const uint8_t steps = rule->condition == SECCOMP_WHOLE ? 6 : 4;
    seccomp_emit(program, length,
                 (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, steps));
    seccomp_emit_condition(program, length, rule);
    seccomp_emit(program, length, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    seccomp_emit(
        program, length,
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)));
}

size_t seccomp_assemble(enum seccomp_thread thread, struct sock_filter *program)
{
    const struct sock_filter head[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SECCOMP_AUDIT_ARCH, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    };
    const struct sock_filter kill = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
    size_t length = 0;
    for (size_t i = 0; i < sizeof head / sizeof head[0]; i++)
        seccomp_emit(program, &length, head[i]);
    for (size_t i = 0; i < seccomp_rule_count; i++) {
        if (seccomp_rules[i].threads & (uint32_t)thread)
            seccomp_emit_rule(program, &length, &seccomp_rules[i]);
    }
    seccomp_emit(program, &length, kill);
    return length;
}

int seccomp_enter(enum seccomp_thread thread, struct error *err)
{
    struct sock_filter program[SECCOMP_MAX_PROGRAM];
    struct sock_fprog description = { .len = (unsigned short)seccomp_assemble(thread, program),
                                      .filter = program };
    if (syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, &description) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "the kernel refuses the seccomp filter");
    return 0;
}

/* All kinds of threads that may make the call of rule `index`; 0: an earlier rule has told. */
static uint32_t threads_of_call(size_t index)
{
    uint32_t threads = 0;
    for (size_t i = 0; i < seccomp_rule_count; i++) {
        if (seccomp_rules[i].call != seccomp_rules[index].call)
            continue;
        if (i < index)
            return 0;
        threads |= seccomp_rules[i].threads;
    }
    return threads;
}

void seccomp_print(FILE *out)
{
    static const struct {
        uint32_t thread;
        const char *name;
    } kinds[] = { { SECCOMP_VCPU, "vcpu" },
                  { SECCOMP_DISK, "disk" },
                  { SECCOMP_LOOP, "loop" },
                  { SECCOMP_SHARE, "share" } };
    for (size_t i = 0; i < seccomp_rule_count; i++) {
        uint32_t threads = threads_of_call(i);
        const char *comma = "";
        if (threads == 0)
            continue;
        (void)fprintf(out, "%s ", seccomp_rules[i].name);
        for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
            if (!(threads & kinds[k].thread))
                continue;
            (void)fprintf(out, "%s%s", comma, kinds[k].name);
            comma = ",";
        }
        (void)fputs(*comma ? "\n" : "startup\n", out);
    }
}
