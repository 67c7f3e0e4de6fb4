/*
 * Whether a namespace filters packets itself. What arrives for a VM leaves its interface before
 * any such rule would see it, so that a namespace with rules would be one without, silently. The
 * rules by which container engines lead questions to a name server of their own, on an address of
 * the namespace's loopback, and its answers back, are no such: what a VM asks there is asked inside
 * the namespace (include/names.h), where they hold. Of dockerd these are, in the table nat:
 *
 *   -d 127.0.0.11 -p udp --dport 53 -j DNAT --to-destination 127.0.0.11:N     and for tcp
 *   -s 127.0.0.11 -p udp --sport N -j SNAT --to-source :53
 *
 * Nor are those of mesh.h, which a VM's filters take over (mesh_filter.c).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_tcpudp.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "include/names.h"
#include "netlink.h"
#include "network.h"
#include "rules.h"

enum { NFT_ATTRIBUTES = 16 };

/* What of a packet a register has. */
enum part { OTHER, SOURCE, DESTINATION, SOURCE_PORT, PORT, PROTOCOL };

/* A rule as far as it has been read. */
struct reading {
    bool is_ipv4;
    enum part part;
    uint32_t part_register;
    struct rules_match match; /* other packets do not get here */
    struct mesh_rule mesh;
    struct rules *rules;
};

static void parse_nested(const struct rtattr *attribute, const struct rtattr **table)
{
    netlink_parse(attribute ? RTA_DATA(attribute) : NULL, attribute ? RTA_PAYLOAD(attribute) : 0,
                  table, NFT_ATTRIBUTES);
}

/* Numbers of nf_tables are in network order. */
static uint32_t number(const struct rtattr *attribute, uint32_t otherwise)
{
    return attribute ? ntohl(netlink_u32(attribute, htonl(otherwise))) : otherwise;
}

/* --- expressions of a rule, one after the other --------------------------------------------------
 */

static const struct {
    uint32_t base, offset, length; /* of the header, in bytes */
    enum part part;
} PARTS[] = {
    { NFT_PAYLOAD_NETWORK_HEADER, offsetof(struct iphdr, saddr), 4, SOURCE },
    { NFT_PAYLOAD_NETWORK_HEADER, offsetof(struct iphdr, daddr), 4, DESTINATION },
    { NFT_PAYLOAD_NETWORK_HEADER, offsetof(struct iphdr, protocol), 1, PROTOCOL },
    { NFT_PAYLOAD_TRANSPORT_HEADER, offsetof(struct udphdr, source), 2, SOURCE_PORT },
    { NFT_PAYLOAD_TRANSPORT_HEADER, offsetof(struct udphdr, dest), 2, PORT }, /* TCP's too */
};

static bool read_payload(struct reading *reading, const struct rtattr **data)
{
    reading->part = OTHER;
    for (size_t i = 0; reading->is_ipv4 && i < sizeof PARTS / sizeof PARTS[0]; i++)
        if (number(data[NFTA_PAYLOAD_BASE], NFT_PAYLOAD_LL_HEADER) == PARTS[i].base &&
            number(data[NFTA_PAYLOAD_OFFSET], UINT32_MAX) == PARTS[i].offset &&
            number(data[NFTA_PAYLOAD_LEN], 0) == PARTS[i].length)
            reading->part = PARTS[i].part;
    reading->part_register = number(data[NFTA_PAYLOAD_DREG], 0);
    return data[NFTA_PAYLOAD_DREG] != NULL; /* without: it writes into the packet */
}

static void note_address(struct reading *reading, const void *value)
{
    struct in_addr address;
    bool is_source = reading->part == SOURCE;
    memcpy(&address, value, sizeof address);
    *(is_source ? &reading->mesh.source : &reading->mesh.destination) = address;
    if (rules_is_loopback(address))
        *(is_source ? &reading->match.source : &reading->match.destination) = address;
}

static void note_port(struct reading *reading, const void *value)
{
    uint16_t port;
    memcpy(&port, value, sizeof port);
    port = ntohs(port);
    if (reading->part == SOURCE_PORT) {
        reading->mesh.source_port = port;
        return;
    }
    reading->mesh.destination_port = port;
    reading->match.names |= port == NAMES_PORT;
}

static void note_protocol(struct reading *reading, const void *value)
{
    memcpy(&reading->mesh.protocol, value, sizeof reading->mesh.protocol);
}

static bool read_comparison(struct reading *reading, const struct rtattr **data)
{
    static const struct {
        size_t size;
        void (*note)(struct reading *reading, const void *value);
    } noted[] = {
        [SOURCE] = { sizeof(struct in_addr), note_address },
        [DESTINATION] = { sizeof(struct in_addr), note_address },
        [SOURCE_PORT] = { sizeof(uint16_t), note_port },
        [PORT] = { sizeof(uint16_t), note_port },
        [PROTOCOL] = { sizeof(uint8_t), note_protocol },
    };
    const struct rtattr *parts[NFT_ATTRIBUTES];
    parse_nested(data[NFTA_CMP_DATA], parts);
    const struct rtattr *value = parts[NFTA_DATA_VALUE];
    if (value && number(data[NFTA_CMP_SREG], 0) == reading->part_register &&
        number(data[NFTA_CMP_OP], NFT_CMP_NEQ) == NFT_CMP_EQ && noted[reading->part].note &&
        RTA_PAYLOAD(value) == noted[reading->part].size)
        noted[reading->part].note(reading, RTA_DATA(value));
    else
        reading->mesh.others = true;
    return true;
}

/* A verdict; other chains are read for themselves. */
static bool read_immediate(struct reading *reading, const struct rtattr **data)
{
    const struct rtattr *parts[NFT_ATTRIBUTES], *verdict[NFT_ATTRIBUTES];
    parse_nested(data[NFTA_IMMEDIATE_DATA], parts);
    reading->mesh.others |= !parts[NFTA_DATA_VERDICT];
    if (!parts[NFTA_DATA_VERDICT])
        return true;
    parse_nested(parts[NFTA_DATA_VERDICT], verdict);
    int32_t code = (int32_t)number(verdict[NFTA_VERDICT_CODE], NF_DROP);
    reading->mesh.others |= code != NF_ACCEPT && code != NF_DROP;
    reading->mesh.verdict = code == NF_ACCEPT ? MESH_ACCEPT : MESH_DROP;
    return code == NF_ACCEPT || (code <= NFT_CONTINUE && code >= NFT_RETURN);
}

/* Of what the packet is, or of its connection; without a register to read into it changes that. */
static bool read_meta(struct reading *reading, const struct rtattr **data)
{
    bool is_protocol = number(data[NFTA_META_KEY], UINT32_MAX) == NFT_META_L4PROTO;
    reading->part = is_protocol ? PROTOCOL : OTHER;
    reading->part_register = number(data[NFTA_META_DREG], 0);
    return data[NFTA_META_DREG] != NULL;
}

/* The text of an attribute, which need not end: cut short where it is too long. */
static const char *text_of(const struct rtattr *attribute, char text[XT_EXTENSION_MAXNAMELEN])
{
    size_t length = attribute ? strnlen(RTA_DATA(attribute), RTA_PAYLOAD(attribute)) : 0;
    length = length < XT_EXTENSION_MAXNAMELEN ? length : XT_EXTENSION_MAXNAMELEN - 1;
    if (length > 0)
        memcpy(text, RTA_DATA(attribute), length);
    text[length] = '\0';
    return text;
}

/* Of iptables(8), -m and -p; before 1.8.8 it had no other words for a port. */
static bool read_match(struct reading *reading, const struct rtattr **data)
{
    const struct rtattr *info = data[NFTA_MATCH_INFO];
    char name[XT_EXTENSION_MAXNAMELEN];
    if (!reading->is_ipv4 || !info)
        return true;
    (void)text_of(data[NFTA_MATCH_NAME], name);
    mesh_read_match(&reading->mesh, name, number(data[NFTA_MATCH_REV], UINT32_MAX), RTA_DATA(info),
                    RTA_PAYLOAD(info));
    reading->match.names |= rules_asks_names(name, sizeof name, RTA_DATA(info), RTA_PAYLOAD(info));
    return true;
}

/* Of iptables(8), -j: whatever it is, it does something. */
static bool read_target(struct reading *reading, const struct rtattr **data)
{
    const struct rtattr *info = data[NFTA_TARGET_INFO];
    char name[XT_EXTENSION_MAXNAMELEN];
    mesh_read_target(&reading->mesh, text_of(data[NFTA_TARGET_NAME], name),
                     number(data[NFTA_TARGET_REV], UINT32_MAX), info ? RTA_DATA(info) : NULL,
                     info ? RTA_PAYLOAD(info) : 0);
    return false;
}

/* Of each rule of iptables. */
static bool read_counter(struct reading *reading, const struct rtattr **data)
{
    (void)reading;
    (void)data;
    return true;
}

static bool read_bitwise(struct reading *reading, const struct rtattr **data)
{
    (void)data;
    reading->mesh.others = true;
    return true;
}

/* What is not listed does something to a packet; these do nothing, or not always. */
static const struct expression {
    const char *name;
    bool (*is_passive)(struct reading *reading, const struct rtattr **data);
    bool loads; /* a register, which the very next expression is known to see */
} EXPRESSIONS[] = {
    { "payload", read_payload, true },      { "cmp", read_comparison, false },
    { "immediate", read_immediate, false }, { "meta", read_meta, true },
    { "counter", read_counter, false },     { "bitwise", read_bitwise, false },
    { "match", read_match, false },         { "target", read_target, false },
};

static bool has_name(const struct rtattr *attribute, const char *name)
{
    size_t size = strlen(name) + 1;
    return netlink_has(attribute, size) && memcmp(RTA_DATA(attribute), name, size) == 0;
}

static void read_expression(struct reading *reading, const struct rtattr *expression)
{
    const struct rtattr *parts[NFT_ATTRIBUTES], *data[NFT_ATTRIBUTES];
    const struct expression *known = NULL;
    parse_nested(expression, parts);
    parse_nested(parts[NFTA_EXPR_DATA], data);
    for (size_t i = 0; !known && i < sizeof EXPRESSIONS / sizeof EXPRESSIONS[0]; i++)
        if (has_name(parts[NFTA_EXPR_NAME], EXPRESSIONS[i].name))
            known = &EXPRESSIONS[i];
    /* What follows upon a verdict is not about the same packets. */
    reading->mesh.others |= !known || reading->mesh.verdict != MESH_NONE;
    bool passive = known && known->is_passive(reading, data);
    if (!known || !known->loads)
        reading->part = OTHER;
    if (!passive) {
        reading->mesh.others |= reading->mesh.verdict == MESH_NONE;
        rules_note(reading->rules, &reading->match);
    }
}

/* --- tables --------------------------------------------------------------------------------------
 */

bool rules_is_loopback(struct in_addr address)
{
    return ntohl(address.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
}

bool rules_asks_names(const char *name, size_t name_size, const void *info, size_t info_size)
{
    struct xt_udp udp;
    struct xt_tcp tcp;
    if (strnlen(name, name_size) == 3 && memcmp(name, "udp", 3) == 0 && info_size >= sizeof udp) {
        memcpy(&udp, info, sizeof udp);
        return udp.dpts[0] == NAMES_PORT && udp.dpts[1] == NAMES_PORT &&
               !(udp.invflags & XT_UDP_INV_DSTPT);
    }
    if (strnlen(name, name_size) == 3 && memcmp(name, "tcp", 3) == 0 && info_size >= sizeof tcp) {
        memcpy(&tcp, info, sizeof tcp);
        return tcp.dpts[0] == NAMES_PORT && tcp.dpts[1] == NAMES_PORT &&
               !(tcp.invflags & XT_TCP_INV_DSTPT);
    }
    return false;
}

void rules_note(struct rules *rules, const struct rules_match *match)
{
    struct in_addr address = match->destination, *noted = &rules->server;
    if (address.s_addr == 0) {
        address = match->source;
        noted = &rules->answering;
    } else if (!match->names) {
        rules->others = true;
    }
    if (address.s_addr == 0 || (noted->s_addr != 0 && noted->s_addr != address.s_addr))
        rules->others = true;
    *noted = address;
}

/* Answers are those of the one server. */
static void compare_ends(struct rules *rules)
{
    if (rules->answering.s_addr != 0 && rules->answering.s_addr != rules->server.s_addr)
        rules->others = true;
}

static enum mesh_chain find_chain(bool is_ipv4, const struct rtattr *table,
                                  const struct rtattr *chain)
{
    char names[2][XT_EXTENSION_MAXNAMELEN];
    return is_ipv4 ? mesh_find_chain(text_of(table, names[0]), text_of(chain, names[1]))
                   : MESH_ELSEWHERE;
}

static int each_rule(void *context, const struct nlmsghdr *message, struct error *err)
{
    const struct rtattr *attributes[NFT_ATTRIBUTES];
    struct nfgenmsg head;
    struct rules *rules = context, noted = *rules;
    struct reading reading = { .rules = &noted };
    (void)err;
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof head))
        return 0;
    memcpy(&head, NLMSG_DATA(message), sizeof head);
    reading.is_ipv4 = head.nfgen_family == NFPROTO_IPV4;
    netlink_parse_message(message, sizeof head, attributes, NFT_ATTRIBUTES);
    reading.mesh.chain =
        find_chain(reading.is_ipv4, attributes[NFTA_RULE_TABLE], attributes[NFTA_RULE_CHAIN]);
    const struct rtattr *list = attributes[NFTA_RULE_EXPRESSIONS];
    size_t left = list ? RTA_PAYLOAD(list) : 0;
    for (const struct rtattr *at = list ? RTA_DATA(list) : NULL; at && RTA_OK(at, left);
         at = RTA_NEXT(at, left))
        read_expression(&reading, at);
    if (!mesh_take(rules->mesh, &reading.mesh))
        *rules = noted;
    return 0;
}

/* A chain may do something to what no rule of it speaks of. */
static int each_chain(void *context, const struct nlmsghdr *message, struct error *err)
{
    const struct rtattr *attributes[NFT_ATTRIBUTES], *hook[NFT_ATTRIBUTES];
    struct nfgenmsg head;
    struct rules *rules = context;
    (void)err;
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof head))
        return 0;
    memcpy(&head, NLMSG_DATA(message), sizeof head);
    netlink_parse_message(message, sizeof head, attributes, NFT_ATTRIBUTES);
    if (number(attributes[NFTA_CHAIN_POLICY], NF_ACCEPT) != NF_ACCEPT)
        rules->others = true;
    enum mesh_chain chain = find_chain(head.nfgen_family == NFPROTO_IPV4,
                                       attributes[NFTA_CHAIN_TABLE], attributes[NFTA_CHAIN_NAME]);
    parse_nested(attributes[NFTA_CHAIN_HOOK], hook);
    if (chain != MESH_ELSEWHERE &&
        !mesh_is_called_at(chain, number(hook[NFTA_HOOK_HOOKNUM], UINT32_MAX)))
        rules->mesh->strange = true;
    return 0;
}

/*
 * Tables of nft(8), and of iptables(8) where that is its front end. A kernel without nfnetlink has
 * no such socket; one without nf_tables calls the question invalid. Returns 0, or -1 with *err.
 */
static int read_nft_tables(struct rules *rules, struct error *err)
{
    static const char WHAT[] = "the packet filter rules";
    const struct nfgenmsg any = { .nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0 };
    struct netlink_message message;
    _cleanup_close_ int fd = netlink_open_family(NETLINK_NETFILTER);
    if (fd < 0 && errno == EPROTONOSUPPORT)
        return 0;
    if (fd < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot ask for packet filter rules");
    netlink_begin(&message, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0, &any, sizeof any);
    int count = netlink_count(fd, &message);
    if (count < 0 && count != -EINVAL)
        return error_set_errno(err, EXIT_OURS, -count, "cannot read %s of the network namespace",
                               WHAT);
    if (count <= 0)
        return 0;
    netlink_begin(&message, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETCHAIN, 0, &any, sizeof any);
    if (netlink_dump(fd, &message, WHAT, each_chain, rules, err) < 0)
        return -1;
    netlink_begin(&message, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETRULE, 0, &any, sizeof any);
    return netlink_dump(fd, &message, WHAT, each_rule, rules, err);
}

/* What is left of the mesh is about something else, unless it is all there. */
static int compare_mesh(struct rules *rules, struct error *err)
{
    if (rules->mesh->too_many)
        return error_set(err, EXIT_OURS,
                         "the service publishes more than %d ports by the routing mesh: a VM takes "
                         "no more; publish them with mode=host, or use --isolation=container",
                         NETWORK_MAX_MESH_PORTS);
    if (!mesh_is_whole(rules->mesh))
        rules->others = true;
    return 0;
}

int network_read_rules(struct in_addr *name_server, struct network_mesh *mesh, struct error *err)
{
    struct mesh reading = { .strange = false };
    struct rules rules = { .mesh = &reading };
    if (rules_read_legacy(&rules, err) < 0)
        return -1;
    compare_ends(&rules);
    bool by_legacy = rules.others || !mesh_is_whole(&reading);
    if (read_nft_tables(&rules, err) < 0 || compare_mesh(&rules, err) < 0)
        return -1;
    compare_ends(&rules);
    *name_server = rules.server;
    *mesh = reading.found;
    if (!rules.others)
        return 0;
    return error_set(
        err, EXIT_OURS,
        "the network namespace has packet filter rules (%s), which what a VM sends "
        "and receives would pass by; only those about one name server, port 53 of an "
        "address of 127.0.0.0/8, and those of Docker Swarm's routing mesh do not count: remove "
        "them (for a service of a Swarm: publish its ports with mode=host), or use "
        "--isolation=container",
        by_legacy ? "iptables-legacy-save" : "nft list ruleset");
}
