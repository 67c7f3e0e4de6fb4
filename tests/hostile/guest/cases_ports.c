/* Ports and addresses where little or nothing is. */
#include "cases.h"

enum { SERIAL = 0x3f8, KEYBOARD = 0x64 };

/* Ports that KVM itself answers are left to it: interrupt controllers, timer, speaker, ELCR. */
static bool in_kernel(uint16_t port)
{
    return (port >= 0x20 && port <= 0x21) || (port >= 0x40 && port <= 0x43) || port == 0x61 ||
           (port >= 0xa0 && port <= 0xa1) || (port >= 0x4d0 && port <= 0x4d1);
}

/* a: width, b: distance of the ports. */
static const char *ports_read(const struct hostile_case *this_case, struct device *device)
{
    (void)device;
    for (uint32_t port = 0; port + this_case->a <= 0x10000; port += (uint32_t)this_case->b) {
        uint32_t value = this_case->a == 1   ? in8((uint16_t)port)
                         : this_case->a == 2 ? in16((uint16_t)port) | 0xffff0000
                                             : in32((uint16_t)port);
        if (this_case->a == 4 && port > 0x500)
            CHECK(value == 0xffffffff);
    }
    return NULL;
}

/* a: width, b: value. Everything but the reset line. */
static const char *ports_write(const struct hostile_case *this_case, struct device *device)
{
    (void)device;
    for (uint32_t port = 0; port + this_case->a <= 0x10000; port += port < 0x500 ? 1 : 251) {
        bool serial = port >= SERIAL && port < SERIAL + 8;
        if (in_kernel((uint16_t)port) || (serial && this_case->a == 1) ||
            (port == KEYBOARD && this_case->a == 1 && this_case->b == 0xfe))
            continue;
        if (this_case->a == 1)
            out8((uint16_t)port, (uint8_t)this_case->b);
        else if (this_case->a == 2)
            out16((uint16_t)port, (uint16_t)this_case->b);
        else
            out32((uint16_t)port, (uint32_t)this_case->b);
    }
    return NULL;
}

/* The reset line obeys one value of one width. */
static const char *reset_line(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    (void)device;
    for (unsigned value = 0; value < 256; value++) {
        if (value != 0xfe)
            out8(KEYBOARD, (uint8_t)value);
    }
    out16(KEYBOARD, 0xfefe);
    out32(KEYBOARD, 0xfefefefe);
    out16(KEYBOARD - 1, 0xfe00);
    out8(0x92, 1); /* fast reset of other machines */
    out8(0xcf9, 6);
    CHECK(in8(KEYBOARD) == 0);
    return NULL;
}

static void serial_restore(void)
{
    out8(SERIAL + 3, 3);
    out8(SERIAL + 1, 0);
    out8(SERIAL + 4, 0);
    wait_ticks(1 << 28); /* for the console's bytes to be written out */
    say("\n");
}

/* Every register with every value; what goes out as text is garbage on its line. */
static const char *serial_registers(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    (void)device;
    for (uint16_t offset = 1; offset < 8; offset++) {
        for (unsigned value = 0; value < 256; value += offset == 3 ? 1 : 5) {
            out8(SERIAL + offset, (uint8_t)value);
            (void)in8(SERIAL + offset);
            (void)in8(SERIAL + 2);
        }
    }
    out8(SERIAL + 3, 0);
    out8(SERIAL + 1, 0xf);
    for (int i = 0; i < 500; i++)
        out8(SERIAL, 'i'); /* an interrupt each, never acknowledged */
    serial_restore();
    return NULL;
}

/* CVE-2020-27174. a: bytes, b: the byte. */
static const char *serial_flood(const struct hostile_case *this_case, struct device *device)
{
    (void)device;
    for (uint64_t i = 0; i < this_case->a; i++)
        out8(SERIAL, (uint8_t)this_case->b);
    serial_restore();
    return NULL;
}

/* The same by string instructions: as many bytes an exit as the host's KVM likes, up to a page. Two
 * pages will do: where it likes three at a time, 64 KiB took half a minute. */
static const char *serial_strings(const struct hostile_case *this_case, struct device *device)
{
    (void)device;
    memset(scratch_memory, '\n', sizeof scratch_memory);
    for (uint64_t i = 0; i < this_case->a; i++) {
        const void *from = scratch_memory;
        void *to = scratch_memory;
        uint64_t count = 2UL * PAGE;
        __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(SERIAL) : "memory");
        count = PAGE;
        __asm__ volatile("rep insb" : "+D"(to), "+c"(count) : "d"(SERIAL + 5) : "memory");
        count = PAGE / 4;
        __asm__ volatile("rep insl" : "+D"(to), "+c"(count) : "d"(0x600) : "memory");
    }
    serial_restore();
    return NULL;
}

/* a: first address, b: last, c: distance. Nothing is there: reads are ones, writes are lost. */
static const char *unassigned(const struct hostile_case *this_case, struct device *device)
{
    (void)device;
    for (uint64_t at = this_case->a; at <= this_case->b; at += this_case->c) {
        for (unsigned width = 1; width <= 8; width *= 2) {
            mmio_write(at, 0, width);
            uint64_t ones = width == 8 ? ~0ULL : (1ULL << (8 * width)) - 1;
            CHECK(mmio_read(at, width) == ones);
        }
    }
    return NULL;
}

/* Accesses that begin in one page and end in the next. */
static const char *straddling(const struct hostile_case *this_case, struct device *device)
{
    (void)this_case;
    (void)device;
    for (uint64_t page = MMIO_BASE; page <= MMIO_BASE + 0x3000; page += 0x1000) {
        for (unsigned width = 2; width <= 8; width *= 2) {
            for (unsigned before = 1; before < width; before++) {
                (void)mmio_read(page - before, width);
                mmio_write(page - before, ~0ULL, width);
            }
        }
    }
    for (unsigned i = 0; i < DEVICES; i++) {
        CHECK(get(&devices[i], VIRTIO_MMIO_MAGIC_VALUE) == 0x74726976);
        reset(&devices[i]);
    }
    return NULL;
}

/* Read-modify-write and string instructions on registers. */
static const char *strange_instructions(const struct hostile_case *this_case, struct device *device)
{
    volatile uint32_t *select = (volatile uint32_t *)(MMIO_BASE + VIRTIO_MMIO_QUEUE_SEL);
    void *to = scratch_memory;
    const void *from = (const void *)MMIO_BASE;
    uint64_t count = 1024;
    uint32_t expected = 0;
    (void)this_case;
    (void)device;
    __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    CHECK(memcmp(scratch_memory, "virt", 4) == 0);
    to = (void *)(MMIO_BASE + 0x1000);
    from = scratch_memory;
    count = 1024;
    __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    __asm__ volatile("lock orl $1, %0" : "+m"(*select));
    __asm__ volatile("xchgl %0, %1" : "+r"(expected), "+m"(*select));
    __asm__ volatile("lock cmpxchgl %1, %2" : "+a"(expected) : "r"(7), "m"(*select) : "memory");
    for (unsigned i = 0; i < DEVICES; i++)
        reset(&devices[i]);
    return NULL;
}

const struct hostile_case port_cases[] = {
    { "ports.read-1-all", ports_read, ON_MACHINE, 1, 1, 0 },
    { "ports.read-2", ports_read, ON_MACHINE, 2, 17, 0 },
    { "ports.read-4", ports_read, ON_MACHINE, 4, 17, 0 },
    { "ports.write-1-zeros", ports_write, ON_MACHINE, 1, 0, 0 },
    { "ports.write-1-ones", ports_write, ON_MACHINE, 1, 0xff, 0 },
    { "ports.write-1-reset-value", ports_write, ON_MACHINE, 1, 0xfe, 0 },
    { "ports.write-2", ports_write, ON_MACHINE, 2, 0xfefe, 0 },
    { "ports.write-4", ports_write, ON_MACHINE, 4, 0xfefefefe, 0 },
    { "ports.reset-line", reset_line, ON_MACHINE, 0, 0, 0 },
    { "serial.registers", serial_registers, ON_MACHINE, 0, 0, 0 },
    { "serial.flood", serial_flood, ON_MACHINE, 30000, 'x', 0 },
    { "serial.flood-lines", serial_flood, ON_MACHINE, 10000, '\n', 0 },
    { "serial.flood-controls", serial_flood, ON_MACHINE, 10000, 0x9b, 0 },
    { "serial.string-instructions", serial_strings, ON_MACHINE, 1, 0, 0 },
    { "addresses.before-devices", unassigned, ON_MACHINE, MMIO_BASE - 0x100, MMIO_BASE - 8, 8 },
    { "addresses.behind-devices", unassigned, ON_MACHINE, MMIO_BASE + 0x4000, MMIO_BASE + 0x9000,
      0x7f8 },
    { "addresses.behind-ram", unassigned, ON_MACHINE, 0xc0000000, 0xc0010000, 0x1ff8 },
    { "addresses.last-of-4-gib", unassigned, ON_MACHINE, 0xffffffe0, 0xfffffff8, 8 },
    { "addresses.behind-4-gib", unassigned, ON_MACHINE, 0x180000000, 0x180010000, 0x1ff8 },
    { "addresses.straddling-pages", straddling, ON_MACHINE, 0, 0, 0 },
    { "addresses.strange-instructions", strange_instructions, ON_MACHINE, 0, 0, 0 },
    { .name = NULL },
};
