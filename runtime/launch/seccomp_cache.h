/*
 * Compiled seccomp filters, <data>/seccomp/<hash>: building one with libseccomp takes ten times as
 * long as starting a container.
 */
#ifndef HYBRID_SECCOMP_CACHE_H
#define HYBRID_SECCOMP_CACHE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/*
 * As seccomp_compile, from the cache in `directory` if it is there, else compiled and put there.
 * The file holds the whole profile, which is compared byte by byte: a collision of the hash is
 * harmless. A cache that cannot be read or written is done without.
 */
int seccomp_cache_get(const char *directory, const json_t *profile, uint8_t **program,
                      size_t *length, unsigned int *flags, struct error *err);

#endif
