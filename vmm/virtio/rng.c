#include "vmm/virtio/rng.h"

#include "error.h"

#include <linux/virtio_ids.h>
#include <sys/random.h>

enum {
    RNG_QUEUE_SIZE = 8,
    RNG_BATCH = 8,
    RNG_MAX_BYTES = 256, /* a request: getrandom neither blocks nor is cut short up to here */
};

static int rng_process(struct virtio_device *device, unsigned index)
{
    struct rng *rng = (struct rng *)device->context;
    struct queue *queue = &device->queues[index];
    int outcome = 0;
    for (int served = 0; served < RNG_BATCH; served++) {
        outcome = queue_pop(queue, &rng->chain);
        if (outcome == 0 && !queue_await(queue))
            break;
        if (outcome < 0)
            break;
        if (outcome == 0)
            continue;
        uint8_t bytes[RNG_MAX_BYTES];
        uint64_t length = rng->chain.writable_bytes;
        if (length > sizeof bytes)
            length = sizeof bytes;
        if (rng->chain.readable_count > 0 || length == 0) {
            outcome = -1;
            break;
        }
        ssize_t n = getrandom(bytes, (size_t)length, 0);
        (void)queue_chain_write(&rng->chain, 0, bytes, n > 0 ? (size_t)n : 0);
        queue_push(queue, rng->chain.head, n > 0 ? (uint32_t)n : 0);
    }
    virtio_device_publish(device, queue);
    return outcome;
}

static const struct virtio_device_ops RNG_OPS = {
    .name = "rng",
    .device_id = VIRTIO_ID_RNG,
    .queue_count = 1,
    .queue_size = RNG_QUEUE_SIZE,
    .process = rng_process,
};

int rng_create(struct rng *rng, const struct guest_memory *memory, struct error *err)
{
    *rng = (struct rng){ .device = { .ops = &RNG_OPS, .context = rng, .interrupt_fd = -1 } };
    return virtio_device_create(&rng->device, memory, err);
}

void rng_destroy(struct rng *rng)
{
    virtio_device_destroy(&rng->device);
}
