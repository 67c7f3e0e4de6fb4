#include "processes.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

/* The parent of a process and its name; 0: it is gone. */
static pid_t read_stat(pid_t pid, char comm[COMM_SIZE])
{
    char path[64], line[512];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    if (!file || !fgets(line, sizeof line, file))
        return 0;
    /* "PID (COMM) STATE PARENT ...": the name may hold anything, also ")". */
    char *open = strchr(line, '('), *close = strrchr(line, ')');
    if (!open || !close || close < open || strlen(close) < 4)
        // cppcheck-suppress resourceLeak ; released by its _cleanup_*
        return 0;
    (void)snprintf(comm, COMM_SIZE, "%.*s", (int)(close - open - 1), open + 1);
    // cppcheck-suppress resourceLeak ; released by its _cleanup_*
    return (pid_t)strtol(close + 4, NULL, 10);
}

static bool has(const struct processes *processes, pid_t pid)
{
    for (size_t i = 0; i < processes->count; i++)
        if (processes->list[i].pid == pid)
            return true;
    return false;
}

/* One pass over all processes; returns whether it found another. */
static bool find_children(struct processes *processes)
{
    bool found = false;
    _cleanup_closedir_ DIR *directory = opendir("/proc");
    for (const struct dirent *entry; directory && (entry = readdir(directory));) {
        char comm[COMM_SIZE] = "";
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid <= 0 || processes->count == MAX_PROCESSES || has(processes, pid))
            continue;
        pid_t parent = read_stat(pid, comm);
        if (parent <= 0 || !has(processes, parent))
            continue;
        processes->list[processes->count].pid = pid;
        memcpy(processes->list[processes->count++].comm, comm, COMM_SIZE);
        found = true;
    }
    return found;
}

void processes_find(pid_t first, struct processes *processes)
{
    *processes = (struct processes){ .count = 1 };
    processes->list[0].pid = first;
    (void)read_stat(first, processes->list[0].comm);
    while (find_children(processes))
        continue;
}

bool processes_is_ours(const char *comm)
{
    return strncmp(comm, "hybrid", strlen("hybrid")) == 0;
}

int processes_add_memory(pid_t pid, bool has_guest, struct process_memory *memory)
{
    enum { GUEST_KIB = 16 << 10 }; /* include/machine.h: the least RAM of a guest */
    char path[64], line[512];
    long long size = 0, kib;
    (void)snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
    _cleanup_fclose_ FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    /* NOLINTBEGIN(cert-err34-c): the kernel's numbers */
    while (fgets(line, sizeof line, file)) {
        if (sscanf(line, "Size: %lld kB", &kib) == 1)
            size = kib;
        bool guest = has_guest && size >= GUEST_KIB;
        if (guest && sscanf(line, "Rss: %lld kB", &kib) == 1)
            memory->guest_ram += kib << 10;
        if (!guest && sscanf(line, "Pss: %lld kB", &kib) == 1)
            memory->pss += kib << 10;
    }
    /* NOLINTEND(cert-err34-c) */
    return 0;
}
