/* `hybrid-image verify`: who signed an image of the store. */
#ifndef HYBRID_VERIFY_H
#define HYBRID_VERIFY_H

#include <stdbool.h>

#include "error.h"

struct verify_options {
    const char *name;     /* of an image of the store, with a reference */
    const char *key;      /* file with a public key, PEM */
    const char *settings; /* path of registries.json */
    const char *root;     /* where workloads are, for collect_garbage; NULL: unknown */
    bool plain_http;
    bool quiet;
};

/*
 * Fetches the signatures of the image from its registry (tag sha256-HEX.sig of its repository) and,
 * if one is the key's, writes down that the image is signed by it: <store>/signatures/HEX, which
 * policy_find_signers reads. Gives up privileges on the way. Returns the exit status, or -1 with
 * *err.
 */
int verify_run(const char *store_path, const struct verify_options *options, struct error *err);

#endif
