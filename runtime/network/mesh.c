#include "mesh.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/xt_conntrack.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <string.h>

enum {
    ESTABLISHED = XT_CONNTRACK_STATE_BIT(IP_CT_ESTABLISHED),
    NEW = XT_CONNTRACK_STATE_BIT(IP_CT_NEW),
    REVISION = 3, /* of the match "conntrack" */
};

static const struct {
    const char *table, *name;
    uint32_t hook;
} CHAINS[MESH_CHAINS] = {
    [MESH_ELSEWHERE] = { "", "", NF_INET_NUMHOOKS },
    [MESH_PREROUTING] = { "nat", "PREROUTING", NF_INET_PRE_ROUTING },
    [MESH_INPUT] = { "filter", "INPUT", NF_INET_LOCAL_IN },
    [MESH_OUTPUT] = { "filter", "OUTPUT", NF_INET_LOCAL_OUT },
};

/* What the last rules of the filter drop. */
static const uint8_t PROTOCOLS[] = { IPPROTO_SCTP, IPPROTO_UDP, IPPROTO_TCP };
enum { ALL_PROTOCOLS = (1 << sizeof PROTOCOLS) - 1 };

enum mesh_chain mesh_find_chain(const char *table, const char *chain)
{
    for (enum mesh_chain i = MESH_PREROUTING; i < MESH_CHAINS; i++)
        if (strcmp(CHAINS[i].table, table) == 0 && strcmp(CHAINS[i].name, chain) == 0)
            return i;
    return MESH_ELSEWHERE;
}

bool mesh_is_called_at(enum mesh_chain chain, uint32_t hook)
{
    return CHAINS[chain].hook == hook;
}

/* --- matches and targets of iptables -------------------------------------------------------------
 */

/* Of a range of ports that is one port, or all: that port, or 0. */
static uint16_t one_port(const uint16_t range[2], bool *others)
{
    if (range[0] == range[1])
        return range[0];
    *others |= range[0] != 0 || range[1] != UINT16_MAX;
    return 0;
}

static void read_ports(struct mesh_rule *rule, const uint16_t source[2],
                       const uint16_t destination[2])
{
    rule->source_port = one_port(source, &rule->others);
    rule->destination_port = one_port(destination, &rule->others);
}

static void read_tcp(struct mesh_rule *rule, const void *info)
{
    struct xt_tcp tcp;
    memcpy(&tcp, info, sizeof tcp);
    read_ports(rule, tcp.spts, tcp.dpts);
    rule->others |= tcp.invflags != 0 || tcp.option != 0 || tcp.flg_mask != 0;
}

static void read_udp(struct mesh_rule *rule, const void *info)
{
    struct xt_udp udp;
    memcpy(&udp, info, sizeof udp);
    read_ports(rule, udp.spts, udp.dpts);
    rule->others |= udp.invflags != 0;
}

static void read_conntrack(struct mesh_rule *rule, const void *info)
{
    struct xt_conntrack_mtinfo3 conntrack;
    memcpy(&conntrack, info, sizeof conntrack);
    rule->states = conntrack.state_mask;
    rule->others |= conntrack.match_flags != XT_CONNTRACK_STATE || conntrack.invert_flags != 0;
}

void mesh_read_match(struct mesh_rule *rule, const char *name, unsigned revision, const void *info,
                     size_t size)
{
    static const struct {
        const char *name;
        unsigned revision;
        size_t size;
        void (*read)(struct mesh_rule *rule, const void *info);
    } matches[] = {
        { "tcp", 0, sizeof(struct xt_tcp), read_tcp },
        { "udp", 0, sizeof(struct xt_udp), read_udp },
        { "conntrack", REVISION, sizeof(struct xt_conntrack_mtinfo3), read_conntrack },
    };
    for (size_t i = 0; i < sizeof matches / sizeof matches[0]; i++)
        if (strcmp(matches[i].name, name) == 0 && matches[i].revision == revision &&
            matches[i].size <= size) {
            matches[i].read(rule, info);
            return;
        }
    rule->others = true;
}

void mesh_read_target(struct mesh_rule *rule, const char *name, unsigned revision, const void *info,
                      size_t size)
{
    struct nf_nat_ipv4_multi_range_compat ranges;
    if (strcmp(name, "REDIRECT") != 0 || revision != 0 || size < sizeof ranges) {
        rule->others = true;
        return;
    }
    memcpy(&ranges, info, sizeof ranges);
    rule->others |= ranges.rangesize != 1 ||
                    ranges.range[0].flags != NF_NAT_RANGE_PROTO_SPECIFIED ||
                    ranges.range[0].min.all != ranges.range[0].max.all;
    rule->verdict = MESH_REDIRECT;
    rule->new_port = ntohs(ranges.range[0].min.all);
}

/* --- rules ---------------------------------------------------------------------------------------
 */

/* A rule that has been recognised. */
struct recognised {
    enum mesh_chain chain;
    uint8_t protocol;
    uint16_t port, new_port;
};

static bool note_redirect(struct mesh *mesh, const struct recognised *rule)
{
    struct network_mesh *found = &mesh->found;
    for (uint32_t i = 0; i < found->port_count; i++)
        if (found->ports[i].protocol == rule->protocol && found->ports[i].published == rule->port)
            return false; /* it would never be asked */
    if (found->port_count == NETWORK_MAX_MESH_PORTS) {
        mesh->too_many = true;
        return false;
    }
    found->ports[found->port_count++] = (struct network_mesh_port){ .protocol = rule->protocol,
                                                                    .published = rule->port,
                                                                    .target = rule->new_port };
    return rule->new_port != 0;
}

static unsigned bit_of(uint8_t protocol)
{
    for (unsigned i = 0; i < sizeof PROTOCOLS; i++)
        if (PROTOCOLS[i] == protocol)
            return 1U << i;
    return 0;
}

static struct mesh_open *find_open(struct mesh *mesh, uint8_t protocol, uint16_t port)
{
    for (uint32_t i = 0; i < mesh->open_count; i++)
        if (mesh->open[i].protocol == protocol && mesh->open[i].port == port)
            return &mesh->open[i];
    return NULL;
}

/* Where two published ports lead to one, the kernel has the same rule twice. */
static bool note_accept(struct mesh *mesh, const struct recognised *rule)
{
    struct mesh_open *open = find_open(mesh, rule->protocol, rule->port);
    if (!open && mesh->open_count == NETWORK_MAX_MESH_PORTS) {
        mesh->too_many = true;
        return false;
    }
    if (!open) {
        open = &mesh->open[mesh->open_count++];
        *open = (struct mesh_open){ .protocol = rule->protocol, .port = rule->port };
    }
    open->chains |= 1U << rule->chain;
    return !(mesh->dropped[rule->chain] & bit_of(rule->protocol)); /* else it comes too late */
}

static bool note_drop(struct mesh *mesh, const struct recognised *rule)
{
    mesh->dropped[rule->chain] |= bit_of(rule->protocol);
    return true;
}

static const struct form {
    enum mesh_chain chain;
    enum mesh_verdict verdict;
    bool has_port;
    unsigned states;
    bool (*note)(struct mesh *mesh, const struct recognised *rule);
} FORMS[] = {
    { MESH_PREROUTING, MESH_REDIRECT, true, 0, note_redirect },
    { MESH_INPUT, MESH_ACCEPT, true, NEW | ESTABLISHED, note_accept },
    { MESH_OUTPUT, MESH_ACCEPT, true, ESTABLISHED, note_accept },
    { MESH_INPUT, MESH_DROP, false, 0, note_drop },
    { MESH_OUTPUT, MESH_DROP, false, 0, note_drop },
};

/* Ports are of what a guest can serve. */
static bool has_form(const struct mesh_rule *rule, const struct form *form, uint16_t port)
{
    bool port_fits = form->has_port ? port != 0 && (rule->protocol == IPPROTO_TCP ||
                                                    rule->protocol == IPPROTO_UDP)
                                    : port == 0 && bit_of(rule->protocol) != 0;
    return rule->chain == form->chain && rule->verdict == form->verdict &&
           rule->states == form->states && port_fits;
}

/* Notes whose rules they are: all are about one address. */
static bool is_about(struct mesh *mesh, struct in_addr address)
{
    if (mesh->found.address.s_addr == 0)
        mesh->found.address = address;
    return address.s_addr != 0 && mesh->found.address.s_addr == address.s_addr;
}

static bool take(struct mesh *mesh, const struct mesh_rule *rule)
{
    bool out = rule->chain == MESH_OUTPUT;
    struct in_addr other_address = out ? rule->destination : rule->source;
    uint16_t port = out ? rule->source_port : rule->destination_port;
    uint16_t other_port = out ? rule->destination_port : rule->source_port;
    const struct recognised recognised = { rule->chain, rule->protocol, port, rule->new_port };
    if (rule->others || other_address.s_addr != 0 || other_port != 0)
        return false;
    for (size_t i = 0; i < sizeof FORMS / sizeof FORMS[0]; i++)
        if (has_form(rule, &FORMS[i], port))
            return is_about(mesh, out ? rule->source : rule->destination) &&
                   FORMS[i].note(mesh, &recognised);
    return false;
}

bool mesh_take(struct mesh *mesh, const struct mesh_rule *rule)
{
    if (rule->chain == MESH_ELSEWHERE)
        return false;
    bool taken = take(mesh, rule);
    mesh->strange |= !taken;
    return taken;
}

static bool has_target(const struct network_mesh *found, const struct mesh_open *open)
{
    for (uint32_t i = 0; i < found->port_count; i++)
        if (found->ports[i].protocol == open->protocol && found->ports[i].target == open->port)
            return true;
    return false;
}

bool mesh_is_whole(struct mesh *mesh)
{
    const unsigned both = 1U << MESH_INPUT | 1U << MESH_OUTPUT;
    const struct network_mesh *found = &mesh->found;
    if (found->port_count == 0 && mesh->dropped[MESH_INPUT] == 0 &&
        mesh->dropped[MESH_OUTPUT] == 0) {
        mesh->found.address.s_addr = 0; /* what only lets pass does nothing */
        return true;
    }
    for (uint32_t i = 0; i < found->port_count; i++)
        if (!find_open(mesh, found->ports[i].protocol, found->ports[i].target))
            return false;
    for (uint32_t i = 0; i < mesh->open_count; i++)
        if (mesh->open[i].chains != both || !has_target(found, &mesh->open[i]))
            return false;
    return found->port_count > 0 && !mesh->strange && mesh->dropped[MESH_INPUT] == ALL_PROTOCOLS &&
           mesh->dropped[MESH_OUTPUT] == ALL_PROTOCOLS;
}
