/* An OCI bundle: a directory with config.json and a root file system. */
#ifndef HYBRID_ENGINE_BUNDLE_H
#define HYBRID_ENGINE_BUNDLE_H

#include <jansson.h>

#include "error.h"
#include "plan.h"
#include "runtime/engine/pod.h"
#include "runtime/runtime.h"

struct bundle {
    char *path; /* absolute, without symbolic links */
    char *config_text;
    struct plan plan;
    uint8_t *filter;
    bool vm;      /* it runs in a VM: as it asks for, as hybrid was called, or by the policy */
    bool sandbox; /* instead of a VM: a pod's sandbox */
    struct pod_place pod; /* of a VM */
    json_t *policy;       /* its decision; NULL: there is no policy */
};

/*
 * Loads a bundle for this runtime, and makes it the working directory: its configuration's relative
 * paths begin there. listen_fds: how many sockets of systemd's its command is told of (listen.h).
 * One that asks for an isolation that cannot be had is refused, and one that the policy does not
 * let run. Returns 0, or -1 with *err. bundle_free is safe either way.
 */
int bundle_load(const struct runtime *runtime, const char *id, const char *path, int listen_fds,
                struct bundle *bundle, struct error *err);
void bundle_free(struct bundle *bundle);

#endif
