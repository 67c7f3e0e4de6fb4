/* What the machine of a workload looks like: pure functions of its plan and its layers. */
#ifndef HYBRID_VM_DESCRIPTION_H
#define HYBRID_VM_DESCRIPTION_H

#include "error.h"
#include "plan.h"

#include <stdint.h>

enum {
    VM_COMMAND_LINE_MAX = 1980, /* x86_64 takes 2047; hybrid-vmm adds its console */
};

/* Bytes of the workload's memory limit in the guest: -m, or 256 MiB. */
uint64_t vm_memory_limit(const struct plan_resources *resources);

/* Bytes of guest RAM for that limit: what the guest's kernel needs comes on top. 2 MiB steps. */
uint64_t vm_ram_size(uint64_t memory_limit);

/* vCPUs for a quota: rounded up; without a quota 1. Returns -1 with *err: more than a machine has.
 */
int vm_cpu_count(const struct plan_resources *resources, struct error *err);

/* vCPUs of a pod's machine: the same, but without a quota 2, where the host has as many. */
int vm_pod_cpu_count(const struct plan_resources *resources, struct error *err);

/*
 * Limits of the cgroup of hybrid-vmm on the host: processor time as asked, memory as it needs.
 * shares: a virtiofsd runs in it too.
 */
struct plan_resources vm_host_resources(const struct plan_resources *resources, uint64_t ram_size,
                                        int cpu_count, bool shares);

/*
 * The guest kernel's command line. sizes: bytes of the files that make up the read-only disk, the
 * init root first. extra: appended arguments; NULL: none. Returns a string to free, or NULL with
 * *err: too many layers for it, a size that is no multiple of 4096.
 */
char *vm_command_line(const uint64_t *sizes, size_t count, const char *extra, struct error *err);

#endif
