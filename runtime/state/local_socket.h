/* Sockets by name in a state directory, however deep it lies. */
#ifndef HYBRID_LOCAL_SOCKET_H
#define HYBRID_LOCAL_SOCKET_H

#include "error.h"

/*
 * A listening SOCK_SEQPACKET socket at <directory>/<name>, for its owner alone; what was there
 * before is replaced. flags: SOCK_NONBLOCK or 0. Returns the descriptor, or -1 with *err.
 */
int local_socket_listen(const char *directory, const char *name, int flags, struct error *err);

/* Returns a connected descriptor, or -1 with errno. */
int local_socket_connect(const char *directory, const char *name);

#endif
