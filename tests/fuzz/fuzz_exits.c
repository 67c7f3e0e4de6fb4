/* link: vmm */
/* wrap: ioctl */
/*
 * Exits of KVM: what KVM_RUN leaves in the vCPU's page is the fuzzer's. Covers the exit table,
 * ports, serial port, bus and registers, as a vCPU's thread runs through them.
 */
#include "driver.h"

#include "vmm/arch.h"
#include "vmm/bus.h"
#include "vmm/vcpu.h"
#include "vmm/virtio/blk.h"
#include "vmm/virtio/rng.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/mman.h>
#include <unistd.h>

enum { EXITS = 64, RUN_SIZE = 3 * 4096, DISK_BYTES = 8192, FAKE_FD = 1 << 20 };

static struct {
    struct guest guest;
    struct loop loop;
    struct console console;
    struct blk disk;
    struct rng rng;
    struct bus bus;
    struct vcpu vcpu;
} machine;
static struct input *script; /* of the input in progress */

/* KVM's side of the page: what it promises holds, the rest is made up. */
static int play_exit(struct kvm_run *run)
{
    static const uint32_t REASONS[] = { KVM_EXIT_IO, KVM_EXIT_IO, KVM_EXIT_MMIO, KVM_EXIT_MMIO };
    uint8_t which = input_8(script);
    memset(run, 0, RUN_SIZE);
    run->exit_reason = which < 200 ? REASONS[which % 4] : which - 200;
    if (which == 255) {
        errno = input_8(script);
        return -1;
    }
    if (run->exit_reason == KVM_EXIT_IO) {
        run->io.direction = input_8(script) & 1;
        run->io.size = (uint8_t)(1U << input_8(script) % 3);
        run->io.port = (uint16_t)(which & 4 ? 0x3f8 + input_8(script) % 8 : input_16(script));
        run->io.count = which & 8 ? input_32(script) : input_8(script);
        run->io.data_offset = which & 16 ? input_32(script) : 4096;
        input_take(script, (uint8_t *)run + 4096, 16);
    } else if (run->exit_reason == KVM_EXIT_MMIO) {
        run->mmio.phys_addr = which & 4 ? input_64(script) : 0xd0000000 + input_16(script);
        run->mmio.len = which & 8 ? input_32(script) : 1U << input_8(script) % 4;
        run->mmio.is_write = input_8(script) & 1;
        input_take(script, run->mmio.data, sizeof run->mmio.data);
    } else {
        input_take(script, &run->hw, 64);
    }
    return 0;
}

/* The linker's name. NOLINTBEGIN(bugprone-reserved-identifier) */
int __wrap_ioctl(int fd, unsigned long request, void *argument);
int __wrap_ioctl(int fd, unsigned long request, void *argument)
{
    assert(fd == FAKE_FD);
    if (request == KVM_RUN)
        return play_exit(machine.vcpu.run);
    if (input_8(script) & 1) {
        errno = EIO;
        return -1;
    }
    if (request == KVM_TRANSLATE) {
        struct kvm_translation *translation = argument;
        translation->physical_address = input_64(script);
        translation->valid = input_8(script) & 1;
    } else if (request == KVM_GET_REGS) {
        input_take(script, argument, sizeof(struct kvm_regs));
    } else if (request == KVM_GET_SREGS) {
        input_take(script, argument, sizeof(struct kvm_sregs));
    }
    return 0;
}
/* NOLINTEND(bugprone-reserved-identifier) */

static void create(void)
{
    struct error err;
    int fd = memfd_create("disk", MFD_CLOEXEC), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert(fd >= 0 && ftruncate(fd, DISK_BYTES) == 0);
    guest_create(&machine.guest);
    assert(loop_create(&machine.loop, &err) == 0);
    assert(console_create(&machine.console, &machine.loop, null, &err) == 0);
    assert(blk_create(&machine.disk, &machine.guest.memory, &fd, 1, 512, false, "fuzz", &err) == 0);
    assert(rng_create(&machine.rng, &machine.guest.memory, &err) == 0);
    machine.bus = (struct bus){ .base = arch_layout.mmio_base,
                                .devices = { &machine.disk.device, &machine.rng.device },
                                .device_count = 2 };
    assert(arch_ports_create(&machine.bus.ports, NULL, &machine.console, &err) == 0);
    /* Beyond the page there is nothing: an overrun faults. */
    struct kvm_run *run =
        mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert(run != MAP_FAILED);
    machine.vcpu = (struct vcpu){ .fd = FAKE_FD,
                                  .run = run,
                                  .run_size = RUN_SIZE,
                                  .bus = &machine.bus,
                                  .memory = &machine.guest.memory };
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    struct vcpu_end end = { .kind = 0 };
    if (!machine.guest.memory.region_count)
        create();
    script = &input;
    enum vcpu_outcome outcome = VCPU_CONTINUE;
    for (int i = 0; i < EXITS && input.left > 0 && outcome != VCPU_ENDED; i++)
        outcome = vcpu_run(&machine.vcpu, &end);
    if (outcome == VCPU_ENDED) {
        assert(end.kind >= MACHINE_END_RESET && end.kind <= MACHINE_END_SETUP);
        assert(strnlen(end.text, sizeof end.text) < sizeof end.text && end.text[0] != '\0');
    }
    struct error err;
    assert(loop_turn(&machine.loop, 0, &err) == 0);
    return 0;
}
