/* What workloads use of the image store, as their states say. */
#ifndef HYBRID_USERS_H
#define HYBRID_USERS_H

#include <jansson.h>

#include "runtime/image/index.h"
#include "runtime/image/marks.h"

struct workload_visit {
    int (*visit)(const char *id, const json_t *state, void *context, struct error *err);
    void *context;
};

/*
 * Calls visit for the state of each workload below root, until it returns something else than 0.
 * One that cannot be read is an error, and so is a root of NULL: what is used is not known. A state
 * that comes meanwhile may be missed: who removes an image reads them after the image's names are
 * gone, so that a command which is to use it has its state written by then, or does not find the
 * image, or finds its layers missing before it starts.
 */
int users_visit(const char *root, const struct workload_visit *visit, struct error *err);

/* A workload names its image as it resolved it: a reference, or sha256:<id>. */
struct user {
    char *id;
    char *image;
};

struct users {
    struct user *list;
    size_t count, room;
    struct marks layers; /* by diff id; sorted */
};

/* Reads all workloads below root. Free it also after a failure. Returns 0, or -1 with *err. */
int users_read(const char *root, struct users *users, struct error *err);
void users_free(struct users *users);

/* The first workload that uses the image under this name, or by its id; NULL: there is none. */
const struct user *users_find(const struct users *users, const struct index_entry *entry);

/* Fails if there is one, and says how to get rid of it. Returns 0, or -1 with *err. */
int users_refuse(const struct users *users, const struct index_entry *entry, struct error *err);

#endif
