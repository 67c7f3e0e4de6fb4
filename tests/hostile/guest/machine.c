#include "machine.h"

#include <stdarg.h>

enum {
    SERIAL = 0x3f8,
    LINE_STATUS = SERIAL + 5,
    STAY = 1 << 24, /* ticks in the guest without an exit, at most, of one that waits */
    TRAMPOLINE = 0x10000,
    TABLES = 8, /* page directories: the first 8 GiB */
    LARGE_PAGE = 2 << 20,
    ENTRIES = 512,
};

#define LAPIC 0xfee00000ULL

const uint64_t PATIENCE = 1ULL << 36;
uint64_t ram_end, high_ram_start, high_ram_size;
char command_line[256];
volatile bool second_stop;

/* Also read by the trampoline, in the first 4 GiB. */
uint64_t page_tables[(2 + TABLES) * ENTRIES] __attribute__((aligned(4096)));

extern const char trampoline[], trampoline_end[], exception_handlers[];

static void (*second_run)(void *);
static void *second_argument;
static volatile bool second_up, second_done;

void *memset(void *target, int value, size_t size)
{
    void *at = target;
    __asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(value) : "memory");
    return target;
}

void *memcpy(void *target, const void *source, size_t size)
{
    void *at = target;
    __asm__ volatile("rep movsb" : "+D"(at), "+S"(source), "+c"(size) : : "memory");
    return target;
}

int memcmp(const void *left, const void *right, size_t size)
{
    const uint8_t *a = left, *b = right;
    for (size_t i = 0; i < size; i++) {
        if (a[i] != b[i])
            return a[i] - b[i];
    }
    return 0;
}

int strcmp(const char *left, const char *right)
{
    while (*left && *left == *right) {
        left++;
        right++;
    }
    return *left - *right;
}

size_t strlen(const char *text)
{
    size_t length = 0;
    while (text[length])
        length++;
    return length;
}

uint64_t mmio_read(uint64_t address, unsigned width)
{
    switch (width) {
    case 1:
        return *(volatile uint8_t *)address;
    case 2:
        return *(volatile uint16_t *)address;
    case 4:
        return *(volatile uint32_t *)address;
    default:
        return *(volatile uint64_t *)address;
    }
}

void mmio_write(uint64_t address, uint64_t value, unsigned width)
{
    switch (width) {
    case 1:
        *(volatile uint8_t *)address = (uint8_t)value;
        break;
    case 2:
        *(volatile uint16_t *)address = (uint16_t)value;
        break;
    case 4:
        *(volatile uint32_t *)address = (uint32_t)value;
        break;
    default:
        *(volatile uint64_t *)address = value;
        break;
    }
}

void wait_ticks(uint64_t ticks)
{
    for (uint64_t start = clock_ticks(); clock_ticks() - start < ticks;)
        relax();
}

void wait_turn(uint64_t *left)
{
    relax();
    if (clock_ticks() - *left < STAY)
        return;
    (void)in8(LINE_STATUS);
    *left = clock_ticks();
}

static void put(char c)
{
    out8(SERIAL, (uint8_t)c);
}

static void put_number(uint64_t value, unsigned base)
{
    char digits[24];
    unsigned count = 0;
    do {
        unsigned digit = (unsigned)(value % base);
        digits[count++] = (char)(digit < 10 ? '0' + digit : 'a' + digit - 10);
        value /= base;
    } while (value > 0);
    while (count > 0)
        put(digits[--count]);
}

void say(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        format++;
        if (*format == 's') {
            for (const char *text = va_arg(values, const char *); *text; text++)
                put(*text);
        } else if (*format == 'u') {
            put_number(va_arg(values, unsigned), 10);
        } else { /* %lx */
            format++;
            put_number(va_arg(values, unsigned long), 16);
        }
    }
    va_end(values);
}

void machine_reset(void)
{
    for (;;)
        out8(0x64, 0xfe);
}

/* Called by the handlers. */
void exception(unsigned vector, uint64_t first, uint64_t second);
void exception(unsigned vector, uint64_t first, uint64_t second)
{
    say("\nEXCEPTION %u %lx %lx\n", vector, first, second);
    machine_reset();
}

static void load_exceptions(void)
{
    static uint64_t table[2 * 32];
    static struct {
        uint16_t limit;
        uint64_t base;
    } __attribute__((packed)) pointer = { sizeof table - 1, 0 };
    for (unsigned i = 0; i < 32; i++) {
        uint64_t handler = (uint64_t)exception_handlers + 32ULL * i;
        table[2UL * i] =
            (handler & 0xffff) | 0x10ULL << 16 | 0x8eULL << 40 | (handler >> 16 & 0xffff) << 48;
        table[2UL * i + 1] = handler >> 32;
    }
    pointer.base = (uint64_t)table;
    __asm__ volatile("lidt %0" : : "m"(pointer));
}

static void map_memory(void)
{
    enum { PRESENT_WRITABLE = 3, LARGE = 0x80 };
    uint64_t *directory_pointers = page_tables + ENTRIES, *entries = directory_pointers + ENTRIES;
    page_tables[0] = (uint64_t)directory_pointers | PRESENT_WRITABLE;
    for (uint64_t i = 0; i < TABLES; i++)
        directory_pointers[i] = (uint64_t)(entries + i * ENTRIES) | PRESENT_WRITABLE;
    for (uint64_t i = 0; i < (uint64_t)TABLES * ENTRIES; i++)
        entries[i] = i * LARGE_PAGE | LARGE | PRESENT_WRITABLE;
    __asm__ volatile("mov %0, %%cr3" : : "r"(page_tables) : "memory");
}

/* The e820 table and the command line, at their places in the zero page (boot.rst). */
static void read_boot_data(const uint8_t *boot)
{
    unsigned count = boot[0x1e8];
    for (unsigned i = 0; i < count; i++) {
        uint64_t range[2];
        memcpy(range, boot + 0x2d0 + 20UL * i, sizeof range);
        if (range[0] >= 1ULL << 32) {
            high_ram_start = range[0];
            high_ram_size = range[1];
        } else if (range[0] + range[1] > ram_end) {
            ram_end = range[0] + range[1];
        }
    }
    uint32_t address;
    memcpy(&address, boot + 0x228, sizeof address);
    const char *text = (const char *)(uint64_t)address;
    for (size_t i = 0; i + 1 < sizeof command_line && text[i]; i++)
        command_line[i] = text[i];
}

void machine_prepare(const uint8_t *boot)
{
    load_exceptions();
    map_memory();
    read_boot_data(boot);
}

/* Called by the trampoline. */
void second_main(void);
void second_main(void)
{
    second_up = true;
    second_run(second_argument);
    second_done = true;
}

static void lapic_send(uint32_t command)
{
    *(volatile uint32_t *)(LAPIC + 0x310) = 1U << 24; /* to APIC id 1 */
    *(volatile uint32_t *)(LAPIC + 0x300) = command;
    wait_ticks(1 << 22);
}

bool second_start(void (*run)(void *), void *argument)
{
    enum { INIT = 0x4500, START_UP = 0x4600 };
    memcpy((void *)TRAMPOLINE, trampoline, (size_t)(trampoline_end - trampoline));
    second_run = run;
    second_argument = argument;
    second_up = second_done = second_stop = false;
    *(volatile uint32_t *)(LAPIC + 0xf0) = 0x1ff; /* the APIC is on */
    lapic_send(INIT);
    lapic_send(START_UP | TRAMPOLINE >> 12);
    uint64_t start = clock_ticks(), left = start;
    while (!second_up && clock_ticks() - start < PATIENCE)
        wait_turn(&left);
    return second_up;
}

void second_join(void)
{
    second_stop = true;
    uint64_t start = clock_ticks(), left = start;
    while (!second_done && clock_ticks() - start < PATIENCE)
        wait_turn(&left);
}
