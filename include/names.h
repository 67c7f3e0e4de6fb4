/*
 * Questions to a name server that answers inside a workload's network namespace, on an address of
 * its loopback (docker's is 127.0.0.11), where the workload itself is in a VM. Its guest has a
 * loopback of its own: there hybrid-init takes the questions, on the same address, and one
 * connection over vsock brings them to hybrid-names, which asks in the namespace.
 *
 * Both directions carry frames: a head, then one DNS message as it was (RFC 1035, 4.1), without the
 * length that TCP puts before it. The guest gives a question the number of a slot that is free;
 * exactly one frame comes back and frees it, without a message if there is no answer. What the
 * guest sends is hostile: a head that breaks these rules ends the connection. Numbers are
 * little-endian.
 */
#ifndef HYBRID_NAMES_H
#define HYBRID_NAMES_H

#include <stdint.h>

enum {
    NAMES_PORT = 53,
    NAMES_SLOTS = 64,           /* questions without an answer at a time */
    NAMES_MAX_QUESTION = 4096,  /* bytes */
    NAMES_MIN_MESSAGE = 12,     /* the head of a DNS message */
    NAMES_MAX_MESSAGE = 0xffff, /* what TCP can tell the length of */
};

enum names_transport { /* over which it came, and is passed on: answers by UDP are shorter */
                       NAMES_UDP = 1,
                       NAMES_TCP = 2,
};

struct names_head {
    uint16_t slot;      /* 0 to NAMES_SLOTS - 1 */
    uint16_t transport; /* enum names_transport */
    uint16_t length;    /* bytes of the message behind it; of an answer: 0: there is none */
    uint16_t reserved;  /* 0 */
};

#endif
