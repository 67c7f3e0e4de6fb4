/* The command line of hybrid-vmm; include/machine.h describes it. */
#ifndef HYBRID_VMM_OPTIONS_H
#define HYBRID_VMM_OPTIONS_H

#include "error.h"
#include "include/machine.h"
#include "vmm/virtio/net.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct options {
    int kernel_fd, kvm_fd, control_fd, scratch_fd, console_fd, share_fd; /* -1: not given */
    int disk_fds[MACHINE_MAX_DISK_FILES];
    size_t disk_count;
    struct net_options nets[MACHINE_MAX_NETS];
    size_t net_count;
    uint64_t memory; /* bytes */
    uint64_t cpus, uid, gid;
    uint64_t disk_read_bps, disk_write_bps, disk_read_iops, disk_write_iops; /* 0: no limit */
    struct net_rates net_rates;                                              /* of each */
    const char *command_line, *share_tag; /* the tag is NULL where there is no share */
    bool probe, system_calls, help, version;
};

/*
 * Parses and checks the arguments after the program's name. Strict: unknown options, trailing
 * characters, numbers out of range and descriptors that are not open are refused.
 * Returns 0, or -1 with err.
 */
int options_parse(struct options *options, int argument_count, char **arguments, struct error *err);

/* Writes the usage text. */
void options_print_help(FILE *stream);

#endif
