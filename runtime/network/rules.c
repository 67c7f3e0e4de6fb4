/*
 * Whether a namespace filters packets itself. What arrives for a VM leaves its interface before
 * any such rule would see it, so that a namespace with rules would be one without, silently. The
 * rules by which container engines lead questions to a name server of their own, on an address of
 * the namespace's loopback, and its answers back, are no such: what a VM asks there is asked inside
 * the namespace (include/names.h), where they hold. Of dockerd these are, in the table nat:
 *
 *   -d 127.0.0.11 -p udp --dport 53 -j DNAT --to-destination 127.0.0.11:N     and for tcp
 *   -s 127.0.0.11 -p udp --sport N -j SNAT --to-source :53
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nf_tables_compat.h>
#include <linux/netfilter/nfnetlink.h>
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
enum part { OTHER, SOURCE, DESTINATION, PORT };

/* A rule as far as it has been read. */
struct reading {
    bool is_ipv4;
    enum part part;
    uint32_t part_register;
    struct rules_match match; /* other packets do not get here */
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

static void note_address(struct in_addr *noted, const struct rtattr *value)
{
    struct in_addr address;
    if (RTA_PAYLOAD(value) != sizeof address)
        return;
    memcpy(&address, RTA_DATA(value), sizeof address);
    if (rules_is_loopback(address))
        *noted = address;
}

static bool read_comparison(struct reading *reading, const struct rtattr **data)
{
    const struct rtattr *parts[NFT_ATTRIBUTES];
    uint16_t port;
    parse_nested(data[NFTA_CMP_DATA], parts);
    const struct rtattr *value = parts[NFTA_DATA_VALUE];
    if (!value || number(data[NFTA_CMP_SREG], 0) != reading->part_register ||
        number(data[NFTA_CMP_OP], NFT_CMP_NEQ) != NFT_CMP_EQ)
        return true;
    if (reading->part == SOURCE)
        note_address(&reading->match.source, value);
    if (reading->part == DESTINATION)
        note_address(&reading->match.destination, value);
    if (reading->part == PORT && RTA_PAYLOAD(value) == sizeof port) {
        memcpy(&port, RTA_DATA(value), sizeof port);
        reading->match.names |= ntohs(port) == NAMES_PORT;
    }
    return true;
}

/* A verdict; other chains are read for themselves. */
static bool read_immediate(struct reading *reading, const struct rtattr **data)
{
    const struct rtattr *parts[NFT_ATTRIBUTES], *verdict[NFT_ATTRIBUTES];
    (void)reading;
    parse_nested(data[NFTA_IMMEDIATE_DATA], parts);
    if (!parts[NFTA_DATA_VERDICT])
        return true;
    parse_nested(parts[NFTA_DATA_VERDICT], verdict);
    int32_t code = (int32_t)number(verdict[NFTA_VERDICT_CODE], NF_DROP);
    return code == NF_ACCEPT || (code <= NFT_CONTINUE && code >= NFT_RETURN);
}

/* Of what the packet is, or of its connection; without a register to read into it changes that. */
static bool read_meta(struct reading *reading, const struct rtattr **data)
{
    (void)reading;
    return data[NFTA_META_DREG] != NULL;
}

/* Of iptables(8), -m and -p; before 1.8.8 it had no other words for a port. */
static bool read_match(struct reading *reading, const struct rtattr **data)
{
    const struct rtattr *info = data[NFTA_MATCH_INFO];
    if (reading->is_ipv4 && info && data[NFTA_MATCH_NAME] &&
        rules_asks_names(RTA_DATA(data[NFTA_MATCH_NAME]), RTA_PAYLOAD(data[NFTA_MATCH_NAME]),
                         RTA_DATA(info), RTA_PAYLOAD(info)))
        reading->match.names = true;
    return true;
}

static bool read_passive(struct reading *reading, const struct rtattr **data)
{
    (void)reading;
    (void)data;
    return true;
}

/* Expressions that do nothing to a packet, or not always: what is not listed does. */
static const struct expression {
    const char *name;
    bool (*is_passive)(struct reading *reading, const struct rtattr **data);
} EXPRESSIONS[] = {
    { "payload", read_payload }, { "cmp", read_comparison },  { "immediate", read_immediate },
    { "meta", read_meta },       { "counter", read_passive }, { "bitwise", read_passive },
    { "match", read_match },
};

static bool has_name(const struct rtattr *attribute, const char *name)
{
    size_t size = strlen(name) + 1;
    return netlink_has(attribute, size) && memcmp(RTA_DATA(attribute), name, size) == 0;
}

static void read_expression(struct reading *reading, const struct rtattr *expression)
{
    const struct rtattr *parts[NFT_ATTRIBUTES], *data[NFT_ATTRIBUTES];
    bool passive = false;
    parse_nested(expression, parts);
    parse_nested(parts[NFTA_EXPR_DATA], data);
    for (size_t i = 0; i < sizeof EXPRESSIONS / sizeof EXPRESSIONS[0]; i++)
        if (has_name(parts[NFTA_EXPR_NAME], EXPRESSIONS[i].name))
            passive = EXPRESSIONS[i].is_passive(reading, data);
    if (!has_name(parts[NFTA_EXPR_NAME], "payload"))
        reading->part = OTHER; /* only the very next expression is known to see it */
    if (!passive)
        rules_note(reading->rules, &reading->match);
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

static int each_rule(void *context, const struct nlmsghdr *message, struct error *err)
{
    const struct rtattr *attributes[NFT_ATTRIBUTES];
    struct nfgenmsg head;
    struct reading reading = { .rules = context };
    (void)err;
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof head))
        return 0;
    memcpy(&head, NLMSG_DATA(message), sizeof head);
    reading.is_ipv4 = head.nfgen_family == NFPROTO_IPV4;
    netlink_parse_message(message, sizeof head, attributes, NFT_ATTRIBUTES);
    const struct rtattr *list = attributes[NFTA_RULE_EXPRESSIONS];
    size_t left = list ? RTA_PAYLOAD(list) : 0;
    for (const struct rtattr *at = list ? RTA_DATA(list) : NULL; at && RTA_OK(at, left);
         at = RTA_NEXT(at, left))
        read_expression(&reading, at);
    return 0;
}

/* A chain may do something to what no rule of it speaks of. */
static int each_chain(void *context, const struct nlmsghdr *message, struct error *err)
{
    const struct rtattr *attributes[NFT_ATTRIBUTES];
    struct rules *rules = context;
    (void)err;
    netlink_parse_message(message, sizeof(struct nfgenmsg), attributes, NFT_ATTRIBUTES);
    if (number(attributes[NFTA_CHAIN_POLICY], NF_ACCEPT) != NF_ACCEPT)
        rules->others = true;
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

int network_read_rules(struct in_addr *name_server, struct error *err)
{
    struct rules rules = { .others = false };
    if (rules_read_legacy(&rules, err) < 0)
        return -1;
    compare_ends(&rules);
    bool by_legacy = rules.others;
    if (read_nft_tables(&rules, err) < 0)
        return -1;
    compare_ends(&rules);
    *name_server = rules.server;
    if (!rules.others)
        return 0;
    return error_set(
        err, EXIT_OURS,
        "the network namespace has packet filter rules (%s), which what a VM sends "
        "and receives would pass by; only those about one name server, port 53 of an "
        "address of 127.0.0.0/8, do not count: remove them, or use --isolation=container",
        by_legacy ? "iptables-legacy-save" : "nft list ruleset");
}
