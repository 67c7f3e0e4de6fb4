#include "vmm/vcpu.h"

#include "vmm/arch.h"
#include "vmm/bus.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

int vcpu_create(struct vcpu *vcpu, const struct kvm *kvm, unsigned index, const struct bus *bus,
                const struct guest_memory *memory, struct error *err)
{
    *vcpu = (struct vcpu){
        .index = index, .fd = -1, .run_size = kvm->run_size, .bus = bus, .memory = memory
    };
    vcpu->fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
    if (vcpu->fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "KVM cannot create vCPU %u", index);
    void *run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (run == MAP_FAILED)
        return error_set_errno(err, EXIT_OURS, errno, "cannot map the state of vCPU %u", index);
    vcpu->run = run;
    return 0;
}

void vcpu_destroy(struct vcpu *vcpu)
{
    if (vcpu->run)
        (void)munmap(vcpu->run, vcpu->run_size);
    if (vcpu->fd >= 0)
        (void)close(vcpu->fd);
    vcpu->run = NULL;
    vcpu->fd = -1;
}

void vcpu_request_exit(struct vcpu *vcpu)
{
    __atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
}

__attribute__((format(printf, 4, 5))) static enum vcpu_outcome vcpu_set_end(const struct vcpu *vcpu,
                                                                            struct vcpu_end *end,
                                                                            enum machine_end kind,
                                                                            const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    end->kind = kind;
    (void)vsnprintf(end->text, sizeof end->text, format, arguments);
    va_end(arguments);
    size_t used = strlen(end->text);
    char place[512];
    arch_describe_vcpu(vcpu, place, sizeof place);
    (void)snprintf(end->text + used, sizeof end->text - used, " (vCPU %u: %s)", vcpu->index, place);
    return VCPU_ENDED;
}

enum vcpu_outcome vcpu_describe_stall(struct vcpu *vcpu, struct vcpu_end *end)
{
    return vcpu_set_end(vcpu, end, MACHINE_END_STALLED, "%lu exits", atomic_load(&vcpu->exits));
}

static enum vcpu_outcome vcpu_exit_mmio(struct vcpu *vcpu, struct vcpu_end *end)
{
    struct kvm_run *run = vcpu->run;
    (void)end;
    uint32_t length = run->mmio.len <= sizeof run->mmio.data ? run->mmio.len : 0;
    if (run->mmio.is_write)
        bus_write(vcpu->bus, run->mmio.phys_addr, run->mmio.data, length);
    else
        bus_read(vcpu->bus, run->mmio.phys_addr, run->mmio.data, length);
    return VCPU_CONTINUE;
}

static enum vcpu_outcome vcpu_exit_shutdown(struct vcpu *vcpu, struct vcpu_end *end)
{
    return vcpu_set_end(vcpu, end, MACHINE_END_SHUTDOWN,
                        "the guest's kernel crashed: triple fault");
}

static enum vcpu_outcome vcpu_exit_fail_entry(struct vcpu *vcpu, struct vcpu_end *end)
{
    return vcpu_set_end(vcpu, end, MACHINE_END_KVM,
                        "KVM cannot enter the guest: hardware reason 0x%llx",
                        (unsigned long long)vcpu->run->fail_entry.hardware_entry_failure_reason);
}

static enum vcpu_outcome vcpu_exit_internal_error(struct vcpu *vcpu, struct vcpu_end *end)
{
    static const char *const CAUSES[] = {
        [KVM_INTERNAL_ERROR_EMULATION] = "it cannot emulate an instruction",
        [KVM_INTERNAL_ERROR_SIMUL_EX] = "simultaneous exceptions",
        [KVM_INTERNAL_ERROR_DELIVERY_EV] = "an event could not be delivered",
        [KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] = "an exit that it does not expect",
    };
    uint32_t suberror = vcpu->run->internal.suberror;
    const char *cause = suberror < sizeof CAUSES / sizeof CAUSES[0] ? CAUSES[suberror] : NULL;
    return vcpu_set_end(vcpu, end, MACHINE_END_KVM, "KVM internal error, suberror %u: %s", suberror,
                        cause ? cause : "unknown");
}

static enum vcpu_outcome vcpu_exit_system_event(struct vcpu *vcpu, struct vcpu_end *end)
{
    uint32_t type = vcpu->run->system_event.type;
    if (type == KVM_SYSTEM_EVENT_SHUTDOWN || type == KVM_SYSTEM_EVENT_RESET) {
        end->kind = MACHINE_END_RESET;
        (void)snprintf(end->text, sizeof end->text, "the guest asked for %s",
                       type == KVM_SYSTEM_EVENT_RESET ? "a reset" : "power-off");
        return VCPU_ENDED;
    }
    return vcpu_set_end(vcpu, end, MACHINE_END_SHUTDOWN,
                        "the guest's kernel crashed: system event %u", type);
}

/* KVM_EXIT_INTR: a signal; EINTR of the ioctl is the same. */
static enum vcpu_outcome vcpu_exit_interrupted(struct vcpu *vcpu, struct vcpu_end *end)
{
    (void)vcpu;
    (void)end;
    return VCPU_INTERRUPTED;
}

typedef enum vcpu_outcome vcpu_exit_handler(struct vcpu *vcpu, struct vcpu_end *end);

static vcpu_exit_handler *const EXIT_HANDLERS[] = {
    [KVM_EXIT_MMIO] = vcpu_exit_mmio,
    [KVM_EXIT_INTR] = vcpu_exit_interrupted,
    [KVM_EXIT_SHUTDOWN] = vcpu_exit_shutdown,
    [KVM_EXIT_FAIL_ENTRY] = vcpu_exit_fail_entry,
    [KVM_EXIT_INTERNAL_ERROR] = vcpu_exit_internal_error,
    [KVM_EXIT_SYSTEM_EVENT] = vcpu_exit_system_event,
};

enum vcpu_outcome vcpu_run(struct vcpu *vcpu, struct vcpu_end *end)
{
    int result = ioctl(vcpu->fd, KVM_RUN, 0);
    atomic_fetch_add_explicit(&vcpu->exits, 1, memory_order_relaxed);
    if (result < 0 && (errno == EINTR || errno == EAGAIN)) {
        __atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
        return VCPU_INTERRUPTED;
    }
    if (result < 0)
        return vcpu_set_end(vcpu, end, MACHINE_END_KVM, "KVM_RUN failed: %s", strerror(errno));
    uint32_t reason = vcpu->run->exit_reason;
    if (reason < sizeof EXIT_HANDLERS / sizeof EXIT_HANDLERS[0] && EXIT_HANDLERS[reason])
        return EXIT_HANDLERS[reason](vcpu, end);
    bool known = false;
    enum vcpu_outcome outcome = arch_handle_exit(vcpu, end, &known);
    if (known)
        return outcome;
    return vcpu_set_end(vcpu, end, MACHINE_END_KVM, "KVM reports exit reason %u, which is unknown",
                        reason);
}
