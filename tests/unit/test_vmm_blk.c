/* The mmio transport and the block device: register sequences and requests, good and hostile. */
/* link: vmm */
#include "test_vmm_guest.h"

#include "vmm/virtio/blk.h"
#include "vmm/virtio/rng.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    FILE_A = 8192,
    FILE_B = 4096,
    DISK = FILE_A + FILE_B,
    HEADER = GUEST_BUFFERS,
    DATA = GUEST_BUFFERS + 0x1000,
    STATUS = GUEST_BUFFERS + 0x80000,
    PENDING = 0xaa, /* the status byte before the device wrote one */
};

struct fixture {
    struct guest guest;
    struct blk disk, scratch;
    int fds[2], scratch_fd;
};

/* A file of `size` bytes, sector n filled with the byte first + n. */
static int make_file(size_t size, char first, int mode)
{
    char path[] = "/tmp/test-vmm-blk-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t at = 0; at < size; at += BLK_SECTOR) {
        char sector[BLK_SECTOR];
        memset(sector, (char)(first + (char)(at / BLK_SECTOR)), sizeof sector);
        assert_int_equal(write(fd, sector, sizeof sector), sizeof sector);
    }
    int other = open(path, mode);
    assert_true(other >= 0);
    (void)close(fd);
    (void)unlink(path);
    return other;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error err;
    guest_create(&f->guest);
    f->fds[0] = make_file(FILE_A, 'A', O_RDONLY);
    f->fds[1] = make_file(FILE_B, 'a', O_RDONLY);
    f->scratch_fd = make_file(FILE_A, '0', O_RDWR);
    assert_int_equal(blk_create(&f->disk, &f->guest.memory, f->fds, 2, 4096, true, "layers", &err),
                     0);
    assert_int_equal(
        blk_create(&f->scratch, &f->guest.memory, &f->scratch_fd, 1, 512, false, "scratch", &err),
        0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    blk_destroy(&f->disk);
    blk_destroy(&f->scratch);
    (void)close(f->fds[0]);
    (void)close(f->fds[1]);
    (void)close(f->scratch_fd);
    guest_destroy(&f->guest);
    free(f);
    return 0;
}

static void write_header(struct guest *guest, uint32_t type, uint64_t sector)
{
    struct virtio_blk_outhdr header = { .type = type, .sector = sector };
    memcpy(guest_at(guest, HEADER), &header, sizeof header);
    *(uint8_t *)guest_at(guest, STATUS) = PENDING;
}

/* One request with `length` bytes of data. Returns its status byte. */
static uint8_t request(struct guest *guest, uint32_t type, uint64_t sector, uint32_t length)
{
    struct guest_part parts[3] = { { HEADER, sizeof(struct virtio_blk_outhdr), 0 } };
    size_t count = 1;
    bool to_guest = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
    write_header(guest, type, sector);
    if (length > 0)
        parts[count++] = (struct guest_part){ DATA, length, to_guest ? VRING_DESC_F_WRITE : 0 };
    parts[count++] = (struct guest_part){ STATUS, 1, VRING_DESC_F_WRITE };
    guest_add(guest, 0, parts, count);
    while (virtio_device_process(guest->device, 0))
        continue;
    return *(uint8_t *)guest_at(guest, STATUS);
}

static void test_reads(void **state)
{
    struct fixture *f = *state;
    struct guest *guest = &f->guest;
    const uint64_t last = DISK / BLK_SECTOR - 1;
    const struct {
        uint64_t sector;
        uint32_t length;
        uint8_t status;
        char first, last;
    } cases[] = {
        { 0, 512, VIRTIO_BLK_S_OK, 'A', 'A' },
        { 15, 1024, VIRTIO_BLK_S_OK, 'A' + 15, 'a' }, /* from one file into the next */
        { 0, DISK, VIRTIO_BLK_S_OK, 'A', 'a' + 7 },
        { last, 512, VIRTIO_BLK_S_OK, 'a' + 7, 'a' + 7 },
        { last, 1024, VIRTIO_BLK_S_IOERR, 0, 0 },
        { last + 1, 512, VIRTIO_BLK_S_IOERR, 0, 0 },
        { UINT64_MAX, 512, VIRTIO_BLK_S_IOERR, 0, 0 },
        { UINT64_MAX / 512, 1024, VIRTIO_BLK_S_IOERR, 0, 0 },
        { 1ULL << 55, 512, VIRTIO_BLK_S_IOERR, 0, 0 },
        { 0, 511, VIRTIO_BLK_S_IOERR, 0, 0 },
        { 0, 513, VIRTIO_BLK_S_IOERR, 0, 0 },
        { 0, DISK + 512, VIRTIO_BLK_S_IOERR, 0, 0 },
    };
    guest_start(guest, &f->disk.device, 16);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *data = guest_at(guest, DATA);
        uint32_t used = 0;
        memset(data, 0, cases[i].length);
        assert_int_equal(request(guest, VIRTIO_BLK_T_IN, cases[i].sector, cases[i].length),
                         cases[i].status);
        assert_int_equal(data[0], cases[i].first);
        assert_int_equal(data[cases[i].length - 1], cases[i].last);
        assert_true(guest_take_used(guest, 0, &used));
        assert_int_equal(used, cases[i].status ? 1 : cases[i].length + 1);
    }
    assert_false(guest_needs_reset(guest));
}

static void test_read_only(void **state)
{
    struct fixture *f = *state;
    guest_start(&f->guest, &f->disk.device, 16);
    assert_int_equal(request(&f->guest, VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(&f->guest, VIRTIO_BLK_T_DISCARD, 0, 16), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(request(&f->guest, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
    assert_int_equal(request(&f->guest, 0x7777, 0, 512), VIRTIO_BLK_S_UNSUPP);
    assert_int_equal(request(&f->guest, VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
    assert_string_equal(guest_at(&f->guest, DATA), "layers");
    assert_int_equal(request(&f->guest, VIRTIO_BLK_T_GET_ID, 0, 19), VIRTIO_BLK_S_IOERR);
}

static void test_writes(void **state)
{
    struct fixture *f = *state;
    struct guest *guest = &f->guest;
    char byte;
    guest_start(guest, &f->scratch.device, 16);
    memset(guest_at(guest, DATA), 'W', 1024);
    assert_int_equal(request(guest, VIRTIO_BLK_T_OUT, 14, 1024), VIRTIO_BLK_S_OK);
    assert_int_equal(pread(f->scratch_fd, &byte, 1, FILE_A - 1), 1);
    assert_int_equal(byte, 'W');
    assert_int_equal(request(guest, VIRTIO_BLK_T_OUT, 15, 1024), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(guest, VIRTIO_BLK_T_OUT, UINT64_MAX - 1, 1024), VIRTIO_BLK_S_IOERR);
    assert_int_equal(request(guest, VIRTIO_BLK_T_OUT, 0, 100), VIRTIO_BLK_S_IOERR);
    assert_int_equal(lseek(f->scratch_fd, 0, SEEK_END), FILE_A); /* it did not grow */
    assert_int_equal(request(guest, VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
}

static void test_discard(void **state)
{
    struct fixture *f = *state;
    struct guest *guest = &f->guest;
    const struct {
        struct virtio_blk_discard_write_zeroes range;
        uint32_t type;
        uint8_t status;
    } cases[] = {
        { { 8, 8, 0 }, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_S_OK },
        { { 0, 8, 1 }, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_S_OK },
        { { 0, 8, 1 }, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_UNSUPP },
        { { 0, 8, 2 }, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_S_UNSUPP },
        { { 0, 0, 0 }, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_IOERR },
        { { 15, 2, 0 }, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_IOERR },
        { { UINT64_MAX, 1, 0 }, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_IOERR },
        { { 0, UINT32_MAX, 0 }, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_IOERR },
    };
    guest_start(guest, &f->scratch.device, 16);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        memcpy(guest_at(guest, DATA), &cases[i].range, sizeof cases[i].range);
        assert_int_equal(request(guest, cases[i].type, 0, sizeof cases[i].range), cases[i].status);
    }
    char byte = 1;
    assert_int_equal(pread(f->scratch_fd, &byte, 1, 0), 1);
    assert_int_equal(byte, 0);
    assert_int_equal(lseek(f->scratch_fd, 0, SEEK_END), FILE_A);
}

/* A file that shrinks behind our back is an I/O error, nothing worse. */
static void test_truncated_file(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ftruncate(f->scratch_fd, 512), 0);
    guest_start(&f->guest, &f->scratch.device, 16);
    assert_int_equal(request(&f->guest, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
    assert_int_equal(request(&f->guest, VIRTIO_BLK_T_IN, 0, 1024), VIRTIO_BLK_S_IOERR);
}

/* One request cannot keep the disk's thread for longer than seg_max * size_max bytes take. */
static void test_request_size_is_bounded(void **state)
{
    struct fixture *f = *state;
    struct guest *guest = &f->guest;
    struct virtio_blk_config config;
    const uint32_t piece = 2 << 20;
    const off_t large = 32 << 20;
    assert_int_equal(ftruncate(f->scratch_fd, large), 0);
    blk_destroy(&f->scratch);
    struct error err;
    assert_int_equal(
        blk_create(&f->scratch, &guest->memory, &f->scratch_fd, 1, 512, false, "scratch", &err), 0);
    guest_start(guest, &f->scratch.device, 16);
    assert_true(f->scratch.device.features & 1ULL << VIRTIO_BLK_F_SIZE_MAX);
    virtio_mmio_read(guest->device, VIRTIO_MMIO_CONFIG, &config, 8);
    virtio_mmio_read(guest->device, VIRTIO_MMIO_CONFIG + 8, (char *)&config + 8, 8);
    assert_int_equal((uint64_t)config.size_max * config.seg_max, 126 * 64 * 1024);
    const struct {
        uint32_t type;
        unsigned pieces; /* of 2 MiB, all the same memory */
        uint8_t status;
    } cases[] = {
        { VIRTIO_BLK_T_IN, 3, VIRTIO_BLK_S_OK },
        { VIRTIO_BLK_T_IN, 4, VIRTIO_BLK_S_IOERR },
        { VIRTIO_BLK_T_OUT, 3, VIRTIO_BLK_S_OK },
        { VIRTIO_BLK_T_OUT, 12, VIRTIO_BLK_S_IOERR },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct guest_part parts[16] = { { HEADER, sizeof(struct virtio_blk_outhdr), 0 } };
        size_t count = 1;
        uint16_t flags = cases[i].type == VIRTIO_BLK_T_IN ? VRING_DESC_F_WRITE : 0;
        write_header(guest, cases[i].type, 0);
        for (unsigned j = 0; j < cases[i].pieces; j++)
            parts[count++] = (struct guest_part){ 0x200000, piece, flags };
        parts[count++] = (struct guest_part){ STATUS, 1, VRING_DESC_F_WRITE };
        guest_add(guest, 0, parts, count);
        while (virtio_device_process(guest->device, 0))
            continue;
        assert_int_equal(*(uint8_t *)guest_at(guest, STATUS), cases[i].status);
    }
    /* A batch ends when it has moved that much, however many requests wait. */
    for (int i = 0; i < 5; i++) {
        struct guest_part parts[] = { { HEADER, sizeof(struct virtio_blk_outhdr), 0 },
                                      { 0x200000, piece, VRING_DESC_F_WRITE },
                                      { 0x200000, piece, VRING_DESC_F_WRITE },
                                      { STATUS, 1, VRING_DESC_F_WRITE } };
        write_header(guest, VIRTIO_BLK_T_IN, 0);
        guest->next_free[0] = 0; /* the same chain five times */
        guest_add(guest, 0, parts, 4);
    }
    uint16_t before = guest_used_ring(guest, 0)->idx;
    assert_true(virtio_device_process(guest->device, 0));
    assert_in_range((uint16_t)(guest_used_ring(guest, 0)->idx - before), 1, 3);
}

/* A device whose queue never runs empty: each batch takes a while and asks for another. */
static int busy_process(struct virtio_device *device, unsigned index)
{
    (void)index;
    atomic_fetch_add((atomic_uint *)device->context, 1);
    for (volatile int i = 0; i < 200000; i++)
        continue;
    return 1;
}

static void *busy_worker(void *argument)
{
    struct virtio_device *device = argument;
    while (virtio_device_process(device, 0))
        continue;
    return NULL;
}

/* And the device's thread waits for one register access, not until the vCPU stops reading. */
static void *register_reader(void *argument)
{
    struct guest *guest = argument;
    while (guest_get(guest, VIRTIO_MMIO_STATUS) == 0xf)
        continue;
    return NULL;
}

static void test_threads_have_their_turn(void **state)
{
    struct fixture *f = *state;
    struct guest *guest = &f->guest;
    enum { READERS = 3, BATCHES = 2000 };
    pthread_t readers[READERS];
    struct timespec start, now;
    guest_start(guest, &f->disk.device, 16);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, register_reader, guest), 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < BATCHES; i++)
        (void)virtio_device_process(guest->device, 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    assert_in_range(now.tv_sec - start.tv_sec, 0, 20);
    guest_set(guest, VIRTIO_MMIO_STATUS, 0);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_join(readers[i], NULL), 0);
}

/* A vCPU waits for its registers one batch long, not until the queue is empty. */
static void test_registers_have_their_turn(void **state)
{
    struct fixture *f = *state;
    struct guest *guest = &f->guest;
    static const struct virtio_device_ops OPS = {
        .name = "busy", .queue_count = 1, .queue_size = 16, .process = busy_process
    };
    enum { READS = 50 };
    atomic_uint batches = 0;
    struct virtio_device device = { .ops = &OPS, .context = &batches, .interrupt_fd = -1 };
    struct error err;
    pthread_t worker;
    assert_int_equal(virtio_device_create(&device, &guest->memory, &err), 0);
    guest_start(guest, &device, 16);
    assert_int_equal(pthread_create(&worker, NULL, busy_worker, &device), 0);
    while (atomic_load(&batches) == 0)
        (void)usleep(100);
    unsigned late = 0;
    for (int i = 0; i < READS; i++) {
        unsigned before = atomic_load(&batches);
        while (atomic_load(&batches) == before) /* in the middle of one */
            continue;
        before = atomic_load(&batches);
        assert_int_equal(guest_get(guest, VIRTIO_MMIO_STATUS), 0xf);
        /* The next may begin before the reader has queued, or after it had its turn. */
        late += atomic_load(&batches) - before > 2;
    }
    /* A busy machine takes the processor from a reader before it has queued, but not from most. */
    assert_in_range(late, 0, READS / 5);
    guest_set(guest, VIRTIO_MMIO_STATUS, 0); /* not live: the worker ends */
    assert_int_equal(pthread_join(worker, NULL), 0);
    virtio_device_destroy(&device);
}

/* Chains that are no request: the device stops, says so, and works again after a reset. */
/* A read of one sector, made available but not waited for. */
static void add_read(struct guest *guest, uint64_t sector)
{
    const struct guest_part parts[] = { { HEADER, sizeof(struct virtio_blk_outhdr), 0 },
                                        { DATA, 512, VRING_DESC_F_WRITE },
                                        { STATUS, 1, VRING_DESC_F_WRITE } };
    write_header(guest, VIRTIO_BLK_T_IN, sector);
    guest_add(guest, 0, parts, 3);
}

/* What is beyond the limit waits outside of the device's lock, and a reset forgets it. */
static void test_limits(void **state)
{
    struct fixture *f = *state;
    struct guest *guest = &f->guest;
    const volatile uint8_t *status = guest_at(guest, STATUS);
    struct rate_limiter limiter = { .read_requests.per_second = 1, .write_bytes.per_second = 1 };
    blk_limit(&f->disk, &limiter, 1);
    guest_start(guest, &f->disk.device, 16);
    for (int i = 0; i < 5; i++) /* the first file is not counted */
        assert_int_equal(request(guest, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
    const uint64_t counted = FILE_A / BLK_SECTOR;
    assert_int_equal(request(guest, VIRTIO_BLK_T_IN, counted, 512), VIRTIO_BLK_S_OK);
    add_read(guest, counted);
    for (int i = 0; i < 5; i++) {
        assert_true(virtio_device_process(guest->device, 0));
        assert_in_range(guest->device->wait_nanoseconds, 1, RATE_SECOND);
        assert_int_equal(*status, PENDING);
    }
    /* Nor does what the driver writes into the header meanwhile change what was counted. */
    ((struct virtio_blk_outhdr *)guest_at(guest, HEADER))->sector = 0;
    assert_true(virtio_device_process(guest->device, 0));
    assert_int_equal(*status, PENDING);
    guest_start(guest, &f->disk.device, 16); /* resets */
    assert_int_equal(request(guest, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
    add_read(guest, counted); /* the debt is still there */
    assert_true(virtio_device_process(guest->device, 0));
    assert_int_equal(*status, PENDING);
    limiter.read_requests.due = 0;
    assert_false(virtio_device_process(guest->device, 0));
    assert_int_equal(*status, VIRTIO_BLK_S_OK);
    assert_int_equal(guest->device->wait_nanoseconds, 0);
}

static void test_malformed_chains(void **state)
{
    struct fixture *f = *state;
    struct guest *guest = &f->guest;
    const struct {
        struct guest_part parts[2];
        size_t count;
    } cases[] = {
        { { { HEADER, 16, 0 } }, 1 },                                       /* no status */
        { { { HEADER, 15, 0 }, { STATUS, 1, VRING_DESC_F_WRITE } }, 2 },    /* short header */
        { { { STATUS, 17, VRING_DESC_F_WRITE } }, 1 },                      /* no header */
        { { { HEADER, 16, 0 }, { GUEST_RAM, 1, VRING_DESC_F_WRITE } }, 2 }, /* outside */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        guest_start(guest, &f->disk.device, 16);
        write_header(guest, VIRTIO_BLK_T_IN, 0);
        guest_add(guest, 0, cases[i].parts, cases[i].count);
        assert_false(virtio_device_process(guest->device, 0));
        assert_true(guest_needs_reset(guest));
        assert_int_equal(guest_get(guest, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
        uint32_t used = 0;
        assert_int_equal(request(guest, VIRTIO_BLK_T_IN, 0, 512), PENDING); /* does nothing */
        assert_false(guest_take_used(guest, 0, &used));
    }
    guest_start(guest, &f->disk.device, 16);
    assert_int_equal(request(guest, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

static void test_identity_and_config(void **state)
{
    struct fixture *f = *state;
    struct guest *guest = &f->guest;
    guest->device = &f->disk.device;
    assert_int_equal(guest_get(guest, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
    assert_int_equal(guest_get(guest, VIRTIO_MMIO_VERSION), 2);
    assert_int_equal(guest_get(guest, VIRTIO_MMIO_DEVICE_ID), 2);
    struct virtio_blk_config config;
    virtio_mmio_read(guest->device, VIRTIO_MMIO_CONFIG, &config, sizeof config);
    assert_int_equal(config.capacity, DISK / BLK_SECTOR);
    assert_true(f->disk.device.features & 1ULL << VIRTIO_BLK_F_TOPOLOGY);
    assert_int_equal(config.opt_io_size * BLK_SECTOR, 256 * 1024); /* Linux: read ahead by twice */
    uint64_t beyond = 1;
    virtio_mmio_read(guest->device, VIRTIO_MMIO_CONFIG + sizeof(struct virtio_blk_config) - 2,
                     &beyond, 8);
    virtio_mmio_read(guest->device, VIRTIO_MMIO_SIZE - 8, &beyond, 8);
    assert_int_equal(beyond, 0);
}

/* Every width at every offset, with queues live and not: nothing happens but what is defined. */
static void test_every_access(void **state)
{
    struct fixture *f = *state;
    struct guest *guest = &f->guest;
    uint8_t data[8];
    guest_start(guest, &f->disk.device, 16);
    for (uint32_t width = 1; width <= 8; width *= 2) {
        for (uint32_t offset = 0; offset <= VIRTIO_MMIO_SIZE - width; offset++) {
            virtio_mmio_read(guest->device, offset, data, width);
            memset(data, 0xff, sizeof data);
            if (offset != VIRTIO_MMIO_STATUS)
                virtio_mmio_write(guest->device, offset, data, width);
        }
    }
    assert_int_equal(guest_get(guest, VIRTIO_MMIO_STATUS), 0xf);
    assert_int_equal(request(guest, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

/* CVE-2026-5747: registers of a queue in operation do not change. */
static void test_frozen_queues(void **state)
{
    struct fixture *f = *state;
    struct guest *guest = &f->guest;
    guest_start(guest, &f->disk.device, 16);
    struct queue before = guest->device->queues[0];
    guest_set_queue(guest, 0, 128, GUEST_RAM, GUEST_RAM, GUEST_RAM);
    guest_set(guest, VIRTIO_MMIO_QUEUE_READY, 0);
    guest_set(guest, VIRTIO_MMIO_QUEUE_NUM, 65535);
    assert_memory_equal(&before, &guest->device->queues[0], sizeof before);
    assert_int_equal(guest_get(guest, VIRTIO_MMIO_QUEUE_READY), 1);
    assert_int_equal(request(guest, VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
    /* A queue that does not exist. */
    guest_set_queue(guest, 1, 16, 0x1000, 0x2000, 0x3000);
    assert_int_equal(guest_get(guest, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
    guest_set_queue(guest, 0xffffffff, 16, 0x1000, 0x2000, 0x3000);
    assert_false(virtio_device_process(guest->device, 7));
    assert_false(guest_needs_reset(guest));
}

static void test_status_transitions(void **state)
{
    struct fixture *f = *state;
    struct guest *guest = &f->guest;
    guest->device = &f->disk.device;
    guest->size = 16;
    /* Kicks and requests before anything is set up. */
    assert_false(virtio_device_process(guest->device, 0));
    /* DRIVER_OK at once. */
    guest_set(guest, VIRTIO_MMIO_STATUS, 0xf);
    assert_true(guest_needs_reset(guest));
    /* Ready before addresses: address 0 is RAM; a size was never given. */
    guest_negotiate(guest, 1ULL << VIRTIO_F_VERSION_1);
    guest_set(guest, VIRTIO_MMIO_QUEUE_SEL, 0);
    guest_set(guest, VIRTIO_MMIO_QUEUE_READY, 1);
    assert_true(guest_needs_reset(guest));
    guest_driver_ok(guest);
    assert_false(virtio_device_process(guest->device, 0));
    /* Features that were not offered, or not VERSION_1. */
    guest_negotiate(guest, 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_INDIRECT_DESC);
    assert_int_equal(guest_get(guest, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK, 0);
    guest_negotiate(guest, 0);
    assert_int_equal(guest_get(guest, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_FEATURES_OK, 0);
    guest_negotiate(guest, ~0ULL);
    guest_driver_ok(guest);
    assert_true(guest_needs_reset(guest));
    /* Bits cannot be taken back, unknown ones are not kept; FAILED stops the device. */
    guest_start(guest, &f->disk.device, 16);
    guest_set(guest, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
    assert_int_equal(guest_get(guest, VIRTIO_MMIO_STATUS), 0xf);
    guest_set(guest, VIRTIO_MMIO_STATUS, 0xffffff3f & ~(uint32_t)VIRTIO_CONFIG_S_FAILED);
    assert_int_equal(guest_get(guest, VIRTIO_MMIO_STATUS), 0xf);
    guest_set(guest, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_FAILED);
    assert_int_equal(request(guest, VIRTIO_BLK_T_IN, 0, 512), PENDING);
    /* Features after FEATURES_OK do not count. */
    guest_start(guest, &f->disk.device, 16);
    guest_set(guest, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
    guest_set(guest, VIRTIO_MMIO_DRIVER_FEATURES, 0xffffffff);
    assert_int_equal(guest->device->driver_features, 1ULL << VIRTIO_F_VERSION_1);
    guest_set(guest, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 77);
    guest_set(guest, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 77);
    assert_int_equal(guest_get(guest, VIRTIO_MMIO_DEVICE_FEATURES), 0);
}

static void test_refused_files(void **state)
{
    struct fixture *f = *state;
    struct blk blk;
    struct error err;
    int odd = make_file(512, 'x', O_RDONLY), pipes[2];
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    const struct {
        int fd;
        bool read_only;
        uint64_t alignment;
    } cases[] = {
        { f->scratch_fd, true, 512 }, /* a layer that could be written */
        { f->fds[0], false, 512 },    /* a scratch disk that cannot */
        { odd, true, 4096 },          { pipes[0], true, 512 }, { -1, true, 512 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(blk_create(&blk, &f->guest.memory, &cases[i].fd, 1, cases[i].alignment,
                                    cases[i].read_only, "x", &err),
                         -1);
        free(blk.segments);
    }
    (void)close(odd);
    (void)close(pipes[0]);
    (void)close(pipes[1]);
}

static void test_rng(void **state)
{
    struct fixture *f = *state;
    struct guest *guest = &f->guest;
    struct rng rng;
    struct error err;
    uint32_t length = 0;
    assert_int_equal(rng_create(&rng, &guest->memory, &err), 0);
    guest_start(guest, &rng.device, 8);
    const struct guest_part good = { DATA, 64, VRING_DESC_F_WRITE };
    guest_add(guest, 0, &good, 1);
    (void)virtio_device_process(guest->device, 0);
    assert_true(guest_take_used(guest, 0, &length));
    assert_int_equal(length, 64);
    const struct guest_part bad = { DATA, 64, 0 };
    guest_add(guest, 0, &bad, 1);
    (void)virtio_device_process(guest->device, 0);
    assert_true(guest_needs_reset(guest));
    rng_destroy(&rng);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_reads),
        TEST(test_read_only),
        TEST(test_writes),
        TEST(test_discard),
        TEST(test_truncated_file),
        TEST(test_request_size_is_bounded),
        TEST(test_registers_have_their_turn),
        TEST(test_threads_have_their_turn),
        TEST(test_limits),
        TEST(test_malformed_chains),
        TEST(test_identity_and_config),
        TEST(test_every_access),
        TEST(test_frozen_queues),
        TEST(test_status_transitions),
        TEST(test_refused_files),
        TEST(test_rng),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
