/* The file system device and its vhost-user front end against a back end of our own. */
/* link: vmm */
#include "test_vmm_guest.h"

#include "vmm/virtio/fs.h"

#include "io.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    TIMEOUT = 2000, /* milliseconds for an answer; a back end that is to fail does so at once */
    QUEUE_SIZE = 64,
    MAX_LOG = 64,
    FEATURES_SUPPORTED = 30, /* bit: VHOST_USER_F_PROTOCOL_FEATURES */
};

/* How the back end misbehaves. */
enum fault {
    FAULT_NONE,
    FAULT_OLD,       /* no protocol features */
    FAULT_SILENT,    /* does not answer `when` */
    FAULT_HANG_UP,   /* closes instead of answering `when` */
    FAULT_REFUSE,    /* acknowledges `when` with an error */
    FAULT_TYPE,      /* answers another request than `when` */
    FAULT_SIZE,      /* answers `when` with a body of another size */
    FAULT_FLAGS,     /* answers `when` without the reply flag */
    FAULT_TALKATIVE, /* says something unasked after `when` */
};

struct backend {
    int fd;
    enum fault fault;
    uint32_t when;
    bool acknowledges;
    uint64_t features;
    pthread_t thread;
    /* What it was told. */
    uint32_t log[MAX_LOG];
    atomic_uint logged, rings_started, rings_stopped;
    uint64_t chosen_features;
    struct {
        uint64_t size, descriptors, used, available;
        int kick, call;
    } rings[FS_QUEUES];
    void *memory; /* region 0, mapped */
    uint64_t regions, region_size, user_address;
};

struct fixture {
    struct guest guest;
    struct backend backend;
    struct fs fs;
    pthread_t server;
    bool served;
    int doorbells;
};

struct head {
    uint32_t request, flags, size;
};

static bool answer(const struct backend *backend, uint32_t request, const void *body, uint32_t size)
{
    struct head head = { request, 5, size };
    bool now = backend->when == request;
    if (now && backend->fault == FAULT_HANG_UP)
        return false;
    if (now && backend->fault == FAULT_SILENT)
        return true;
    if (now && backend->fault == FAULT_TYPE)
        head.request = 99;
    if (now && backend->fault == FAULT_SIZE)
        head.size = 1u << 30;
    if (now && backend->fault == FAULT_FLAGS)
        head.flags = 1;
    return io_write_all(backend->fd, &head, sizeof head) == 0 &&
           io_write_all(backend->fd, body, size) == 0;
}

static void map_memory(struct backend *backend, const uint64_t *body, int fd)
{
    backend->regions = (uint32_t)body[0];
    backend->region_size = body[2];
    backend->user_address = body[3];
    backend->memory = mmap(NULL, body[2], PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)body[4]);
    assert_ptr_not_equal(backend->memory, MAP_FAILED);
    assert_int_equal(ftruncate(fd, 4096), -1); /* sealed */
}

/* Writes down what a message says. Returns whether it has an answer of its own. */
static bool take(struct backend *backend, uint32_t request, const uint64_t *body, int *fd)
{
    unsigned index = (uint32_t)body[0] % FS_QUEUES;
    switch (request) {
    case 2:
        backend->chosen_features = body[0];
        break;
    case 5:
        map_memory(backend, body, *fd);
        break;
    case 8:
        backend->rings[index].size = body[0] >> 32;
        break;
    case 9:
        backend->rings[index].descriptors = body[1];
        backend->rings[index].used = body[2];
        backend->rings[index].available = body[3];
        break;
    case 12:
    case 13:
        *(request == 12 ? &backend->rings[index].kick : &backend->rings[index].call) = *fd;
        *fd = -1;
        break;
    case 18:
        backend->rings_started++;
        break;
    default:
        break;
    }
    return request == 1 || request == 11 || request == 15;
}

static bool serve_message(struct backend *backend)
{
    struct head head;
    uint64_t body[32] = { 0 };
    int fds[IO_MAX_FDS];
    size_t fd_count = 0;
    if (io_receive_fds(backend->fd, &head, sizeof head, fds, &fd_count) != (ssize_t)sizeof head)
        return false;
    assert_true(head.size <= sizeof body);
    assert_int_equal(head.flags & 3, 1);
    if (head.size > 0 && io_read_all(backend->fd, body, head.size) != (ssize_t)head.size)
        return false;
    backend->log[backend->logged++ % MAX_LOG] = head.request;
    int fd = fd_count > 0 ? fds[0] : -1;
    bool answered = take(backend, head.request, body, &fd);
    for (size_t i = fd_count > 0 && fd < 0; i < fd_count; i++)
        (void)close(fds[i]);
    uint64_t protocol = backend->acknowledges ? 1 << 3 : 0;
    uint64_t refused = backend->fault == FAULT_REFUSE && backend->when == head.request;
    bool alive = true;
    if (head.request == 11) {
        backend->rings_stopped++;
        alive = answer(backend, 11, body, 8);
    } else if (answered) {
        alive =
            answer(backend, head.request, head.request == 1 ? &backend->features : &protocol, 8);
    } else if (head.flags & 8) {
        alive = answer(backend, head.request, &refused, 8);
    }
    if (backend->fault == FAULT_TALKATIVE && backend->when == head.request)
        (void)answer(backend, 77, &protocol, 8);
    return alive;
}

static void *backend_main(void *argument)
{
    struct backend *backend = argument;
    while (serve_message(backend))
        continue;
    (void)close(backend->fd);
    return NULL;
}

static void *server_main(void *argument)
{
    fs_serve(argument);
    return NULL;
}

/* A device with a back end that has this fault. Returns as fs_create. */
static int create(struct fixture *f, enum fault fault, uint32_t when, bool acknowledges)
{
    int pair[2];
    struct error err;
    memset(f, 0, sizeof *f);
    assert_int_equal(
        memory_create_shared(&f->guest.memory, GUEST_RAM, 0xc0000000, 1ULL << 32, &err), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    f->backend = (struct backend){
        .fd = pair[1],
        .fault = fault,
        .when = when,
        .acknowledges = acknowledges,
        .features = 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_EVENT_IDX | 1ULL << 40,
        .rings = { { .kick = -1, .call = -1 }, { .kick = -1, .call = -1 } },
    };
    if (fault != FAULT_OLD)
        f->backend.features |= 1ULL << FEATURES_SUPPORTED;
    assert_int_equal(pthread_create(&f->backend.thread, NULL, backend_main, &f->backend), 0);
    int timeout = fault == FAULT_SILENT ? 50 : TIMEOUT;
    int created = fs_create(&f->fs, &f->guest.memory, pair[0], "shares", timeout, &err);
    if (created == 0) {
        f->served = true;
        assert_int_equal(pthread_create(&f->server, NULL, server_main, &f->fs), 0);
    } else {
        assert_non_null(strstr(err.message, "vhost-user: the back end"));
    }
    return created;
}

static void destroy(struct fixture *f)
{
    /* The back end ends, the device loses it, the device's thread returns. */
    (void)shutdown(f->backend.fd, SHUT_RDWR);
    if (f->served)
        (void)pthread_join(f->server, NULL);
    fs_destroy(&f->fs);
    (void)pthread_join(f->backend.thread, NULL);
    for (unsigned i = 0; i < FS_QUEUES; i++) {
        if (f->backend.rings[i].kick >= 0)
            (void)close(f->backend.rings[i].kick);
        if (f->backend.rings[i].call >= 0)
            (void)close(f->backend.rings[i].call);
    }
    if (f->backend.memory)
        (void)munmap(f->backend.memory, f->backend.region_size);
    guest_destroy(&f->guest);
}

static void await(const atomic_uint *count, unsigned wanted)
{
    for (int i = 0; i < 5000 && atomic_load(count) < wanted; i++)
        (void)poll(NULL, 0, 1);
    assert_int_equal(atomic_load(count), wanted);
}

static void await_loss(struct fixture *f)
{
    for (int i = 0; i < 5000 && !guest_needs_reset(&f->guest); i++)
        (void)poll(NULL, 0, 1);
    assert_true(guest_needs_reset(&f->guest));
}

static void test_starts(void **state)
{
    (void)state;
    for (int acknowledges = 0; acknowledges < 2; acknowledges++) {
        struct fixture f;
        char tag[36];
        assert_int_equal(create(&f, FAULT_NONE, 0, acknowledges), 0);
        f.guest.device = &f.fs.device;
        assert_int_equal(guest_get(&f.guest, VIRTIO_MMIO_DEVICE_ID), 26);
        virtio_mmio_read(&f.fs.device, VIRTIO_MMIO_CONFIG, tag, sizeof tag);
        assert_string_equal(tag, "shares");
        guest_start(&f.guest, &f.fs.device, QUEUE_SIZE);
        await(&f.backend.rings_started, FS_QUEUES);
        for (unsigned i = 0; i < FS_QUEUES; i++) {
            uint64_t base = GUEST_QUEUES + (uint64_t)i * GUEST_QUEUE_STEP;
            assert_int_equal(f.backend.rings[i].size, QUEUE_SIZE);
            assert_int_equal(f.backend.rings[i].descriptors, base);
            assert_int_equal(f.backend.rings[i].available, base + GUEST_AVAILABLE);
            assert_int_equal(f.backend.rings[i].used, base + GUEST_USED);
        }
        /* It has our memory, by the guest's addresses and no others. */
        assert_int_equal(f.backend.regions, 1);
        assert_int_equal(f.backend.user_address, 0);
        assert_int_equal(f.backend.region_size, GUEST_RAM);
        *(uint32_t *)guest_at(&f.guest, GUEST_BUFFERS) = 0x12345678;
        assert_int_equal(*(uint32_t *)((char *)f.backend.memory + GUEST_BUFFERS), 0x12345678);
        assert_int_equal(f.backend.chosen_features,
                         1ULL << VIRTIO_F_VERSION_1 | 1ULL << FEATURES_SUPPORTED);
        destroy(&f);
    }
}

static void test_events(void **state)
{
    (void)state;
    struct fixture f;
    uint64_t count = 3, got = 0;
    assert_int_equal(create(&f, FAULT_NONE, 0, true), 0);
    guest_start(&f.guest, &f.fs.device, QUEUE_SIZE);
    await(&f.backend.rings_started, FS_QUEUES);
    /* The guest's notification is what the back end reads, its interrupt what KVM would. */
    assert_int_equal(write(f.fs.device.doorbell_fds[1], &count, sizeof count), sizeof count);
    assert_int_equal(read(f.backend.rings[1].kick, &got, sizeof got), sizeof got);
    assert_int_equal(got, 3);
    assert_int_equal(write(f.backend.rings[0].call, &count, sizeof count), sizeof count);
    assert_int_equal(read(f.fs.device.interrupt_fd, &got, sizeof got), sizeof got);
    assert_int_equal(guest_get(&f.guest, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
    guest_set(&f.guest, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
    assert_int_equal(guest_get(&f.guest, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
    destroy(&f);
}

/* When a reset is over, the back end has let go of every ring. */
static void test_resets(void **state)
{
    (void)state;
    struct fixture f;
    assert_int_equal(create(&f, FAULT_NONE, 0, true), 0);
    for (unsigned round = 1; round <= 50; round++) {
        guest_start(&f.guest, &f.fs.device, QUEUE_SIZE);
        if (round % 2)
            await(&f.backend.rings_started, round * FS_QUEUES);
        guest_set(&f.guest, VIRTIO_MMIO_STATUS, 0);
        unsigned started = atomic_load(&f.backend.rings_started);
        assert_int_equal(atomic_load(&f.backend.rings_stopped), started);
        f.backend.rings_started = f.backend.rings_stopped = round * FS_QUEUES;
    }
    destroy(&f);
}

/* Only queues in RAM get as far as the back end: the device breaks before. */
static void test_outlying_rings(void **state)
{
    (void)state;
    static const struct {
        uint32_t size;
        uint64_t descriptors, available, used;
    } cases[] = {
        { 64, GUEST_RAM, 0x14000, 0x18000 },      { 64, 0x10000, GUEST_RAM - 8, 0x18000 },
        { 64, 0x10000, 0x14000, UINT64_MAX - 3 }, { 64, 0x10001, 0x14000, 0x18000 },
        { 2048, 0x10000, 0x14000, 0x18000 },      { 0, 0x10000, 0x14000, 0x18000 },
    };
    struct fixture f;
    assert_int_equal(create(&f, FAULT_NONE, 0, true), 0);
    f.guest.device = &f.fs.device;
    unsigned greeted = atomic_load(&f.backend.logged);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        guest_negotiate(&f.guest, 1ULL << VIRTIO_F_VERSION_1);
        guest_set_queue(&f.guest, 1, cases[i].size, cases[i].descriptors, cases[i].available,
                        cases[i].used);
        guest_driver_ok(&f.guest);
        assert_true(guest_needs_reset(&f.guest));
    }
    guest_set(&f.guest, VIRTIO_MMIO_STATUS, 0);
    assert_int_equal(atomic_load(&f.backend.logged), greeted);
    destroy(&f);
}

/* A back end that fails while it is greeted: there is no device. */
static void test_greeting_faults(void **state)
{
    (void)state;
    static const struct {
        enum fault fault;
        uint32_t when;
    } cases[] = {
        { FAULT_OLD, 0 },   { FAULT_HANG_UP, 1 }, { FAULT_SILENT, 1 },   { FAULT_TYPE, 1 },
        { FAULT_SIZE, 15 }, { FAULT_FLAGS, 1 },   { FAULT_HANG_UP, 15 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        assert_int_equal(create(&f, cases[i].fault, cases[i].when, true), -1);
        destroy(&f);
    }
}

/* One that fails later: the device needs a reset, which returns and does not help. */
static void test_later_faults(void **state)
{
    (void)state;
    static const struct {
        enum fault fault;
        uint32_t when;
    } cases[] = {
        { FAULT_REFUSE, 5 }, { FAULT_HANG_UP, 9 }, { FAULT_SILENT, 18 },    { FAULT_TYPE, 12 },
        { FAULT_SIZE, 13 },  { FAULT_FLAGS, 8 },   { FAULT_TALKATIVE, 18 }, { FAULT_REFUSE, 2 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture f;
        assert_int_equal(create(&f, cases[i].fault, cases[i].when, true), 0);
        f.guest.device = &f.fs.device;
        f.guest.size = QUEUE_SIZE;
        guest_negotiate(&f.guest, 1ULL << VIRTIO_F_VERSION_1);
        for (unsigned q = 0; q < FS_QUEUES; q++)
            guest_set_queue(&f.guest, q, QUEUE_SIZE, GUEST_QUEUES, GUEST_QUEUES + GUEST_AVAILABLE,
                            GUEST_QUEUES + GUEST_USED);
        guest_driver_ok(&f.guest);
        await_loss(&f);
        assert_true(guest_get(&f.guest, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
        guest_set(&f.guest, VIRTIO_MMIO_STATUS, 0);
        guest_negotiate(&f.guest, 1ULL << VIRTIO_F_VERSION_1);
        guest_driver_ok(&f.guest);
        assert_true(guest_needs_reset(&f.guest));
        destroy(&f);
    }
}

/* A reset while the back end does not let go of its rings ends when it has been given up. */
static void test_reset_of_a_silent_backend(void **state)
{
    (void)state;
    struct fixture f;
    assert_int_equal(create(&f, FAULT_SILENT, 11, true), 0);
    guest_start(&f.guest, &f.fs.device, QUEUE_SIZE);
    await(&f.backend.rings_started, FS_QUEUES);
    guest_set(&f.guest, VIRTIO_MMIO_STATUS, 0);
    (void)pthread_join(f.server, NULL);
    f.served = false;
    assert_true(f.fs.lost);
    destroy(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_starts),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_resets),
        cmocka_unit_test(test_outlying_rings),
        cmocka_unit_test(test_greeting_faults),
        cmocka_unit_test(test_later_faults),
        cmocka_unit_test(test_reset_of_a_silent_backend),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
