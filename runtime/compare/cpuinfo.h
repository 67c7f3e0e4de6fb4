/* Whose processors /proc/cpuinfo shows: the probe inside and compare outside ask alike. */
#ifndef HYBRID_COMPARE_CPUINFO_H
#define HYBRID_COMPARE_CPUINFO_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* A hash (FNV-1a) of what does not change from one reading to the next: not MHz. */
static inline uint64_t cpuinfo_hash(void)
{
    static const char *const lines[] = { "processor", "model name", "microcode", "flags" };
    uint64_t hash = 14695981039346656037ULL;
    char line[8192];
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && fgets(line, sizeof line, file)) {
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
            if (strncmp(line, lines[i], strlen(lines[i])) != 0)
                continue;
            for (const char *at = line; *at; at++)
                hash = (hash ^ (unsigned char)*at) * 1099511628211ULL;
        }
    }
    if (file)
        (void)fclose(file);
    return hash;
}

#endif
