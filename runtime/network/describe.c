/* Reads interfaces, addresses and routes of a namespace; refuses what a guest could not be given.
 */
#include <arpa/inet.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>

#include "netlink.h"
#include "network.h"

enum { NEWEST_ATTRIBUTES = 72 }; /* more than this kernel's headers know are of no interest */

struct reading {
    struct network_description *description;
    int *indices;
    int loopback; /* its index */
    int family;   /* of the routing rules that are being read */
};

/* The number of an interface in the description, NETWORK_LOOPBACK, or -1: it is not carried. */
static int find_interface(const struct reading *reading, int index)
{
    for (uint32_t i = 0; i < reading->description->interface_count; i++) {
        if (reading->indices[i] == index)
            return (int)i;
    }
    return index == reading->loopback ? NETWORK_LOOPBACK : -1;
}

static void copy_bytes(const struct rtattr *attribute, void *target, size_t most)
{
    size_t length = attribute ? RTA_PAYLOAD(attribute) : 0;
    if (length > 0)
        memcpy(target, RTA_DATA(attribute), length < most ? length : most);
}

/* --- interfaces ----------------------------------------------------------------------------------
 */

static int add_interface(struct reading *reading, int index, const char *name, uint32_t mtu,
                         const struct rtattr *address, struct error *err)
{
    struct network_description *description = reading->description;
    if (description->interface_count == NETWORK_MAX_INTERFACES)
        return error_set(err, EXIT_OURS,
                         "the network namespace has more than %d interfaces: a VM takes no more; "
                         "use --isolation=container",
                         NETWORK_MAX_INTERFACES);
    struct network_interface *interface = &description->interfaces[description->interface_count];
    (void)snprintf(interface->name, sizeof interface->name, "%s", name);
    interface->mtu = mtu;
    interface->ipv6 = 1;
    copy_bytes(address, interface->mac, sizeof interface->mac);
    reading->indices[description->interface_count++] = index;
    return 0;
}

static int each_link(void *context, const struct nlmsghdr *message, struct error *err)
{
    struct reading *reading = context;
    const struct rtattr *attributes[NEWEST_ATTRIBUTES];
    struct ifinfomsg head;
    char name[NETWORK_NAME] = "";
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof head))
        return 0;
    memcpy(&head, NLMSG_DATA(message), sizeof head);
    netlink_parse_message(message, sizeof head, attributes, NEWEST_ATTRIBUTES);
    copy_bytes(attributes[IFLA_IFNAME], name, sizeof name - 1);
    if (head.ifi_flags & IFF_LOOPBACK) {
        reading->loopback = head.ifi_index;
        return 0;
    }
    if (!(head.ifi_flags & IFF_UP))
        return 0;
    if (head.ifi_type != ARPHRD_ETHER || !attributes[IFLA_ADDRESS] ||
        RTA_PAYLOAD(attributes[IFLA_ADDRESS]) != 6)
        return error_set(err, EXIT_OURS,
                         "%s in the network namespace is no Ethernet interface: a VM cannot be "
                         "given it; bring it down, or use --isolation=container",
                         name);
    return add_interface(reading, head.ifi_index, name, netlink_u32(attributes[IFLA_MTU], 0),
                         attributes[IFLA_ADDRESS], err);
}

/* --- addresses -----------------------------------------------------------------------------------
 */

/* What a loopback interface has by itself as soon as it is up. */
static bool is_loopbacks_own(const struct network_address *address)
{
    static const uint8_t LOCAL_4[16] = { 127, 0, 0, 1 };
    static const uint8_t LOCAL_6[16] = { [15] = 1 };
    return address->interface == NETWORK_LOOPBACK &&
           memcmp(address->local, address->family == AF_INET ? LOCAL_4 : LOCAL_6, 16) == 0;
}

static int each_address(void *context, const struct nlmsghdr *message, struct error *err)
{
    struct reading *reading = context;
    struct network_description *description = reading->description;
    const struct rtattr *attributes[NEWEST_ATTRIBUTES];
    struct ifaddrmsg head;
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof head))
        return 0;
    memcpy(&head, NLMSG_DATA(message), sizeof head);
    netlink_parse_message(message, sizeof head, attributes, NEWEST_ATTRIBUTES);
    int number = find_interface(reading, (int)head.ifa_index);
    if (number < 0 || (head.ifa_family != AF_INET && head.ifa_family != AF_INET6))
        return 0;
    struct network_address address = { .interface = (uint8_t)number,
                                       .family = head.ifa_family,
                                       .prefix = head.ifa_prefixlen,
                                       .scope = head.ifa_scope };
    copy_bytes(attributes[IFA_ADDRESS], address.peer, sizeof address.peer);
    copy_bytes(attributes[attributes[IFA_LOCAL] ? IFA_LOCAL : IFA_ADDRESS], address.local,
               sizeof address.local);
    copy_bytes(attributes[IFA_BROADCAST], address.broadcast, sizeof address.broadcast);
    if (is_loopbacks_own(&address))
        return 0;
    if (description->address_count == NETWORK_MAX_ADDRESSES)
        return error_set(err, EXIT_OURS,
                         "the network namespace has more than %d addresses: a VM takes no more; "
                         "use --isolation=container",
                         NETWORK_MAX_ADDRESSES);
    description->addresses[description->address_count++] = address;
    return 0;
}

/* --- routes --------------------------------------------------------------------------------------
 */

static int refuse_route(const struct network_route *route, const char *why, struct error *err)
{
    char destination[INET6_ADDRSTRLEN] = "?";
    (void)inet_ntop(route->family, route->destination, destination, sizeof destination);
    return error_set(err, EXIT_OURS,
                     "the route to %s/%u in the network namespace %s: a VM cannot be given it; use "
                     "--isolation=container",
                     destination, route->prefix, why);
}

static void copy_metrics(const struct rtattr *attribute, uint32_t metrics[NETWORK_METRICS])
{
    const struct rtattr *table[NETWORK_METRICS];
    netlink_parse(attribute ? RTA_DATA(attribute) : NULL, attribute ? RTA_PAYLOAD(attribute) : 0,
                  table, NETWORK_METRICS);
    for (size_t i = 0; i < NETWORK_METRICS; i++) {
        if (i != RTAX_CC_ALGO) /* a name, of what may be no part of the guest's kernel */
            metrics[i] = netlink_u32(table[i], 0);
    }
}

/* Returns 0 with *number, 1 if the route is not carried, or -1 with *err. */
static int find_route_interface(const struct reading *reading, const struct network_route *route,
                                const struct rtattr *oif, uint8_t *number, struct error *err)
{
    switch (route->type) {
    case RTN_BLACKHOLE:
    case RTN_UNREACHABLE:
    case RTN_PROHIBIT:
        *number = NETWORK_NO_INTERFACE;
        return 0;
    case RTN_UNICAST:
        break;
    default:
        return refuse_route(route, "is neither unicast nor a refusal", err);
    }
    int found = find_interface(reading, (int)netlink_u32(oif, 0));
    if (found < 0)
        return 1; /* of an interface that is down */
    *number = (uint8_t)found;
    /* ::1, which the kernel adds with the address. */
    return found == NETWORK_LOOPBACK && route->protocol == RTPROT_KERNEL;
}

static int add_route(struct reading *reading, const struct network_route *route, struct error *err)
{
    struct network_description *description = reading->description;
    if (description->route_count == NETWORK_MAX_ROUTES)
        return error_set(err, EXIT_OURS,
                         "the network namespace has more than %d routes: a VM takes no more; use "
                         "--isolation=container",
                         NETWORK_MAX_ROUTES);
    description->routes[description->route_count++] = *route;
    return 0;
}

static int each_route(void *context, const struct nlmsghdr *message, struct error *err)
{
    struct reading *reading = context;
    const struct rtattr *attributes[NEWEST_ATTRIBUTES];
    struct rtmsg head;
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof head))
        return 0;
    memcpy(&head, NLMSG_DATA(message), sizeof head);
    netlink_parse_message(message, sizeof head, attributes, NEWEST_ATTRIBUTES);
    if (netlink_u32(attributes[RTA_TABLE], head.rtm_table) != RT_TABLE_MAIN ||
        (head.rtm_family != AF_INET && head.rtm_family != AF_INET6) ||
        (head.rtm_flags & RTM_F_CLONED))
        return 0;
    struct network_route route = {
        .family = head.rtm_family,
        .prefix = head.rtm_dst_len,
        .type = head.rtm_type,
        .scope = head.rtm_scope,
        .protocol = head.rtm_protocol,
        .tos = head.rtm_tos,
        .priority = netlink_u32(attributes[RTA_PRIORITY], 0),
        .flags = (uint8_t)((attributes[RTA_GATEWAY] ? NETWORK_ROUTE_GATEWAY : 0) |
                           (attributes[RTA_PREFSRC] ? NETWORK_ROUTE_SOURCE : 0) |
                           (head.rtm_flags & RTNH_F_ONLINK ? NETWORK_ROUTE_ONLINK : 0)),
    };
    copy_bytes(attributes[RTA_DST], route.destination, sizeof route.destination);
    copy_bytes(attributes[RTA_GATEWAY], route.gateway, sizeof route.gateway);
    copy_bytes(attributes[RTA_PREFSRC], route.source, sizeof route.source);
    copy_metrics(attributes[RTA_METRICS], route.metrics);
    if (attributes[RTA_MULTIPATH] || attributes[RTA_NH_ID])
        return refuse_route(&route, "has several next hops, or one by number", err);
    if (attributes[RTA_VIA] || attributes[RTA_ENCAP] || head.rtm_src_len > 0)
        return refuse_route(&route, "leads over another family, a tunnel, or depends on the source",
                            err);
    int found = find_route_interface(reading, &route, attributes[RTA_OIF], &route.interface, err);
    return found != 0 ? (found < 0 ? -1 : 0) : add_route(reading, &route, err);
}

/* Only the rules that every namespace has from the start: local, main, default. */
static int each_rule(void *context, const struct nlmsghdr *message, struct error *err)
{
    const struct rtattr *attributes[NEWEST_ATTRIBUTES];
    (void)context;
    netlink_parse_message(message, sizeof(struct fib_rule_hdr), attributes, NEWEST_ATTRIBUTES);
    uint32_t priority = netlink_u32(attributes[FRA_PRIORITY], 0);
    if (priority == 0 || priority == 32766 || priority == 32767)
        return 0;
    return error_set(err, EXIT_OURS,
                     "the network namespace has a routing rule (ip rule, priority %u): a VM cannot "
                     "be given it; use --isolation=container",
                     priority);
}

/* --- all of it -----------------------------------------------------------------------------------
 */

/* Whether the first `prefix` bits are the same. */
static bool same_prefix(const uint8_t *one, const uint8_t *other, unsigned prefix)
{
    unsigned bytes = prefix / 8, bits = prefix % 8;
    return memcmp(one, other, bytes) == 0 &&
           (bits == 0 || ((one[bytes] ^ other[bytes]) >> (8 - bits)) == 0);
}

/* The route to the address's prefix that the kernel has made when it got the address, or NULL. */
static struct network_route *find_prefix_route(struct network_description *description,
                                               const struct network_address *address)
{
    for (uint32_t i = 0; i < description->route_count; i++) {
        struct network_route *route = &description->routes[i];
        if (route->protocol == RTPROT_KERNEL && route->type == RTN_UNICAST &&
            !(route->flags & NETWORK_ROUTE_GATEWAY) && route->family == address->family &&
            route->interface == address->interface && route->prefix == address->prefix &&
            same_prefix(route->destination, address->peer, address->prefix))
            return route;
    }
    return NULL;
}

/*
 * Routes that come with an address are not routes of the description: in the guest too the kernel
 * makes them, also again when an interface was down. An address whose route was taken away says so.
 */
static void fold_prefix_routes(struct network_description *description)
{
    enum { USUAL_PRIORITY_6 = 256, WHOLE_4 = 32 };
    bool folded[NETWORK_MAX_ROUTES] = { false };
    uint32_t kept = 0;
    for (uint32_t i = 0; i < description->address_count; i++) {
        struct network_address *address = &description->addresses[i];
        const struct network_route *route = find_prefix_route(description, address);
        if (!route) { /* a single IPv4 address never has one */
            bool single = address->family == AF_INET && address->prefix == WHOLE_4;
            address->flags = single ? 0 : NETWORK_ADDRESS_NO_ROUTE;
            continue;
        }
        folded[route - description->routes] = true;
        if (address->family == AF_INET || route->priority != USUAL_PRIORITY_6)
            address->priority = route->priority;
    }
    for (uint32_t i = 0; i < description->route_count; i++) {
        if (!folded[i])
            description->routes[kept++] = description->routes[i];
    }
    memset(description->routes + kept, 0,
           (description->route_count - kept) * sizeof description->routes[0]);
    description->route_count = kept;
}

/* Interfaces without any IPv6 address have it switched off: every other has a link-local one. */
static void find_ipv6(struct network_description *description)
{
    for (uint32_t i = 0; i < description->interface_count; i++)
        description->interfaces[i].ipv6 = 0;
    for (uint32_t i = 0; i < description->address_count; i++) {
        const struct network_address *address = &description->addresses[i];
        if (address->family == AF_INET6 && address->interface < description->interface_count)
            description->interfaces[address->interface].ipv6 = 1;
    }
}

int network_describe(int netlink_fd, struct network_description *description, int *indices,
                     struct error *err)
{
    static const struct {
        uint16_t type;
        size_t header;
        const char *what;
        int (*each)(void *context, const struct nlmsghdr *message, struct error *err);
    } dumps[] = {
        { RTM_GETLINK, sizeof(struct ifinfomsg), "the interfaces", each_link },
        { RTM_GETADDR, sizeof(struct ifaddrmsg), "the addresses", each_address },
        { RTM_GETROUTE, sizeof(struct rtmsg), "the routes", each_route },
        { RTM_GETRULE, sizeof(struct fib_rule_hdr), "the routing rules", each_rule },
    };
    const uint8_t any[sizeof(struct ifinfomsg)] = { AF_UNSPEC };
    struct reading reading = { .description = description, .indices = indices };
    memset(description, 0, sizeof *description);
    for (size_t i = 0; i < sizeof dumps / sizeof *dumps; i++) {
        struct netlink_message message;
        netlink_begin(&message, dumps[i].type, 0, any, dumps[i].header);
        if (netlink_dump(netlink_fd, &message, dumps[i].what, dumps[i].each, &reading, err) < 0)
            return -1;
    }
    fold_prefix_routes(description);
    find_ipv6(description);
    return 0;
}
