/* For which operating system and processor an image is: "linux/arm64/v8" (OCI image-spec 1.1). */
#ifndef HYBRID_PLATFORM_H
#define HYBRID_PLATFORM_H

#include <jansson.h>
#include <stdbool.h>

#include "error.h"

enum { PLATFORM_WORD = 32 };

struct platform {
    char os[PLATFORM_WORD], architecture[PLATFORM_WORD];
    char variant[PLATFORM_WORD]; /* "": any */
};

/* The platform of this machine: linux/amd64, linux/arm64. */
struct platform platform_host(void);

/* Parses OS/ARCHITECTURE[/VARIANT]. Returns 0, or -1 with *err. */
int platform_parse(const char *text, struct platform *platform, struct error *err);

/*
 * Is the JSON object one of an image for this platform? Its members are os, architecture and
 * variant; it is a descriptor's "platform" or an image configuration.
 */
bool platform_matches(const struct platform *platform, const json_t *object);

/*
 * Checks an image configuration: what it does not say is this machine's. Returns 0, or -1 with
 * *err naming both platforms.
 */
int platform_check(const struct platform *platform, const json_t *config, const char *what,
                   struct error *err);

#endif
