/* The table of what the hostile guest tries. */
#ifndef HOSTILE_CASES_H
#define HOSTILE_CASES_H

#include "driver.h"

/* Where a case is tried: it counts once for each device. */
enum {
    ON_LAYERS = 1 << LAYERS,
    ON_SCRATCH = 1 << SCRATCH,
    ON_VSOCK = 1 << VSOCK,
    ON_NET = 1 << NET,
    ON_MACHINE = 1 << DEVICES,
};
#define ON_DISKS (ON_LAYERS | ON_SCRATCH)
/* The transport is one; that of the network device is not tried again. */
#define ON_ALL    (ON_DISKS | ON_VSOCK)
#define ON_QUEUES (ON_ALL | ON_NET)

struct hostile_case {
    const char *name;
    /* Does it, and returns NULL, or what was not as it must be. device: NULL for ON_MACHINE. */
    const char *(*run)(const struct hostile_case *this_case, struct device *device);
    unsigned on;
    uint64_t a, b, c; /* what the function makes of them */
};

extern const struct hostile_case transport_cases[], queue_cases[], disk_cases[], vsock_cases[],
    net_cases[], port_cases[], race_cases[], end_cases[],
    region_cases[]; /* each ends with an entry without a name */

/* The number of the case that runs: ports of the host are offered for each. */
extern unsigned case_number;
enum {
    PORT_CHECK = 100000,  /* plus the case's number: echoes; used after each case */
    PORT_ECHO = 200000,   /* echoes, for the case itself */
    PORT_SINK = 300000,   /* the host never reads */
    PORT_SOURCE = 500000, /* the host sends without end */
    PORT_NOBODY = 999,    /* never offered */
};

#define TEXT2(x) #x
#define TEXT(x)  TEXT2(x)
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            return "line " TEXT(__LINE__) ": " #condition;                                         \
    } while (0)

#endif
