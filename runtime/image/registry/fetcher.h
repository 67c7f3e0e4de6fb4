/*
 * The process that speaks to registries: it alone has the network, and it has nothing else. It
 * runs as nobody, sees the store only through descriptors it is given, and checks digest and size
 * of all that it writes to them. Who asks it is a process without network.
 */
#ifndef HYBRID_FETCHER_H
#define HYBRID_FETCHER_H

#include <sys/types.h>

#include "runtime/image/index.h"
#include "runtime/image/registry/remote.h"

enum {
    FETCHER_PARALLEL = SETTINGS_MAX_PARALLEL, /* transfers at a time, at most */
    FETCHER_MEDIA_TYPE = 160,
    FETCHER_HOST = 256,
};

struct fetch_request {
    uint32_t id;                    /* the asker's, repeated in reports */
    bool manifest;                  /* or a blob */
    char hex[STORE_DIGEST_HEX + 1]; /* "": the manifest of the remote's version */
    int64_t size;                   /* as promised; -1: at most DOCUMENT_MAX_BYTES */
};

struct fetch_report {
    uint32_t id;
    bool finished;
    int64_t bytes; /* so far */
    /* Once finished: */
    char hex[STORE_DIGEST_HEX + 1];
    char media_type[FETCHER_MEDIA_TYPE]; /* as the registry says; "": it does not */
    char host[FETCHER_HOST];             /* who had it */
    /* exit_code 0: it succeeded. While not finished, the message says why it has to be repeated. */
    struct error error;
};

struct fetcher {
    size_t parallel; /* transfers to be asked for at a time, as the settings say */
    int socket;
    pid_t pid;
};

/* Forks the process. remote may be freed afterwards. Returns 0, or -1 with *err. */
int fetcher_start(struct remote *remote, struct fetcher *fetcher, struct error *err);

/* Asks for content, to be written to fd (stays the caller's). At most FETCHER_PARALLEL at a time.
 * Returns 0, or -1 with *err. */
int fetcher_request(const struct fetcher *fetcher, const struct fetch_request *request, int fd,
                    struct error *err);

/* Takes one report; waits for it. Returns 0, or -1 with *err: the process has ended. */
int fetcher_receive(const struct fetcher *fetcher, struct fetch_report *report, struct error *err);

#endif
