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
    { "end.while-disk-feeds-itself", end_while_feeding, ON_MACHINE, 0, 0, 0 },
    { .name = NULL },
};
