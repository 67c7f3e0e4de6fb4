/* link: vmm */
/* The device tree: whatever the machine, it is well-formed, fits, and says what was asked for. */
#include "input.h"

#include "vmm/arch.h"
#include "vmm/fdt.h"

#include "include/machine.h"

#include <assert.h>
#include <libfdt.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = { data, size };
    struct error err = { 0 };
    struct guest_memory memory = { .region_count = 1 + input_8(&input) % MEMORY_MAX_REGIONS };
    struct bus bus = { .base = input_64(&input),
                       .device_count = input_8(&input) % (BUS_MAX_DEVICES + 1) };
    unsigned cpus = 1 + input_8(&input) % MACHINE_MAX_CPUS;
    void *blob = NULL;
    for (size_t i = 0; i < memory.region_count; i++)
        memory.regions[i] =
            (struct memory_region){ .start = input_64(&input), .size = input_64(&input) };
    char *command_line = strndup((const char *)input.at, input.left);
    assert(command_line);
    int length = fdt_describe(&blob, &memory, cpus, &bus, command_line, &err);
    if (length < 0) {
        assert(err.message[0] != '\0');
    } else {
        int chosen = fdt_path_offset(blob, "/chosen"), count = 0, node;
        assert((size_t)length <= arch_layout.max_fdt);
        assert(fdt_check_full(blob, (size_t)length) == 0);
        assert(strcmp(fdt_getprop(blob, chosen, "bootargs", NULL), command_line) == 0);
        fdt_for_each_subnode(node, blob, fdt_path_offset(blob, "/cpus")) count++;
        assert((unsigned)count == cpus);
        count = 0;
        fdt_for_each_subnode(node, blob, fdt_path_offset(blob, "/soc")) count++;
        assert((size_t)count == bus.device_count);
    }
    free(blob);
    free(command_line);
    return 0;
}
