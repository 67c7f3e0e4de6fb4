/* What the packet filter rules of a namespace are about: read from two kinds of tables. */
#ifndef HYBRID_NETWORK_RULES_H
#define HYBRID_NETWORK_RULES_H

#include <netinet/in.h>
#include <stdbool.h>

#include "error.h"
#include "mesh.h"

struct rules {
    struct in_addr server; /* of 127.0.0.0/8: they lead questions for names from it; zeros: none */
    struct in_addr
        answering;     /* likewise: they change what comes from it, as the answers to those */
    bool others;       /* about something else */
    struct mesh *mesh; /* of a Swarm's routing mesh, as which they are noted instead */
};

/* The packets that a rule can reach. */
struct rules_match {
    struct in_addr source, destination; /* the only one, of 127.0.0.0/8; zeros: any */
    bool names;                         /* only those to port 53 */
};

/* Notes that a rule does something to such packets. */
void rules_note(struct rules *rules, const struct rules_match *match);

/* Whether the address is one of 127.0.0.0/8. */
bool rules_is_loopback(struct in_addr address);

/* Whether a match of iptables(8), of this name and with these parameters, asks for port 53. */
bool rules_asks_names(const char *name, size_t name_size, const void *info, size_t info_size);

/*
 * rules_legacy.c: reads the tables of iptables-legacy(8) in the current namespace. Returns 0, or -1
 * with *err.
 */
int rules_read_legacy(struct rules *rules, struct error *err);

#endif
