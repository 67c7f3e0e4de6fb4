/* What the hostile guest knows of its machine: ports, memory, time, the other vCPU, its voice. */
#ifndef HOSTILE_MACHINE_H
#define HOSTILE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PAGE = 4096 };

#define MMIO_BASE 0xd0000000ULL /* vmm/README.md, "The machine" */

static inline void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t value)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out32(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
    uint8_t value;
    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint16_t in16(uint16_t port)
{
    uint16_t value;
    __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint32_t in32(uint16_t port)
{
    uint32_t value;
    __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline uint64_t clock_ticks(void)
{
    uint32_t low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static inline void relax(void)
{
    __asm__ volatile("pause" : : : "memory");
}

/* Accesses of 1, 2, 4 or 8 bytes to an address where a device may be. */
uint64_t mmio_read(uint64_t address, unsigned width);
void mmio_write(uint64_t address, uint64_t value, unsigned width);

/* Some seconds, however slow the machine: what has not happened by then will not. */
extern const uint64_t PATIENCE;
void wait_ticks(uint64_t ticks);

/*
 * A turn of a loop that waits for what somebody else does, and that looks once more when its
 * patience is over: the guest may not have run meanwhile. Now and then this leaves the guest.
 * *left: when it did so last; at first, when the loop began. An emulated host with one processor
 * may need it: QEMU 7.2 (target/i386/tcg/sysemu/svm_helper.c, do_vmexit) clears a bit
 * of interrupt_request without a lock and can so lose the one that its I/O thread sets for a
 * timer's interrupt, which the host does not notice then until the next interrupt or exit.
 */
void wait_turn(uint64_t *left);

/* The serial port. %s, %u (unsigned), %x (uint64_t) only. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* End of RAM below the gap; start and size of RAM above 4 GiB, 0 if there is none. */
extern uint64_t ram_end, high_ram_start, high_ram_size;
extern char command_line[256];

/* Page tables, exceptions, the map of memory. boot: the zero page. */
void machine_prepare(const uint8_t *boot);

/*
 * Starts the second vCPU with a function, which returns when second_stop is set. Returns whether it
 * came up. second_join waits for its return.
 */
bool second_start(void (*run)(void *), void *argument);
void second_join(void);
extern volatile bool second_stop;

/* Resets the machine by the keyboard controller's port. */
void machine_reset(void) __attribute__((noreturn));

void *memset(void *target, int value, size_t size);
void *memcpy(void *target, const void *source, size_t size);
int memcmp(const void *left, const void *right, size_t size);
int strcmp(const char *left, const char *right);
size_t strlen(const char *text);

#endif
