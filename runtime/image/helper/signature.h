/*
 * Signatures as cosign makes them with a key: of a payload in the form "simple signing"
 * (containers/image, docs/containers-signature.5.md), which names the digest of a manifest and the
 * repository that it was signed for. What a payload says beyond that is not looked at.
 */
#ifndef HYBRID_SIGNATURE_H
#define HYBRID_SIGNATURE_H

#include <stddef.h>

#include "error.h"

struct signature_key; /* a public key */

/*
 * Reads a public key in PEM form: ECDSA on P-256, or RSA of at least 2048 bits. name: for messages.
 * Returns NULL with *err.
 */
struct signature_key *signature_read_key(const char *pem, const char *name, struct error *err);
void signature_key_free(struct signature_key *key);

struct signature_claim {
    const char *digest;     /* hex of the manifest's sha256 */
    const char *repository; /* REGISTRY/NAME, normalised, without tag and digest */
};

/*
 * Whether `signature` (base64) is the key's, over the payload, and the payload says what is
 * claimed. What an unsigned payload says is not looked at. Returns 0, or -1 with *err saying what
 * is wrong.
 */
int signature_check(const struct signature_key *key, const char *payload, size_t length,
                    const char *signature, const struct signature_claim *claim, struct error *err);

/* The repository of a normalised reference, malloc'd: without ":TAG" and "@DIGEST". */
char *signature_repository(const char *reference);

#endif
