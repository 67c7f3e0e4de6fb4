#include "driver.h"

static struct rings all_rings[PLACES][QUEUES];
uint8_t scratch_memory[1 << 20] __attribute__((aligned(4096)));

struct device devices[PLACES] = {
    [LAYERS] = { .name = "layers", .base = MMIO_BASE, .queue_count = 1, .id = 2 },
    [SCRATCH] = { .name = "scratch", .base = MMIO_BASE + 0x1000, .queue_count = 1, .id = 2 },
    [VSOCK] = { .name = "vsock", .base = MMIO_BASE + 0x2000, .queue_count = 3, .id = 19 },
    [NET] = { .name = "net", .base = MMIO_BASE + 0x3000, .queue_count = 2, .id = 1 },
    [SHARE] = { .name = "share", .base = MMIO_BASE + 0x4000, .queue_count = 2, .id = 26 },
};

uint32_t get(const struct device *device, uint32_t offset)
{
    return (uint32_t)mmio_read(device->base + offset, 4);
}

void set(const struct device *device, uint32_t offset, uint32_t value)
{
    mmio_write(device->base + offset, value, 4);
}

void reset(struct device *device)
{
    set(device, VIRTIO_MMIO_STATUS, 0);
}

bool negotiate(struct device *device, uint64_t features)
{
    reset(device);
    set(device, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    set(device, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
    for (unsigned half = 0; half < 2; half++) {
        set(device, VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
        set(device, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> (32 * half)));
    }
    set(device, VIRTIO_MMIO_STATUS, STATUS_READY);
    return get(device, VIRTIO_MMIO_STATUS) == STATUS_READY;
}

void set_queue(const struct device *device, unsigned index, uint32_t size, uint64_t descriptors,
               uint64_t available, uint64_t used)
{
    set(device, VIRTIO_MMIO_QUEUE_SEL, index);
    set(device, VIRTIO_MMIO_QUEUE_NUM, size);
    set(device, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)descriptors);
    set(device, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(descriptors >> 32));
    set(device, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)available);
    set(device, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(available >> 32));
    set(device, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)used);
    set(device, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(used >> 32));
    set(device, VIRTIO_MMIO_QUEUE_READY, 1);
}

void set_own_queue(struct device *device, unsigned index, uint16_t size)
{
    struct rings *rings = &all_rings[device - devices][index];
    memset(rings, 0, sizeof *rings);
    device->queues[index] = (struct queue){ .rings = rings, .size = size };
    set_queue(device, index, size, (uint64_t)rings->descriptors, (uint64_t)&rings->available,
              (uint64_t)&rings->used);
}

void driver_ok(const struct device *device)
{
    set(device, VIRTIO_MMIO_STATUS, STATUS_RUNNING);
}

bool start(struct device *device)
{
    return start_with(device, 0);
}

bool start_with(struct device *device, uint64_t features)
{
    if (!negotiate(device, PLAIN | features))
        return false;
    for (unsigned i = 0; i < device->queue_count; i++)
        set_own_queue(device, i, QUEUE_SIZE);
    driver_ok(device);
    return get(device, VIRTIO_MMIO_STATUS) == STATUS_RUNNING;
}

bool needs_reset(const struct device *device)
{
    return (get(device, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET) != 0;
}

bool wait_needs_reset(const struct device *device)
{
    for (uint64_t since = clock_ticks(); clock_ticks() - since < PATIENCE;) {
        if (needs_reset(device))
            return true;
        wait_ticks(1 << 16);
    }
    return needs_reset(device);
}

void kick(const struct device *device, unsigned queue)
{
    __asm__ volatile("mfence" : : : "memory");
    set(device, VIRTIO_MMIO_QUEUE_NOTIFY, queue);
}

void add_chain(struct device *device, unsigned queue, uint16_t first, const struct part *parts,
               size_t count)
{
    struct queue *q = &device->queues[queue];
    for (size_t i = 0; i < count; i++)
        q->rings->descriptors[(first + i) % q->size] = (struct vring_desc){
            .addr = parts[i].address,
            .len = parts[i].length,
            .flags = (uint16_t)(parts[i].flags | (i + 1 < count ? VRING_DESC_F_NEXT : 0)),
            .next = (uint16_t)((first + i + 1) % q->size),
        };
    volatile uint16_t *idx = &q->rings->available.idx;
    q->rings->available.ring[*idx % q->size] = first;
    __asm__ volatile("" : : : "memory");
    *idx = (uint16_t)(*idx + 1);
}

static bool take_used(struct device *device, unsigned queue, uint32_t *length, uint64_t patience)
{
    struct queue *q = &device->queues[queue];
    const volatile uint16_t *idx = &q->rings->used.idx;
    uint64_t since = clock_ticks(), left = since;
    while (*idx == q->next_used && clock_ticks() - since <= patience)
        wait_turn(&left);
    if (*idx == q->next_used)
        return false;
    *length = q->rings->used.ring[q->next_used++ % q->size].len;
    return true;
}

bool wait_used(struct device *device, unsigned queue, uint32_t *length)
{
    return take_used(device, queue, length, PATIENCE);
}

int disk_request(struct device *device, uint32_t type, uint64_t sector, const struct part *data,
                 size_t count)
{
    static struct virtio_blk_outhdr header;
    static volatile uint8_t status;
    struct part parts[QUEUE_SIZE] = { { (uint64_t)&header, sizeof header, 0 } };
    uint32_t length;
    header = (struct virtio_blk_outhdr){ .type = type, .sector = sector };
    status = 0xaa;
    for (size_t i = 0; i < count; i++)
        parts[1 + i] = data[i];
    parts[1 + count] = (struct part){ (uint64_t)&status, 1, VRING_DESC_F_WRITE };
    add_chain(device, 0, 0, parts, count + 2);
    kick(device, 0);
    return wait_used(device, 0, &length) ? status : -1;
}

int disk_read(struct device *device, uint64_t sector, void *data, uint32_t length)
{
    const struct part part = { (uint64_t)data, length, VRING_DESC_F_WRITE };
    return disk_request(device, VIRTIO_BLK_T_IN, sector, &part, 1);
}

int disk_write(struct device *device, uint64_t sector, const void *data, uint32_t length)
{
    const struct part part = { (uint64_t)data, length, 0 };
    return disk_request(device, VIRTIO_BLK_T_OUT, sector, &part, 1);
}

uint64_t disk_sectors(const struct device *device)
{
    return mmio_read(device->base + VIRTIO_MMIO_CONFIG, 8);
}

/* --- vsock ------------------------------------------------------------------------------------ */

static uint8_t rx_memory[RX_BUFFERS][RX_BYTES] __attribute__((aligned(4096)));
static uint8_t tx_memory[1 << 18] __attribute__((aligned(4096)));
static uint32_t taken; /* payload bytes of the connection, for our credit */

struct virtio_vsock_hdr packet(uint16_t op, uint32_t port, uint32_t length)
{
    return (struct virtio_vsock_hdr){ .src_cid = GUEST_CID,
                                      .dst_cid = HOST_CID,
                                      .src_port = GUEST_PORT,
                                      .dst_port = port,
                                      .len = length,
                                      .type = VIRTIO_VSOCK_TYPE_STREAM,
                                      .op = op,
                                      .buf_alloc = 1 << 17,
                                      .fwd_cnt = taken };
}

static void post_buffer(uint16_t index)
{
    const struct part part = { (uint64_t)rx_memory[index], RX_BYTES, VRING_DESC_F_WRITE };
    add_chain(&devices[VSOCK], 0, index, &part, 1);
}

bool vsock_start(void)
{
    if (!start(&devices[VSOCK]))
        return false;
    for (unsigned i = 0; i < RX_BUFFERS; i++)
        post_buffer((uint16_t)i);
    kick(&devices[VSOCK], 0);
    taken = 0;
    return true;
}

bool vsock_send(const struct virtio_vsock_hdr *header, const void *payload, uint32_t bytes)
{
    const struct part part = { (uint64_t)tx_memory, HEADER + bytes, 0 };
    uint32_t length;
    memcpy(tx_memory, header, HEADER);
    if (payload)
        memcpy(tx_memory + HEADER, payload, bytes);
    add_chain(&devices[VSOCK], 1, 0, &part, 1);
    kick(&devices[VSOCK], 1);
    return wait_used(&devices[VSOCK], 1, &length);
}

int vsock_receive(struct virtio_vsock_hdr *header, void *payload, uint64_t patience)
{
    struct device *device = &devices[VSOCK];
    struct queue *q = &device->queues[0];
    uint32_t length;
    uint16_t slot = q->next_used % q->size;
    if (!take_used(device, 0, &length, patience))
        return 0;
    uint16_t index = (uint16_t)q->rings->used.ring[slot].id;
    memcpy(header, rx_memory[index], HEADER);
    if (payload)
        memcpy(payload, rx_memory[index] + HEADER, length - HEADER);
    taken += header->op == VIRTIO_VSOCK_OP_RW ? length - HEADER : 0;
    post_buffer(index);
    kick(device, 0);
    return header->op;
}

bool vsock_connect(uint32_t port)
{
    struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_REQUEST, port, 0), answer;
    /* The host's offer may still be on its way. */
    for (uint64_t since = clock_ticks(); clock_ticks() - since < PATIENCE;) {
        taken = 0;
        header.fwd_cnt = 0;
        if (!vsock_send(&header, NULL, 0))
            return false;
        int op;
        do /* other connections may have something to say too */
            op = vsock_receive(&answer, NULL, PATIENCE);
        while (op != 0 && answer.src_port != port);
        if (op == VIRTIO_VSOCK_OP_RESPONSE)
            return true;
        if (op == 0)
            return false;
        wait_ticks(1 << 24);
    }
    return false;
}

bool vsock_echo(uint32_t port, uint32_t bytes)
{
    static uint8_t sent[RX_BYTES], received[RX_BYTES];
    struct virtio_vsock_hdr header = packet(VIRTIO_VSOCK_OP_RW, port, bytes), answer;
    for (uint32_t i = 0; i < bytes; i++)
        sent[i] = (uint8_t)(i * 7 + port);
    if (!vsock_send(&header, sent, bytes))
        return false;
    for (uint32_t have = 0; have < bytes;) {
        int op = vsock_receive(&answer, received + have, PATIENCE);
        if (op != 0 && answer.src_port != port)
            continue;
        if (op == VIRTIO_VSOCK_OP_RW)
            have += answer.len;
        else if (op != VIRTIO_VSOCK_OP_CREDIT_UPDATE)
            return false;
    }
    return memcmp(sent, received, bytes) == 0;
}

/* --- net -------------------------------------------------------------------------------------- */

const char *net_echo(uint8_t mark)
{
    enum { FRAME = NET_HEADER + 60, FIRST_BYTE = NET_HEADER + 14, ATTEMPTS = 4096 };
    static uint8_t frame[FRAME], buffers[RX_BUFFERS][2048];
    struct device *device = &devices[NET];
    const struct part part = { (uint64_t)frame, FRAME, 0 };
    uint32_t length;
    /* Frames of earlier cases have checksums to complete: each is to fill a buffer. */
    if (!start_with(device, 1ULL << VIRTIO_NET_F_GUEST_CSUM))
        return "net_echo: the device does not start";
    memset(frame, 0, sizeof frame);
    frame[FIRST_BYTE] = mark;
    /* Answers to earlier cases may come first, and until they are taken the host drops new ones. */
    for (unsigned i = 0; i < ATTEMPTS; i++) {
        uint8_t *buffer = buffers[i % RX_BUFFERS];
        const struct part room = { (uint64_t)buffer, sizeof buffers[0], VRING_DESC_F_WRITE };
        buffer[FIRST_BYTE] = (uint8_t)~mark;
        add_chain(device, 0, (uint16_t)(i % RX_BUFFERS), &room, 1);
        kick(device, 0);
        add_chain(device, 1, 0, &part, 1);
        kick(device, 1);
        if (!wait_used(device, 1, &length))
            return "net_echo: the frame is not sent";
        if (!wait_used(device, 0, &length))
            return "net_echo: no frame is received";
        if (length == FRAME && *(volatile uint8_t *)&buffer[FIRST_BYTE] == mark)
            return NULL;
    }
    return "net_echo: of all frames none comes back";
}
