/* link: vmm */
/* The network device: its queues, frames of the guest and of the network. */
#include "driver.h"

#include "vmm/virtio/net.h"

#include <assert.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MTU = 1500 };

static struct guest guest;
static struct loop loop;
static struct net net;
static int host; /* the network's side of the socket pair that stands for the tap */

static void create(void)
{
    struct error err;
    int pair[2];
    struct net_options options = { .mtu = MTU, .mac = { 2 } };
    assert(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    host = pair[0];
    options.fd = pair[1];
    guest_create(&guest);
    assert(loop_create(&loop, &err) == 0);
    assert(net_create(&net, &guest.memory, &loop, &options, &err) == 0);
}

/* What reaches the host's kernel asks it for nothing that was not checked. */
static void take_frame(void)
{
    uint8_t bytes[sizeof(struct virtio_net_hdr_v1) + 65536 + 64];
    struct virtio_net_hdr_v1 header;
    ssize_t n = recv(host, bytes, sizeof bytes, 0);
    if (n < 0)
        return;
    assert(n >= (ssize_t)sizeof header + ETH_HLEN);
    memcpy(&header, bytes, sizeof header);
    size_t frame = (size_t)n - sizeof header;
    assert((header.flags & ~VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0);
    if (header.flags)
        assert((size_t)header.csum_start + header.csum_offset + 2 <= frame);
    if (header.gso_type == VIRTIO_NET_HDR_GSO_NONE)
        assert(header.gso_size == 0 && header.hdr_len == 0 && frame <= MTU + ETH_HLEN + 4);
    else
        assert(header.flags && header.gso_size > 0 && header.gso_size <= MTU - 40 &&
               header.hdr_len <= frame);
}

/* A frame comes from the network, of the length and with the header of the input; frames go. */
static void kick(void *context, struct input *input)
{
    uint8_t frame[256];
    struct error err;
    uint64_t one = 1;
    uint8_t how = input_8(input);
    (void)context;
    if (how & 1) {
        size_t length = how & 2 ? input_8(input) : 80;
        input_take(input, frame, length);
        (void)send(host, frame, length, 0);
    }
    /* Features as if negotiated: guest_start takes none. */
    if (how & 4)
        net.device.driver_features |= net.device.features;
    /* Limits that never hold anything up: what counts is the counting. */
    net_limit(&net, how & 8 ? &(struct net_rates){ 1 << 30, 1 << 30, 1 << 30, 1 << 30 }
                            : &(struct net_rates){ 0 });
    for (unsigned i = 0; i < NET_QUEUES; i++)
        (void)!write(net.device.doorbell_fds[i], &one, sizeof one);
    for (int i = 0; i < 3; i++) {
        assert(loop_turn(&loop, 0, &err) == 0);
        take_frame();
    }
}

/* An empty datagram means an end to the device, which only this socket has: it goes on after it. */
static void settle(void)
{
    uint8_t bytes[256];
    struct error err;
    while (recv(net.options.fd, bytes, sizeof bytes, 0) >= 0)
        continue;
    while (recv(host, bytes, sizeof bytes, 0) >= 0)
        continue;
    net.gone = false;
    for (int i = 0; i < 3; i++)
        assert(loop_turn(&loop, 0, &err) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    if (!guest.memory.region_count)
        create();
    fuzz_drive(&guest, &net.device, &input, kick, NULL);
    settle();
    return 0;
}
