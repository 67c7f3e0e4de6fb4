/*
 * One command that brings content into the store: its work is done by a child in a staging
 * directory, so that whatever ends it, the store is as before or complete.
 */
#ifndef HYBRID_SESSION_H
#define HYBRID_SESSION_H

#include "runtime/image/helper/landlock.h"
#include "runtime/image/helper/staging.h"

struct session {
    const char *root; /* where workloads are, for collect_garbage; NULL: unknown, it is not done */
    const struct landlock_place *place; /* besides the store; NULL: none */
    int handover; /* a descriptor for the work alone: closed here once it runs; -1: none */
    int (*work)(const struct staging *staging, void *context, struct error *err);
    void *context;
};

/*
 * Runs session->work, whose error it prints. SIGINT, SIGTERM and SIGHUP end it: the store is then
 * as before. Returns the exit status, or -1 with *err.
 */
int session_run(const char *store_path, const struct session *session, struct error *err);

/*
 * Confines this process, which has opened the store, to it and to reading root (NULL: none) and
 * place (NULL: none). Returns 0, or -1 with *err.
 */
int session_confine(const struct store *store, const char *root, const struct landlock_place *place,
                    struct error *err);

/*
 * Runs work in a process of its own that dies with this one, and waits for it; it prints its error.
 * Returns its exit status, or -1 with *err: it was killed.
 */
int session_guard(int (*work)(void *context, struct error *err), void *context, struct error *err);

#endif
