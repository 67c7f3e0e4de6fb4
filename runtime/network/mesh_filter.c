/*
 * What dockerd's rules of the routing mesh do to a container's packets (mesh.h), done to a VM's,
 * which no rule of its namespace sees: by tc-flower(8) and tc-ct(8), the connection tracking that
 * those rules use, called from a filter.
 *
 * The rules ask for the state of a connection: what a task has not been asked it may not send. So
 * ports rewritten by tc-pedit(8), packet by packet, would not do: they could not tell an answer by
 * UDP from a question, nor of which of two published ports that lead to one target an answer is.
 * Connection tracking can, gets fragments together, and corrects checksums also where a device is
 * to make them. The rules of the namespace themselves cannot be used, as they lead to sockets
 * there; and those of a guest's kernel would be the guest's to change.
 *
 * Connections are tracked apart from those of the namespace itself, in a zone of their own. From
 * the outside, of IPv4 to the task's address:
 *
 *   of a connection: its port is exchanged, to the guest     new, to a published port: likewise
 *   new, to the target of one: to the guest                  else, with ports: dropped
 *
 * From the guest: of a connection, its port exchanged; from another of the namespace's addresses,
 * as it is; else, with ports, dropped, whatever address it comes from, as a guest's kernel has
 * those that it likes. All else passes. By other interfaces nothing with ports reaches the task's
 * address, nor comes from it.
 *
 * Frames of a VLAN are dropped on all interfaces: a kernel takes those of number 0 as untagged,
 * however many such tags one has, and filters of IPv4 do not see them.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/tc_act/tc_ct.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/types.h>

#include "filter.h"
#include "netlink.h"
#include "network.h"

enum {
    ZONES = UINT16_MAX, /* of connections, from 1; the namespace's own are in 0 */
    NEW = TCA_FLOWER_KEY_CT_FLAGS_TRACKED | TCA_FLOWER_KEY_CT_FLAGS_NEW,
    ESTABLISHED = TCA_FLOWER_KEY_CT_FLAGS_TRACKED | TCA_FLOWER_KEY_CT_FLAGS_ESTABLISHED,
};

/* One direction. */
struct way {
    int netlink_fd;
    const struct network_mesh *mesh;
    const struct network_description *description;
    int from, to;
    bool outward;     /* from the guest */
    bool has_address; /* on the interface of the ingress network */
    uint16_t zone;
};

/* What a filter is about, besides IPv4. Zeros: any. */
struct flow {
    struct in_addr source, destination;
    uint8_t protocol;
    uint16_t port; /* of the destination */
    uint16_t state;
};

static void put_address(struct netlink_message *message, uint16_t type, uint16_t mask_type,
                        struct in_addr address)
{
    if (address.s_addr == 0)
        return;
    netlink_put(message, type, &address, sizeof address);
    netlink_put_u32(message, mask_type, UINT32_MAX);
}

static void put_flow(struct netlink_message *message, const struct flow *flow)
{
    const uint16_t type = htons(ETH_P_IP), port = htons(flow->port);
    netlink_put(message, TCA_FLOWER_KEY_ETH_TYPE, &type, sizeof type);
    put_address(message, TCA_FLOWER_KEY_IPV4_SRC, TCA_FLOWER_KEY_IPV4_SRC_MASK, flow->source);
    put_address(message, TCA_FLOWER_KEY_IPV4_DST, TCA_FLOWER_KEY_IPV4_DST_MASK, flow->destination);
    if (flow->protocol != 0)
        netlink_put(message, TCA_FLOWER_KEY_IP_PROTO, &flow->protocol, sizeof flow->protocol);
    if (flow->port != 0)
        netlink_put(message,
                    flow->protocol == IPPROTO_TCP ? TCA_FLOWER_KEY_TCP_DST : TCA_FLOWER_KEY_UDP_DST,
                    &port, sizeof port);
    if (flow->state != 0) {
        netlink_put(message, TCA_FLOWER_KEY_CT_STATE, &flow->state, sizeof flow->state);
        netlink_put(message, TCA_FLOWER_KEY_CT_STATE_MASK, &flow->state, sizeof flow->state);
    }
}

/* Begins a filter with its actions. */
static void begin(struct filter_message *message, const struct way *way,
                  enum filter_priority priority, const struct flow *flow)
{
    filter_begin(message, way->from, priority, ETH_P_IP, "flower");
    put_flow(&message->netlink, flow);
    filter_begin_actions(message, TCA_FLOWER_ACT);
}

/* Returns 0, or an errno. */
static int finish(struct filter_message *message, const struct way *way)
{
    filter_end_actions(message);
    filter_end(message);
    return netlink_request(way->netlink_fd, &message->netlink);
}

/* then: TC_ACT_*; what: TCA_CT_ACT_*; to: the new port of the task's address, 0: as it is. */
static void put_tracking(struct filter_message *message, const struct way *way, int then,
                         uint16_t what, uint16_t to)
{
    struct netlink_message *netlink = &message->netlink;
    const struct tc_ct parameters = { .action = then };
    const struct in_addr address = way->mesh->address;
    const uint16_t port = htons(to);
    filter_begin_action(message, "ct");
    netlink_put(netlink, TCA_CT_PARMS, &parameters, sizeof parameters);
    netlink_put(netlink, TCA_CT_ACTION, &what, sizeof what);
    netlink_put(netlink, TCA_CT_ZONE, &way->zone, sizeof way->zone);
    if (what & TCA_CT_ACT_NAT_DST) {
        netlink_put(netlink, TCA_CT_NAT_IPV4_MIN, &address, sizeof address);
        netlink_put(netlink, TCA_CT_NAT_IPV4_MAX, &address, sizeof address);
        netlink_put(netlink, TCA_CT_NAT_PORT_MIN, &port, sizeof port);
        netlink_put(netlink, TCA_CT_NAT_PORT_MAX, &port, sizeof port);
    }
    filter_end_action(message);
}

static int refuse_tagged(const struct way *way)
{
    int cause = filter_drop_protocol(way->netlink_fd, way->from, FILTER_TAGGED, ETH_P_8021Q);
    if (cause == 0)
        cause = filter_drop_protocol(way->netlink_fd, way->from, FILTER_TAGGED_TWICE, ETH_P_8021AD);
    return cause;
}

/* All that has ports, as far as no filter before is about it. */
static int refuse_rest(const struct way *way)
{
    static const uint8_t protocols[] = { IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP };
    for (size_t i = 0; i < sizeof protocols; i++) {
        struct filter_message message;
        struct flow flow = { .protocol = protocols[i] };
        if (!way->outward)
            flow.destination = way->mesh->address;
        else if (!way->has_address)
            flow.source = way->mesh->address;
        begin(&message, way, FILTER_REFUSE, &flow);
        filter_put_drop(&message);
        int cause = finish(&message, way);
        if (cause != 0)
            return cause;
    }
    return 0;
}

/* What belongs to a connection has its ports exchanged; what that makes of it is for hand_on. */
static int track(const struct way *way)
{
    struct filter_message message;
    struct flow flow = { .state = 0 };
    if (!way->has_address)
        return 0;
    *(way->outward ? &flow.source : &flow.destination) = way->mesh->address;
    begin(&message, way, FILTER_TRACK, &flow);
    put_tracking(&message, way, TC_ACT_UNSPEC, TCA_CT_ACT_NAT, 0);
    return finish(&message, way);
}

static int hand_on(const struct way *way)
{
    struct filter_message message;
    struct flow flow = { .state = ESTABLISHED };
    if (!way->has_address)
        return 0;
    *(way->outward ? &flow.source : &flow.destination) = way->mesh->address;
    begin(&message, way, FILTER_ESTABLISHED, &flow);
    filter_put_redirect(&message, way->to, false);
    return finish(&message, way);
}

/* Lets new connections to a port in; target: where they are led, 0: it is the target itself. */
static int admit(const struct way *way, enum filter_priority priority, uint8_t protocol,
                 uint16_t port, uint16_t target)
{
    struct filter_message message;
    const struct flow flow = {
        .destination = way->mesh->address, .protocol = protocol, .port = port, .state = NEW
    };
    unsigned what = TCA_CT_ACT_COMMIT | (target ? TCA_CT_ACT_NAT | TCA_CT_ACT_NAT_DST : 0U);
    begin(&message, way, priority, &flow);
    put_tracking(&message, way, TC_ACT_PIPE, (uint16_t)what, target);
    filter_put_redirect(&message, way->to, false);
    return finish(&message, way);
}

/* Where two published ports lead to one, that one needs no second filter. */
static bool is_first(const struct network_mesh *mesh, uint32_t number)
{
    for (uint32_t i = 0; i < number; i++)
        if (mesh->ports[i].protocol == mesh->ports[number].protocol &&
            mesh->ports[i].target == mesh->ports[number].target)
            return false;
    return true;
}

static int admit_new(const struct way *way)
{
    const struct network_mesh *mesh = way->mesh;
    int cause = 0;
    for (uint32_t i = 0; !way->outward && way->has_address && cause == 0 && i < mesh->port_count;
         i++) {
        const struct network_mesh_port *port = &mesh->ports[i];
        cause = admit(way, FILTER_PUBLISHED, port->protocol, port->published, port->target);
        if (cause == 0 && is_first(mesh, i))
            cause = admit(way, FILTER_SERVED, port->protocol, port->target, 0);
    }
    return cause;
}

/* Other addresses of the namespace are not what the rules are about. */
static int pass_others(const struct way *way)
{
    const struct network_description *description = way->description;
    for (uint32_t i = 0; way->outward && way->has_address && i < description->address_count; i++) {
        struct filter_message message;
        struct flow flow = { .state = 0 };
        memcpy(&flow.source, description->addresses[i].local, sizeof flow.source);
        if (description->addresses[i].family != AF_INET ||
            flow.source.s_addr == way->mesh->address.s_addr)
            continue;
        begin(&message, way, FILTER_UNFILTERED, &flow);
        filter_put_redirect(&message, way->to, false);
        int cause = finish(&message, way);
        if (cause != 0 && cause != EEXIST) /* two interfaces may have one */
            return cause;
    }
    return 0;
}

/*
 * In this order: of the parts of the kernel that a step needs those before it have used all but
 * what it names, and nothing is let in that is refused later.
 */
static const struct step {
    int (*put)(const struct way *way);
    const char *missing, *modules;
} STEPS[] = {
    { refuse_tagged, "cls_u32 or no act_gact", "cls_u32 act_gact" },
    { refuse_rest, "cls_flower", "cls_flower" },
    { pass_others, "act_mirred", "act_mirred" },
    { track, "act_ct", "act_ct" },
    { hand_on, "act_mirred", "act_mirred" },
    { admit_new, "act_ct", "act_ct" },
};

static int put_way(const struct way *way, const char *name, struct error *err)
{
    for (size_t i = 0; i < sizeof STEPS / sizeof STEPS[0]; i++) {
        int cause = STEPS[i].put(way);
        if (cause == ENOENT)
            return error_set(err, EXIT_OURS,
                             "cannot tie %s to the routing mesh of a Swarm: this kernel has no %s, "
                             "which a VM needs there: modprobe -a %s, publish the service's ports "
                             "with mode=host, or use --isolation=container",
                             name, STEPS[i].missing, STEPS[i].modules);
        if (cause != 0)
            return error_set_errno(err, EXIT_OURS, cause,
                                   "cannot tie %s to the routing mesh of a Swarm (by %s)", name,
                                   STEPS[i].modules);
    }
    return 0;
}

bool network_has_address(const struct network_description *description, uint32_t number,
                         struct in_addr address)
{
    for (uint32_t i = 0; i < description->address_count; i++) {
        const struct network_address *at = &description->addresses[i];
        if (at->interface == number && at->family == AF_INET &&
            memcmp(at->local, &address, sizeof address) == 0)
            return true;
    }
    return false;
}

/*
 * Of each namespace another, as far as numbers reach: kernels of before June 2024 look connections
 * that tc-ct(8) hastens up by the zone alone, in whatever namespace they are. Returns it, or -1
 * with *err.
 */
static int find_zone(int netlink_fd, struct error *err)
{
    ino_t number;
    if (netlink_namespace(netlink_fd, &number) < 0)
        return error_set_errno(err, EXIT_OURS, errno,
                               "cannot tell the network namespace of a routing mesh from others");
    return (int)(1 + number % ZONES);
}

int network_obey_mesh(int netlink_fd, const struct network_mesh *mesh,
                      const struct network_description *description, uint32_t number, int index,
                      int tap_index, struct error *err)
{
    bool has_address = network_has_address(description, number, mesh->address);
    int zone = find_zone(netlink_fd, err);
    if (zone < 0)
        return -1;
    const struct way ways[] = {
        { netlink_fd, mesh, description, index, tap_index, false, has_address, (uint16_t)zone },
        { netlink_fd, mesh, description, tap_index, index, true, has_address, (uint16_t)zone },
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        if (put_way(&ways[i], description->interfaces[number].name, err) < 0)
            return -1;
    return 0;
}
