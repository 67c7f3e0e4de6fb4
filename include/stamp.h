/*
 * Times at which a start reaches its stages, for `hybrid compare`: a line "STAGE NANOSECONDS" of
 * CLOCK_MONOTONIC, written to the descriptor that HYBRID_STAMPS names. Without that variable,
 * which nobody else sets, nothing is read or written.
 */
#ifndef HYBRID_STAMP_H
#define HYBRID_STAMP_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define STAMP_ENV "HYBRID_STAMPS"

/* Nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share. */
static inline int64_t stamp_now(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The stage `stage` ends now. A reader that is gone changes nothing for the workload. */
static inline void stamp(const char *stage)
{
    const char *number = getenv(STAMP_ENV);
    char line[64];
    if (!number)
        return;
    int length = snprintf(line, sizeof line, "%s %lld\n", stage, (long long)stamp_now());
    long fd = strtol(number, NULL, 10);
    if (fd > STDERR_FILENO && write((int)fd, line, (size_t)length) < 0)
        return;
}

#endif
