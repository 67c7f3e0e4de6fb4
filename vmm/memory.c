#include "vmm/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MEMORY_ALIGNMENT = 2 << 20 };

/*
 * Reserves address space that begins at a multiple of 2 MiB, as the guest's addresses do: only then
 * can a huge page of the host be one in the second-level page tables too. Returns NULL with errno.
 */
static void *memory_reserve(uint64_t size)
{
    /* NORESERVE: only pages that the guest touches are paid for, and the cgroup bounds those. */
    uint8_t *start = mmap(NULL, size + MEMORY_ALIGNMENT, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    size_t before = (MEMORY_ALIGNMENT - (uintptr_t)start % MEMORY_ALIGNMENT) % MEMORY_ALIGNMENT;
    if (before > 0)
        (void)munmap(start, before);
    if (before < MEMORY_ALIGNMENT)
        (void)munmap(start + before + size, MEMORY_ALIGNMENT - before);
    return start + before;
}

/* Puts the file in the place of what was reserved. Returns 0, or -1 with errno. */
static int memory_map_file(void *host, uint64_t size, int file_fd, uint64_t offset)
{
    void *mapped = mmap(host, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
                        file_fd, (off_t)offset);
    return mapped == MAP_FAILED ? -1 : 0;
}

static int memory_add_region(struct guest_memory *memory, uint64_t start, uint64_t size,
                             uint64_t file_offset, struct error *err)
{
    void *host = memory_reserve(size);
    if (!host)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot reserve %llu MiB of address space for the guest's memory",
                               (unsigned long long)(size >> 20));
    memory->regions[memory->region_count++] = (struct memory_region){
        .start = start, .size = size, .host = host, .file_offset = file_offset
    };
    if (memory->file_fd >= 0 && memory_map_file(host, size, memory->file_fd, file_offset) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot map the guest's memory");
    if (memory->file_fd >= 0)
        (void)madvise(host, size, MADV_HUGEPAGE); /* shared memory has them on request, if ever */
    (void)madvise(host, size, MADV_DONTDUMP); /* a tenant's memory does not belong into a dump */
    return 0;
}

static int memory_add_regions(struct guest_memory *memory, uint64_t size, uint64_t low_limit,
                              uint64_t high_start, struct error *err)
{
    uint64_t low = size < low_limit ? size : low_limit;
    if (memory_add_region(memory, 0, low, 0, err) < 0 ||
        (size > low && memory_add_region(memory, high_start, size - low, low, err) < 0)) {
        memory_destroy(memory);
        return -1;
    }
    return 0;
}

int memory_create(struct guest_memory *memory, uint64_t size, uint64_t low_limit,
                  uint64_t high_start, struct error *err)
{
    *memory = (struct guest_memory){ .file_fd = -1 };
    return memory_add_regions(memory, size, low_limit, high_start, err);
}

int memory_create_shared(struct guest_memory *memory, uint64_t size, uint64_t low_limit,
                         uint64_t high_start, struct error *err)
{
    *memory = (struct guest_memory){
        .file_fd = memfd_create("guest-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING),
    };
    if (memory->file_fd < 0 || ftruncate(memory->file_fd, (off_t)size) < 0 ||
        fcntl(memory->file_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
        (void)error_set_errno(err, EXIT_OURS, errno,
                              "cannot make a file of %llu MiB for the guest's memory",
                              (unsigned long long)(size >> 20));
        memory_destroy(memory);
        return -1;
    }
    return memory_add_regions(memory, size, low_limit, high_start, err);
}

void memory_destroy(struct guest_memory *memory)
{
    for (size_t i = 0; i < memory->region_count; i++)
        (void)munmap(memory->regions[i].host, memory->regions[i].size);
    memory->region_count = 0;
    if (memory->file_fd >= 0)
        (void)close(memory->file_fd);
    memory->file_fd = -1;
}

void *memory_range(const struct guest_memory *memory, uint64_t address, uint64_t length)
{
    if (length == 0)
        return NULL;
    for (size_t i = 0; i < memory->region_count; i++) {
        const struct memory_region *region = &memory->regions[i];
        /* Only subtractions of values already known to be in order: nothing here can wrap. */
        if (address < region->start || address - region->start >= region->size)
            continue;
        uint64_t offset = address - region->start;
        return length <= region->size - offset ? region->host + offset : NULL;
    }
    return NULL;
}

int memory_read(const struct guest_memory *memory, uint64_t address, void *data, size_t length)
{
    const void *source = memory_range(memory, address, length);
    if (!source)
        return -1;
    memcpy(data, source, length);
    return 0;
}

int memory_write(const struct guest_memory *memory, uint64_t address, const void *data,
                 size_t length)
{
    void *target = memory_range(memory, address, length);
    if (!target)
        return -1;
    memcpy(target, data, length);
    return 0;
}
