/* What ends the machine, one boot each. run.py knows how each must end. */
#include "cases.h"

static const char *reset_first(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    (void)device;
    machine_reset();
}

static void reset_on_second(void *argument)
{
    (void)argument;
    machine_reset();
}

static const char *reset_second(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    (void)device;
    CHECK(second_start(reset_on_second, NULL));
    for (;;)
        relax();
}

static void fault(void *argument)
{
    static const uint8_t NOTHING[10];
    (void)argument;
    __asm__ volatile("lidt %0\n\tud2" : : "m"(NOTHING));
}

static const char *triple_fault(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    (void)device;
    fault(NULL);
    return "it goes on";
}

static const char *triple_fault_second(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    (void)device;
    CHECK(second_start(fault, NULL));
    for (;;)
        relax();
}

/* Both at once. */
static const char *both_end(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    (void)device;
    CHECK(second_start(fault, NULL));
    machine_reset();
}

/* Instructions fetched from where no memory is. */
static const char *run_registers(const struct hostile_case *this_case, struct device *device)
{
    (void)device;
    void (*nowhere)(void) = (void (*)(void))this_case->a;
    nowhere();
    return "it goes on";
}

/* Page tables where no memory is. */
static const char *tables_nowhere(const struct hostile_case *this_case, struct device *device)
{
    (void)device;
    __asm__ volatile("mov %0, %%cr3" : : "r"(this_case->a) : "memory");
    return "it goes on";
}

/* Nothing more happens, for ever: the owner ends it. */
static const char *sleep(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    (void)device;
    say("SLEEPING\n");
    for (;;)
        __asm__ volatile("cli; hlt");
    return NULL;
}

/* Exits without end. */
static const char *spin(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    (void)device;
    say("SLEEPING\n");
    for (;;)
        (void)in8(0x600);
    return NULL;
}

/* The end while bytes wait for a reader on the host. */
static const char *end_with_backlog(const struct hostile_case *this_case, struct device *device)
{
    static uint8_t bytes[1 << 16];
    struct virtio_vsock_hdr header;
    (void)this_case;
    (void)device;
    CHECK(vsock_start());
    CHECK(vsock_connect(PORT_SINK + case_number));
    header = packet(VIRTIO_VSOCK_OP_RW, PORT_SINK + case_number, sizeof bytes);
    for (int i = 0; i < 3; i++)
        CHECK(vsock_send(&header, bytes, sizeof bytes));
    machine_reset();
}

/* The end while the disk works, for ever (cases_disk.c). */
static const char *end_while_feeding(const struct hostile_case *this_case, struct device *device)
{
    static const struct hostile_case FEEDS = { .a = 1 };
    (void)this_case;
    (void)device;
    for (const struct hostile_case *at = disk_cases; at->name; at++) {
        if (strcmp(at->name, "disk.feeds-itself") == 0)
            return at->run(&FEEDS, &devices[SCRATCH]);
    }
    return "no such case";
}

/*
 * Everything a monitor does in the life of a good guest, for seccomp.py: which system calls are
 * needed. Says TOUR when the host may pause it, and ends by a triple fault when the host has
 * written to the mailbox.
 */
static void read_status(void *argument)
{
    while (!second_stop)
        (void)get(argument, VIRTIO_MMIO_STATUS);
}

static const char *tour_of_disks(void)
{
    struct device *device = &devices[SCRATCH];
    struct virtio_blk_discard_write_zeroes range = { .sector = 8, .num_sectors = 8 };
    const struct part part = { (uint64_t)&range, sizeof range, 0 };
    CHECK(start(device) && second_start(read_status, device)); /* both want the device's lock */
    for (uint64_t i = 0; i < 80; i++) {
        if (i % 16 == 0) /* the host has the disk wait between two reads */
            CHECK(disk_read(device, i % 8, scratch_memory, 16 * SECTOR) == VIRTIO_BLK_S_OK);
        CHECK(disk_write(device, 5, scratch_memory, SECTOR) == VIRTIO_BLK_S_OK);
    }
    CHECK(disk_request(device, VIRTIO_BLK_T_FLUSH, 0, NULL, 0) == VIRTIO_BLK_S_OK);
    CHECK(disk_request(device, VIRTIO_BLK_T_DISCARD, 0, &part, 1) == VIRTIO_BLK_S_OK);
    second_join();
    return NULL;
}

static const char *tour_of_streams(void)
{
    struct virtio_vsock_hdr header;
    CHECK(vsock_start());
    CHECK(second_start(read_status, &devices[VSOCK]));
    CHECK(vsock_connect(PORT_ECHO + case_number));
    for (int i = 0; i < 10; i++)
        CHECK(vsock_echo(PORT_ECHO + case_number, 3000));
    header = packet(VIRTIO_VSOCK_OP_SHUTDOWN, PORT_ECHO + case_number, 0);
    header.flags = VIRTIO_VSOCK_SHUTDOWN_SEND;
    CHECK(vsock_send(&header, NULL, 0));
    for (uint32_t port = PORT_SINK; port <= PORT_SINK + 100000; port += 100000) {
        CHECK(
            vsock_connect(port + case_number)); /* a pipe that does not block, and one that does */
        for (int i = 0; i < 3; i++) {
            header = packet(VIRTIO_VSOCK_OP_RW, port + case_number, 1 << 16);
            CHECK(vsock_send(&header, scratch_memory, 1 << 16));
        }
        header = packet(VIRTIO_VSOCK_OP_RST, port + case_number, 0);
        CHECK(vsock_send(&header, NULL, 0));
    }
    CHECK(vsock_connect(PORT_CHECK + case_number));
    CHECK(vsock_echo(PORT_CHECK + case_number, 3000));
    second_join();
    return NULL;
}

/* Its queues are served by another process, here one of the test's: started and let go of. */
static const char *tour_of_share(void)
{
    struct device *share = &devices[SHARE];
    if (get(share, VIRTIO_MMIO_DEVICE_ID) != share->id)
        return "there is no share";
    for (int i = 0; i < 4; i++) {
        CHECK(start(share));
        if (i % 2) /* the device may be about to start, or have started */
            wait_ticks(1 << 22);
        reset(share);
    }
    CHECK(start(share));
    return NULL;
}

static const char *tour(const struct hostile_case *this_case, struct device *device)
{
    static uint32_t sector[SECTOR / 4];
    (void)this_case;
    (void)device;
    const char *failure = tour_of_disks();
    failure = failure ? failure : tour_of_streams();
    failure = failure ? failure : net_echo(1);
    failure = failure ? failure : tour_of_share();
    if (failure)
        return failure;
    say("TOUR\n");
    while (sector[0] == 0) {
        CHECK(start(&devices[LAYERS]));
        CHECK(disk_read(&devices[LAYERS], disk_sectors(&devices[LAYERS]) - 1, sector, SECTOR) == 0);
        wait_ticks(1 << 20);
    }
    CHECK(wait_needs_reset(&devices[SHARE])); /* the host has hung up on it */
    reset(&devices[SHARE]);
    fault(NULL);
    return "it goes on";
}

const struct hostile_case end_cases[] = {
    { "end.reset", reset_first, ON_MACHINE, 0, 0, 0 },
    { "end.reset-by-second", reset_second, ON_MACHINE, 0, 0, 0 },
    { "end.triple-fault", triple_fault, ON_MACHINE, 0, 0, 0 },
    { "end.triple-fault-of-second", triple_fault_second, ON_MACHINE, 0, 0, 0 },
    { "end.both-at-once", both_end, ON_MACHINE, 0, 0, 0 },
    { "end.runs-registers", run_registers, ON_MACHINE, MMIO_BASE, 0, 0 },
    { "end.runs-nothing", run_registers, ON_MACHINE, 0xc0000000, 0, 0 },
    { "end.tables-nowhere", tables_nowhere, ON_MACHINE, 0xc0000000, 0, 0 },
    { "end.sleeps", sleep, ON_MACHINE, 0, 0, 0 },
    { "end.spins", spin, ON_MACHINE, 0, 0, 0 },
    { "end.with-backlog", end_with_backlog, ON_MACHINE, 0, 0, 0 },
    { "end.tour", tour, ON_MACHINE, 0, 0, 0 },
    { "end.while-disk-feeds-itself", end_while_feeding, ON_MACHINE, 0, 0, 0 },
    { .name = NULL },
};
