/*
 * /etc/hybrid/registries.json: mirrors, and registries that need plain HTTP or other certificates.
 *
 *   { "stall_seconds": 30, "parallel": 3,
 *     "registries": {
 *       "docker.io":           { "mirrors": ["mirror.example:5000"] },
 *       "mirror.example:5000": { "ca_file": "/etc/ssl/mirror.pem" },
 *       "old.example":         { "plain_http": true },
 *       "lab.example":         { "skip_verify": true } } }
 */
#ifndef HYBRID_REGISTRY_SETTINGS_H
#define HYBRID_REGISTRY_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"

#define REGISTRY_SETTINGS_PATH "/etc/hybrid/registries.json"

enum {
    SETTINGS_STALL_SECONDS = 30,
    SETTINGS_PARALLEL = 3, /* as Docker has it */
    SETTINGS_MAX_PARALLEL = 16,
    SETTINGS_MAX_MIRRORS = 8,
};

struct registry_settings {
    json_t *document;      /* checked; NULL: there is no file */
    int64_t parallel;      /* layers on their way at a time */
    int64_t stall_seconds; /* a transfer that brings nearly nothing for so long is broken off */
};

struct registry_options {
    bool plain_http_given, plain_http; /* HTTP without TLS */
    bool skip_verify;                  /* TLS without looking at the certificate */
    const char *ca_file;               /* in place of the system's authorities; NULL: those */
    const json_t *mirrors;             /* HOST[:PORT], tried before the registry itself */
};

/* Reads and checks the file; a missing one is empty. Returns 0, or -1 with *err. */
int registry_settings_read(const char *path, struct registry_settings *settings, struct error *err);
void registry_settings_free(struct registry_settings *settings);

/* What they say of HOST[:PORT]; strings are borrowed. */
struct registry_options registry_settings_of(const struct registry_settings *settings,
                                             const char *host);

#endif
