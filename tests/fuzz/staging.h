/* A store in memory, with a staging directory, for what is made of an input. */
#ifndef FUZZ_STAGING_H
#define FUZZ_STAGING_H

#include "runtime/image/helper/blob.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct fuzz_store {
    char path[64];
    struct store store;
    struct staging staging;
    int pid; /* libFuzzer forks for some of its jobs */
};

static struct fuzz_store fuzz_store;

static inline void fuzz_store_remove(void)
{
    if (fuzz_store.pid != getpid())
        return;
    store_close(&fuzz_store.store);
    assert(tree_remove(AT_FDCWD, fuzz_store.path) == 0);
}

/* Made once, removed at the end. */
static inline struct staging *fuzz_staging(void)
{
    struct error err = { 0 };
    bool swept;
    if (fuzz_store.path[0])
        return &fuzz_store.staging;
    (void)snprintf(fuzz_store.path, sizeof fuzz_store.path, "/dev/shm/fuzz-XXXXXX");
    assert(mkdtemp(fuzz_store.path));
    fuzz_store.pid = getpid();
    assert(store_open(fuzz_store.path, &fuzz_store.store, &err) == 0 &&
           staging_begin(&fuzz_store.store, &fuzz_store.staging, &swept, &err) == 0);
    (void)atexit(fuzz_store_remove);
    return &fuzz_store.staging;
}

/* Writes the input to a blob; its file is replaced. */
static inline struct blob fuzz_blob(const struct staging *staging, const uint8_t *data, size_t size)
{
    struct blob blob = { .size = (int64_t)size, .file = "blob" };
    (void)unlinkat(staging->fd, blob.file, 0);
    int fd = openat(staging->fd, blob.file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    (void)close(fd);
    return blob;
}

#endif
