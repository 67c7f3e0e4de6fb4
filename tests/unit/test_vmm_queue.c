/* Guest memory and split queues: every address, index and length a hostile driver can write. */
/* link: vmm */
#include "test_vmm_guest.h"

#include "vmm/virtio/queue.h"

#define HIGH (1ULL << 32)

static void test_memory_ranges(void **state)
{
    /* Two regions: [0, 2 MiB) and [4 GiB, 4 GiB + 2 MiB). */
    enum { SIZE = 4 << 20, HALF = SIZE / 2 };
    const struct {
        uint64_t address, length;
        int inside;
    } cases[] = {
        { 0, 1, 1 },
        { 0, HALF, 1 },
        { 0, HALF + 1, 0 },
        { HALF - 1, 1, 1 },
        { HALF - 1, 2, 0 },
        { HALF, 1, 0 },
        { 0, 0, 0 },
        { HIGH, HALF, 1 },
        { HIGH - 1, 2, 0 },
        { HIGH + HALF - 8, 8, 1 },
        { HIGH + HALF - 8, 9, 0 },
        { HIGH + HALF, 1, 0 },
        { 16, UINT64_MAX, 0 },
        { 16, UINT64_MAX - 15, 0 },
        { UINT64_MAX, 1, 0 },
        { UINT64_MAX - 4, 16, 0 },
        { HIGH, UINT64_MAX - HIGH + 1, 0 },
    };
    struct guest_memory memory;
    struct error err;
    (void)state;
    assert_int_equal(memory_create(&memory, SIZE, HALF, HIGH, &err), 0);
    assert_int_equal(memory.region_count, 2);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        void *host = memory_range(&memory, cases[i].address, cases[i].length);
        assert_int_equal(host != NULL, cases[i].inside);
    }
    char data[16] = "0123456789abcdef", copy[16];
    assert_int_equal(memory_write(&memory, HALF - 8, data, 16), -1);
    assert_int_equal(memory_write(&memory, HIGH, data, 16), 0);
    assert_int_equal(memory_read(&memory, HIGH, copy, 16), 0);
    assert_memory_equal(data, copy, 16);
    memory_destroy(&memory);
}

static void test_activation(void **state)
{
    const uint64_t end = GUEST_RAM;
    const struct {
        const char *what;
        uint64_t descriptors, available, used;
        uint32_t size;
        int accepted;
    } cases[] = {
        { "good", 0x1000, 0x2000, 0x3000, 16, 1 },
        { "size 1", 0x1000, 0x2000, 0x3000, 1, 1 },
        { "largest", 0x1000, 0x2000, 0x3000, 256, 1 },
        { "size 0", 0x1000, 0x2000, 0x3000, 0, 0 },
        { "size 3", 0x1000, 0x2000, 0x3000, 3, 0 },
        { "size 512", 0x1000, 0x2000, 0x3000, 512, 0 },
        { "size 65535", 0x1000, 0x2000, 0x3000, 65535, 0 },
        { "size 65536", 0x1000, 0x2000, 0x3000, 65536, 0 },
        { "size 2^31", 0x1000, 0x2000, 0x3000, 1U << 31, 0 },
        { "descriptors misaligned", 0x1008, 0x2000, 0x3000, 16, 0 },
        { "available misaligned", 0x1000, 0x2001, 0x3000, 16, 0 },
        { "used misaligned", 0x1000, 0x2000, 0x3002, 16, 0 },
        { "descriptors outside", end, 0x2000, 0x3000, 16, 0 },
        { "descriptors straddle", end - 240, 0x2000, 0x3000, 16, 0 },
        { "descriptors at the end", end - 256, 0x2000, 0x3000, 16, 1 },
        { "available straddles", 0x1000, end - 4, 0x3000, 16, 0 },
        { "used straddles", 0x1000, 0x2000, end - 4, 16, 0 },
        { "used lacks its event field", 0x1000, 0x2000, end - 4 - 128, 16, 0 },
        { "descriptors wrap", UINT64_MAX - 15, 0x2000, 0x3000, 16, 0 },
        { "available wraps", 0x1000, UINT64_MAX - 1, 0x3000, 16, 0 },
        { "used wraps", 0x1000, 0x2000, UINT64_MAX - 3, 16, 0 },
    };
    struct guest guest;
    (void)state;
    guest_create(&guest);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct queue queue = { .memory = &guest.memory,
                               .max_size = QUEUE_MAX_SIZE,
                               .size = cases[i].size,
                               .descriptor_address = cases[i].descriptors,
                               .driver_address = cases[i].available,
                               .device_address = cases[i].used };
        int result = queue_activate(&queue);
        if ((result == 0) != cases[i].accepted)
            fail_msg("%s: %d", cases[i].what, result);
        assert_int_equal(queue.ready, cases[i].accepted);
    }
    guest_destroy(&guest);
}

static struct queue guest_plain_queue(struct guest *guest, uint16_t size)
{
    struct queue queue = { .memory = &guest->memory,
                           .max_size = QUEUE_MAX_SIZE,
                           .size = size,
                           .descriptor_address = GUEST_QUEUES,
                           .driver_address = GUEST_QUEUES + GUEST_AVAILABLE,
                           .device_address = GUEST_QUEUES + GUEST_USED };
    guest->size = size;
    guest->available[0] = guest->seen_used[0] = guest->next_free[0] = 0;
    memset(guest_at(guest, GUEST_QUEUES), 0, GUEST_QUEUE_STEP);
    assert_int_equal(queue_activate(&queue), 0);
    return queue;
}

static void test_chain(void **state)
{
    static struct queue_chain chain;
    struct guest guest;
    (void)state;
    guest_create(&guest);
    struct queue queue = guest_plain_queue(&guest, 8);
    const struct guest_part parts[] = { { GUEST_BUFFERS, 10, 0 },
                                        { GUEST_BUFFERS + 100, 20, 0 },
                                        { GUEST_BUFFERS + 200, 5, VRING_DESC_F_WRITE },
                                        { GUEST_BUFFERS + 300, 7, VRING_DESC_F_WRITE } };
    for (int round = 0; round < 70000; round++) { /* the 16-bit indices wrap */
        guest_add(&guest, 0, parts, 4);
        assert_int_equal(queue_pop(&queue, &chain), 1);
        queue_push(&queue, chain.head, 12);
        queue_publish(&queue);
        assert_int_equal(guest_used_ring(&guest, 0)->idx, (uint16_t)(round + 1));
    }
    assert_int_equal(queue_pop(&queue, &chain), 0);
    assert_int_equal(chain.readable_bytes, 30);
    assert_int_equal(chain.writable_bytes, 12);
    char data[64];
    memset(guest_at(&guest, GUEST_BUFFERS), 'a', 10);
    memset(guest_at(&guest, GUEST_BUFFERS + 100), 'b', 20);
    assert_int_equal(queue_chain_read(&chain, 8, data, 4), 0);
    assert_memory_equal(data, "aabb", 4);
    assert_int_equal(queue_chain_read(&chain, 28, data, 2), 0);
    assert_int_equal(queue_chain_read(&chain, 28, data, 3), -1);
    assert_int_equal(queue_chain_read(&chain, 31, data, 0), -1);
    assert_int_equal(queue_chain_write(&chain, 3, "wxyz", 4), 0);
    assert_memory_equal(guest_at(&guest, GUEST_BUFFERS + 203), "wx", 2);
    assert_memory_equal(guest_at(&guest, GUEST_BUFFERS + 300), "yz", 2);
    assert_int_equal(queue_chain_write(&chain, 9, "wxyz", 4), -1);
    assert_int_equal(queue_chain_write(&chain, UINT64_MAX, "wxyz", 4), -1);
    guest_destroy(&guest);
}

/* Each case corrupts one thing about a good chain of two descriptors. */
struct attack {
    const char *what;
    uint16_t available, head;
    struct vring_desc first, second;
};

static const struct attack ATTACKS[] = {
    { "available index jumps past the queue", 9, 0, { GUEST_BUFFERS, 8, 0, 0 }, { 0 } },
    { "available index jumps far", 0xffff, 0, { GUEST_BUFFERS, 8, 0, 0 }, { 0 } },
    { "head = size", 1, 8, { GUEST_BUFFERS, 8, 0, 0 }, { 0 } },
    { "head = 65535", 1, 65535, { GUEST_BUFFERS, 8, 0, 0 }, { 0 } },
    { "next = size", 1, 0, { GUEST_BUFFERS, 8, VRING_DESC_F_NEXT, 8 }, { 0 } },
    { "next = 65535", 1, 0, { GUEST_BUFFERS, 8, VRING_DESC_F_NEXT, 65535 }, { 0 } },
    { "chain of one loops", 1, 0, { GUEST_BUFFERS, 8, VRING_DESC_F_NEXT, 0 }, { 0 } },
    { "chain of two loops",
      1,
      0,
      { GUEST_BUFFERS, 8, VRING_DESC_F_NEXT, 1 },
      { GUEST_BUFFERS, 8, VRING_DESC_F_NEXT, 0 } },
    { "indirect, not offered", 1, 0, { GUEST_BUFFERS, 16, VRING_DESC_F_INDIRECT, 0 }, { 0 } },
    { "length 0", 1, 0, { GUEST_BUFFERS, 0, 0, 0 }, { 0 } },
    { "length 0xffffffff", 1, 0, { GUEST_BUFFERS, 0xffffffff, 0, 0 }, { 0 } },
    { "address outside", 1, 0, { GUEST_RAM, 8, 0, 0 }, { 0 } },
    { "straddles the end", 1, 0, { GUEST_RAM - 4, 8, 0, 0 }, { 0 } },
    { "address + length wraps", 1, 0, { UINT64_MAX - 3, 8, 0, 0 }, { 0 } },
    { "readable after writable",
      1,
      0,
      { GUEST_BUFFERS, 8, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1 },
      { GUEST_BUFFERS, 8, 0, 0 } },
};

static void test_attacks(void **state)
{
    static struct queue_chain chain;
    struct guest guest;
    (void)state;
    guest_create(&guest);
    for (size_t i = 0; i < sizeof ATTACKS / sizeof ATTACKS[0]; i++) {
        struct queue queue = guest_plain_queue(&guest, 8);
        guest_descriptors(&guest, 0)[0] = ATTACKS[i].first;
        guest_descriptors(&guest, 0)[1] = ATTACKS[i].second;
        guest_available_ring(&guest, 0)->ring[0] = ATTACKS[i].head;
        guest_available_ring(&guest, 0)->idx = ATTACKS[i].available;
        if (queue_pop(&queue, &chain) != -1)
            fail_msg("accepted: %s", ATTACKS[i].what);
    }
    guest_destroy(&guest);
}

static void test_longest_chain(void **state)
{
    static struct queue_chain chain;
    static struct guest_part parts[QUEUE_MAX_SIZE];
    struct guest guest;
    (void)state;
    guest_create(&guest);
    struct queue queue = guest_plain_queue(&guest, QUEUE_MAX_SIZE);
    for (size_t i = 0; i < QUEUE_MAX_SIZE; i++)
        parts[i] = (struct guest_part){ GUEST_BUFFERS + i, 1, 0 };
    guest_add(&guest, 0, parts, QUEUE_MAX_SIZE);
    assert_int_equal(queue_pop(&queue, &chain), 1);
    assert_int_equal(chain.readable_count, QUEUE_MAX_SIZE);
    queue_unpop(&queue, 1);
    assert_int_equal(queue_pop(&queue, &chain), 1);
    guest_destroy(&guest);
}

/* With event indices the device interrupts only when the driver's index is passed (2.7.10). */
static void test_interrupt_suppression(void **state)
{
    static struct queue_chain chain;
    const struct guest_part part = { GUEST_BUFFERS, 1, 0 };
    struct guest guest;
    (void)state;
    guest_create(&guest);
    struct queue queue = guest_plain_queue(&guest, 8);
    assert_false(queue_publish(&queue)); /* nothing new */
    guest_add(&guest, 0, &part, 1);
    assert_int_equal(queue_pop(&queue, &chain), 1);
    queue_push(&queue, 0, 0);
    assert_true(queue_publish(&queue));
    guest_available_ring(&guest, 0)->flags = VRING_AVAIL_F_NO_INTERRUPT;
    queue_push(&queue, 0, 0);
    assert_false(queue_publish(&queue));
    queue.event_index = true;
    guest_available_ring(&guest, 0)->ring[8] = 4; /* used_event: tell me of the fifth */
    queue_push(&queue, 0, 0);
    queue_push(&queue, 0, 0);
    assert_false(queue_publish(&queue));
    queue_push(&queue, 0, 0);
    assert_true(queue_publish(&queue));
    assert_false(queue_await(&queue));
    uint16_t *avail_event = (uint16_t *)(void *)&guest_used_ring(&guest, 0)->ring[8];
    assert_int_equal(*avail_event, 1);
    guest_add(&guest, 0, &part, 1);
    assert_true(queue_await(&queue));
    guest_destroy(&guest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_ranges), cmocka_unit_test(test_activation),
        cmocka_unit_test(test_chain),         cmocka_unit_test(test_attacks),
        cmocka_unit_test(test_longest_chain), cmocka_unit_test(test_interrupt_suppression),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
