/* The vsock device: connections, bytes, credit and half-close, and what a hostile guest tries. */
/* link: vmm */
#include "test_vmm_vsock.h"

#include <signal.h>

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    struct error err;
    int pipes[2];
    send_op(f, VIRTIO_VSOCK_OP_REQUEST, 0); /* nothing is offered */
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_RST);
    assert_int_equal(f->last.src_port, PORT);
    assert_int_equal(f->last.dst_port, GUEST_PORT);
    make_pipe(pipes, 0);
    assert_int_equal(vsock_offer(&f->vsock, PORT, pipes[0], -1, &err), 0);
    assert_int_equal(vsock_offer(&f->vsock, PORT, -1, -1, &err), -1); /* offered already */
    assert_int_equal(vsock_withdraw(&f->vsock, PORT), 0);
    assert_int_equal(vsock_withdraw(&f->vsock, PORT), -1);
    send_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_RST);
    (void)close(pipes[1]);
    make_pipe(pipes, 0);
    connect_stream(f, pipes[0], -1);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_SHUTDOWN); /* no output: we receive nothing */
    assert_int_equal(f->last.flags, VIRTIO_VSOCK_SHUTDOWN_RCV);
    struct virtio_vsock_hdr again = header_of(VIRTIO_VSOCK_OP_REQUEST, 0);
    again.src_port = GUEST_PORT + 1; /* one-shot: a second connection */
    send_raw(f, &again, 0);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_RST);
    assert_int_equal(f->last.dst_port, GUEST_PORT + 1);
    (void)close(pipes[1]);
}

static void test_bytes_both_ways(void **state)
{
    struct fixture *f = *state;
    int to[2], from[2];
    char data[64];
    make_pipe(to, 0);
    make_pipe(from, 0);
    connect_stream(f, to[0], from[1]);
    assert_int_equal(write(to[1], "to the guest", 12), 12);
    run(f);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_RW);
    assert_int_equal(f->last.len, 12);
    assert_memory_equal(f->data, "to the guest", 12);
    send_data(f, "from the guest", 14);
    assert_int_equal(read(from[0], data, sizeof data), 14);
    assert_memory_equal(data, "from the guest", 14);
    /* End of the input is a half-close: the other direction goes on. */
    (void)close(to[1]);
    run(f);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_SHUTDOWN);
    assert_int_equal(f->last.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
    send_data(f, "more", 4);
    assert_int_equal(read(from[0], data, sizeof data), 4);
    /* And that of the guest closes the output. */
    send_op(f, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
    assert_int_equal(read(from[0], data, sizeof data), 0);
    send_op(f, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_RST);
    assert_int_equal(f->vsock.stream_count, 0);
    (void)close(from[0]);
}

static void test_socket_half_close(void **state)
{
    struct fixture *f = *state;
    int pair[2];
    char data[16];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    connect_stream(f, pair[0], fcntl(pair[0], F_DUPFD_CLOEXEC, 3));
    send_op(f, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
    assert_int_equal(read(pair[1], data, sizeof data), 0);
    assert_int_equal(write(pair[1], "still", 5), 5);
    run(f);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_RW);
    assert_int_equal(f->last.len, 5);
    (void)close(pair[1]);
    run(f);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_SHUTDOWN);
}

/* To the guest: never more than its credit, and everything in order across many packets. */
static void test_credit_to_guest(void **state)
{
    enum { TOTAL = 1 << 20 };
    struct fixture *f = *state;
    int to[2];
    uint32_t written = 0, confirmed = 0, expected = 0;
    bool ended = false;
    make_pipe(to, O_NONBLOCK);
    connect_stream(f, to[0], -1);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_SHUTDOWN);
    for (int round = 0; round < 4000 && !ended; round++) {
        while (written < TOTAL) {
            uint32_t word = written;
            if (write(to[1], &word, sizeof word) != (ssize_t)sizeof word)
                break;
            written += sizeof word;
        }
        if (written == TOTAL && to[1] >= 0) {
            (void)close(to[1]);
            to[1] = -1;
        }
        post_buffers(f, SIZE / 2);
        run(f);
        for (int op; (op = receive(f)) != 0;) {
            ended |= op == VIRTIO_VSOCK_OP_SHUTDOWN;
            for (uint32_t i = 0; op == VIRTIO_VSOCK_OP_RW && i < f->last.len; i++, expected++) {
                uint32_t word = expected & ~3U;
                assert_int_equal(((uint8_t *)f->data)[i], ((uint8_t *)&word)[expected & 3]);
            }
        }
        assert_true(f->received - confirmed <= 65536); /* never beyond what the guest allowed */
        send_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
        confirmed = f->received;
    }
    assert_true(ended);
    assert_int_equal(f->received, TOTAL);
}

static void test_no_credit_no_bytes(void **state)
{
    struct fixture *f = *state;
    static char block[65536];
    int to[2];
    make_pipe(to, O_NONBLOCK);
    assert_int_equal(fcntl(to[1], F_SETPIPE_SZ, 1 << 20), 1 << 20);
    connect_stream(f, to[0], -1);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_SHUTDOWN);
    for (int i = 0; i < 8; i++)
        assert_int_equal(write(to[1], block, sizeof block), sizeof block);
    uint32_t received = 0;
    for (int i = 0; i < 100; i++) {
        post_buffers(f, SIZE / 2);
        run(f);
        while (receive(f) == VIRTIO_VSOCK_OP_RW)
            received = f->received;
    }
    assert_int_equal(received, 65536); /* buf_alloc, with nothing forwarded yet */
    /* A guest that claims to have forwarded more than it got has no credit at all. */
    f->received = 1U << 31;
    send_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
    assert_int_equal(receive(f), 0);
    /* And the truth opens it again. */
    f->received = received;
    send_op(f, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_RW);
    (void)close(to[1]);
}

/* A guest that does not let go of what its process has written is not heard any more. */
static void test_close(void **state)
{
    struct fixture *f = *state;
    struct error err;
    static char block[32768];
    int pipes[2];
    size_t total = 0;
    assert_int_equal(vsock_close(&f->vsock, PORT), -1);
    make_pipe(pipes, 0);
    assert_int_equal(vsock_offer(&f->vsock, PORT, -1, pipes[1], &err), 0);
    assert_int_equal(vsock_close(&f->vsock, PORT), 0); /* nobody had taken it up */
    assert_int_equal(read(pipes[0], block, sizeof block), 0);
    (void)close(pipes[0]);
    make_pipe(pipes, 0);
    connect_stream(f, -1, pipes[1]);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_SHUTDOWN);
    for (int i = 0; i < 4; i++) /* more than the pipe takes */
        send_data(f, block, sizeof block);
    assert_int_equal(vsock_withdraw(&f->vsock, PORT), -1);
    assert_int_equal(vsock_close(&f->vsock, PORT), 0);
    assert_int_equal(vsock_close(&f->vsock, PORT), -1);
    send_data(f, "more", 4);
    while (receive(f) == VIRTIO_VSOCK_OP_CREDIT_UPDATE)
        continue;
    assert_int_equal(f->last.op, VIRTIO_VSOCK_OP_RST);
    for (ssize_t n; (n = read(pipes[0], block, sizeof block)) > 0; run(f))
        total += (size_t)n;
    assert_int_equal(total, 4 * sizeof block);
    assert_int_equal(f->vsock.stream_count, 0);
    (void)close(pipes[0]);
}

/* One that sends no more keeps neither its place nor its input, whether it lets go or not. */
static void test_close_of_a_silent_one(void **state)
{
    struct fixture *f = *state;
    int to[2], from[2];
    make_pipe(to, 0);
    make_pipe(from, 0);
    connect_stream(f, to[0], from[1]);
    send_op(f, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND);
    assert_int_equal(vsock_close(&f->vsock, PORT), 0);
    assert_int_equal(f->vsock.stream_count, 0);
    assert_int_equal(write(to[1], "x", 1), -1);
    assert_int_equal(errno, EPIPE);
    send_op(f, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_RCV);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_RST);
    assert_int_equal(receive(f), 0);
    (void)close(to[1]);
    (void)close(from[0]);
}

/* The guest waits for the answer to its close, and has no buffer for it, until later. */
static void test_close_without_buffers(void **state)
{
    struct fixture *f = *state;
    int pipes[2];
    make_pipe(pipes, 0);
    connect_stream(f, -1, pipes[1]);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_SHUTDOWN);
    while (f->buffers > 0) {
        send_op(f, VIRTIO_VSOCK_OP_CREDIT_REQUEST, 0);
        assert_int_equal(receive(f), VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    }
    send_op(f, VIRTIO_VSOCK_OP_SHUTDOWN, VIRTIO_VSOCK_SHUTDOWN_SEND | VIRTIO_VSOCK_SHUTDOWN_RCV);
    assert_int_equal(f->vsock.stream_count, 1);
    assert_int_equal(vsock_close(&f->vsock, PORT), 0);
    assert_int_equal(f->vsock.stream_count, 0);
    post_buffers(f, 1);
    run(f);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_RST);
    assert_int_equal(f->last.src_port, PORT);
    assert_int_equal(f->last.dst_port, GUEST_PORT);
    (void)close(pipes[0]);
}

/* From the guest: what the host's reader does not take is bounded by our credit, and not lost. */
static void test_backlog(void **state)
{
    struct fixture *f = *state;
    static char block[32768], seen[32768];
    int from[2];
    uint64_t total = 0, sent = 0;
    make_pipe(from, 0);
    connect_stream(f, -1, from[1]);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_SHUTDOWN);
    /* The pipe takes 64 KiB, the backlog 128 KiB. */
    for (int i = 0; i < 6; i++) {
        memset(block, 'a' + i, sizeof block);
        send_data(f, block, sizeof block);
        sent += sizeof block;
    }
    assert_int_equal(f->vsock.stream_count, 1);
    /* The guest closes; its last bytes are for the reader nevertheless. */
    send_op(f, VIRTIO_VSOCK_OP_SHUTDOWN, 3);
    while (receive(f) == VIRTIO_VSOCK_OP_CREDIT_UPDATE)
        continue;
    assert_int_equal(f->last.op, VIRTIO_VSOCK_OP_RST);
    assert_int_equal(f->vsock.stream_count, 1);
    for (;;) {
        ssize_t n = read(from[0], seen, sizeof seen);
        if (n <= 0)
            break;
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(seen[i], 'a' + (char)((total + (uint64_t)i) / sizeof block));
        total += (uint64_t)n;
        run(f);
    }
    assert_int_equal(total, sent);
    assert_int_equal(f->vsock.stream_count, 0);
    (void)close(from[0]);
}

/* A guest that ignores our credit loses the connection; memory stays bounded. */
static void test_credit_violation(void **state)
{
    struct fixture *f = *state;
    static char block[65536];
    int from[2];
    make_pipe(from, 0);
    connect_stream(f, -1, from[1]);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_SHUTDOWN);
    int op = 0;
    for (int i = 0; i < 8 && op != VIRTIO_VSOCK_OP_RST; i++) {
        send_data(f, block, sizeof block);
        op = receive(f);
    }
    assert_int_equal(op, VIRTIO_VSOCK_OP_RST);
    assert_false(guest_needs_reset(&f->guest));
    (void)close(from[0]);
    run(f);
    assert_int_equal(f->vsock.stream_count, 0);
}

/* The host's reader goes away: the guest's writer learns of it. */
static void test_broken_output(void **state)
{
    struct fixture *f = *state;
    int from[2], idle[2];
    make_pipe(idle, 0);
    make_pipe(from, 0);
    connect_stream(f, idle[0], from[1]);
    (void)close(from[0]);
    run(f);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_SHUTDOWN);
    assert_int_equal(f->last.flags, VIRTIO_VSOCK_SHUTDOWN_RCV);
    static char block[65536];
    for (int i = 0; i < 8; i++) /* what was on its way is swallowed, with credit for it */
        send_data(f, block, sizeof block);
    int op;
    while ((op = receive(f)) != 0)
        assert_int_equal(op, VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    assert_int_equal(f->last.fwd_cnt, 8 * sizeof block);
    (void)close(idle[1]);
}

/* /dev/null and regular files: epoll refuses them; they are always ready. */
static void test_files_without_poll(void **state)
{
    struct fixture *f = *state;
    int zero = open("/dev/null", O_RDONLY | O_CLOEXEC),
        null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    connect_stream(f, zero, null);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_SHUTDOWN);
    assert_int_equal(f->last.flags, VIRTIO_VSOCK_SHUTDOWN_SEND);
    send_data(f, "gone", 4);
    assert_int_equal(receive(f), 0);
}

static void test_hostile_packets(void **state)
{
    struct fixture *f = *state;
    const struct {
        const char *what;
        uint64_t src_cid, dst_cid;
        uint32_t length, bytes;
        uint16_t type, op;
        int answer; /* op, 0: none, -1: the device needs a reset */
    } cases[] = {
        { "data without connection", 3, 2, 4, 4, 1, VIRTIO_VSOCK_OP_RW, VIRTIO_VSOCK_OP_RST },
        { "reset without connection", 3, 2, 0, 0, 1, VIRTIO_VSOCK_OP_RST, 0 },
        { "operation 0", 3, 2, 0, 0, 1, 0, VIRTIO_VSOCK_OP_RST },
        { "operation 65535", 3, 2, 0, 0, 1, 65535, VIRTIO_VSOCK_OP_RST },
        { "a datagram", 3, 2, 0, 0, 3, VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RST },
        { "another host", 3, 99, 0, 0, 1, VIRTIO_VSOCK_OP_REQUEST, VIRTIO_VSOCK_OP_RST },
        { "another guest", 4, 2, 0, 0, 1, VIRTIO_VSOCK_OP_REQUEST, 0 },
        { "in the host's name", 2, 2, 0, 0, 1, VIRTIO_VSOCK_OP_REQUEST, 0 },
        { "length beyond the chain", 3, 2, 5, 4, 1, VIRTIO_VSOCK_OP_RW, -1 },
        { "length 0xffffffff", 3, 2, 0xffffffff, 4, 1, VIRTIO_VSOCK_OP_RW, -1 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct virtio_vsock_hdr header = header_of(cases[i].op, cases[i].length);
        header.src_cid = cases[i].src_cid;
        header.dst_cid = cases[i].dst_cid;
        header.type = cases[i].type;
        guest_start(&f->guest, &f->vsock.device, SIZE);
        f->buffers = 0;
        post_buffers(f, 8);
        send_raw(f, &header, cases[i].bytes);
        if (guest_needs_reset(&f->guest) != (cases[i].answer < 0))
            fail_msg("%s: needs reset: %d", cases[i].what, guest_needs_reset(&f->guest));
        if (cases[i].answer >= 0 && receive(f) != cases[i].answer)
            fail_msg("%s: answered with %d", cases[i].what, f->last.op);
    }
}

static void test_hostile_chains(void **state)
{
    struct fixture *f = *state;
    const struct {
        unsigned queue;
        struct guest_part part;
    } cases[] = {
        { VSOCK_QUEUE_TX, { PACKET, HEADER - 1, 0 } },
        { VSOCK_QUEUE_TX, { PACKET, HEADER, VRING_DESC_F_WRITE } },
        { VSOCK_QUEUE_RX, { GUEST_BUFFERS, BUFFER, 0 } },
        { VSOCK_QUEUE_RX, { GUEST_BUFFERS, HEADER, VRING_DESC_F_WRITE } }, /* no room for data */
        { VSOCK_QUEUE_RX, { GUEST_RAM - 1, BUFFER, VRING_DESC_F_WRITE } },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        guest_start(&f->guest, &f->vsock.device, SIZE);
        f->buffers = 0;
        guest_add(&f->guest, cases[i].queue, &cases[i].part, 1);
        send_op(f, VIRTIO_VSOCK_OP_REQUEST, 0); /* wants an answer, so that a buffer is taken */
        assert_true(guest_needs_reset(&f->guest));
    }
}

/* Connections to nowhere without end: no memory grows, and the device takes its time. */
static void test_connection_flood(void **state)
{
    struct fixture *f = *state;
    uint32_t refused = 0;
    for (uint32_t i = 0; i < 100000; i++) {
        struct virtio_vsock_hdr header = header_of(VIRTIO_VSOCK_OP_REQUEST, 0);
        header.dst_port = i + 100;
        memcpy(guest_at(&f->guest, PACKET), &header, HEADER);
        const struct guest_part part = { PACKET, HEADER, 0 };
        guest_add(&f->guest, VSOCK_QUEUE_TX, &part, 1);
        if (i % 32 == 31) {
            run(f);
            for (int op; (op = receive(f)) != 0; refused++)
                assert_int_equal(op, VIRTIO_VSOCK_OP_RST);
            post_buffers(f, SIZE / 2);
        }
    }
    assert_int_equal(refused, 100000);
    assert_int_equal(f->vsock.stream_count, 0);
    assert_int_equal(guest_used_ring(&f->guest, VSOCK_QUEUE_TX)->idx, (uint16_t)100000);
}

/* No buffers for answers: the device stops to take packets, and goes on when there are some. */
static void test_refusals_without_buffers(void **state)
{
    struct fixture *f = *state;
    guest_start(&f->guest, &f->vsock.device, QUEUE_MAX_SIZE);
    f->buffers = 0;
    for (int i = 0; i < 200; i++) {
        struct virtio_vsock_hdr header = header_of(VIRTIO_VSOCK_OP_REQUEST, 0);
        memcpy(guest_at(&f->guest, PACKET), &header, HEADER);
        const struct guest_part part = { PACKET, HEADER, 0 };
        guest_add(&f->guest, VSOCK_QUEUE_TX, &part, 1);
    }
    run(f);
    assert_int_equal(f->vsock.refusal_count, VSOCK_MAX_REFUSALS);
    assert_false(f->vsock.again.queued); /* it waits; it does not spin */
    assert_int_equal(guest_used_ring(&f->guest, VSOCK_QUEUE_TX)->idx, VSOCK_MAX_REFUSALS);
    for (int i = 0; i < 200; i++) {
        const struct guest_part part = { GUEST_BUFFERS, BUFFER, VRING_DESC_F_WRITE };
        guest_add(&f->guest, VSOCK_QUEUE_RX, &part, 1);
    }
    run(f);
    run(f);
    assert_int_equal(guest_used_ring(&f->guest, VSOCK_QUEUE_TX)->idx, 200);
    assert_int_equal(guest_used_ring(&f->guest, VSOCK_QUEUE_RX)->idx, 200);
}

/* The driver resets the device in the middle of a stream; offers survive, connections do not. */
static void test_reset_with_streams(void **state)
{
    struct fixture *f = *state;
    struct error err;
    int to[2], from[2];
    char byte;
    make_pipe(to, 0);
    make_pipe(from, 0);
    connect_stream(f, to[0], from[1]);
    assert_int_equal(vsock_offer(&f->vsock, PORT + 1, -1, -1, &err), 0);
    send_data(f, "x", 1);
    guest_set(&f->guest, VIRTIO_MMIO_STATUS, 0);
    guest_start(&f->guest, &f->vsock.device, SIZE);
    run(f);
    assert_int_equal(f->vsock.stream_count, 1);
    assert_int_equal(read(from[0], &byte, 1), 1);
    assert_int_equal(read(from[0], &byte, 1), 0);
    assert_int_equal(write(to[1], "y", 1), -1);
    (void)close(to[1]);
    (void)close(from[0]);
}

/* Which end of the machine: what the guest sent before its last instruction is still delivered. */
static void test_finish(void **state)
{
    struct fixture *f = *state;
    struct error err;
    static char block[32768];
    int from[2];
    size_t total = 0;
    make_pipe(from, 0);
    connect_stream(f, -1, from[1]);
    for (int i = 0; i < 4; i++) {
        struct virtio_vsock_hdr header = header_of(VIRTIO_VSOCK_OP_RW, sizeof block);
        memcpy(guest_at(&f->guest, PACKET), &header, HEADER);
        const struct guest_part part = { PACKET, (uint32_t)HEADER + sizeof block, 0 };
        guest_add(&f->guest, VSOCK_QUEUE_TX, &part, 1); /* without a notification */
    }
    while (vsock_finish(&f->vsock)) {
        ssize_t n = read(from[0], block, sizeof block);
        assert_true(n > 0);
        total += (size_t)n;
        assert_int_equal(loop_turn(&f->loop, 0, &err), 0);
    }
    for (ssize_t n; (n = read(from[0], block, sizeof block)) > 0;)
        total += (size_t)n;
    assert_int_equal(total, 4 * sizeof block);
    (void)close(from[0]);
}

static void test_offer_limit(void **state)
{
    struct fixture *f = *state;
    struct error err;
    for (uint32_t i = 0; i < MACHINE_MAX_STREAMS; i++)
        assert_int_equal(vsock_offer(&f->vsock, 1000 + i, -1, -1, &err), 0);
    assert_int_equal(vsock_offer(&f->vsock, 1, -1, -1, &err), -1);
}

/* A descriptor that cannot be watched counts as closed: nothing reads it on the chance. */
static void test_unwatchable_descriptors(void **state)
{
    struct fixture *f = *state;
    int ends[2];
    struct error err;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(vsock_offer(&f->vsock, PORT, ends[0], ends[1], &err), 0);
    (void)close(ends[0]); /* epoll refuses them with EBADF, as it would with a full table */
    (void)close(ends[1]);
    send_op(f, VIRTIO_VSOCK_OP_REQUEST, 0);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_RESPONSE);
    assert_int_equal(receive(f), VIRTIO_VSOCK_OP_SHUTDOWN);
    assert_int_equal(f->last.flags, VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_refusals),
        TEST(test_bytes_both_ways),
        TEST(test_socket_half_close),
        TEST(test_credit_to_guest),
        TEST(test_no_credit_no_bytes),
        TEST(test_close),
        TEST(test_close_of_a_silent_one),
        TEST(test_close_without_buffers),
        TEST(test_backlog),
        TEST(test_credit_violation),
        TEST(test_broken_output),
        TEST(test_files_without_poll),
        TEST(test_hostile_packets),
        TEST(test_hostile_chains),
        TEST(test_connection_flood),
        TEST(test_refusals_without_buffers),
        TEST(test_reset_with_streams),
        TEST(test_finish),
        TEST(test_offer_limit),
        TEST(test_unwatchable_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
