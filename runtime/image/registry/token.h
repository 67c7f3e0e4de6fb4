/*
 * Answering a challenge: HTTP Basic, or a bearer token from the authorization service that the
 * registry names (distribution's token specification, and its OAuth2 form).
 */
#ifndef HYBRID_TOKEN_H
#define HYBRID_TOKEN_H

#include "runtime/image/registry/challenge.h"
#include "runtime/image/registry/http.h"

/*
 * Sets endpoint->authorization as the challenge asks for. Waits for the service.
 * actions: "pull" or "pull,push". also: another repository to pull from; NULL: none. Returns 0, or
 * -1 with *err.
 */
int token_obtain(const struct http_client *client, struct endpoint *endpoint,
                 const struct challenge *challenge, const char *repository, const char *actions,
                 const char *also, struct error *err);

/* Takes the token from the service's answer. malloc'd, or NULL with *err. */
char *token_parse(const char *text, size_t length, struct error *err);

#endif
