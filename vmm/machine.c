#include "vmm/machine.h"

#include "cleanup.h"
#include "vmm/arch.h"
#include "vmm/fdt.h"
#include "vmm/seccomp.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Milliseconds for an answer of a virtiofsd, which may still be starting on a busy host. */
enum { SHARE_TIMEOUT = 30 * 1000 };

/* Puts a device on the bus: its registers, its interrupt, a notification for each queue. */
static int machine_add_device(struct machine *machine, struct virtio_device *device,
                              struct error *err)
{
    size_t index = machine->bus.device_count;
    uint64_t address = machine->bus.base + index * VIRTIO_MMIO_SIZE;
    if (index == BUS_MAX_DEVICES)
        return error_set(err, EXIT_OURS, "the machine has no place for another device");
    if (kvm_bind_interrupt(&machine->kvm, device->interrupt_fd,
                           arch_layout.first_irq + (uint32_t)index, err) < 0)
        return -1;
    for (unsigned i = 0; i < device->ops->queue_count; i++) {
        if (kvm_bind_doorbell(&machine->kvm, device->doorbell_fds[i],
                              address + VIRTIO_QUEUE_NOTIFY_OFFSET, i, err) < 0)
            return -1;
    }
    machine->bus.devices[machine->bus.device_count++] = device;
    return 0;
}

static int machine_add_disk(struct machine *machine, struct blk *blk, const int *fds, size_t count,
                            bool read_only, const char *id, struct error *err)
{
    /* The first file of the read-only disk is the guest's own system, no part of the workload. */
    const size_t free_files = read_only ? 1 : 0;
    if (blk_create(blk, &machine->memory, fds, count,
                   read_only ? MACHINE_DISK_FILE_ALIGNMENT : BLK_SECTOR, read_only, id, err) < 0 ||
        machine_add_device(machine, &blk->device, err) < 0)
        return -1;
    if (rate_limiter_is_used(&machine->limiter))
        blk_limit(blk, &machine->limiter, free_files);
    machine->crew.disks[machine->crew.disk_count++] = &blk->device;
    return 0;
}

/* Tells of each disk's first failure. Its thread may not send messages. */
static void machine_disk_failed(void *context, uint32_t events)
{
    struct machine *machine = context;
    struct blk *const disks[] = { &machine->disk, &machine->scratch };
    static const char *const NAMES[] = { "the image's layers", "the writable layer" };
    uint64_t count;
    (void)events;
    (void)!read(machine->disk_failure.fd, &count, sizeof count);
    for (size_t i = 0; i < sizeof disks / sizeof disks[0]; i++) {
        const struct machine_message warning = { .type = MACHINE_WARNING };
        char text[256];
        int cause = atomic_load(&disks[i]->failure);
        if (cause <= 0)
            continue;
        atomic_store(&disks[i]->failure, -1); /* said once */
        (void)snprintf(text, sizeof text, "%s cannot be %s: %s", NAMES[i],
                       i == 0 ? "read" : "read or written",
                       cause == ENODATA ? "a file on the host was cut short" : strerror(cause));
        control_send(&machine->control, &warning, text);
    }
}

static int machine_watch_disks(struct machine *machine, struct error *err)
{
    machine->disk_failure = (struct loop_source){ .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
                                                  .ready = machine_disk_failed,
                                                  .context = machine };
    if (machine->disk_failure.fd < 0 ||
        loop_add(&machine->loop, &machine->disk_failure, EPOLLIN) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot watch the disks");
    machine->disk.failure_fd = machine->scratch.failure_fd = machine->disk_failure.fd;
    return 0;
}

/* Likewise eth0 and so on. */
static int machine_add_nets(struct machine *machine, const struct options *options,
                            struct error *err)
{
    for (; machine->net_count < options->net_count; machine->net_count++) {
        struct net *net = &machine->nets[machine->net_count];
        if (net_create(net, &machine->memory, &machine->loop, &options->nets[machine->net_count],
                       err) < 0 ||
            machine_add_device(machine, &net->device, err) < 0)
            return -1;
        net_limit(net, &options->net_rates);
    }
    return 0;
}

static int machine_add_share(struct machine *machine, const struct options *options,
                             struct error *err)
{
    if (fs_create(&machine->share, &machine->memory, options->share_fd, options->share_tag,
                  SHARE_TIMEOUT, err) < 0 ||
        machine_add_device(machine, &machine->share.device, err) < 0)
        return -1;
    machine->crew.share = &machine->share;
    return 0;
}

static void machine_look_for_offers(void *context)
{
    struct machine *machine = context;
    /* The caller holds the vsock lock. An offer needs it not: only the loop changes streams. */
    control_drain(&machine->control, true);
}

/* The order is that of the kernel's names: the layers are vda, the scratch disk is next. */
static int machine_add_devices(struct machine *machine, const struct options *options,
                               struct error *err)
{
    machine->bus.base = arch_layout.mmio_base;
    machine->limiter = (struct rate_limiter){
        .read_bytes.per_second = options->disk_read_bps,
        .write_bytes.per_second = options->disk_write_bps,
        .read_requests.per_second = options->disk_read_iops,
        .write_requests.per_second = options->disk_write_iops,
    };
    if (options->disk_count > 0 && machine_add_disk(machine, &machine->disk, options->disk_fds,
                                                    options->disk_count, true, "layers", err) < 0)
        return -1;
    if (options->scratch_fd >= 0 &&
        machine_add_disk(machine, &machine->scratch, &options->scratch_fd, 1, false, "scratch",
                         err) < 0)
        return -1;
    if (machine_watch_disks(machine, err) < 0 ||
        vsock_create(&machine->vsock, &machine->memory, &machine->loop, err) < 0 ||
        machine_add_device(machine, &machine->vsock.device, err) < 0)
        return -1;
    if (machine_add_nets(machine, options, err) < 0)
        return -1;
    return options->share_fd < 0 ? 0 : machine_add_share(machine, options, err);
}

/* The caller's command line and what only the monitor knows. Returns a string to free, or NULL. */
static char *machine_command_line(const struct options *options)
{
    char *text;
    const char *console = options->console_fd >= 0 ? arch_layout.console_parameter : "";
    const char *space = *options->command_line && *console ? " " : "";
    return asprintf(&text, "%s%s%s", options->command_line, space, console) < 0 ? NULL : text;
}

static int machine_load(struct machine *machine, const struct options *options, uint64_t *entry,
                        struct error *err)
{
    _cleanup_free_ char *command_line = machine_command_line(options);
    _cleanup_free_ void *fdt = NULL;
    if (!command_line)
        return error_set(err, EXIT_OURS, "out of memory");
    if (arch_load_kernel(&machine->memory, options->kernel_fd, entry, err) < 0)
        return -1;
    int size =
        fdt_describe(&fdt, &machine->memory, machine->cpu_count, &machine->bus, command_line, err);
    if (size < 0)
        return -1;
    return arch_write_boot_data(&machine->memory, command_line, fdt, (size_t)size, err);
}

static int machine_add_cpus(struct machine *machine, uint64_t entry, struct error *err)
{
    if (machine->cpu_count > machine->kvm.max_cpus)
        return error_set(err, EXIT_OURS, "KVM here allows %u vCPUs; %u were asked for",
                         machine->kvm.max_cpus, machine->cpu_count);
    for (unsigned i = 0; i < machine->cpu_count; i++) {
        if (vcpu_create(&machine->vcpus[i], &machine->kvm, i, &machine->bus, &machine->memory,
                        err) < 0 ||
            arch_prepare_vcpu(&machine->kvm, &machine->vcpus[i], machine->cpu_count, entry, err) <
                0)
            return -1;
    }
    return 0;
}

static void machine_end_seen(void *context, uint32_t events)
{
    struct machine *machine = context;
    (void)events;
    loop_remove(&machine->loop, &machine->end_source);
    machine->ended = true;
}

static int machine_start_threads(struct machine *machine, struct error *err)
{
    machine->crew.vcpus = machine->vcpus;
    machine->crew.vcpu_count = machine->cpu_count;
    if (crew_start(&machine->crew, err) < 0)
        return -1;
    machine->end_source = (struct loop_source){ .fd = machine->crew.end_fd,
                                                .ready = machine_end_seen,
                                                .context = machine };
    if (loop_add(&machine->loop, &machine->end_source, EPOLLIN) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot watch the vCPUs");
    machine->control.loop = &machine->loop;
    machine->control.vsock = &machine->vsock;
    machine->control.crew = &machine->crew;
    machine->vsock.look_for_offers = machine_look_for_offers;
    machine->vsock.offers_context = machine;
    return control_open(&machine->control, err);
}

/*
 * What the running guest has no use for. (The VM's own descriptor stays: with it the kernel would
 * take the interrupts' eventfds away.)
 */
static void machine_close_setup_files(struct machine *machine, const struct options *options)
{
    (void)close(options->kernel_fd);
    (void)close(options->kvm_fd);
    machine->kvm.device_fd = -1;
}

static int machine_add_memory(struct machine *machine, const struct options *options,
                              struct error *err)
{
    int created =
        options->share_fd < 0
            ? memory_create(&machine->memory, options->memory, arch_layout.ram_low_limit,
                            arch_layout.ram_high_start, err)
            : memory_create_shared(&machine->memory, options->memory, arch_layout.ram_low_limit,
                                   arch_layout.ram_high_start, err);
    return created < 0 ? -1 : kvm_set_memory(&machine->kvm, &machine->memory, err);
}

int machine_build(struct machine *machine, const struct options *options, struct error *err)
{
    uint64_t entry = 0;
    machine->cpu_count = (unsigned)options->cpus;
    if (seccomp_enter(SECCOMP_STARTUP, err) < 0 || loop_create(&machine->loop, err) < 0 ||
        kvm_create(&machine->kvm, options->kvm_fd, err) < 0 ||
        arch_prepare_vm(&machine->kvm, err) < 0)
        return -1;
    if (machine_add_memory(machine, options, err) < 0)
        return -1;
    if (console_create(&machine->console, &machine->loop, options->console_fd, err) < 0 ||
        arch_ports_create(&machine->bus.ports, &machine->kvm,
                          options->console_fd >= 0 ? &machine->console : NULL, err) < 0)
        return -1;
    if (machine_add_devices(machine, options, err) < 0 ||
        machine_load(machine, options, &entry, err) < 0 ||
        machine_add_cpus(machine, entry, err) < 0)
        return -1;
    machine_close_setup_files(machine, options);
    return machine_start_threads(machine, err);
}

static uint64_t machine_exits(const struct machine *machine)
{
    uint64_t exits = 0;
    for (unsigned i = 0; i < machine->cpu_count; i++)
        exits += atomic_load(&machine->vcpus[i].exits);
    return exits;
}

/* What the guest may be waiting for. */
static void machine_describe_devices(const struct machine *machine, struct vcpu_end *end)
{
    size_t used = strlen(end->text);
    for (size_t i = 0; i < machine->bus.device_count && used + 2 < sizeof end->text; i++) {
        memcpy(end->text + used, "; ", 3);
        used += 2;
        int length = virtio_device_describe(machine->bus.devices[i], end->text + used,
                                            sizeof end->text - used);
        used += length > 0 ? (size_t)length : 0;
    }
}

/* The guest is at rest: hand over what it still said, wait for slow readers, then tell. */
static void machine_finish(struct machine *machine)
{
    struct error err;
    struct vcpu_end *end = &machine->crew.end;
    crew_stop(&machine->crew);
    machine_disk_failed(machine, 0); /* by what the guest did last */
    console_flush(&machine->console);
    for (size_t i = 0; i < machine->net_count; i++)
        net_finish(&machine->nets[i]);
    if (end->kind == MACHINE_END_STALLED)
        machine_describe_devices(machine, end);
    /* hybrid has the last word: once it is gone, or has given up, nobody waits for the guest's
     * bytes. */
    bool waited_for = end->kind != MACHINE_END_MONITOR && end->kind != MACHINE_END_STALLED;
    while (waited_for && vsock_finish(&machine->vsock)) {
        if (machine->control.fd < 0 && machine->control.source.ready)
            break;
        if (loop_turn(&machine->loop, -1, &err) < 0)
            break;
    }
    struct machine_message message = { .type = MACHINE_ENDED,
                                       .end = end->kind,
                                       .exits = machine_exits(machine) };
    control_send(&machine->control, &message, end->text);
}

int machine_run(struct machine *machine)
{
    struct error err;
    const struct jail_extras *jail = &machine->jail;
    struct machine_message running = {
        .type = MACHINE_RUNNING,
        .flags = (jail->user_namespace ? (uint32_t)MACHINE_JAIL_USER_NAMESPACE : 0) |
                 (uint32_t)jail->landlock << MACHINE_JAIL_LANDLOCK_SHIFT,
    };
    if (seccomp_enter(SECCOMP_LOOP, &err) < 0) {
        struct vcpu_end end = { .kind = MACHINE_END_SETUP };
        (void)snprintf(end.text, sizeof end.text, "%.1000s", err.message);
        crew_end(&machine->crew, &end);
    } else {
        control_send(&machine->control, &running, "");
        crew_run(&machine->crew);
    }
    while (!machine->ended) {
        if (loop_turn(&machine->loop, -1, &err) < 0) {
            struct vcpu_end end = { .kind = MACHINE_END_MONITOR };
            (void)snprintf(end.text, sizeof end.text, "%.1000s", err.message);
            crew_end(&machine->crew, &end);
            break;
        }
    }
    machine_finish(machine);
    return machine->crew.end.kind == MACHINE_END_RESET ? 0 : 1;
}
