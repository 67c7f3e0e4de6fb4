/* The BPF program of a filter of libseccomp's, with a few instructions of our own in front. */
#include "seccomp_export.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"
#include "seccomp_native.h"

enum {
    X32_BIT = 0x40000000,   /* x32 numbers carry it, under the architecture x86_64 */
    HIGHEST_SYSCALL = 1024, /* where the search for the newest known one begins */
    PROLOGUE_LENGTH = 6,
};

/* The number of the newest system call of this architecture that libseccomp has a name for. */
static uint32_t newest_known(void)
{
    for (int number = HIGHEST_SYSCALL; number > 0; number--) {
        _cleanup_free_ char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);
        if (name)
            return (uint32_t)number;
    }
    return HIGHEST_SYSCALL;
}

/*
 * To be put in front of the program: jumps are relative, so that nothing in it changes. A system
 * call newer than any that libseccomp knows answers ENOSYS, as on an older kernel, instead of the
 * default EPERM, which programs take for a real refusal. x32 numbers are left to the program.
 */
static void make_prologue(struct sock_filter prologue[PROLOGUE_LENGTH])
{
    const struct sock_filter code[PROLOGUE_LENGTH] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SECCOMP_NATIVE_AUDIT, 0, 4),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, newest_known(), 0, 2),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
    };
    memcpy(prologue, code, sizeof code);
}

/* libseccomp 2.5 can export only to a descriptor. */
int seccomp_export_program(scmp_filter_ctx filter, bool absent_is_enosys, uint8_t **program,
                           size_t *length, struct error *err)
{
    _cleanup_close_ int fd = memfd_create("seccomp", MFD_CLOEXEC);
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot make memory for the seccomp filter");
    int result = seccomp_export_bpf(filter, fd);
    if (result < 0)
        return error_set_errno(err, EXIT_OURS, -result, "cannot compile the seccomp filter");
    size_t prologue = absent_is_enosys ? PROLOGUE_LENGTH * sizeof(struct sock_filter) : 0;
    off_t size = lseek(fd, 0, SEEK_END);
    size_t total = prologue + (size_t)size;
    if (size <= 0 || total / sizeof(struct sock_filter) > BPF_MAXINSNS)
        return error_set(err, EXIT_OURS,
                         "the seccomp filter has %zu instructions; the kernel takes "
                         "%d: simplify the profile",
                         total / sizeof(struct sock_filter), BPF_MAXINSNS);
    _cleanup_free_ uint8_t *bytes = malloc(total);
    if (!bytes)
        return error_set(err, EXIT_OURS, "cannot compile the seccomp filter: out of memory");
    if (prologue)
        make_prologue((struct sock_filter *)bytes);
    if (pread(fd, bytes + prologue, (size_t)size, 0) != size)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the seccomp filter back");
    *program = take_pointer(&bytes);
    *length = total;
    return 0;
}
