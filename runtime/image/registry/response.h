/* What of an HTTP response matters here: some headers, and an explanation if it is an error. */
#ifndef HYBRID_RESPONSE_H
#define HYBRID_RESPONSE_H

#include "runtime/image/index.h"
#include "runtime/image/registry/http.h"

enum { RESPONSE_MAX_LOCATION = 4096 };

struct response {
    size_t header_bytes;               /* of all responses to the request */
    char challenge[4096];              /* WWW-Authenticate, all of them */
    char digest[STORE_DIGEST_HEX + 1]; /* Docker-Content-Digest; "": none that is sha256 */
    char location[RESPONSE_MAX_LOCATION];
    int64_t range_start; /* Content-Range; -1: none */
    char body[HTTP_MAX_ERROR_BODY];
    size_t body_length;
};

/* Before a request. */
void response_begin(struct response *response);

/*
 * Takes a header line; that of a status begins the response anew. Returns 0, or -1 with *err when
 * there is no end of headers.
 */
int response_take_header(struct response *response, const char *data, size_t length,
                         struct error *err);

/* Keeps a part of an error's body. Returns 0, or -1 when there is enough of it. */
int response_take_body(struct response *response, const char *data, size_t length);

#endif
