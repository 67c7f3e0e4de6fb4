/* What all requests to an endpoint have in common, over libcurl. */
#ifndef HYBRID_HTTP_H
#define HYBRID_HTTP_H

#include <curl/curl.h>

#include "runtime/image/registry/remote.h"

enum { HTTP_MAX_REDIRECTS = 5, HTTP_MAX_HEADERS = 64 * 1024, HTTP_MAX_ERROR_BODY = 4096 };

struct http_client {
    CURLM *multi;
    int owner; /* socket to the process that asks: when it closes, this one ends at once */
    int64_t stall_seconds;
};

/*
 * Prepares easy for a request to url, of an endpoint: TLS as the endpoint says, http and https
 * only, nothing but https once it is https, bounded redirects, credentials for no other host, no
 * stalling. authorization: value of the header, or NULL. *headers receives what must be freed
 * (curl_slist_free_all) after the request. Returns 0, or -1 with *err.
 */
int http_prepare(const struct http_client *client, const struct endpoint *endpoint, const char *url,
                 const char *authorization, CURL *easy, struct curl_slist **headers,
                 struct error *err);

/* Appends a header line. Returns 0, or -1 with *err. */
int http_add_header(struct curl_slist **headers, const char *line, struct error *err);

/* "https" or "http", as the endpoint is spoken to now. */
const char *http_scheme(const struct endpoint *endpoint);

/*
 * On loopback, the status of the first answer tells what is spoken there; 0 or less: none of HTTP.
 * Returns whether to try again: with TLS.
 */
bool http_learn_scheme(struct endpoint *endpoint, long status);

/*
 * The cause in the words of the registry, from the body of its answer ({"errors": [{"code",
 * "message"}]}), or "" : printable, with ": " in front.
 */
void http_explain(const char *body, size_t length, char *text, size_t size);

/* Waits before a request is repeated. Ends the process at once when its owner is gone. */
void http_pause(const struct http_client *client, int64_t seconds);

#endif
