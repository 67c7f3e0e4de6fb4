/*
 * Guest RAM, and the only way to touch it. Every address and length that a guest supplies goes
 * through memory_range (or the two copies built on it), which accepts a range only if each of its
 * bytes lies inside one region.
 */
#ifndef HYBRID_VMM_MEMORY_H
#define HYBRID_VMM_MEMORY_H

#include "error.h"

#include <stddef.h>
#include <stdint.h>

enum { MEMORY_MAX_REGIONS = 2 };

struct memory_region {
    uint64_t start; /* guest physical address */
    uint64_t size;  /* bytes */
    uint8_t *host;
    uint64_t file_offset; /* of its first byte in the memory file, where there is one */
};

struct guest_memory {
    struct memory_region regions[MEMORY_MAX_REGIONS];
    size_t region_count;
    int file_fd; /* memory that another process can be given: an unnamed file; -1: private; owned */
};

/*
 * Reserves `size` bytes of guest RAM: from address 0 up to low_limit, the rest from high_start.
 * Pages are allocated as the guest touches them. size is a multiple of the page size and not 0.
 * Returns 0, or -1 with err.
 */
int memory_create(struct guest_memory *memory, uint64_t size, uint64_t low_limit,
                  uint64_t high_start, struct error *err);

/*
 * The same, as a file that a vhost-user back end can map. Its size is sealed: a back end that cut
 * it short would have this process die of SIGBUS.
 */
int memory_create_shared(struct guest_memory *memory, uint64_t size, uint64_t low_limit,
                         uint64_t high_start, struct error *err);

void memory_destroy(struct guest_memory *memory);

/*
 * The host address of the guest's [address, address + length), or NULL unless length is not 0 and
 * the whole range lies inside one region. The content can change at any time under the reader:
 * read each field once, into a local copy.
 */
void *memory_range(const struct guest_memory *memory, uint64_t address, uint64_t length);

/* Copies out of guest RAM. Returns 0, or -1 if the range is not wholly RAM (nothing is copied). */
int memory_read(const struct guest_memory *memory, uint64_t address, void *data, size_t length);

/* Copies into guest RAM. Returns 0, or -1 if the range is not wholly RAM (nothing is copied). */
int memory_write(const struct guest_memory *memory, uint64_t address, const void *data,
                 size_t length);

#endif
