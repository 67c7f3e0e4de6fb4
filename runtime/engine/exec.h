/* exec in the form of OCI runtimes. */
#ifndef HYBRID_ENGINE_EXEC_H
#define HYBRID_ENGINE_EXEC_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"
#include "plan.h"
#include "runtime/monitor/workload.h"

struct engine_exec_options {
    const char *process;        /* file with an OCI process object; NULL: a command is given */
    const char *pid_file;       /* NULL: none */
    const char *console_socket; /* NULL: none */
    int64_t preserve_fds;
    bool detach;
};

/*
 * Reads JSON from a file, or standard input ("-"). option: its name, for messages. New reference,
 * or NULL with *err.
 */
json_t *engine_read_json(const char *path, const char *option, struct error *err);

/*
 * Whether the descriptors that `name` (for the message) has counted are open: ours must not take
 * their places. To be called before anything is opened. Returns 0, or -1 with *err.
 */
int preserved_fds_check(const char *name, int first, int64_t count, struct error *err);

/*
 * Starts a process in a container and leaves it to whoever adopts it. Returns 0, or -1 with *err
 * and no process left.
 */
int engine_exec_detached(const struct workload_join *join, const struct plan *plan,
                         const struct engine_exec_options *options, struct error *err);

#endif
