/* In the guest: the interfaces, addresses and routes of a description. */
#include <fcntl.h>
#include <linux/if_addr.h>
#include <linux/ipv6.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "netlink.h"
#include "network.h"

enum { LOOPBACK_INDEX = 1 }; /* the first interface of every network namespace */

struct applying {
    const struct network_description *description;
    int netlink_fd;
    int indices[NETWORK_MAX_INTERFACES]; /* of the devices, in the order of the description */
    uint32_t found;
};

static size_t address_length(uint8_t family)
{
    return family == AF_INET ? 4 : 16;
}

static int each_device(void *context, const struct nlmsghdr *message, struct error *err)
{
    struct applying *applying = context;
    struct ifinfomsg head;
    (void)err;
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof head))
        return 0;
    memcpy(&head, NLMSG_DATA(message), sizeof head);
    if (head.ifi_type == ARPHRD_ETHER && applying->found < NETWORK_MAX_INTERFACES)
        applying->indices[applying->found++] = head.ifi_index;
    return 0;
}

/* The kernel shows them in the order in which it found them, which is that of hybrid-vmm. */
static int find_devices(struct applying *applying, struct error *err)
{
    struct netlink_message message;
    const struct ifinfomsg any = { .ifi_family = AF_UNSPEC };
    netlink_begin(&message, RTM_GETLINK, 0, &any, sizeof any);
    if (netlink_dump(applying->netlink_fd, &message, "the devices", each_device, applying, err) < 0)
        return -1;
    if (applying->found != applying->description->interface_count)
        return error_set(err, EXIT_OURS,
                         "the guest's kernel has found %u network devices of %u; is VIRTIO_NET "
                         "missing from it?",
                         applying->found, applying->description->interface_count);
    return 0;
}

static int rename_device(int netlink_fd, int index, const char *name, struct error *err)
{
    struct netlink_message message;
    const struct ifinfomsg head = { .ifi_index = index };
    netlink_begin(&message, RTM_NEWLINK, 0, &head, sizeof head);
    netlink_put_text(&message, IFLA_IFNAME, name);
    int cause = netlink_request(netlink_fd, &message);
    if (cause != 0)
        return error_set_errno(err, EXIT_OURS, cause, "cannot name a network device %s", name);
    return 0;
}

/* By way of names that nobody has: eth0 and eth1 may have to change places. */
static int rename_devices(const struct applying *applying, struct error *err)
{
    const struct network_description *description = applying->description;
    for (uint32_t i = 0; i < description->interface_count; i++) {
        char name[NETWORK_NAME];
        (void)snprintf(name, sizeof name, "hybrid-dev%hhu", (uint8_t)i);
        if (rename_device(applying->netlink_fd, applying->indices[i], name, err) < 0)
            return -1;
    }
    for (uint32_t i = 0; i < description->interface_count; i++) {
        if (rename_device(applying->netlink_fd, applying->indices[i],
                          description->interfaces[i].name, err) < 0)
            return -1;
    }
    return 0;
}

/*
 * Addresses and routes are exactly those of the namespace: the guest's kernel must not make others,
 * by itself or because a router tells it to. A device whose MTU is too small for IPv6
 * (RFC 8200, section 5) has no such settings; it tells the guest's kernel not to raise the MTU.
 */
static int set_ipv6(const struct network_interface *interface, struct error *err)
{
    static const struct {
        const char *name, *value;
    } settings[] = { { "accept_ra", "0" }, { "autoconf", "0" }, { "addr_gen_mode", "1" } };
    char path[96];
    if (interface->mtu < IPV6_MIN_MTU)
        return 0;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        (void)snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/%s", interface->name,
                       settings[i].name);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, settings[i].value, 1) < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot write %s in the guest", path);
    }
    if (interface->ipv6)
        return 0;
    (void)snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/disable_ipv6", interface->name);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "1", 1) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot write %s in the guest", path);
    return 0;
}

static int bring_up(int netlink_fd, int index, uint32_t mtu, const char *name, struct error *err)
{
    struct netlink_message message;
    const struct ifinfomsg head = { .ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP };
    netlink_begin(&message, RTM_NEWLINK, 0, &head, sizeof head);
    if (mtu > 0)
        netlink_put_u32(&message, IFLA_MTU, mtu);
    int cause = netlink_request(netlink_fd, &message);
    if (cause != 0)
        return error_set_errno(err, EXIT_OURS, cause, "cannot bring up %s in the guest", name);
    return 0;
}

static int bring_all_up(const struct applying *applying, struct error *err)
{
    if (bring_up(applying->netlink_fd, LOOPBACK_INDEX, 0, "lo", err) < 0)
        return -1;
    for (uint32_t i = 0; i < applying->description->interface_count; i++) {
        const struct network_interface *interface = &applying->description->interfaces[i];
        if (set_ipv6(interface, err) < 0 || bring_up(applying->netlink_fd, applying->indices[i],
                                                     interface->mtu, interface->name, err) < 0)
            return -1;
    }
    return 0;
}

static int index_of(const struct applying *applying, uint8_t number)
{
    return number == NETWORK_LOOPBACK ? LOOPBACK_INDEX : applying->indices[number];
}

/* Duplicates were looked for when the namespace got the address. */
static int add_address(const struct applying *applying, const struct network_address *address,
                       struct error *err)
{
    struct netlink_message message;
    static const uint8_t NONE[16] = { 0 };
    const struct ifaddrmsg head = { .ifa_family = address->family,
                                    .ifa_prefixlen = address->prefix,
                                    .ifa_scope = address->scope,
                                    .ifa_index = (unsigned)index_of(applying, address->interface) };
    size_t length = address_length(address->family);
    netlink_begin(&message, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &head, sizeof head);
    netlink_put(&message, IFA_LOCAL, address->local, length);
    netlink_put(&message, IFA_ADDRESS, address->peer, length);
    if (memcmp(address->broadcast, NONE, sizeof NONE) != 0)
        netlink_put(&message, IFA_BROADCAST, address->broadcast, length);
    if (address->priority != 0)
        netlink_put_u32(&message, IFA_RT_PRIORITY, address->priority);
    netlink_put_u32(&message, IFA_FLAGS,
                    IFA_F_PERMANENT |
                        (address->flags & NETWORK_ADDRESS_NO_ROUTE ? IFA_F_NOPREFIXROUTE : 0) |
                        (address->family == AF_INET6 ? IFA_F_NODAD : 0));
    int cause = netlink_request(applying->netlink_fd, &message);
    if (cause != 0)
        return error_set_errno(err, EXIT_OURS, cause, "cannot set an address in the guest");
    return 0;
}

static void put_metrics(struct netlink_message *message, const uint32_t metrics[NETWORK_METRICS])
{
    bool any = false;
    for (size_t i = 0; i < NETWORK_METRICS; i++)
        any |= metrics[i] != 0;
    if (!any)
        return;
    size_t nest = netlink_nest(message, RTA_METRICS);
    for (size_t i = 0; i < NETWORK_METRICS; i++) {
        if (metrics[i] != 0)
            netlink_put_u32(message, (uint16_t)i, metrics[i]);
    }
    netlink_end(message, nest);
}

static int add_route(const struct applying *applying, const struct network_route *route,
                     struct error *err)
{
    struct netlink_message message;
    const struct rtmsg head = { .rtm_family = route->family,
                                .rtm_dst_len = route->prefix,
                                .rtm_tos = route->tos,
                                .rtm_table = RT_TABLE_MAIN,
                                .rtm_protocol = route->protocol,
                                .rtm_scope = route->scope,
                                .rtm_type = route->type,
                                .rtm_flags =
                                    route->flags & NETWORK_ROUTE_ONLINK ? RTNH_F_ONLINK : 0 };
    size_t length = address_length(route->family);
    netlink_begin(&message, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &head, sizeof head);
    netlink_put(&message, RTA_DST, route->destination, length);
    if (route->flags & NETWORK_ROUTE_GATEWAY)
        netlink_put(&message, RTA_GATEWAY, route->gateway, length);
    if (route->flags & NETWORK_ROUTE_SOURCE)
        netlink_put(&message, RTA_PREFSRC, route->source, length);
    if (route->interface != NETWORK_NO_INTERFACE)
        netlink_put_u32(&message, RTA_OIF, (uint32_t)index_of(applying, route->interface));
    if (route->priority != 0)
        netlink_put_u32(&message, RTA_PRIORITY, route->priority);
    put_metrics(&message, route->metrics);
    int cause = netlink_request(applying->netlink_fd, &message);
    if (cause != 0)
        return error_set_errno(err, EXIT_OURS, cause, "cannot set a route in the guest");
    return 0;
}

/* Those over a gateway last: the gateway itself must be reachable then. */
static int add_routes(const struct applying *applying, struct error *err)
{
    const struct network_description *description = applying->description;
    for (int gateways = 0; gateways <= 1; gateways++) {
        for (uint32_t i = 0; i < description->route_count; i++) {
            const struct network_route *route = &description->routes[i];
            if (((route->flags & NETWORK_ROUTE_GATEWAY) != 0) == (gateways == 1) &&
                add_route(applying, route, err) < 0)
                return -1;
        }
    }
    return 0;
}

int network_apply(const struct network_description *description, struct error *err)
{
    _cleanup_close_ int netlink_fd = netlink_open(err);
    struct applying applying = { .description = description, .netlink_fd = netlink_fd };
    if (netlink_fd < 0 || find_devices(&applying, err) < 0 || rename_devices(&applying, err) < 0 ||
        bring_all_up(&applying, err) < 0)
        return -1;
    for (uint32_t i = 0; i < description->address_count; i++) {
        if (add_address(&applying, &description->addresses[i], err) < 0)
            return -1;
    }
    return add_routes(&applying, err);
}
