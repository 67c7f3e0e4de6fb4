/*
 * A driver that does everything at random, and a second vCPU that changes descriptors while the
 * device looks at them. Nothing is expected but that the monitor survives (under sanitizers), that
 * its memory stays where it is, and that a reset makes the device work again.
 */
/* link: vmm */
#include "test_vmm_guest.h"

#include "vmm/virtio/blk.h"
#include "vmm/virtio/vsock.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { ROUNDS = 60000, RACE_ROUNDS = 30000, DISK_BYTES = 1 << 20 };

struct fixture {
    struct guest guest;
    struct loop loop;
    struct vsock vsock;
    struct blk blk;
    int disk_fd;
    int readers[8]; /* ends of pipes that vsock streams write to */
    uint64_t random;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error err;
    (void)signal(SIGPIPE, SIG_IGN);
    f->random = 88172645463325252ULL; /* the same sequence each time */
    for (size_t i = 0; i < 8; i++)
        f->readers[i] = -1;
    guest_create(&f->guest);
    f->disk_fd = memfd_create("disk", MFD_CLOEXEC);
    assert_int_equal(ftruncate(f->disk_fd, DISK_BYTES), 0);
    assert_int_equal(loop_create(&f->loop, &err), 0);
    assert_int_equal(vsock_create(&f->vsock, &f->guest.memory, &f->loop, &err), 0);
    assert_int_equal(
        blk_create(&f->blk, &f->guest.memory, &f->disk_fd, 1, 512, false, "fuzz", &err), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(lseek(f->disk_fd, 0, SEEK_END), DISK_BYTES);
    vsock_destroy(&f->vsock);
    blk_destroy(&f->blk);
    loop_destroy(&f->loop);
    guest_destroy(&f->guest);
    (void)close(f->disk_fd);
    for (size_t i = 0; i < 8; i++) {
        if (f->readers[i] >= 0)
            (void)close(f->readers[i]);
    }
    free(f);
    return 0;
}

static uint64_t next_random(struct fixture *f)
{
    f->random ^= f->random << 13;
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return f->random;
}

/* Values near the limits are more interesting than others. */
static uint64_t interesting(struct fixture *f)
{
    static const uint64_t VALUES[] = {
        0,
        1,
        2,
        15,
        16,
        17,
        44,
        45,
        512,
        513,
        4096,
        GUEST_BUFFERS,
        GUEST_RAM - 1,
        GUEST_RAM,
        GUEST_RAM - 512,
        0x7fffffff,
        0x80000000,
        0xffffffff,
        1ULL << 32,
        UINT64_MAX,
        UINT64_MAX - 511,
    };
    uint64_t value = next_random(f);
    return value % 3 ? VALUES[value / 3 % (sizeof VALUES / sizeof VALUES[0])] : value / 3;
}

static void random_descriptor(struct fixture *f, unsigned queue)
{
    struct vring_desc *descriptor = &guest_descriptors(&f->guest, queue)[next_random(f) % 16];
    bool sane = next_random(f) % 2;
    *descriptor = (struct vring_desc){
        .addr = sane ? GUEST_BUFFERS + next_random(f) % 0x1000 : interesting(f),
        .len = (uint32_t)(sane ? 1 + next_random(f) % 600 : interesting(f)),
        .flags = (uint16_t)(next_random(f) % 8),
        .next = (uint16_t)(next_random(f) % 18),
    };
}

static void random_step(struct fixture *f, unsigned queue)
{
    struct guest *guest = &f->guest;
    uint32_t value = (uint32_t)interesting(f);
    switch (next_random(f) % 8) {
    case 0:
        virtio_mmio_write(guest->device, next_random(f) % 0x200, &value, 4);
        break;
    case 1: {
        uint64_t data = 0;
        virtio_mmio_read(guest->device, next_random(f) % VIRTIO_MMIO_SIZE, &data,
                         1U << next_random(f) % 4);
        break;
    }
    case 2: /* what the descriptors point at: headers of requests and packets */
        for (unsigned i = 0; i < 64; i += 4) {
            value = (uint32_t)(next_random(f) % 2 ? next_random(f) % 8 : interesting(f));
            memcpy(guest_at(guest, GUEST_BUFFERS + next_random(f) % 0x1000 / 4 * 4), &value, 4);
        }
        break;
    case 3:
        guest_available_ring(guest, queue)->ring[next_random(f) % 16] =
            (uint16_t)(next_random(f) % 20);
        guest_available_ring(guest, queue)->idx++;
        break;
    case 4:
        if (next_random(f) % 50 == 0)
            guest_available_ring(guest, queue)->idx = (uint16_t)interesting(f);
        break;
    default:
        random_descriptor(f, queue);
        break;
    }
}

/* A packet or a buffer as a good driver would make it, in most respects. */
static void plausible_packet(struct fixture *f)
{
    static const uint32_t FORWARDED[] = { 0, 0, 0, 100, 4096, UINT32_MAX };
    const uint64_t address = GUEST_BUFFERS + 0x2000;
    if (next_random(f) % 3 == 0) {
        const struct guest_part buffer = { GUEST_BUFFERS + 0x8000,
                                           (uint32_t)(45 + next_random(f) % 4096),
                                           VRING_DESC_F_WRITE };
        guest_add(&f->guest, VSOCK_QUEUE_RX, &buffer, 1);
        return;
    }
    uint32_t length = (uint32_t)(next_random(f) % 3 ? next_random(f) % 4096 : 0);
    uint16_t op = (uint16_t)(next_random(f) % 8 + (next_random(f) % 50 == 0));
    struct virtio_vsock_hdr header = {
        .src_cid = next_random(f) % 50 ? 3 : interesting(f),
        .dst_cid = next_random(f) % 50 ? 2 : interesting(f),
        .src_port = 1 + (uint32_t)(next_random(f) % 2),
        .dst_port = (uint32_t)(next_random(f) % 8),
        .len = length,
        .type = next_random(f) % 50 ? VIRTIO_VSOCK_TYPE_STREAM : 2,
        .op = next_random(f) % 2 ? VIRTIO_VSOCK_OP_RW : op,
        .flags = (uint32_t)(next_random(f) % 4),
        .buf_alloc = next_random(f) % 4 ? 65536 : (uint32_t)interesting(f),
        .fwd_cnt = FORWARDED[next_random(f) % 6],
    };
    memcpy(guest_at(&f->guest, address), &header, sizeof header);
    const struct guest_part part = { address, (uint32_t)sizeof header + length, 0 };
    guest_add(&f->guest, VSOCK_QUEUE_TX, &part, 1);
}

/* A disk request as a good driver would make it, in most respects. */
static void plausible_request(struct fixture *f)
{
    static const uint32_t TYPES[] = {
        VIRTIO_BLK_T_IN,
        VIRTIO_BLK_T_OUT,
        VIRTIO_BLK_T_FLUSH,
        VIRTIO_BLK_T_GET_ID,
        VIRTIO_BLK_T_DISCARD,
        VIRTIO_BLK_T_WRITE_ZEROES,
        99,
    };
    struct virtio_blk_outhdr header = {
        .type = TYPES[next_random(f) % 7],
        .sector = next_random(f) % 4 ? next_random(f) % (DISK_BYTES / 512 + 4) : interesting(f),
    };
    bool to_guest = header.type == VIRTIO_BLK_T_IN || header.type == VIRTIO_BLK_T_GET_ID;
    struct virtio_blk_discard_write_zeroes range = { .sector = header.sector,
                                                     .num_sectors = (uint32_t)interesting(f),
                                                     .flags = (uint32_t)(next_random(f) % 3) };
    memcpy(guest_at(&f->guest, GUEST_BUFFERS + 0x2000), &header, sizeof header);
    memcpy(guest_at(&f->guest, GUEST_BUFFERS + 0x4000), &range, sizeof range);
    const uint32_t lengths[] = { 512, 4096, sizeof range, 20, (uint32_t)interesting(f) };
    const struct guest_part parts[] = {
        { GUEST_BUFFERS + 0x2000, sizeof header, 0 },
        { GUEST_BUFFERS + 0x4000, lengths[next_random(f) % 5], to_guest ? VRING_DESC_F_WRITE : 0 },
        { GUEST_BUFFERS + 0x3000, 1, VRING_DESC_F_WRITE },
    };
    guest_add(&f->guest, 0, parts, 3);
}

/* Offers one of eight ports: with bytes to read, and an output that takes, or is full, or broken.
 */
static void random_offer(struct fixture *f)
{
    static const char BYTES[8000];
    struct error err;
    int input[2] = { -1, -1 }, output[2] = { -1, -1 };
    if (next_random(f) % 4) {
        assert_int_equal(pipe2(input, O_CLOEXEC | (next_random(f) % 2 ? O_NONBLOCK : 0)), 0);
        assert_int_equal(write(input[1], BYTES, sizeof BYTES), sizeof BYTES);
        (void)close(input[1]);
    }
    if (next_random(f) % 4)
        assert_int_equal(pipe2(output, O_CLOEXEC | (next_random(f) % 2 ? O_NONBLOCK : 0)), 0);
    (void)vsock_offer(&f->vsock, (uint32_t)(next_random(f) % 8), input[0], output[1], &err);
    if (output[0] < 0)
        return;
    /* A reader that never reads keeps its end until eight more were offered. */
    int *reader = &f->readers[next_random(f) % 8];
    if (*reader >= 0)
        (void)close(*reader);
    *reader = output[0];
}

static void fuzz(struct fixture *f, struct virtio_device *device)
{
    struct error err;
    uint64_t one = 1;
    guest_start(&f->guest, device, 16);
    for (int round = 0; round < ROUNDS; round++) {
        unsigned queue = (unsigned)(next_random(f) % device->ops->queue_count);
        if (next_random(f) % 32 == 0)
            random_step(f, queue);
        else if (device == &f->vsock.device)
            plausible_packet(f);
        else
            plausible_request(f);
        if (device == &f->vsock.device) {
            (void)!write(device->doorbell_fds[queue], &one, sizeof one);
            if (round % 16 == 0)
                random_offer(f);
            assert_int_equal(loop_turn(&f->loop, 0, &err), 0);
        } else {
            for (int i = 0; i < 4 && virtio_device_process(device, 0); i++)
                continue;
        }
        uint32_t status = guest_get(&f->guest, VIRTIO_MMIO_STATUS);
        if (status != 0xf || round % 5000 == 0)
            guest_start(&f->guest, device, 16);
    }
    guest_start(&f->guest, device, 16);
}

static void test_fuzz_blk(void **state)
{
    struct fixture *f = *state;
    fuzz(f, &f->blk.device);
}

static void test_fuzz_vsock(void **state)
{
    struct fixture *f = *state;
    fuzz(f, &f->vsock.device);
}

struct racer {
    struct guest *guest;
    atomic_bool stop;
};

/* The second vCPU: good values and bad ones in turn, as fast as it can. */
static void *race(void *argument)
{
    struct racer *racer = argument;
    struct vring_desc *table = guest_descriptors(racer->guest, 0);
    for (uint64_t i = 0; !atomic_load(&racer->stop); i++) {
        struct vring_desc *descriptor = &table[i % 3];
        __atomic_store_n(&descriptor->addr, i & 8 ? UINT64_MAX - 7 : GUEST_BUFFERS,
                         __ATOMIC_RELAXED);
        __atomic_store_n(&descriptor->len, i & 16 ? 0xffffffff : 16, __ATOMIC_RELAXED);
        __atomic_store_n(&descriptor->next, (uint16_t)(i & 32 ? 65535 : i % 3 + 1),
                         __ATOMIC_RELAXED);
        __atomic_store_n(&descriptor->flags, (uint16_t)(i & 7), __ATOMIC_RELAXED);
    }
    return NULL;
}

static void test_changed_between_check_and_use(void **state)
{
    struct fixture *f = *state;
    struct racer racer = { .guest = &f->guest };
    const struct guest_part parts[] = { { GUEST_BUFFERS, 16, 0 },
                                        { GUEST_BUFFERS + 512, 512, VRING_DESC_F_WRITE },
                                        { GUEST_BUFFERS + 2048, 1, VRING_DESC_F_WRITE } };
    pthread_t thread;
    guest_start(&f->guest, &f->blk.device, 16);
    assert_int_equal(pthread_create(&thread, NULL, race, &racer), 0);
    for (int i = 0; i < RACE_ROUNDS; i++) {
        f->guest.next_free[0] = 0;
        guest_add(&f->guest, 0, parts, 3);
        (void)virtio_device_process(&f->blk.device, 0);
        if (guest_needs_reset(&f->guest))
            guest_start(&f->guest, &f->blk.device, 16);
    }
    atomic_store(&racer.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_fuzz_blk),
        TEST(test_fuzz_vsock),
        TEST(test_changed_between_check_and_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
