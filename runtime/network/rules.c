/*
 * Whether a namespace filters packets itself. What arrives for a VM leaves its interface before
 * any such rule would see it, so that a namespace with rules would be one without, silently. The
 * rules by which container engines lead questions to a name server of their own, on an address of
 * the namespace's loopback, are no such: what a VM asks there is asked inside the namespace
 * (include/names.h), where they hold.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/ip.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "netlink.h"
#include "network.h"
#include "rules.h"

enum { NFT_ATTRIBUTES = 16 };

/* A rule as far as it has been read. */
struct reading {
    bool is_ipv4;
    uint32_t address_register; /* has the packet's source or destination; 0: none has */
    struct in_addr about; /* of 127.0.0.0/8: packets of others do not get here; zeros: all do */
    bool acts;            /* before the address was looked at: on packets of all */
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

static bool read_payload(struct reading *reading, const struct rtattr **data)
{
    uint32_t offset = number(data[NFTA_PAYLOAD_OFFSET], 0);
    bool address =
        reading->is_ipv4 &&
        number(data[NFTA_PAYLOAD_BASE], NFT_PAYLOAD_LL_HEADER) == NFT_PAYLOAD_NETWORK_HEADER &&
        number(data[NFTA_PAYLOAD_LEN], 0) == sizeof(struct in_addr) &&
        (offset == offsetof(struct iphdr, saddr) || offset == offsetof(struct iphdr, daddr));
    reading->address_register = address ? number(data[NFTA_PAYLOAD_DREG], 0) : 0;
    return data[NFTA_PAYLOAD_DREG] != NULL; /* without: it writes into the packet */
}

static bool read_comparison(struct reading *reading, const struct rtattr **data)
{
    const struct rtattr *parts[NFT_ATTRIBUTES];
    struct in_addr address;
    parse_nested(data[NFTA_CMP_DATA], parts);
    const struct rtattr *value = parts[NFTA_DATA_VALUE];
    if (reading->address_register != 0 &&
        number(data[NFTA_CMP_SREG], 0) == reading->address_register &&
        number(data[NFTA_CMP_OP], NFT_CMP_NEQ) == NFT_CMP_EQ && value &&
        RTA_PAYLOAD(value) == sizeof address) {
        memcpy(&address, RTA_DATA(value), sizeof address);
        if (ntohl(address.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET)
            reading->about = address;
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
    { "match", read_passive }, /* of iptables(8): -m, -p */
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
    uint32_t loaded = reading->address_register;
    parse_nested(expression, parts);
    parse_nested(parts[NFTA_EXPR_DATA], data);
    for (size_t i = 0; i < sizeof EXPRESSIONS / sizeof EXPRESSIONS[0]; i++)
        if (has_name(parts[NFTA_EXPR_NAME], EXPRESSIONS[i].name))
            passive = EXPRESSIONS[i].is_passive(reading, data);
    if (reading->address_register == loaded)
        reading->address_register = 0; /* only the very next expression is known to see it */
    reading->acts |= !passive && reading->about.s_addr == 0;
}

/* --- tables --------------------------------------------------------------------------------------
 */

void rules_note(struct rules *rules, struct in_addr about, bool acts)
{
    bool known = rules->server.s_addr != 0 && about.s_addr != 0;
    if (acts || (known && rules->server.s_addr != about.s_addr))
        rules->others = true;
    else if (about.s_addr != 0)
        rules->server = about;
}

static int each_rule(void *context, const struct nlmsghdr *message, struct error *err)
{
    const struct rtattr *attributes[NFT_ATTRIBUTES];
    struct nfgenmsg head;
    struct reading reading = { .address_register = 0 };
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
    rules_note(context, reading.about, reading.acts);
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
    bool by_legacy = rules.others;
    if (read_nft_tables(&rules, err) < 0)
        return -1;
    *name_server = rules.server;
    if (!rules.others)
        return 0;
    return error_set(err, EXIT_OURS,
                     "the network namespace has packet filter rules (%s), which what a VM sends "
                     "and receives would pass by; only those about one name server on 127.0.0.0/8 "
                     "do not count: remove them, or use --isolation=container",
                     by_legacy ? "iptables-legacy-save" : "nft list ruleset");
}
