/* The control socket: offers of streams, pause and resume, and word of how the machine ended. */
#ifndef HYBRID_VMM_CONTROL_H
#define HYBRID_VMM_CONTROL_H

#include "error.h"
#include "include/machine.h"
#include "vmm/crew.h"
#include "vmm/loop.h"
#include "vmm/virtio/vsock.h"

struct control {
    int fd; /* -1: none; then messages go to standard error */
    struct loop *loop;
    struct loop_source source;
    struct vsock *vsock;
    struct crew *crew;
};

/* Watches the socket. Returns 0, or -1 with err. */
int control_open(struct control *control, struct error *err);

/*
 * Reads and carries out every message that is there; offers_only: up to the first that is no offer
 * (nor takes one back). For a caller that holds a device's lock, which a vCPU may wait for, while a
 * pause waits for the vCPUs.
 */
void control_drain(struct control *control, bool offers_only);

/* Sends one message; without a socket, an end or a failure is written to standard error. */
void control_send(const struct control *control, const struct machine_message *message,
                  const char *text);

#endif
