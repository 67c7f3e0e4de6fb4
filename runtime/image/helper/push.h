/* `hybrid-image push`: an image of the store goes to a registry. */
#ifndef HYBRID_PUSH_H
#define HYBRID_PUSH_H

#include <stdbool.h>

#include "error.h"

struct push_options {
    const char *name;     /* of the image, and so of where it goes */
    const char *settings; /* path of registries.json */
    bool plain_http;
    bool quiet;
};

/* Prints "Pushed image: REF" and its digest (unless quiet). Gives up all privileges on the way, but
 * the network. Returns 0, or -1 with *err. */
int push_run(const char *store_path, const struct push_options *options, struct error *err);

#endif
