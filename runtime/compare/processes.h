/* The processes of a job, as the host sees them. */
#ifndef HYBRID_COMPARE_PROCESSES_H
#define HYBRID_COMPARE_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { MAX_PROCESSES = 64, COMM_SIZE = 16 };

struct processes {
    size_t count;
    struct {
        pid_t pid;
        char comm[COMM_SIZE];
    } list[MAX_PROCESSES];
};

/* `first` and all its descendants. */
void processes_find(pid_t first, struct processes *processes);

/* Whether a process of this name (/proc/PID/comm) is one of hybrid's own on the host. */
bool processes_is_ours(const char *comm);

struct process_memory {
    int64_t pss;       /* bytes, without what is counted below */
    int64_t guest_ram; /* bytes of large mappings of hybrid-vmm that the host has given */
};

/* Adds what /proc/PID/smaps says. Returns 0, or -1 with errno. */
int processes_add_memory(pid_t pid, bool has_guest, struct process_memory *memory);

#endif
