/* Blobs: received with their digest computed on the way, kept byte for byte. */
#ifndef HYBRID_BLOB_H
#define HYBRID_BLOB_H

#include <stdint.h>
#include <sys/types.h>

#include "runtime/image/helper/staging.h"
#include "runtime/image/index.h"

struct sha256 {
    void *context;
};

int sha256_begin(struct sha256 *hash, struct error *err);
int sha256_add(struct sha256 *hash, const void *data, size_t length, struct error *err);
/* Ends the computation, also after a failure; hex may be NULL then. */
int sha256_end(struct sha256 *hash, char hex[STORE_DIGEST_HEX + 1], struct error *err);

struct blob {
    char hex[STORE_DIGEST_HEX + 1]; /* computed from the content */
    int64_t size;
    char file[STORE_DIGEST_HEX + 1]; /* its name in the staging directory */
};

/* Where bytes come from: up to size bytes into data. 0: the end; -1: *err. */
struct byte_source {
    ssize_t (*read)(void *context, void *data, size_t size, struct error *err);
    void *context;
};

/* A byte_source over a descriptor: context is a pointer to it. */
ssize_t blob_read_fd(void *context, void *data, size_t size, struct error *err);

/* A byte_source over text: context is a pointer to one of these. */
struct byte_text {
    const char *text;
    size_t length;
};
ssize_t blob_read_text_source(void *context, void *data, size_t size, struct error *err);

/* Computes digest and size of what fd holds from here to its end. Returns 0, or -1 with *err. */
int blob_hash_fd(int fd, struct blob *blob, struct error *err);

/*
 * Reads source to its end into the staging directory. known: hex digest under which the store may
 * hold the content already (NULL: unknown), so that it need not be written again; the caller still
 * compares blob->hex. limit: most bytes. Returns 0, or -1 with *err naming `what`.
 */
int blob_receive(const struct staging *staging, const struct byte_source *source, const char *known,
                 int64_t limit, const char *what, struct blob *blob, struct error *err);

/*
 * Makes an empty file for blob in the staging directory: sets blob->file. Returns a descriptor to
 * write to, or -1 with *err.
 */
int blob_create(const struct staging *staging, struct blob *blob, struct error *err);

/*
 * Does the store have the blob already? Then *blob is it, and is kept from being lost. size: as
 * others say, which must be so. 1: it has, 0: not, -1: *err.
 */
int blob_find(const struct staging *staging, const char *hex, int64_t size, struct blob *blob,
              struct error *err);

/* Opens a received blob for reading. Returns the descriptor, or -1 with *err. */
int blob_open(const struct staging *staging, const struct blob *blob, struct error *err);

/* The whole content as text, malloc'd and NUL-terminated; at most DOCUMENT_MAX_BYTES. */
char *blob_read_text(const struct staging *staging, const struct blob *blob, const char *what,
                     struct error *err);

#endif
