/* vsock packets: lengths, addresses, credit, operations, floods. */
#include "cases.h"

static uint8_t payload[1 << 17];

/* A field of a REQUEST to nobody, spoiled. */
enum field { LENGTH, SOURCE_CID, TARGET_CID, TYPE, OPERATION, FLAGS };

static void spoil(struct virtio_vsock_hdr *header, enum field field, uint64_t value)
{
    switch (field) {
    case LENGTH:
        header->len = (uint32_t)value;
        break;
    case SOURCE_CID:
        header->src_cid = value;
        break;
    case TARGET_CID:
        header->dst_cid = value;
        break;
    case TYPE:
        header->type = (uint16_t)value;
        break;
    case OPERATION:
        header->op = (uint16_t)value;
        break;
    case FLAGS:
        header->flags = (uint32_t)value;
        break;
    }
}

/* a: bytes of the packet that are there, b: length it claims. The device breaks. */
static const char *cut(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_vsock_hdr *header = (struct virtio_vsock_hdr *)scratch_memory;
    CHECK(vsock_start());
    *header = packet(VIRTIO_VSOCK_OP_RW, PORT_NOBODY, (uint32_t)this_case->b);
    const struct part part = { (uint64_t)header, (uint32_t)this_case->a, 0 };
    add_chain(device, 1, 0, &part, 1);
    kick(device, 1);
    CHECK(wait_needs_reset(device));
    return NULL;
}

/* a: field, b: value. Answered by a reset of the address that was meant. */
static const char *refused(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_REQUEST, PORT_NOBODY, 0), answer;
    CHECK(vsock_start());
    spoil(&header, (enum field)this_case->a, this_case->b);
    CHECK(vsock_send(&header, NULL, 0));
    CHECK(vsock_receive(&answer, NULL, PATIENCE) == VIRTIO_VSOCK_OP_RST);
    CHECK(answer.dst_cid == GUEST_CID && answer.dst_port == GUEST_PORT);
    CHECK(answer.src_cid == header.dst_cid && answer.src_port == header.dst_port);
    CHECK(!needs_reset(device));
    return NULL;
}

/* The same, but there is nobody to answer to, or nothing to answer. */
static const char *ignored(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_REQUEST, PORT_NOBODY, 0), answer;
    CHECK(vsock_start());
    spoil(&header, (enum field)this_case->a, this_case->b);
    CHECK(vsock_send(&header, NULL, 0));
    /* An answer to the next packet only. */
    header = packet(VIRTIO_VSOCK_OP_REQUEST, PORT_NOBODY + 1, 0);
    CHECK(vsock_send(&header, NULL, 0));
    CHECK(vsock_receive(&answer, NULL, PATIENCE) == VIRTIO_VSOCK_OP_RST);
    CHECK(answer.src_port == PORT_NOBODY + 1);
    CHECK(!needs_reset(device));
    return NULL;
}

/* a: field, b: value, in a connection: it is reset, the device goes on. */
static const char *connection_reset(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_vsock_hdr header, answer;
    int op;
    CHECK(vsock_start());
    CHECK(vsock_connect(PORT_ECHO + case_number));
    header = packet(VIRTIO_VSOCK_OP_RW, PORT_ECHO + case_number, 0);
    spoil(&header, (enum field)this_case->a, this_case->b);
    CHECK(vsock_send(&header, NULL, 0));
    do
        op = vsock_receive(&answer, payload, PATIENCE);
    while (op == VIRTIO_VSOCK_OP_RW || op == VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    CHECK(op == VIRTIO_VSOCK_OP_RST);
    CHECK(!needs_reset(device));
    return NULL;
}

/* Sends until the advertised credit is used up, then once more: a reset, not more memory. */
static const char *credit_exceeded(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_vsock_hdr header, answer;
    int op = 0;
    (void)this_case;
    CHECK(vsock_start());
    CHECK(vsock_connect(PORT_SINK + case_number));
    header = packet(VIRTIO_VSOCK_OP_RW, PORT_SINK + case_number, 1 << 16);
    /* The host's pipe takes some of it; the backlog no more than 128 KiB. */
    for (int i = 0; i < 16 && op != VIRTIO_VSOCK_OP_RST; i++) {
        CHECK(vsock_send(&header, payload, 1 << 16));
        do
            op = vsock_receive(&answer, NULL, 1 << 26);
        while (op == VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    }
    CHECK(op == VIRTIO_VSOCK_OP_RST);
    CHECK(!needs_reset(device));
    return NULL;
}

/* a: what the guest says it forwarded, b: its buffer, c: bytes that an
 * endless source then sends; 0: it stops.
 */
static const char *credit_lies(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_vsock_hdr header, answer;
    uint64_t received = 0;
    CHECK(vsock_start());
    CHECK(vsock_connect(PORT_SOURCE + case_number));
    header = packet(VIRTIO_VSOCK_OP_CREDIT_UPDATE, PORT_SOURCE + case_number, 0);
    header.fwd_cnt = (uint32_t)this_case->a;
    header.buf_alloc = (uint32_t)this_case->b;
    for (int i = 0; i < 50 && received <= this_case->c; i++) {
        CHECK(vsock_send(&header, NULL, 0));
        while (received <= this_case->c &&
               vsock_receive(&answer, NULL, 1 << 20) == VIRTIO_VSOCK_OP_RW)
            received += answer.len;
    }
    CHECK(!needs_reset(device));
    /* What the request allowed may have come before. */
    CHECK(this_case->c ? received > this_case->c : received <= 1 << 17);
    return NULL;
}

/* A connected stream of which the guest takes nothing back: no buffer, no credit. */
static const char *unread_source(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_vsock_hdr header;
    (void)this_case;
    CHECK(vsock_start());
    CHECK(vsock_connect(PORT_SOURCE + case_number));
    for (int i = 0; i < 200; i++) {
        header = packet(VIRTIO_VSOCK_OP_CREDIT_REQUEST, PORT_SOURCE + case_number, 0);
        header.buf_alloc = ~0U;
        CHECK(vsock_send(&header, NULL, 0));
    }
    CHECK(!needs_reset(device));
    return NULL;
}

static const char *second_request(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_REQUEST, PORT_ECHO + case_number, 0);
    struct virtio_vsock_hdr answer;
    CHECK(vsock_start());
    CHECK(vsock_connect(PORT_ECHO + case_number));
    header.src_port += (uint32_t)this_case->a; /* from the same port, or another */
    CHECK(vsock_send(&header, NULL, 0));
    CHECK(vsock_receive(&answer, NULL, PATIENCE) == VIRTIO_VSOCK_OP_RST);
    CHECK(answer.dst_port == header.src_port);
    CHECK(!needs_reset(device));
    return NULL;
}

/* The offer was for one connection: a reset one does not come back. */
static const char *second_connection(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_vsock_hdr header, answer;
    (void)this_case;
    CHECK(vsock_start());
    CHECK(vsock_connect(PORT_ECHO + case_number));
    header = packet(VIRTIO_VSOCK_OP_RST, PORT_ECHO + case_number, 0);
    CHECK(vsock_send(&header, NULL, 0));
    header = packet(VIRTIO_VSOCK_OP_REQUEST, PORT_ECHO + case_number, 0);
    CHECK(vsock_send(&header, NULL, 0));
    CHECK(vsock_receive(&answer, NULL, PATIENCE) == VIRTIO_VSOCK_OP_RST);
    CHECK(!needs_reset(device));
    return NULL;
}

/* a: shutdown flags, then data. */
static const char *data_after_shutdown(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_vsock_hdr header, answer;
    int op;
    CHECK(vsock_start());
    CHECK(vsock_connect(PORT_ECHO + case_number));
    header = packet(VIRTIO_VSOCK_OP_SHUTDOWN, PORT_ECHO + case_number, 0);
    header.flags = (uint32_t)this_case->a;
    CHECK(vsock_send(&header, NULL, 0));
    header = packet(VIRTIO_VSOCK_OP_RW, PORT_ECHO + case_number, 10);
    CHECK(vsock_send(&header, payload, 10));
    do
        op = vsock_receive(&answer, NULL, PATIENCE);
    while (op == VIRTIO_VSOCK_OP_SHUTDOWN || op == VIRTIO_VSOCK_OP_CREDIT_UPDATE);
    CHECK(op == VIRTIO_VSOCK_OP_RST);
    CHECK(!needs_reset(device));
    return NULL;
}

/* a: bytes of the receive buffer that the answer is to go into. The device breaks. */
static const char *buffer_too_small(const struct hostile_case *this_case, struct device *device)
{
    const struct part part = { (uint64_t)scratch_memory, (uint32_t)this_case->a,
                               VRING_DESC_F_WRITE };
    struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_REQUEST, PORT_NOBODY, 0);
    CHECK(start(device));
    add_chain(device, 0, 0, &part, 1);
    CHECK(vsock_send(&header, NULL, 0));
    CHECK(wait_needs_reset(device));
    return NULL;
}

/* A buffer as large as memory, and one of 64 parts that overlap. */
static const char *buffer_huge(const struct hostile_case *this_case, struct device *device)
{
    struct part parts[QUEUE_SIZE];
    struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_REQUEST, PORT_NOBODY, 0);
    uint32_t length;
    CHECK(start(device));
    for (size_t i = 0; i < this_case->a; i++)
        parts[i] =
            (struct part){ (uint64_t)scratch_memory, sizeof scratch_memory, VRING_DESC_F_WRITE };
    add_chain(device, 0, 0, parts, this_case->a);
    CHECK(vsock_send(&header, NULL, 0));
    CHECK(wait_used(device, 0, &length));
    CHECK(length == HEADER);
    CHECK(((struct virtio_vsock_hdr *)scratch_memory)->op == VIRTIO_VSOCK_OP_RST);
    return NULL;
}

/* a: packets to nobody, in batches that fill the ring, with buffers for the answers or (b) none. */
static const char *flood(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_vsock_hdr *header = (struct virtio_vsock_hdr *)scratch_memory, answer;
    const struct part part = { (uint64_t)header, HEADER, 0 };
    const bool deaf = this_case->b;
    struct queue *transmit = &device->queues[1];
    CHECK(deaf ? start(device) : vsock_start());
    *header = packet(VIRTIO_VSOCK_OP_REQUEST, PORT_NOBODY, 0);
    uint64_t since = clock_ticks();
    for (uint64_t sent = 0; sent < this_case->a;) {
        uint16_t outstanding = (uint16_t)(transmit->rings->available.idx -
                                          *(volatile uint16_t *)&transmit->rings->used.idx);
        for (; outstanding < QUEUE_SIZE && sent < this_case->a; outstanding++, sent++)
            add_chain(device, 1, 0, &part, 1);
        kick(device, 1);
        while (!deaf && vsock_receive(&answer, NULL, 1 << 18) != 0)
            since = clock_ticks();
        if (deaf && clock_ticks() - since > 1ULL << 30)
            break; /* as it must be: the device waits for buffers */
        CHECK(clock_ticks() - since < PATIENCE);
    }
    if (deaf) /* 64 refusals are remembered, no more */
        CHECK(*(volatile uint16_t *)&transmit->rings->used.idx == 64);
    CHECK(!needs_reset(device));
    return NULL;
}

/* Half-open and half-closed connections to one port in quick succession, then a device reset. */
static const char *reset_connected(const struct hostile_case *this_case, struct device *device)
{
    struct virtio_vsock_hdr header;
    (void)this_case;
    CHECK(vsock_start());
    CHECK(vsock_connect(PORT_SINK + case_number));
    CHECK(vsock_connect(PORT_SOURCE + case_number));
    header = packet(VIRTIO_VSOCK_OP_RW, PORT_SINK + case_number, 1 << 16);
    for (int i = 0; i < 3; i++)
        CHECK(vsock_send(&header, payload, 1 << 16));
    reset(device);
    CHECK(vsock_start());
    CHECK(vsock_connect(PORT_ECHO + case_number));
    CHECK(vsock_echo(PORT_ECHO + case_number, 1000));
    return NULL;
}

static const char *event_queue(const struct hostile_case *this_case, struct device *device)
{
    const struct part part = { (uint64_t)scratch_memory, 8, VRING_DESC_F_WRITE };
    (void)this_case;
    CHECK(vsock_start());
    for (int i = 0; i < 2000; i++) {
        add_chain(device, 2, 0, &part, 1);
        kick(device, 2);
    }
    CHECK(!needs_reset(device));
    CHECK(device->queues[2].rings->used.idx == 0);
    return NULL;
}

const struct hostile_case vsock_cases[] = {
    /* CVE-2019-18960: lengths that go beyond the chain */
    { "vsock.header-43-bytes", cut, ON_VSOCK, 43, 0, 0 },
    { "vsock.header-1-byte", cut, ON_VSOCK, 1, 0, 0 },
    { "vsock.length-1-beyond", cut, ON_VSOCK, HEADER + 10, 11, 0 },
    { "vsock.length-64k-beyond", cut, ON_VSOCK, HEADER, 65536, 0 },
    { "vsock.length-max", cut, ON_VSOCK, HEADER, 0xffffffff, 0 },
    { "vsock.length-wraps-header", cut, ON_VSOCK, HEADER, 0xffffffff - HEADER + 1, 0 },
    { "vsock.to-other-cid", refused, ON_VSOCK, TARGET_CID, 7, 0 },
    { "vsock.to-cid-0", refused, ON_VSOCK, TARGET_CID, 0, 0 },
    { "vsock.to-itself", refused, ON_VSOCK, TARGET_CID, GUEST_CID, 0 },
    { "vsock.to-cid-max", refused, ON_VSOCK, TARGET_CID, ~0ULL, 0 },
    { "vsock.seqpacket", refused, ON_VSOCK, TYPE, 2, 0 },
    { "vsock.type-0", refused, ON_VSOCK, TYPE, 0, 0 },
    { "vsock.type-max", refused, ON_VSOCK, TYPE, 0xffff, 0 },
    { "vsock.port-not-offered", refused, ON_VSOCK, OPERATION, VIRTIO_VSOCK_OP_REQUEST, 0 },
    { "vsock.response-to-nothing", refused, ON_VSOCK, OPERATION, VIRTIO_VSOCK_OP_RESPONSE, 0 },
    { "vsock.data-to-nothing", refused, ON_VSOCK, OPERATION, VIRTIO_VSOCK_OP_RW, 0 },
    { "vsock.shutdown-of-nothing", refused, ON_VSOCK, OPERATION, VIRTIO_VSOCK_OP_SHUTDOWN, 0 },
    { "vsock.operation-0", refused, ON_VSOCK, OPERATION, 0, 0 },
    { "vsock.operation-8", refused, ON_VSOCK, OPERATION, 8, 0 },
    { "vsock.operation-max", refused, ON_VSOCK, OPERATION, 0xffff, 0 },
    { "vsock.from-other-cid", ignored, ON_VSOCK, SOURCE_CID, 4, 0 },
    { "vsock.from-host-cid", ignored, ON_VSOCK, SOURCE_CID, HOST_CID, 0 },
    { "vsock.from-cid-max", ignored, ON_VSOCK, SOURCE_CID, ~0ULL, 0 },
    { "vsock.reset-of-nothing", ignored, ON_VSOCK, OPERATION, VIRTIO_VSOCK_OP_RST, 0 },
    { "vsock.connected-operation-0", connection_reset, ON_VSOCK, OPERATION, 0, 0 },
    { "vsock.connected-operation-max", connection_reset, ON_VSOCK, OPERATION, 0xffff, 0 },
    { "vsock.connected-response", connection_reset, ON_VSOCK, OPERATION, VIRTIO_VSOCK_OP_RESPONSE,
      0 },
    { "vsock.connected-request", second_request, ON_VSOCK, 0, 0, 0 },
    { "vsock.port-of-another", second_request, ON_VSOCK, 1, 0, 0 },
    { "vsock.offer-used-twice", second_connection, ON_VSOCK, 0, 0, 0 },
    { "vsock.credit-exceeded", credit_exceeded, ON_VSOCK, 0, 0, 0 },
    { "vsock.credit-0", credit_lies, ON_VSOCK, 0, 0, 0 },
    { "vsock.credit-max", credit_lies, ON_VSOCK, 0, 0xffffffff, 1 << 20 },
    { "vsock.forwarded-too-much", credit_lies, ON_VSOCK, 0x80000000, 0x10000, 0 },
    { "vsock.source-unread", unread_source, ON_VSOCK, 0, 0, 0 },
    { "vsock.data-after-shutdown", data_after_shutdown, ON_VSOCK, VIRTIO_VSOCK_SHUTDOWN_SEND, 0,
      0 },
    { "vsock.shutdown-flags-max", data_after_shutdown, ON_VSOCK, 0xffffffff, 0, 0 },
    { "vsock.buffer-1-byte", buffer_too_small, ON_VSOCK, 1, 0, 0 },
    { "vsock.buffer-43-bytes", buffer_too_small, ON_VSOCK, 43, 0, 0 },
    { "vsock.buffer-1-mib", buffer_huge, ON_VSOCK, 1, 0, 0 },
    { "vsock.buffer-64-mib", buffer_huge, ON_VSOCK, QUEUE_SIZE, 0, 0 },
    { "vsock.flood-connections", flood, ON_VSOCK, 100000, 0, 0 },
    { "vsock.flood-without-buffers", flood, ON_VSOCK, 1000, 1, 0 },
    { "vsock.reset-connected", reset_connected, ON_VSOCK, 0, 0, 0 },
    { "vsock.event-queue", event_queue, ON_VSOCK, 0, 0, 0 },
    { .name = NULL },
};
