/* The receiving side of a pull: it asks the fetcher, which has the network, for documents and
 * layers, and sees to it that they are what they should be. */
#ifndef HYBRID_FETCH_H
#define HYBRID_FETCH_H

#include "runtime/image/helper/convert.h"
#include "runtime/image/helper/descriptor.h"
#include "runtime/image/helper/incoming.h"
#include "runtime/image/registry/fetcher.h"

struct fetch {
    const struct staging *staging;
    const struct fetcher *fetcher;
    bool quiet;
    size_t outstanding;      /* layers asked for */
    char host[FETCHER_HOST]; /* who had the last document */
};

/* A manifest or configuration to fetch. */
struct fetch_document {
    const char *what; /* for messages */
    bool manifest;
    char hex[STORE_DIGEST_HEX + 1]; /* "": the manifest that the reference names */
    int64_t size;                   /* -1: unknown */
    bool asked_for;                 /* of the registry, also if the store has it already */
};

/*
 * Fetches a document, unless the store has it and that is enough, and verifies it once more. type
 * receives its media type as the registry says, or "". Returns a new reference, or NULL with *err.
 */
json_t *fetch_document(struct fetch *fetch, const struct fetch_document *wanted, struct blob *blob,
                       char type[FETCHER_MEDIA_TYPE], struct error *err);

/* Says what is wrong with a document, who sent it, and what can be done. Returns -1. */
int fetch_refuse(const struct fetch *fetch, const char *cause, struct error *err);

/* For convert_layers: brings the blobs of absent layers, several at a time. */
struct layer_feed fetch_feed(struct fetch *fetch);

#endif
