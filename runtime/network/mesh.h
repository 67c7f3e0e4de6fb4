/*
 * The rules by which dockerd ties a task's namespace to the routing mesh of its Swarm, recognised
 * one by one. Of a port that is published as P and served as T, at the task's address A in the
 * ingress network:
 *
 *   nat    PREROUTING -d A -p tcp --dport P -j REDIRECT --to-port T
 *   filter INPUT      -d A -p tcp --dport T -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT
 *   filter OUTPUT     -s A -p tcp --sport T -m conntrack --ctstate ESTABLISHED -j ACCEPT
 *
 * with udp in place of tcp, and after them, of sctp, udp and tcp each:
 *
 *   filter INPUT      -d A -p tcp -j DROP
 *   filter OUTPUT     -s A -p tcp -j DROP
 *
 * They are there before a task starts (libnetwork makes them with its interfaces), and stay as they
 * are: a service whose ports are changed gets new tasks. In a namespace that outlives a VM and has
 * other rules for the next, connections that the first had let in go on for as long as the kernel
 * remembers them.
 */
#ifndef HYBRID_NETWORK_MESH_H
#define HYBRID_NETWORK_MESH_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "network.h"

enum mesh_chain { MESH_ELSEWHERE, MESH_PREROUTING, MESH_INPUT, MESH_OUTPUT, MESH_CHAINS };

enum mesh_verdict { MESH_NONE, MESH_ACCEPT, MESH_DROP, MESH_REDIRECT };

/* A rule as far as those above have such things. */
struct mesh_rule {
    enum mesh_chain chain;
    enum mesh_verdict verdict;
    struct in_addr source, destination;     /* the only one; zeros: any */
    uint16_t source_port, destination_port; /* 0: any */
    uint16_t new_port;                      /* of MESH_REDIRECT */
    uint8_t protocol;                       /* 0: any */
    unsigned states;                        /* XT_CONNTRACK_STATE_BIT; 0: any */
    bool others;                            /* it asks for something else, or does something else */
};

/* What has been read. Zeroed at the start. */
struct mesh {
    struct network_mesh found;
    struct mesh_open { /* what the chains let pass */
        uint8_t protocol;
        uint16_t port;
        unsigned chains; /* a bit for each */
    } open[NETWORK_MAX_MESH_PORTS];
    uint32_t open_count;
    unsigned dropped[MESH_CHAINS]; /* a bit for each of the protocols */
    bool strange;                  /* a rule among them that is none of them */
    bool too_many;                 /* ports */
};

/* Which of the chains that is. */
enum mesh_chain mesh_find_chain(const char *table, const char *chain);

/* Whether the chain is called where that of iptables(8) is. hook: NF_INET_*, or another number. */
bool mesh_is_called_at(enum mesh_chain chain, uint32_t hook);

/*
 * What a match of iptables(8) with these parameters asks for, is noted in *rule; what a target
 * REDIRECT does likewise.
 */
void mesh_read_match(struct mesh_rule *rule, const char *name, unsigned revision, const void *info,
                     size_t size);
void mesh_read_target(struct mesh_rule *rule, const char *name, unsigned revision, const void *info,
                      size_t size);

/* Returns whether the rule is one of those above, and has been noted. */
bool mesh_take(struct mesh *mesh, const struct mesh_rule *rule);

/*
 * Returns whether what has been taken is all that dockerd makes, and nothing between it, or nothing
 * that does anything. mesh->found says what.
 */
bool mesh_is_whole(struct mesh *mesh);

#endif
