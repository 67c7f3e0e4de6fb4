/*
 * What is known of a network namespace: its interfaces, their addresses, its routes. Read on the
 * host by runtime/network, carried to the guest in a WIRE_NETWORK frame, set up there again.
 * Numbers and flags are those of rtnetlink(7); addresses are in network order, IPv4 in 4 bytes.
 */
#ifndef HYBRID_NETWORK_H
#define HYBRID_NETWORK_H

#include <stddef.h>
#include <stdint.h>

enum {
    NETWORK_MAX_INTERFACES = 4, /* as many as MACHINE_MAX_NETS */
    NETWORK_MAX_ADDRESSES = 64,
    NETWORK_MAX_ROUTES = 256,
    NETWORK_NAME = 16,    /* IFNAMSIZ */
    NETWORK_METRICS = 18, /* RTAX_* below */
    /* For `interface` of an address or a route, besides the number of one. */
    NETWORK_LOOPBACK = 254,
    NETWORK_NO_INTERFACE =
        255, /* of a route that leads nowhere: blackhole, unreachable, prohibit */
};

struct network_interface {
    char name[NETWORK_NAME]; /* NUL-terminated */
    uint32_t mtu;
    uint8_t mac[6];
    uint8_t ipv6;     /* 0: IPv6 is switched off on it */
    uint8_t reserved; /* 0 */
};

enum network_address_flags {
    NETWORK_ADDRESS_NO_ROUTE = 1, /* no route to its prefix comes with it */
};

struct network_address {
    uint8_t interface, family, prefix, scope;
    uint32_t flags;    /* enum network_address_flags */
    uint32_t priority; /* of the route that comes with it; 0: as usual */
    uint8_t local[16];
    uint8_t peer[16];      /* equal to local unless it is a point-to-point address */
    uint8_t broadcast[16]; /* IPv4; zeros: none */
};

enum network_route_flags {
    NETWORK_ROUTE_GATEWAY = 1, /* `gateway` counts */
    NETWORK_ROUTE_SOURCE = 2,  /* `source`, the preferred address, counts */
    NETWORK_ROUTE_ONLINK = 4,  /* the gateway counts as a neighbour, whatever the addresses say */
};

struct network_route {
    uint8_t interface, family, prefix, type, scope, protocol, tos;
    uint8_t flags;                     /* enum network_route_flags */
    uint32_t priority;                 /* the "metric" of ip-route(8) */
    uint32_t metrics[NETWORK_METRICS]; /* by RTAX_*; 0: not given */
    uint8_t destination[16], gateway[16], source[16];
};

struct network_description {
    uint32_t interface_count, address_count, route_count;
    uint32_t reserved; /* 0 */
    struct network_interface interfaces[NETWORK_MAX_INTERFACES];
    struct network_address addresses[NETWORK_MAX_ADDRESSES];
    struct network_route routes[NETWORK_MAX_ROUTES];
};

#endif
