/* Sending an image to a registry: blobs it lacks, then the manifest (distribution-spec 1.1, push).
 */
#ifndef HYBRID_UPLOAD_H
#define HYBRID_UPLOAD_H

#include "runtime/image/index.h"
#include "runtime/image/registry/response.h"

enum upload_outcome {
    UPLOAD_SENT,
    UPLOAD_THERE,   /* the repository had it */
    UPLOAD_MOUNTED, /* the registry has taken it from another repository */
};

struct upload {
    struct http_client client;
    struct remote *remote;
    struct endpoint *endpoint; /* the registry itself: mirrors are for reading */
    const char *from;          /* another repository that the request reads; NULL: none */
    CURL *easy;
    struct response response;
    size_t answer_bytes;
    struct error cause; /* why a callback broke a request off */
    void (*progress)(void *context, int64_t bytes);
    void *context;
};

/* Prepares to send to remote. Returns 0, or -1 with *err. */
int upload_begin(struct upload *upload, struct remote *remote, struct error *err);
void upload_end(struct upload *upload);

/* Does the repository have the blob? Learns on the way how the registry is spoken to, and logs in.
 * Returns 1, 0, or -1 with *err. */
int upload_find(struct upload *upload, const char *hex, struct error *err);

/*
 * Sends the blob that fd holds, unless the repository has it, or can have it from another one of
 * the registry, `from` (NULL: not known). Returns an upload_outcome, or -1 with *err.
 */
int upload_blob(struct upload *upload, const char *hex, int64_t size, int fd, const char *from,
                struct error *err);

/* Sends a manifest under remote->version. Returns 0, or -1 with *err. */
int upload_manifest(struct upload *upload, const char *hex, int64_t size, int fd,
                    const char *media_type, struct error *err);

#endif
