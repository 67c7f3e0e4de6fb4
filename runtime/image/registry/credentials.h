/*
 * What `docker login` left: credentials of registries in $DOCKER_CONFIG/config.json, by default
 * ~/.docker/config.json, or in the credential helper that it names (docker-credential-NAME).
 */
#ifndef HYBRID_CREDENTIALS_H
#define HYBRID_CREDENTIALS_H

#include <jansson.h>

#include "error.h"

struct credentials {
    char *user, *password; /* NULL: none */
    char *identity_token;  /* OAuth2 refresh token, in place of a password; NULL: none */
    char *trouble;         /* why a configured helper gave none: for a message later; or NULL */
};

/*
 * Looks up the credentials of HOST[:PORT] ("docker.io" too). None is no error, and a helper that
 * fails is none with `trouble`, as most images need none. Returns 0, or -1 with *err: the file is
 * malformed.
 */
int credentials_find(const char *host, struct credentials *credentials, struct error *err);
void credentials_free(struct credentials *credentials);

/*
 * Reads what a helper prints, {"Username": ..., "Secret": ...}; a user "<token>" means an identity
 * token. Returns 0, or -1 with *err.
 */
int credentials_parse_helper(const char *text, size_t length, struct credentials *credentials,
                             struct error *err);

/* Reads a member of "auths": {"auth": base64 of user:password} and the like. As above. */
int credentials_parse_entry(const json_t *entry, struct credentials *credentials,
                            struct error *err);

#endif
