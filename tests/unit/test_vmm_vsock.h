/*
 * A guest's side for the tests of the vsock device: packets, receive buffers, and one connection.
 */
#ifndef HYBRID_TEST_VMM_VSOCK_H
#define HYBRID_TEST_VMM_VSOCK_H

#include "test_vmm_guest.h"

#include "include/machine.h"
#include "vmm/virtio/vsock.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SIZE = 64,                         /* of the queues */
    BUFFER = 4096,                     /* of the guest's receive buffers */
    PACKET = GUEST_BUFFERS + 0x100000, /* where the guest makes its packets */
    PORT = 7,
    GUEST_PORT = 1234,
    HEADER = sizeof(struct virtio_vsock_hdr),
};

struct fixture {
    struct guest guest;
    struct loop loop;
    struct vsock vsock;
    struct virtio_vsock_hdr last; /* the packet that receive() took */
    char data[BUFFER];
    uint32_t received; /* bytes of data */
    int buffers;       /* posted and not taken back */
};

/* Gives the device receive buffers until `count` of them are posted. */
static void post_buffers(struct fixture *f, int count)
{
    for (; f->buffers < count; f->buffers++) {
        uint16_t slot = f->guest.next_free[VSOCK_QUEUE_RX];
        const struct guest_part part = { GUEST_BUFFERS + (uint64_t)slot * BUFFER, BUFFER,
                                         VRING_DESC_F_WRITE };
        guest_add(&f->guest, VSOCK_QUEUE_RX, &part, 1);
    }
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error err;
    (void)signal(SIGPIPE, SIG_IGN);
    guest_create(&f->guest);
    assert_int_equal(loop_create(&f->loop, &err), 0);
    assert_int_equal(vsock_create(&f->vsock, &f->guest.memory, &f->loop, &err), 0);
    guest_start(&f->guest, &f->vsock.device, SIZE);
    post_buffers(f, SIZE / 2);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    vsock_destroy(&f->vsock);
    loop_destroy(&f->loop);
    guest_destroy(&f->guest);
    free(f);
    return 0;
}

/* Notifies the device and lets the loop run until nothing more happens at once. */
static void run(struct fixture *f)
{
    struct error err;
    uint64_t one = 1;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(write(f->vsock.device.doorbell_fds[i], &one, sizeof one), sizeof one);
    for (int i = 0; i < 12; i++)
        assert_int_equal(loop_turn(&f->loop, 0, &err), 0);
}

static struct virtio_vsock_hdr header_of(uint16_t op, uint32_t length)
{
    return (struct virtio_vsock_hdr){ .src_cid = MACHINE_GUEST_CID,
                                      .dst_cid = 2,
                                      .src_port = GUEST_PORT,
                                      .dst_port = PORT,
                                      .len = length,
                                      .type = VIRTIO_VSOCK_TYPE_STREAM,
                                      .op = op,
                                      .buf_alloc = 65536 };
}

/* Sends a packet whose chain has `bytes` of payload, whatever the header says. */
static void send_raw(struct fixture *f, const struct virtio_vsock_hdr *header, uint32_t bytes)
{
    memcpy(guest_at(&f->guest, PACKET), header, HEADER);
    const struct guest_part part = { PACKET, (uint32_t)HEADER + bytes, 0 };
    guest_add(&f->guest, VSOCK_QUEUE_TX, &part, 1);
    run(f);
}

static void send_op(struct fixture *f, uint16_t op, uint32_t flags)
{
    struct virtio_vsock_hdr header = header_of(op, 0);
    header.flags = flags;
    header.fwd_cnt = f->received;
    send_raw(f, &header, 0);
}

static void send_data(struct fixture *f, const void *data, uint32_t length)
{
    struct virtio_vsock_hdr header = header_of(VIRTIO_VSOCK_OP_RW, length);
    header.fwd_cnt = f->received;
    memcpy((char *)guest_at(&f->guest, PACKET) + HEADER, data, length);
    send_raw(f, &header, length);
}

/* Takes the next packet from the device into f->last and f->data. Returns its op, 0 for none. */
static int receive(struct fixture *f)
{
    uint32_t used;
    struct vring_used *ring = guest_used_ring(&f->guest, VSOCK_QUEUE_RX);
    uint32_t head = ring->ring[f->guest.seen_used[VSOCK_QUEUE_RX] % SIZE].id;
    if (!guest_take_used(&f->guest, VSOCK_QUEUE_RX, &used))
        return 0;
    f->buffers--;
    const char *buffer = guest_at(&f->guest, GUEST_BUFFERS + (uint64_t)head * BUFFER);
    memcpy(&f->last, buffer, HEADER);
    assert_int_equal(used, HEADER + f->last.len);
    assert_true(used <= BUFFER);
    memcpy(f->data, buffer + HEADER, f->last.len);
    if (f->last.op == VIRTIO_VSOCK_OP_RW)
        f->received += f->last.len;
    return f->last.op;
}

/* Offers PORT with these ends and connects to it. */
static void connect_stream(struct fixture *f, int input, int output)
{
    struct error err;
    assert_int_equal(vsock_offer(&f->vsock, PORT, input, output, &err), 0);
    send_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_RESPONSE);
    assert_int_equal(f->last.dst_port, GUEST_PORT);
    assert_int_equal(f->last.buf_alloc, STREAM_BACKLOG);
}

static void make_pipe(int ends[2], int flags)
{
    assert_int_equal(pipe2(ends, O_CLOEXEC | flags), 0);
}

#endif
