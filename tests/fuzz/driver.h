/* A driver of one device whose every step comes from the fuzzer: registers, rings, memory, kicks.
 */
#ifndef FUZZ_DRIVER_H
#define FUZZ_DRIVER_H

#include "input.h"
#include "tests/unit/test_vmm_guest.h"

enum {
    FUZZ_QUEUE = 8,
    FUZZ_STEPS = 64,
    FUZZ_RAM_USED = GUEST_BUFFERS + 0x10000, /* what steps may touch, cleared before each input */
};

enum fuzz_step {
    STEP_START,  /* reset and bring it up properly */
    STEP_WRITE,  /* a register: any offset, width, value */
    STEP_READ,   /* likewise */
    STEP_POKE,   /* bytes anywhere in the rings or buffers */
    STEP_CHAIN,  /* a chain whose parts lie near the buffers, or anywhere */
    STEP_DEVICE, /* the device is kicked; what else happens is the harness's */
    STEP_KINDS,
};

static inline void fuzz_register(struct guest *guest, struct input *input, bool write)
{
    uint16_t offset = input_16(input) % VIRTIO_MMIO_SIZE;
    uint32_t width = 1U << input_8(input) % 4;
    uint64_t value = 0;
    if (offset + width > VIRTIO_MMIO_SIZE)
        return;
    if (write) {
        value = input_64(input);
        virtio_mmio_write(guest->device, offset, &value, width);
    } else {
        virtio_mmio_read(guest->device, offset, &value, width);
    }
}

static inline void fuzz_poke(struct guest *guest, struct input *input)
{
    uint32_t address = input_32(input) % (FUZZ_RAM_USED - 256);
    input_take(input, guest_at(guest, address), input_8(input));
}

static inline void fuzz_chain(struct guest *guest, struct input *input, unsigned queue_count)
{
    struct guest_part parts[4];
    size_t count = 1 + input_8(input) % 4;
    unsigned queue = input_8(input) % queue_count;
    for (size_t i = 0; i < count; i++) {
        uint8_t how = input_8(input);
        parts[i] = (struct guest_part){
            .address = how & 1 ? input_64(input) : (uint64_t)GUEST_BUFFERS + input_16(input),
            .length = how & 2 ? input_32(input) : input_8(input),
            .flags = how & 4 ? VRING_DESC_F_WRITE : 0,
        };
        /* What the device will read there. */
        if (how & 8)
            input_take(input, guest_at(guest, GUEST_BUFFERS + input_16(input) % 0x8000), 64);
    }
    guest_add(guest, queue, parts, count);
}

/* Runs the steps of the input; `device` does STEP_DEVICE. */
static inline void fuzz_drive(struct guest *guest, struct virtio_device *device,
                              struct input *input, void (*kick)(void *context, struct input *input),
                              void *context)
{
    memset(guest_at(guest, 0), 0, FUZZ_RAM_USED);
    guest->device = device;
    guest->size = FUZZ_QUEUE;
    guest_set(guest, VIRTIO_MMIO_STATUS, 0);
    if (input_8(input) % 4 != 0)
        guest_start(guest, device, FUZZ_QUEUE);
    for (int step = 0; step < FUZZ_STEPS && input->left > 0; step++) {
        switch ((enum fuzz_step)(input_8(input) % STEP_KINDS)) {
        case STEP_START:
            guest_start(guest, device, FUZZ_QUEUE);
            break;
        case STEP_WRITE:
            fuzz_register(guest, input, true);
            break;
        case STEP_READ:
            fuzz_register(guest, input, false);
            break;
        case STEP_POKE:
            fuzz_poke(guest, input);
            break;
        case STEP_CHAIN:
            fuzz_chain(guest, input, device->ops->queue_count);
            break;
        default:
            kick(context, input);
            break;
        }
    }
    /* Whatever it was, a reset makes the device work again (guest_start asserts that). */
    guest_start(guest, device, FUZZ_QUEUE);
    guest_set(guest, VIRTIO_MMIO_STATUS, 0);
}

#endif
