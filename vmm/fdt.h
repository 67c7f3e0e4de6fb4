/* The machine described to its kernel: one flattened device tree (devicetree specification 0.4). */
#ifndef HYBRID_VMM_FDT_H
#define HYBRID_VMM_FDT_H

#include "error.h"
#include "vmm/bus.h"
#include "vmm/memory.h"

#include <stddef.h>

/*
 * Builds the tree of a machine with this memory, these CPUs and the devices of bus.
 * Returns its size in bytes with *blob the caller's to free, or -1 with err.
 */
int fdt_describe(void **blob, const struct guest_memory *memory, unsigned cpu_count,
                 const struct bus *bus, const char *command_line, struct error *err);

#endif
