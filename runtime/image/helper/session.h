/*
 * One command that brings content into the store: its work is done by a child in a staging
 * directory, so that whatever ends it, the store is as before or complete.
 */
#ifndef HYBRID_SESSION_H
#define HYBRID_SESSION_H

#include "runtime/image/helper/staging.h"

struct session {
    const char *root; /* where workloads are, for collect_garbage; NULL: unknown */
    int handover;     /* a descriptor for the work alone: closed here once it runs; -1: none */
    int (*work)(const struct staging *staging, void *context, struct error *err);
    void *context;
};

/*
 * Runs session->work, whose error it prints. SIGINT, SIGTERM and SIGHUP end it: the store is then
 * as before. Returns the exit status, or -1 with *err.
 */
int session_run(const char *store_path, const struct session *session, struct error *err);

#endif
