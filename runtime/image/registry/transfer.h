/*
 * One manifest or blob on its way: requested, received into a descriptor with its digest computed,
 * resumed where it broke off, repeated while there is hope, asked of the next host when not.
 */
#ifndef HYBRID_TRANSFER_H
#define HYBRID_TRANSFER_H

#include "runtime/image/helper/blob.h"
#include "runtime/image/registry/fetcher.h"
#include "runtime/image/registry/response.h"

enum transfer_outcome {
    TRANSFER_DONE,
    TRANSFER_AGAIN, /* at transfer->due */
    TRANSFER_FAILED,
};

struct transfer {
    struct fetch_request request;
    struct remote *remote;
    const struct http_client *client;
    int fd;
    CURL *easy;
    struct curl_slist *headers;

    size_t endpoint;      /* of remote->endpoints */
    unsigned int renewal; /* of its authorization when the request was sent */
    unsigned int failures, logins, begun;
    int64_t mark; /* bytes at the last failure that counted as the first */
    int64_t due;  /* milliseconds of the monotonic clock */

    struct sha256 hash;
    int64_t received;
    int64_t reported;

    struct response response;
    bool accepted;       /* the body of the response is content */
    bool local;          /* the cause is not the registry's */
    struct error cause;  /* why a callback broke the transfer off */
    struct error reason; /* what to tell about the failure or the repetition */
    char mirrors[512];   /* why those asked before did not have it */
    void (*report)(const struct transfer *transfer);
    void *context;
};

/* Begins a transfer: easy is ready to be performed. Returns 0, or -1 with transfer->reason. */
int transfer_begin(struct transfer *transfer);

/* Sends the request again, for what is still missing. The same. */
int transfer_repeat(struct transfer *transfer);

/* Judges what became of the request; transfer->reason says why, unless it is done. */
enum transfer_outcome transfer_judge(struct transfer *transfer, CURLcode code);

void transfer_free(struct transfer *transfer);

/* Milliseconds of the monotonic clock. */
int64_t transfer_now(void);

/* Forgets what was received: the next answer begins from the start. 0, or -1 with *err. */
int transfer_rewind(struct transfer *transfer, struct error *err);

#endif
