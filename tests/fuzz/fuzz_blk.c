/* link: vmm */
/* The disk: its queue, requests, discards. */
#include "driver.h"

#include "vmm/virtio/blk.h"

#include <assert.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DISK_BYTES = 64 * 1024 };

static struct guest guest;
static struct blk disk;

static void create(void)
{
    struct error err;
    int fd = memfd_create("disk", MFD_CLOEXEC);
    assert(fd >= 0 && ftruncate(fd, DISK_BYTES) == 0);
    guest_create(&guest);
    assert(blk_create(&disk, &guest.memory, &fd, 1, 512, false, "fuzz", &err) == 0);
}

static void kick(void *context, struct input *input)
{
    (void)context;
    (void)input;
    for (int i = 0; i < 4 && virtio_device_process(&disk.device, 0); i++)
        continue;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    if (!guest.memory.region_count)
        create();
    fuzz_drive(&guest, &disk.device, &input, kick, NULL);
    assert(lseek(disk.segments[0].fd, 0, SEEK_END) == DISK_BYTES);
    return 0;
}
