/* link: vmm */
/* The vsock device: packets, buffers, offers, half-close, credit. */
#include "driver.h"

#include "vmm/virtio/vsock.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORTS = 4, TURNS = 3, READERS = 8 };

struct fixture {
    struct guest guest;
    struct loop loop;
    struct vsock vsock;
    int readers[READERS]; /* far ends that stay open for a while */
    unsigned next_reader;
};

static void keep(struct fixture *f, int fd)
{
    int *slot = &f->readers[f->next_reader++ % READERS];
    if (*slot >= 0)
        (void)close(*slot);
    *slot = fd;
}

/* One socket for both directions, or pipes: with bytes to read, and a reader or none. */
static void offer(struct fixture *f, uint8_t how)
{
    static const char BYTES[3000];
    struct error err;
    int pair[2], input[2] = { -1, -1 }, output[2] = { -1, -1 };
    const int flags = O_CLOEXEC | (how & 1 ? O_NONBLOCK : 0);
    uint32_t port = how >> 6;
    if (how & 2) {
        assert(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
        assert(write(pair[1], BYTES, 100) == 100);
        keep(f, pair[1]);
        (void)vsock_offer(&f->vsock, port, pair[0], fcntl(pair[0], F_DUPFD_CLOEXEC, 3), &err);
        return;
    }
    if (how & 4) {
        assert(pipe2(input, flags) == 0);
        assert(write(input[1], BYTES, sizeof BYTES) == sizeof BYTES);
        (void)close(input[1]);
    }
    if (how & 8) {
        assert(pipe2(output, flags) == 0);
        if (how & 16)
            keep(f, output[0]);
        else
            (void)close(output[0]); /* broken from the start */
    }
    (void)vsock_offer(&f->vsock, port, input[0], output[1], &err);
}

/* A packet from or a buffer of the guest, well made in what the byte does not spoil. */
static void plausible(struct fixture *f, struct input *input, uint8_t how)
{
    const uint64_t address = GUEST_BUFFERS + 0x8000;
    if (how & 1) {
        const struct guest_part buffer = { GUEST_BUFFERS + 0x4000,
                                           (uint32_t)40 + input_16(input) % 8192,
                                           VRING_DESC_F_WRITE };
        guest_add(&f->guest, VSOCK_QUEUE_RX, &buffer, 1);
        return;
    }
    uint32_t length = how & 2 ? input_16(input) % 0x4000 : 0;
    struct virtio_vsock_hdr header = {
        .src_cid = 3,
        .dst_cid = 2,
        .src_port = 1 + (how >> 7),
        .dst_port = input_8(input) % PORTS,
        .len = length,
        .type = VIRTIO_VSOCK_TYPE_STREAM,
        .op = input_8(input) % 9,
        .flags = input_8(input) % 4,
        .buf_alloc = how & 4 ? input_32(input) : 65536,
        .fwd_cnt = how & 8 ? input_32(input) : 0,
    };
    memcpy(guest_at(&f->guest, address), &header, sizeof header);
    const struct guest_part part = { address, (uint32_t)sizeof header + length, 0 };
    guest_add(&f->guest, VSOCK_QUEUE_TX, &part, 1);
}

static void kick(void *context, struct input *input)
{
    struct fixture *f = context;
    struct error err;
    uint8_t what = input_8(input);
    uint64_t one = 1;
    if (what % 4 == 0)
        offer(f, input_8(input));
    else if (what % 4 == 1)
        (void)(what & 4 ? vsock_close : vsock_withdraw)(&f->vsock, input_8(input) % PORTS);
    else
        plausible(f, input, input_8(input));
    for (unsigned i = 0; i < 2; i++)
        (void)!write(f->vsock.device.doorbell_fds[i], &one, sizeof one);
    for (int i = 0; i < TURNS; i++)
        assert(loop_turn(&f->loop, 0, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fixture f;
    struct input input = { data, size };
    struct error err;
    if (!f.guest.memory.region_count) {
        (void)signal(SIGPIPE, SIG_IGN);
        guest_create(&f.guest);
    }
    for (int i = 0; i < READERS; i++)
        f.readers[i] = -1;
    assert(loop_create(&f.loop, &err) == 0);
    assert(vsock_create(&f.vsock, &f.guest.memory, &f.loop, &err) == 0);
    fuzz_drive(&f.guest, &f.vsock.device, &input, kick, &f);
    for (int i = 0; i < TURNS; i++)
        assert(loop_turn(&f.loop, 0, &err) == 0);
    (void)vsock_finish(&f.vsock);
    vsock_destroy(&f.vsock);
    loop_destroy(&f.loop);
    for (int i = 0; i < READERS; i++) {
        if (f.readers[i] >= 0)
            (void)close(f.readers[i]);
    }
    return 0;
}
