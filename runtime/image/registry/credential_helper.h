/* docker-credential-NAME: programs that keep credentials (docker-credential-helpers protocol). */
#ifndef HYBRID_CREDENTIAL_HELPER_H
#define HYBRID_CREDENTIAL_HELPER_H

#include "runtime/image/registry/credentials.h"

/*
 * Asks docker-credential-<name> for what it keeps under `key`. It may keep nothing: credentials
 * are then untouched. Returns 0, or -1 with *err.
 */
int credential_helper_get(const char *name, const char *key, struct credentials *credentials,
                          struct error *err);

#endif
