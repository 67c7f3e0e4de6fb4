/* Sending an image to a registry: blobs it lacks, then the manifest (distribution-spec 1.1, push).
 */
#ifndef HYBRID_UPLOAD_H
#define HYBRID_UPLOAD_H

#include "runtime/image/index.h"
#include "runtime/image/registry/response.h"

struct upload {
    struct http_client client;
    struct remote *remote;
    struct endpoint *endpoint; /* the registry itself: mirrors are for reading */
    CURL *easy;
    struct response response;
    struct error cause; /* why a callback broke a request off */
    void (*progress)(void *context, int64_t bytes);
    void *context;
};

/* Prepares to send to remote. Returns 0, or -1 with *err. */
int upload_begin(struct upload *upload, struct remote *remote, struct error *err);
void upload_end(struct upload *upload);

/*
 * Sends the blob that fd holds, unless the registry has it. Returns 1: it had it, 0: it was sent,
 * -1: *err.
 */
int upload_blob(struct upload *upload, const char *hex, int64_t size, int fd, struct error *err);

/* Sends a manifest under remote->version. Returns 0, or -1 with *err. */
int upload_manifest(struct upload *upload, const char *hex, int64_t size, int fd,
                    const char *media_type, struct error *err);

#endif
