/*
 * Sockets that systemd has opened for a service, or that an engine passes on from it, as
 * sd_listen_fds(3) describes them: descriptors from 3 on, LISTEN_FDS of them, for the process with
 * the number LISTEN_PID.
 */
#ifndef HYBRID_ENGINE_LISTEN_H
#define HYBRID_ENGINE_LISTEN_H

#include <jansson.h>

#include "error.h"

/*
 * How many such descriptors this process was given, 0 if none. Returns 0, or -1 with *err if the
 * environment means this process and names no number.
 */
int listen_fds_count(int *count, struct error *err);

/*
 * Has the process object of an OCI configuration tell its command of them: as process 1 of its pid
 * namespace, which it commonly is. Returns 0, or -1 with *err.
 */
int listen_fds_announce(json_t *process, int count, struct error *err);

#endif
