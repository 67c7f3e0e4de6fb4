/* The architectures whose system calls this program's workloads can make. */
#ifndef HYBRID_SECCOMP_NATIVE_H
#define HYBRID_SECCOMP_NATIVE_H

#include <jansson.h>
#include <linux/audit.h>

#if defined(__x86_64__)
#define SECCOMP_NATIVE_GO_NAME "amd64" /* as Docker's profiles name it in includes and excludes */
#define SECCOMP_NATIVE         "SCMP_ARCH_X86_64"
#define SECCOMP_NATIVE_OTHERS  "SCMP_ARCH_X86", "SCMP_ARCH_X32"
#define SECCOMP_NATIVE_AUDIT   AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define SECCOMP_NATIVE_GO_NAME "arm64"
#define SECCOMP_NATIVE         "SCMP_ARCH_AARCH64"
#define SECCOMP_NATIVE_OTHERS  "SCMP_ARCH_ARM"
#define SECCOMP_NATIVE_AUDIT   AUDIT_ARCH_AARCH64
#else
#error "this architecture has no seccomp names yet: add them here"
#endif

/* linux.seccomp.architectures: the native one and those whose programs it can run. */
static inline json_t *seccomp_native_architectures(void)
{
    static const char *const names[] = { SECCOMP_NATIVE, SECCOMP_NATIVE_OTHERS };
    json_t *array = json_array();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)json_array_append_new(array, json_string(names[i]));
    return array;
}

#endif
