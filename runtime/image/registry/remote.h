/*
 * Where an image is fetched from: a repository, a tag or digest, and the hosts to ask in order:
 * the mirrors that the settings name, then the registry itself.
 */
#ifndef HYBRID_REMOTE_H
#define HYBRID_REMOTE_H

#include <stdint.h>

#include "runtime/image/registry/credentials.h"
#include "runtime/image/registry/settings.h"

enum endpoint_scheme {
    ENDPOINT_HTTPS,
    ENDPOINT_HTTP,
    ENDPOINT_EITHER, /* loopback: HTTP, or HTTPS if its first answer is none of HTTP */
};

struct endpoint {
    char *name; /* HOST[:PORT] as users know it */
    char *host; /* HOST[:PORT] to connect to */
    enum endpoint_scheme scheme;
    bool loopback;
    bool verify; /* look at the certificate */
    char *ca;    /* authorities in PEM form, in place of the system's; NULL: those */
    struct credentials credentials;
    char *authorization;  /* value of the header, once the host has asked for it; NULL: none */
    unsigned int renewal; /* counts the changes of authorization */
};

struct remote {
    char *reference;  /* normalised, for messages */
    char *repository; /* library/busybox */
    char *version;    /* a tag, or sha256:HEX */
    struct endpoint *endpoints;
    size_t count;
    bool vouched; /* by TLS or the system's settings, not the caller's: who answers is who is named
                   */
    int64_t parallel; /* blobs on their way at a time */
    int64_t stall_seconds;
};

/*
 * Finds out all that is needed to reach a normalised reference: reads the settings (settings_path)
 * and the credentials. plain_http: the registry itself speaks HTTP. Returns 0, or -1 with *err.
 */
int remote_open(const char *reference, const char *settings_path, bool plain_http,
                struct remote *remote, struct error *err);
void remote_free(struct remote *remote);

/* Is HOST[:PORT] this machine by name or address? */
bool remote_is_loopback(const char *host);

#endif
