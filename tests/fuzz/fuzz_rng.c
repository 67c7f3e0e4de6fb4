/* link: vmm */
/* The entropy device's queue. */
#include "driver.h"

#include "vmm/virtio/rng.h"

#include <assert.h>

static struct guest guest;
static struct rng rng;

static void kick(void *context, struct input *input)
{
    (void)context;
    (void)input;
    for (int i = 0; i < 4 && virtio_device_process(&rng.device, 0); i++)
        continue;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    if (!guest.memory.region_count) {
        struct error err;
        guest_create(&guest);
        assert(rng_create(&rng, &guest.memory, &err) == 0);
    }
    fuzz_drive(&guest, &rng.device, &input, kick, NULL);
    return 0;
}
