#include "vmm/kvm.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

struct required_extension {
    unsigned long number;
    const char *name;
};

static const struct required_extension REQUIRED_EXTENSIONS[] = {
    { KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
    { KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP" },
    { KVM_CAP_IRQFD, "KVM_CAP_IRQFD" },
    { KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD" },
    { KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
};

static int kvm_check_device(const struct kvm *kvm, struct error *err)
{
    int version = ioctl(kvm->device_fd, KVM_GET_API_VERSION, 0);
    if (version < 0)
        return error_set_errno(err, EXIT_OURS, errno, "--kvm-fd does not answer as /dev/kvm");
    if (version != KVM_API_VERSION)
        return error_set(err, EXIT_OURS, "/dev/kvm speaks API version %d; version %d is needed",
                         version, KVM_API_VERSION);
    for (size_t i = 0; i < sizeof REQUIRED_EXTENSIONS / sizeof REQUIRED_EXTENSIONS[0]; i++) {
        int there = kvm_extension(kvm, REQUIRED_EXTENSIONS[i].number);
        if (there < 0)
            return error_set_errno(err, EXIT_OURS, errno, "/dev/kvm does not say whether it has %s",
                                   REQUIRED_EXTENSIONS[i].name);
        if (there == 0)
            return error_set(err, EXIT_OURS, "/dev/kvm lacks %s; a newer host kernel is needed",
                             REQUIRED_EXTENSIONS[i].name);
    }
    return 0;
}

int kvm_extension(const struct kvm *kvm, unsigned long extension)
{
    return ioctl(kvm->device_fd, KVM_CHECK_EXTENSION, extension);
}

int kvm_create(struct kvm *kvm, int device_fd, struct error *err)
{
    *kvm = (struct kvm){ .device_fd = device_fd, .vm_fd = -1 };
    if (kvm_check_device(kvm, err) < 0)
        return -1;
    int run_size = ioctl(device_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (run_size < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM_GET_VCPU_MMAP_SIZE");
    if (run_size < (int)sizeof(struct kvm_run))
        return error_set(err, EXIT_OURS, "/dev/kvm reports a vCPU page of %d bytes", run_size);
    kvm->run_size = (size_t)run_size;
    int max_cpus = kvm_extension(kvm, KVM_CAP_MAX_VCPUS);
    kvm->max_cpus = max_cpus > 0 ? (unsigned)max_cpus : 4; /* 4: what api.rst says of no answer */
    do
        kvm->vm_fd = ioctl(device_fd, KVM_CREATE_VM, 0);
    while (kvm->vm_fd < 0 && errno == EINTR);
    if (kvm->vm_fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM cannot create a virtual machine");
    return 0;
}

void kvm_destroy(struct kvm *kvm)
{
    if (kvm->vm_fd >= 0)
        (void)close(kvm->vm_fd);
    kvm->vm_fd = -1;
}

int kvm_set_memory(const struct kvm *kvm, const struct guest_memory *memory, struct error *err)
{
    for (size_t i = 0; i < memory->region_count; i++) {
        const struct memory_region *region = &memory->regions[i];
        struct kvm_userspace_memory_region slot = {
            .slot = (uint32_t)i,
            .guest_phys_addr = region->start,
            .memory_size = region->size,
            .userspace_addr = (uint64_t)(uintptr_t)region->host,
        };
        if (ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
            return error_set_errno(
                err, EXIT_OURS, errno, "KVM refuses %llu MiB of guest memory at 0x%llx",
                (unsigned long long)(region->size >> 20), (unsigned long long)region->start);
    }
    return 0;
}

int kvm_bind_interrupt(const struct kvm *kvm, int event_fd, uint32_t irq, struct error *err)
{
    struct kvm_irqfd binding = { .fd = (uint32_t)event_fd, .gsi = irq };
    if (ioctl(kvm->vm_fd, KVM_IRQFD, &binding) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM refuses an irqfd for interrupt %u", irq);
    return 0;
}

int kvm_bind_doorbell(const struct kvm *kvm, int event_fd, uint64_t address, uint32_t value,
                      struct error *err)
{
    struct kvm_ioeventfd binding = {
        .datamatch = value,
        .addr = address,
        .len = sizeof(uint32_t),
        .fd = event_fd,
        .flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
    };
    if (ioctl(kvm->vm_fd, KVM_IOEVENTFD, &binding) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM refuses an ioeventfd at 0x%llx",
                               (unsigned long long)address);
    return 0;
}
