/*
 * Filters of traffic control in the making: begun, given what they match and the actions that
 * follow upon each other, ended, sent by netlink_request.
 */
#ifndef HYBRID_NETWORK_FILTER_H
#define HYBRID_NETWORK_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "netlink.h"

/* What comes first is asked first. All of one priority have one protocol. */
enum filter_priority {
    FILTER_SHARE = 1, /* ARP also to the namespace */
    FILTER_PASS,      /* answers to questions of the namespace */
    FILTER_TAGGED,    /* the mesh: frames of a VLAN */
    FILTER_TAGGED_TWICE,
    FILTER_TRACK,       /* which connection it is of */
    FILTER_ESTABLISHED, /* of one that goes on */
    FILTER_PUBLISHED,   /* of a new one, to a published port */
    FILTER_SERVED,      /* to where such a port leads */
    FILTER_UNFILTERED,  /* from addresses that the mesh is not about */
    FILTER_REFUSE,      /* all else that has ports */
    FILTER_REST,
};

struct filter_message {
    struct netlink_message netlink;
    size_t options, actions, action, action_options; /* where these begin */
    uint16_t action_count;
};

/*
 * Begins one of what comes in on the interface `from`. protocol: ETH_P_*; kind: of the classifier,
 * whose attributes are then put.
 */
void filter_begin(struct filter_message *message, int from, enum filter_priority priority,
                  uint16_t protocol, const char *kind);

/* The actions; type: of the classifier's attribute that has them. Each carries our cookie. */
void filter_begin_actions(struct filter_message *message, uint16_t type);
void filter_end_actions(struct filter_message *message);

/* One of them, of which the caller puts the options. */
void filter_begin_action(struct filter_message *message, const char *kind);
void filter_end_action(struct filter_message *message);

/* copy: what goes there passes as well. */
void filter_put_redirect(struct filter_message *message, int to, bool copy);
void filter_put_drop(struct filter_message *message);

void filter_end(struct filter_message *message);

/* A whole one: drops what has this protocol, ETH_P_*. Returns 0, or an errno. */
int filter_drop_protocol(int netlink_fd, int from, enum filter_priority priority,
                         uint16_t protocol);

#endif
