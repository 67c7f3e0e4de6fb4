/*
 * Networks of workloads. A container joins a network namespace. A VM is joined to it: for each
 * Ethernet interface there, a tap is made beside it, the two are tied to each other by traffic
 * control (what comes in on one goes out on the other, tc-mirred(8): all of it, but for answers to
 * the namespace's own name server and what a routing mesh refuses), and the guest is given an
 * interface of the same name, address and MTU, with the same addresses and routes.
 *
 * The tap lives as long as its descriptor, which hybrid-vmm alone holds. What is left on the
 * interface when everything was killed is a filter that leads nowhere: it carries our cookie, and
 * the next that comes (network_attach or network_remove_leftovers) takes it away.
 */
#ifndef HYBRID_RUNTIME_NETWORK_H
#define HYBRID_RUNTIME_NETWORK_H

#include <netinet/in.h>
#include <stdbool.h>

#include "error.h"
#include "include/network.h"

/* The ports that a namespace takes for its own connections, while these are apart from a VM's. */
struct network_ports {
    int fd;          /* the sysctl; -1: untouched */
    char before[32]; /* what it said */
};

enum { NETWORK_MAX_MESH_PORTS = 256 };

/* What a Swarm's routing mesh has in the namespace of a task (mesh.h). */
struct network_mesh {
    struct in_addr address; /* the task's in the ingress network; zeros: it is in none */
    uint32_t port_count;
    struct network_mesh_port {
        uint8_t protocol; /* IPPROTO_TCP or IPPROTO_UDP */
        uint16_t published, target;
    } ports[NETWORK_MAX_MESH_PORTS];
};

/* A namespace that a VM is joined to. */
struct network {
    int netlink_fd; /* in the namespace; -1: none */
    int lock_fd;    /* -1: none. Kept open: its process may have no way back to the host's files */
    int tap_fds[NETWORK_MAX_INTERFACES];
    int indices[NETWORK_MAX_INTERFACES]; /* of the interfaces that the taps are tied to */
    struct network_description description;
    struct in_addr name_server; /* in the namespace, where rules lead to one; zeros: none */
    struct network_mesh mesh;
    struct network_ports ports;
};

/*
 * Refuses what no workload may join: no network namespace, or the host's. Returns 0, or
 * -1 with *err.
 */
int network_check_path(const char *path, struct error *err);

/*
 * Joins a VM to the namespace. The caller sees the host's files: there is the lock for all that
 * join one. Its own namespace is left and entered again: it must have no other thread. Returns 0,
 * or -1 with *err and nothing left behind; network_detach is safe in both cases.
 */
int network_attach(const char *path, struct network *network, struct error *err);

/* The same for the namespace that the caller is in itself; with the host's files, as above. */
int network_attach_own(struct network *network, struct error *err);

/* Enters the namespace, for good; refuses what network_check_path does. Returns 0, or -1 with *err.
 */
int network_enter(const char *path, struct error *err);

/*
 * Closes all descriptors and takes the filters away, unless another VM has the interface by now.
 * The VM must have ended.
 */
void network_detach(struct network *network);

/*
 * Takes away what a VM that was killed left in the namespace. One that does not exist any more is
 * no error. Returns 0, or -1 with *err.
 */
int network_remove_leftovers(const char *path, struct error *err);

/*
 * What /etc/resolv.conf of a workload in this namespace says: /etc/netns/NAME/resolv.conf for
 * /run/netns/NAME (ip-netns(8)), else the host's without name servers that only the host reaches.
 * malloc'd, or NULL with *err.
 */
char *network_read_resolver(const char *path, struct error *err);

/* describe.c: reads the namespace of the socket. indices: of each interface. 0, or -1 with *err. */
int network_describe(int netlink_fd, struct network_description *description, int *indices,
                     struct error *err);

/*
 * rules.c: refuses a VM where the current namespace has packet filter rules of its own: a VM's
 * frames are handed on before these see them. Those that lead to a name server of the namespace are
 * none: *name_server is its address then, in 127.0.0.0/8, else zeros. Nor are those of a Swarm's
 * routing mesh: *mesh says what they do. Returns 0, or -1 with *err.
 */
int network_read_rules(struct in_addr *name_server, struct network_mesh *mesh, struct error *err);

/*
 * ports.c: what the current namespace asks in its own name, as its name server asks others, comes
 * from ports NETWORK_FIRST_PORT to NETWORK_LAST_PORT from now on. *ports: to be released. Returns
 * 0, or -1 with *err.
 */
int network_claim_ports(struct network_ports *ports, struct error *err);
void network_release_ports(struct network_ports *ports);

/* Does so in the current namespace, if whoever claimed them was killed. */
void network_release_left_ports(void);

/*
 * apply.c, in the guest: gives the devices that its kernel has found the names, addresses and
 * routes of the description, and brings them up. Returns 0, or -1 with *err.
 */
int network_apply(const struct network_description *description, struct error *err);

/* pack.c: the description as bytes on the wire: as many of each part as there are. */

enum {
    NETWORK_MAX_BYTES = sizeof(struct network_description),
};

/* Returns the number of bytes written; data has room for NETWORK_MAX_BYTES. */
size_t network_pack(const struct network_description *description, uint8_t *data);

/*
 * Reads what network_pack wrote, checking every number that this code relies on. Returns 0, or -1
 * with *err.
 */
int network_unpack(const uint8_t *data, size_t length, struct network_description *description,
                   struct error *err);

/* filter.c: the ties between two interfaces of a namespace. */

enum network_filters {
    NETWORK_FILTERS_NONE,    /* no ingress qdisc, or one without filters */
    NETWORK_FILTERS_STALE,   /* ours, and the tap is gone */
    NETWORK_FILTERS_OURS,    /* of a VM that runs */
    NETWORK_FILTERS_FOREIGN, /* somebody else's */
};

/* What handles the packets that come in on the interface. Returns -1 with *err, or which. */
int network_filters_of(int netlink_fd, int index, struct error *err);

/* Makes the interface ready for filters of ours; name: of it. Returns 0, or -1 with *err. */
int network_begin_filters(int netlink_fd, int index, const char *name, struct error *err);

/*
 * All that comes in on `from`, and that no other filter is about, goes out on `to`. 0, or -1 with
 * *err; name: of `from`, for it.
 */
int network_redirect(int netlink_fd, int from, int to, const char *name, struct error *err);

enum { /* a range that a mask tells from others */
       NETWORK_PORT_MASK = 0xf000,
       NETWORK_FIRST_PORT = 0xf000,
       NETWORK_LAST_PORT = 0xffff,
};

/*
 * Exempts answers to the namespace's own questions, besides those to the guest's, from what
 * network_redirect(from, to) makes: it gets all of ARP too, and of IPv4 what comes from port 53
 * to one of the ports above. Returns 0, or -1 with *err.
 */
int network_share_answers(int netlink_fd, int from, int to, const char *name, struct error *err);

/* mesh_filter.c */

/* Whether the interface of that number has the IPv4 address. */
bool network_has_address(const struct network_description *description, uint32_t number,
                         struct in_addr address);

/*
 * What comes in on the interface for the tap, and from the tap for the interface, is what the mesh
 * allows, with its ports exchanged. number, index: of the interface, in the description and in the
 * namespace. Returns 0, or -1 with *err.
 */
int network_obey_mesh(int netlink_fd, const struct network_mesh *mesh,
                      const struct network_description *description, uint32_t number, int index,
                      int tap_index, struct error *err);

/* Removes the ingress qdisc of the interface with its filters. 0, or a positive errno. */
int network_remove_filters(int netlink_fd, int index);

#endif
