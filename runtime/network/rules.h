/* What the packet filter rules of a namespace are about: read from two kinds of tables. */
#ifndef HYBRID_NETWORK_RULES_H
#define HYBRID_NETWORK_RULES_H

#include <netinet/in.h>
#include <stdbool.h>

#include "error.h"

struct rules {
    struct in_addr server; /* of 127.0.0.0/8, whose packets they are about; zeros: about nothing */
    bool others;           /* about something else */
};

/*
 * Notes a rule. about: it does nothing to packets of other addresses than this, of 127.0.0.0/8;
 * zeros: it may. acts: it does something, to packets that `about` does not bound.
 */
void rules_note(struct rules *rules, struct in_addr about, bool acts);

/*
 * rules_legacy.c: reads the tables of iptables-legacy(8) in the current namespace. Returns 0, or -1
 * with *err.
 */
int rules_read_legacy(struct rules *rules, struct error *err);

#endif
