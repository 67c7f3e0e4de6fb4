/*
 * A guest that drives each device wrongly, one case after the other, and after each looks whether
 * the machine still works. It tells on the serial port, one line each:
 *
 *     BEGIN number name            the host offers the case's vsock ports
 *     END number PASS|FAIL why     the host compares memory and descriptors of the monitor
 *     DONE
 *
 * and goes on when the host has written the next case's number into the last sector of the first
 * disk. Command line: from=N to begin there; only=NAME for one case, also of those that end the
 * machine. A machine with RAM above 4 GiB has cases of its own, and only those.
 */
#include "cases.h"

unsigned case_number;

static const struct hostile_case *const TABLES[] = { transport_cases, queue_cases, disk_cases,
                                                     vsock_cases,     net_cases,   port_cases,
                                                     race_cases };

/* Both disks read, the scratch disk keeps what is written, a stream echoes. */
static const char *still_works(void)
{
    static uint8_t sector[SECTOR], written[SECTOR];
    for (unsigned i = LAYERS; i <= SCRATCH; i++) {
        CHECK(start(&devices[i]));
        CHECK(disk_read(&devices[i], 3, sector, SECTOR) == VIRTIO_BLK_S_OK);
        CHECK(memcmp(sector, i == LAYERS ? "layers " : "scratch", 7) == 0);
    }
    for (size_t i = 0; i < SECTOR; i++)
        written[i] = (uint8_t)(i + case_number);
    CHECK(disk_write(&devices[SCRATCH], 5, written, SECTOR) == VIRTIO_BLK_S_OK);
    CHECK(disk_read(&devices[SCRATCH], 5, sector, SECTOR) == VIRTIO_BLK_S_OK);
    CHECK(memcmp(sector, written, SECTOR) == 0);
    CHECK(vsock_start());
    CHECK(vsock_connect(PORT_CHECK + case_number));
    CHECK(vsock_echo(PORT_CHECK + case_number, 3000));
    const char *failure = net_echo((uint8_t)(case_number + 1));
    if (failure)
        return failure;
    for (unsigned i = 0; i < DEVICES; i++)
        reset(&devices[i]);
    return NULL;
}

/* Waits for the host, repeating what may have been dropped after a flood of the console. */
static void wait_for_host(const char *failure)
{
    static uint32_t sector[SECTOR / 4];
    struct device *device = &devices[LAYERS];
    for (;;) {
        say("END %u %s %s\n", case_number, failure ? "FAIL" : "PASS", failure ? failure : "");
        for (uint64_t since = clock_ticks(); clock_ticks() - since < 1ULL << 32;) {
            if (!start(device) || disk_read(device, disk_sectors(device) - 1, sector, SECTOR) != 0)
                break;
            reset(device);
            if (sector[0] > case_number)
                return;
            wait_ticks(1 << 20);
        }
    }
}

static void run(const struct hostile_case *at, struct device *device)
{
    say("BEGIN %u %s%s%s\n", case_number, at->name, device ? "@" : "", device ? device->name : "");
    const char *failure = at->run(at, device);
    for (unsigned i = 0; i < DEVICES; i++)
        reset(&devices[i]);
    const char *broken = still_works();
    wait_for_host(failure ? failure : broken);
}

static void run_table(const struct hostile_case *table, unsigned from, const char *only)
{
    for (const struct hostile_case *at = table; at->name; at++) {
        for (unsigned i = 0; i <= DEVICES; i++) {
            if (!(at->on & 1U << i))
                continue;
            if (only ? strcmp(only, at->name) == 0 : case_number >= from)
                run(at, i < DEVICES ? &devices[i] : NULL);
            case_number++;
        }
    }
}

/* The value of `name=` on the command line, up to the next blank, or NULL. */
static char *option(const char *name)
{
    static char value[sizeof command_line];
    size_t length = strlen(name);
    for (const char *at = command_line; *at; at++) {
        if (memcmp(at, name, length) != 0 || (at > command_line && at[-1] != ' '))
            continue;
        size_t n = 0;
        for (at += length; *at && *at != ' '; at++)
            value[n++] = *at;
        value[n] = '\0';
        return value;
    }
    return NULL;
}

static void touch(uint64_t start, uint64_t end)
{
    for (uint64_t at = start; at < end; at += PAGE)
        *(volatile uint8_t *)at = *(volatile uint8_t *)at;
}

/*
 * So that guest memory is part of the monitor's from the start, and what is added is its own. A
 * machine with RAM above 4 GiB has too much of it: there it is what the cases will use.
 */
static void touch_memory(void)
{
    extern char guest_end[];
    if (high_ram_size == 0) {
        touch(PAGE, ram_end);
        return;
    }
    touch(PAGE, (uint64_t)guest_end);
    touch(ram_end - PAGE, ram_end);
    touch(high_ram_start, high_ram_start + sizeof(struct rings));
    touch(high_ram_start + high_ram_size - PAGE, high_ram_start + high_ram_size);
}

void guest_main(const uint8_t *boot);
void guest_main(const uint8_t *boot)
{
    unsigned from = 0;
    machine_prepare(boot);
    for (const char *digit = option("from="); digit && *digit; digit++)
        from = 10 * from + (unsigned)(*digit - '0');
    const char *only = option("only=");
    touch_memory();
    if (high_ram_size > 0)
        run_table(region_cases, from, only);
    for (size_t i = 0; i < sizeof TABLES / sizeof TABLES[0] && high_ram_size == 0; i++)
        run_table(TABLES[i], from, only);
    if (only)
        run_table(end_cases, from, only);
    say("DONE\n");
    machine_reset();
}
