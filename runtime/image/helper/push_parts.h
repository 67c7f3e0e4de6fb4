/* Sending several blobs at a time: a process each, which has the network as its parent has. */
#ifndef HYBRID_PUSH_PARTS_H
#define HYBRID_PUSH_PARTS_H

#include <stdbool.h>

#include "runtime/image/registry/upload.h"

/* A blob to send, held open: it stays readable when the image is removed meanwhile. */
struct push_part {
    const char *kind; /* for messages: "layer" */
    char hex[STORE_DIGEST_HEX + 1];
    int64_t size;
    int fd;
    char *from; /* a repository of the same registry that has it; NULL: not known */
};

/* Sends them, remote->parallel at a time. Returns 0, or -1 with the first error; no process is left
 * then. */
int push_parts_send(struct push_part *parts, size_t count, struct remote *remote, bool quiet,
                    struct error *err);

#endif
