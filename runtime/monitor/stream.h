/*
 * One direction of a relay: bytes from a source to a sink through a bounded buffer. A sink that
 * does not take them stops the reading: nothing grows.
 *
 * The caller's descriptors (0, 1, 2) may be shared with other programs, which would not expect
 * them to become non-blocking: stream_open_caller makes a description of our own where it can.
 */
#ifndef HYBRID_STREAM_H
#define HYBRID_STREAM_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>

#include "log.h"

enum { STREAM_BUFFER = 64 * 1024 };

enum stream_event {
    STREAM_NOTHING,
    STREAM_SOURCE_ENDED, /* end of file; what is buffered is still to be written */
    STREAM_SINK_GONE,    /* nobody takes the bytes any more: both ends were closed */
    STREAM_BACKGROUND,   /* a terminal refused the input of a background process; paused */
    STREAM_SINK_FAILED,  /* as SINK_GONE, for another reason than a reader that left: errno */
};

struct stream {
    int source, sink;     /* owned; -1: closed. sink -1 with `discard`: to the log alone */
    bool discard;         /* no sink was ever wanted */
    bool paused;          /* leave both ends alone */
    bool from_caller;     /* the source is the caller's own, perhaps its terminal */
    size_t sink_limit;    /* the most bytes one write may have: a page where writing could block */
    struct log *log;      /* NULL: none; borrowed */
    enum log_stream name; /* for the log */
    char *buffer;         /* STREAM_BUFFER bytes, made at the first read */
    size_t start, end;    /* what is in it */
    struct pollfd *source_poll, *sink_poll; /* of this round; NULL: not polled */
};

/* A stream with nothing. */
#define STREAM_NONE ((struct stream){ .source = -1, .sink = -1, .sink_limit = STREAM_BUFFER })

/*
 * A close-on-exec descriptor of our own for one of the caller's: for reading or for writing.
 * *limit: what stream.sink_limit must be. Returns -1 with errno.
 */
int stream_open_caller(int fd, bool writing, size_t *limit);

/* Adds what the stream waits for to fds[0..1]. Returns how many were used. */
size_t stream_poll(struct stream *stream, struct pollfd *fds);

/* Moves what poll(2) said can be moved. errno is set with STREAM_SINK_FAILED. */
enum stream_event stream_dispatch(struct stream *stream);

/* Is there something left that could still be written, or read? */
bool stream_is_open(const struct stream *stream);

void stream_close(struct stream *stream);

#endif
