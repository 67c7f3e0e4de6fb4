/* The processes that a state names: known by number and start time, as numbers come again. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "state.h"

/* Reads field 3 and field 22 of /proc/pid/stat. Returns false if there is no such process. */
static bool read_process(pid_t pid, char *letter, uint64_t *start)
{
    char path[32], text[1024];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : io_read_all(fd, text, sizeof text - 1);
    if (length <= 0)
        return false;
    text[length] = '\0';
    /* The name in parentheses may hold anything; field 3 begins after the last one. */
    const char *at = strrchr(text, ')');
    *letter = '?';
    if (at && at[1])
        *letter = at[2];
    for (int field = 2; at && field < 22; field++)
        at = strchr(at + 1, ' ');
    *start = at ? strtoull(at + 1, NULL, 10) : 0;
    return at != NULL;
}

uint64_t state_process_start(pid_t pid)
{
    char letter;
    uint64_t start;
    return read_process(pid, &letter, &start) ? start : 0;
}

bool state_process_lives(pid_t pid, uint64_t start)
{
    char letter;
    uint64_t found;
    return pid > 0 && read_process(pid, &letter, &found) && found == start && letter != 'Z' &&
           letter != 'X';
}
