#include "description.h"

#include "include/machine.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

static const uint64_t MIB = 1 << 20;

/* The kernel's text, its tables and caches, hybrid-init, and a margin for its own atomic needs. */
static const uint64_t GUEST_KERNEL_MIB = 48;
/* Page structures are 1/64 of RAM; page tables and inodes of large workloads the rest. */
static const uint64_t GUEST_KERNEL_SHARE = 32;
/* hybrid-vmm itself, KVM's tables for the guest, and the layers' pages on their way. */
static const uint64_t MONITOR_MIB = 64;
static const uint64_t MONITOR_SHARE = 128;
/* Threads of hybrid-vmm beside its vCPUs, and the kernel's helpers of KVM. */
static const int64_t MONITOR_THREADS = 32;

/* virtiofsd: itself, and an open file with its inode in the host's kernel for every one that the
 * guest's kernel remembers, whose own memory bounds their number. */
static const uint64_t SERVER_MIB = 64;
static const uint64_t SERVER_SHARE = 2;
static const int64_t SERVER_THREADS = 32;

static const uint64_t RAM_STEP = 2 << 20;

uint64_t vm_memory_limit(const struct plan_resources *resources)
{
    return resources->memory_limit > 0 && resources->memory_limit != PLAN_UNLIMITED
               ? (uint64_t)resources->memory_limit
               : PLAN_VM_MEMORY;
}

uint64_t vm_ram_size(uint64_t memory_limit)
{
    uint64_t size = memory_limit + memory_limit / GUEST_KERNEL_SHARE + GUEST_KERNEL_MIB * MIB;
    return (size + RAM_STEP - 1) / RAM_STEP * RAM_STEP;
}

int vm_cpu_count(const struct plan_resources *resources, struct error *err)
{
    if (resources->cpu_quota <= 0 || resources->cpu_period <= 0)
        return PLAN_VM_CPUS;
    int64_t count = (resources->cpu_quota + resources->cpu_period - 1) / resources->cpu_period;
    if (count > MACHINE_MAX_CPUS)
        return error_set(err, EXIT_OURS,
                         "--cpus asks for %" PRId64 " processors; a VM has at most %d", count,
                         MACHINE_MAX_CPUS);
    return (int)count;
}

int vm_pod_cpu_count(const struct plan_resources *resources, struct error *err)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    if (resources->cpu_quota > 0 && resources->cpu_period > 0)
        return vm_cpu_count(resources, err);
    return online < PLAN_VM_POD_CPUS ? 1 : PLAN_VM_POD_CPUS;
}

struct plan_resources vm_host_resources(const struct plan_resources *resources, uint64_t ram_size,
                                        int cpu_count, bool shares)
{
    uint64_t server = shares ? ram_size / SERVER_SHARE + SERVER_MIB * MIB : 0;
    struct plan_resources host = {
        .memory_limit = (int64_t)(ram_size + ram_size / MONITOR_SHARE + MONITOR_MIB * MIB + server),
        .memory_swap = -1,
        .memory_reservation = -1,
        .cpu_shares = resources->cpu_shares,
        .cpu_quota = resources->cpu_quota,
        .cpu_period = resources->cpu_period,
        .cpuset_cpus = resources->cpuset_cpus,
        .cpuset_mems = resources->cpuset_mems,
        .settings = resources->settings,
        .setting_count = resources->setting_count,
        .every_controller = resources->every_controller,
        .pids_limit = MONITOR_THREADS + cpu_count + (shares ? SERVER_THREADS : 0),
    };
    return host;
}

/*
 * `quiet`: each byte on the serial port is an exit; errors still come through. `swiotlb=noforce`: a
 * bounce buffer that no device here needs would take 64 MiB of larger guests.
 */
static const char BASE[] = "quiet panic=-1 reboot=k random.trust_cpu=1 tsc=reliable "
                           "swiotlb=noforce root=/dev/vda1 rootfstype=erofs ro init=/hybrid-init";

static int write_partitions(FILE *out, const uint64_t *sizes, size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (sizes[i] == 0 || sizes[i] % MACHINE_DISK_FILE_ALIGNMENT != 0)
            return error_set(err, EXIT_OURS,
                             "file %zu of the guest's disk has %" PRIu64
                             " bytes, which is no multiple of %d; load the image again",
                             i, sizes[i], MACHINE_DISK_FILE_ALIGNMENT);
        (void)fprintf(out, "%s%" PRIu64 "k", i == 0 ? " blkdevparts=vda:" : ",", sizes[i] / 1024);
    }
    return 0;
}

char *vm_command_line(const uint64_t *sizes, size_t count, const char *extra, struct error *err)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out) {
        (void)error_set(err, EXIT_OURS, "out of memory");
        return NULL;
    }
    (void)fputs(BASE, out);
    int result = write_partitions(out, sizes, count, err);
    if (extra && *extra)
        (void)fprintf(out, " %s", extra);
    if (fclose(out) != 0 && result == 0)
        result = error_set(err, EXIT_OURS, "out of memory");
    if (result == 0 && length > VM_COMMAND_LINE_MAX)
        result = error_set(err, EXIT_OURS,
                           "the image has %zu layers: naming them takes %zu bytes of the guest "
                           "kernel's command line, which has %d; squash the image, or use "
                           "--isolation=container",
                           count > 0 ? count - 1 : 0, length, VM_COMMAND_LINE_MAX);
    if (result < 0) {
        free(text);
        return NULL;
    }
    return text;
}
