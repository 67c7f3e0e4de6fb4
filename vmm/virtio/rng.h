/* virtio entropy device (Virtual I/O Device 1.2, section 5.4): the host's getrandom(2). */
#ifndef HYBRID_VMM_VIRTIO_RNG_H
#define HYBRID_VMM_VIRTIO_RNG_H

#include "vmm/virtio/mmio.h"

struct rng {
    struct virtio_device device;
    struct queue_chain chain;
};

/* Returns 0, or -1 with err; rng_destroy is safe in both cases. */
int rng_create(struct rng *rng, const struct guest_memory *memory, struct error *err);
void rng_destroy(struct rng *rng);

#endif
