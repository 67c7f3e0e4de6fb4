/*
 * Which devices a workload may use. v1: one line a rule. v2: an eBPF program of type CGROUP_DEVICE;
 * the last matching rule decides, so the program asks them from the last to the first.
 */
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "hierarchy.h"

static void number_or_star(char text[24], int64_t number)
{
    if (number < 0)
        (void)snprintf(text, 24, "*");
    else
        (void)snprintf(text, 24, "%lld", (long long)number);
}

int devices_apply_v1(int directory_fd, const struct plan_device_rule *rules, size_t count,
                     struct error *err)
{
    _cleanup_close_ int allow = openat(directory_fd, "devices.allow", O_WRONLY | O_CLOEXEC);
    _cleanup_close_ int deny = openat(directory_fd, "devices.deny", O_WRONLY | O_CLOEXEC);
    for (size_t i = 0; i < count; i++) {
        const struct plan_device_rule *rule = &rules[i];
        char line[80], major[24], minor[24];
        number_or_star(major, rule->major);
        number_or_star(minor, rule->minor);
        int length =
            snprintf(line, sizeof line, "%c %s:%s %s%s%s", rule->type, major, minor,
                     rule->read ? "r" : "", rule->write ? "w" : "", rule->mknod ? "m" : "");
        if (write(rule->allow ? allow : deny, line, (size_t)length) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot set the device rule \"%s\"",
                                   line);
    }
    return 0;
}

/* --- v2 --- */

enum { INSTRUCTIONS_PER_RULE = 9, INSTRUCTIONS_AROUND = 7 };

struct program {
    struct bpf_insn *instructions;
    size_t count;
};

static void emit(struct program *program, struct bpf_insn instruction)
{
    program->instructions[program->count++] = instruction;
}

#define LOAD_FIELD(register, field)                                                                \
    ((struct bpf_insn){ .code = BPF_LDX | BPF_MEM | BPF_W,                                         \
                        .dst_reg = (register),                                                     \
                        .src_reg = BPF_REG_1,                                                      \
                        .off = (short)offsetof(struct bpf_cgroup_dev_ctx, field) })
#define ALU_NUMBER(operation, register, number)                                                    \
    ((struct bpf_insn){                                                                            \
        .code = BPF_ALU | (operation) | BPF_K, .dst_reg = (register), .imm = (int)(number) })
#define JUMP_NUMBER(operation, register, number)                                                   \
    ((struct bpf_insn){                                                                            \
        .code = BPF_JMP32 | (operation) | BPF_K, .dst_reg = (register), .imm = (int)(number) })

/* Registers of the program: 2 = kind of device, 3 = access wanted, 4 = major, 5 = minor. */
static void emit_prologue(struct program *program)
{
    emit(program, LOAD_FIELD(BPF_REG_2, access_type));
    emit(program, ALU_NUMBER(BPF_AND, BPF_REG_2, 0xffff));
    emit(program, LOAD_FIELD(BPF_REG_3, access_type));
    emit(program, ALU_NUMBER(BPF_RSH, BPF_REG_3, 16));
    emit(program, LOAD_FIELD(BPF_REG_4, major));
    emit(program, LOAD_FIELD(BPF_REG_5, minor));
}

static void emit_verdict(struct program *program, bool allow)
{
    emit(program, ALU_NUMBER(BPF_MOV, BPF_REG_0, allow));
    emit(program, (struct bpf_insn){ .code = BPF_JMP | BPF_EXIT });
}

/* An allowing rule covers the access if it has all of it, a denying one if it has any of it. */
static void emit_access_test(struct program *program, const struct plan_device_rule *rule,
                             unsigned int access)
{
    emit(program, (struct bpf_insn){ .code = BPF_ALU | BPF_MOV | BPF_X,
                                     .dst_reg = BPF_REG_0,
                                     .src_reg = BPF_REG_3 });
    emit(program, ALU_NUMBER(BPF_AND, BPF_REG_0, access));
    if (rule->allow)
        emit(program, (struct bpf_insn){ .code = BPF_JMP32 | BPF_JNE | BPF_X,
                                         .dst_reg = BPF_REG_0,
                                         .src_reg = BPF_REG_3 });
    else
        emit(program, JUMP_NUMBER(BPF_JEQ, BPF_REG_0, 0));
}

/* Returns whether the rule decides everything, so that what follows could not be reached. */
static bool emit_rule(struct program *program, const struct plan_device_rule *rule)
{
    const unsigned int all = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE | BPF_DEVCG_ACC_MKNOD;
    unsigned int access = (rule->read ? BPF_DEVCG_ACC_READ : 0U) |
                          (rule->write ? BPF_DEVCG_ACC_WRITE : 0U) |
                          (rule->mknod ? BPF_DEVCG_ACC_MKNOD : 0U);
    size_t start = program->count;
    if (rule->type != 'a')
        emit(program, JUMP_NUMBER(BPF_JNE, BPF_REG_2,
                                  rule->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR));
    if (access != all)
        emit_access_test(program, rule, access);
    if (rule->major >= 0)
        emit(program, JUMP_NUMBER(BPF_JNE, BPF_REG_4, rule->major));
    if (rule->minor >= 0)
        emit(program, JUMP_NUMBER(BPF_JNE, BPF_REG_5, rule->minor));
    bool decides_all = program->count == start;
    size_t tests_end = program->count;
    emit_verdict(program, rule->allow);
    for (size_t i = start; i < tests_end; i++)
        if (BPF_CLASS(program->instructions[i].code) == BPF_JMP32)
            program->instructions[i].off = (short)(program->count - i - 1);
    return decides_all;
}

static int load_program(const struct program *program)
{
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
    attributes.insns = (uint64_t)(uintptr_t)program->instructions;
    attributes.insn_cnt = (uint32_t)program->count;
    attributes.license = (uint64_t)(uintptr_t) "MIT";
    return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attributes, sizeof attributes);
}

static int attach_program(int directory_fd, int program_fd)
{
    union bpf_attr attributes;
    memset(&attributes, 0, sizeof attributes);
    attributes.target_fd = (uint32_t)directory_fd;
    attributes.attach_bpf_fd = (uint32_t)program_fd;
    attributes.attach_type = BPF_CGROUP_DEVICE;
    attributes.attach_flags = BPF_F_ALLOW_MULTI;
    return (int)syscall(SYS_bpf, BPF_PROG_ATTACH, &attributes, sizeof attributes);
}

/* The program lives as long as the cgroup. */
int devices_apply_v2(int directory_fd, const struct plan_device_rule *rules, size_t count,
                     struct error *err)
{
    _cleanup_free_ struct bpf_insn *instructions =
        calloc(count * INSTRUCTIONS_PER_RULE + INSTRUCTIONS_AROUND + 1, sizeof *instructions);
    if (!instructions)
        return error_set(err, EXIT_OURS, "out of memory");
    struct program program = { .instructions = instructions };
    emit_prologue(&program);
    bool decided = false;
    for (size_t i = count; i-- > 0 && !decided;)
        decided = emit_rule(&program, &rules[i]);
    if (!decided)
        emit_verdict(&program, true); /* as on v1: what no rule mentions is allowed */
    _cleanup_close_ int program_fd = load_program(&program);
    if (program_fd < 0 || attach_program(directory_fd, program_fd) < 0)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot restrict devices (eBPF program of %zu instructions)",
                               program.count);
    return 0;
}
