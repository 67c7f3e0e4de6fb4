/* What a VM makes of packet filter rules and ports of its namespace: as root, in namespaces of our
 * own. */
/* link: network cgroup program */
#include "cleanup.h"
#include "runtime/network/netlink.h"
#include "runtime/network/network.h"
#include "test_namespace.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A transaction of nf_tables in the making. */
struct transaction {
    uint8_t bytes[8 * NETLINK_MAX_MESSAGE];
    size_t length;
};

static void begin_nft(struct netlink_message *message, uint16_t type, uint16_t resource,
                      uint8_t family)
{
    const struct nfgenmsg head = { .nfgen_family = family, .res_id = htons(resource) };
    netlink_begin(message, type, resource ? 0 : NLM_F_CREATE | NLM_F_APPEND | NLM_F_ACK, &head,
                  sizeof head);
}

static void add_nft(struct transaction *transaction, const struct netlink_message *message)
{
    memcpy(transaction->bytes + transaction->length, message, NLMSG_ALIGN(message->head.nlmsg_len));
    transaction->length += NLMSG_ALIGN(message->head.nlmsg_len);
}

static void mark_nft(struct transaction *transaction, uint16_t type)
{
    struct netlink_message message;
    begin_nft(&message, type, NFNL_SUBSYS_NFTABLES, AF_UNSPEC);
    add_nft(transaction, &message);
}

static size_t begin_expression(struct netlink_message *message, const char *name, size_t nest[2])
{
    nest[0] = netlink_nest(message, NFTA_LIST_ELEM);
    netlink_put_text(message, NFTA_EXPR_NAME, name);
    nest[1] = netlink_nest(message, NFTA_EXPR_DATA);
    return nest[1];
}

static void end_expression(struct netlink_message *message, const size_t nest[2])
{
    netlink_end(message, nest[1]);
    netlink_end(message, nest[0]);
}

/* What a rule may do first: load some bytes of one of the packet's headers and compare them. */
static void put_comparison(struct netlink_message *message, uint32_t base, uint32_t offset,
                           uint32_t operation, const void *value, size_t size)
{
    size_t nest[2];
    (void)begin_expression(message, "payload", nest);
    netlink_put_u32(message, NFTA_PAYLOAD_DREG, htonl(NFT_REG_1));
    netlink_put_u32(message, NFTA_PAYLOAD_BASE, htonl(base));
    netlink_put_u32(message, NFTA_PAYLOAD_OFFSET, htonl(offset));
    netlink_put_u32(message, NFTA_PAYLOAD_LEN, htonl((uint32_t)size));
    end_expression(message, nest);
    (void)begin_expression(message, "cmp", nest);
    netlink_put_u32(message, NFTA_CMP_SREG, htonl(NFT_REG_1));
    netlink_put_u32(message, NFTA_CMP_OP, htonl(operation));
    size_t data = netlink_nest(message, NFTA_CMP_DATA);
    netlink_put(message, NFTA_DATA_VALUE, value, size);
    netlink_end(message, data);
    end_expression(message, nest);
}

static void put_verdict(struct netlink_message *message, int verdict)
{
    size_t nest[2];
    (void)begin_expression(message, "immediate", nest);
    netlink_put_u32(message, NFTA_IMMEDIATE_DREG, htonl(NFT_REG_VERDICT));
    size_t data = netlink_nest(message, NFTA_IMMEDIATE_DATA);
    size_t inner = netlink_nest(message, NFTA_DATA_VERDICT);
    netlink_put_u32(message, NFTA_VERDICT_CODE, htonl((uint32_t)verdict));
    netlink_end(message, inner);
    netlink_end(message, data);
    end_expression(message, nest);
}

enum { SOURCE = 12, DESTINATION = 16, NO_VERDICT = -100 };

/* What is in the namespace, and what that means. */
static const struct rules_case {
    uint8_t family;
    int policy; /* of a chain of what comes in; NO_VERDICT: there is none, nor a rule */
    struct rule {
        const char *address; /* NULL: of any */
        uint32_t offset, operation;
        int verdict;   /* NO_VERDICT: no such rule */
        bool late;     /* the address is looked at after that */
        uint16_t port; /* of the destination; 0: any */
    } rules[2];
    const char *server; /* NULL: refused; "": there is none */
} RULES[] = {
#define NONE                                                                                       \
    {                                                                                              \
        .verdict = NO_VERDICT                                                                      \
    }
    { NFPROTO_INET, NO_VERDICT, { NONE, NONE }, "" },
    { NFPROTO_IPV4, NF_ACCEPT, { NONE, NONE }, "" },
    { NFPROTO_IPV6, NF_ACCEPT, { NONE, NONE }, "" },
    { NFPROTO_IPV4, NF_DROP, { NONE, NONE }, NULL },
    { NFPROTO_IPV6, NF_DROP, { NONE, NONE }, NULL },
    { NFPROTO_IPV4, NF_ACCEPT, { { .verdict = NF_ACCEPT }, NONE }, "" },
    { NFPROTO_IPV4, NF_ACCEPT, { { .verdict = NFT_RETURN }, NONE }, "" },
    { NFPROTO_IPV4, NF_ACCEPT, { { .verdict = NF_DROP }, NONE }, NULL },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "127.0.0.11", DESTINATION, NFT_CMP_EQ, NF_DROP, false, 53 }, NONE },
      "127.0.0.11" },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "127.0.0.11", DESTINATION, NFT_CMP_EQ, NF_DROP, false, 53 },
        { "127.0.0.11", SOURCE, NFT_CMP_EQ, NF_DROP, false, 0 } },
      "127.0.0.11" },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "127.0.0.11", DESTINATION, NFT_CMP_EQ, NF_DROP, false, 53 },
        { "127.0.0.12", DESTINATION, NFT_CMP_EQ, NF_DROP, false, 53 } },
      NULL },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "127.0.0.11", DESTINATION, NFT_CMP_EQ, NF_DROP, false, 53 }, { .verdict = NF_DROP } },
      NULL },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "127.0.0.11", DESTINATION, NFT_CMP_NEQ, NF_DROP, false, 53 }, NONE },
      NULL },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "127.0.0.11", DESTINATION, NFT_CMP_EQ, NF_DROP, true, 53 }, NONE },
      NULL },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "127.0.0.11", 8, NFT_CMP_EQ, NF_DROP, false, 53 }, NONE },
      NULL },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "10.0.0.11", DESTINATION, NFT_CMP_EQ, NF_DROP, false, 53 }, NONE },
      NULL },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "10.0.0.11", DESTINATION, NFT_CMP_EQ, NF_ACCEPT, false, 53 }, NONE },
      "" },
    { NFPROTO_IPV6,
      NF_ACCEPT,
      { { "127.0.0.11", DESTINATION, NFT_CMP_EQ, NF_DROP, false, 53 }, NONE },
      NULL },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "127.0.0.1", SOURCE, NFT_CMP_EQ, NF_ACCEPT, false, 0 }, NONE },
      "" },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "127.0.0.1", DESTINATION, NFT_CMP_EQ, NF_ACCEPT, false, 53 }, NONE },
      "" },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "127.0.0.1", SOURCE, NFT_CMP_EQ, NF_DROP, false, 53 }, NONE },
      NULL },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "127.0.0.1", DESTINATION, NFT_CMP_EQ, NF_DROP, false, 0 }, NONE },
      NULL },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "127.0.0.1", DESTINATION, NFT_CMP_EQ, NF_DROP, false, 54 }, NONE },
      NULL },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "127.0.0.11", DESTINATION, NFT_CMP_EQ, NF_DROP, false, 53 },
        { "127.0.0.11", DESTINATION, NFT_CMP_EQ, NF_DROP, false, 54 } },
      NULL },
    { NFPROTO_IPV4,
      NF_ACCEPT,
      { { "127.0.0.11", DESTINATION, NFT_CMP_EQ, NF_DROP, false, 53 },
        { "127.0.0.12", SOURCE, NFT_CMP_EQ, NF_DROP, false, 0 } },
      NULL },
#undef NONE
};

static const struct rules_case *rules_case; /* of the namespace that is looked at */

static void add_chain(struct transaction *transaction, const struct rules_case *entry)
{
    struct netlink_message message;
    begin_nft(&message, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWCHAIN, 0, entry->family);
    netlink_put_text(&message, NFTA_CHAIN_TABLE, "mine");
    netlink_put_text(&message, NFTA_CHAIN_NAME, "chain");
    size_t hook = netlink_nest(&message, NFTA_CHAIN_HOOK);
    netlink_put_u32(&message, NFTA_HOOK_HOOKNUM, htonl(NF_INET_LOCAL_IN));
    netlink_put_u32(&message, NFTA_HOOK_PRIORITY, 0);
    netlink_end(&message, hook);
    netlink_put_u32(&message, NFTA_CHAIN_POLICY, htonl((uint32_t)entry->policy));
    netlink_put_text(&message, NFTA_CHAIN_TYPE, "filter");
    add_nft(transaction, &message);
}

static void add_rule(struct transaction *transaction, uint8_t family, const struct rule *rule)
{
    struct netlink_message message;
    struct in_addr address;
    const uint16_t port = htons(rule->port);
    begin_nft(&message, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWRULE, 0, family);
    netlink_put_text(&message, NFTA_RULE_TABLE, "mine");
    netlink_put_text(&message, NFTA_RULE_CHAIN, "chain");
    size_t list = netlink_nest(&message, NFTA_RULE_EXPRESSIONS);
    if (rule->late)
        put_verdict(&message, rule->verdict);
    if (rule->address) {
        assert_int_equal(inet_pton(AF_INET, rule->address, &address), 1);
        put_comparison(&message, NFT_PAYLOAD_NETWORK_HEADER, rule->offset, rule->operation,
                       &address, sizeof address);
    }
    if (rule->port)
        put_comparison(&message, NFT_PAYLOAD_TRANSPORT_HEADER, 2, NFT_CMP_EQ, &port, sizeof port);
    if (!rule->late)
        put_verdict(&message, rule->verdict);
    netlink_end(&message, list);
    add_nft(transaction, &message);
}

/* Returns 0, or -1: the kernel does not take it. */
static int commit(int fd, const struct transaction *transaction)
{
    char answer[512];
    struct nlmsghdr head;
    int32_t code = 0;
    if (fd < 0 || send(fd, transaction->bytes, transaction->length, 0) < 0)
        return -1;
    while (recv(fd, answer, sizeof answer, MSG_DONTWAIT) > 0) {
        memcpy(&head, answer, sizeof head);
        memcpy(&code, answer + NLMSG_HDRLEN, sizeof code);
        if (head.nlmsg_type == NLMSG_ERROR && code != 0)
            return -1;
    }
    return 0;
}

static void add_table(struct transaction *transaction, uint8_t family)
{
    struct netlink_message message;
    begin_nft(&message, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWTABLE, 0, family);
    netlink_put_text(&message, NFTA_TABLE_NAME, "mine");
    add_nft(transaction, &message);
}

/* Whether there are tables of this kind. */
static int tables_inside(void)
{
    static struct transaction transaction;
    _cleanup_close_ int fd = netlink_open_family(NETLINK_NETFILTER);
    mark_nft(&transaction, NFNL_MSG_BATCH_BEGIN);
    add_table(&transaction, rules_case->family);
    mark_nft(&transaction, NFNL_MSG_BATCH_END);
    return commit(fd, &transaction) == 0 ? 0 : NOT_HERE;
}

static int rules_inside(void)
{
    static struct transaction transaction;
    struct error err;
    struct in_addr server = { 1 }, expected = { 0 };
    struct network_mesh mesh;
    if (network_read_rules(&server, &mesh, &err) < 0 || server.s_addr != 0)
        return 1;
    _cleanup_close_ int fd = netlink_open_family(NETLINK_NETFILTER);
    mark_nft(&transaction, NFNL_MSG_BATCH_BEGIN);
    add_table(&transaction, rules_case->family);
    if (rules_case->policy != NO_VERDICT)
        add_chain(&transaction, rules_case);
    for (size_t i = 0; i < 2; i++)
        if (rules_case->rules[i].verdict != NO_VERDICT)
            add_rule(&transaction, rules_case->family, &rules_case->rules[i]);
    mark_nft(&transaction, NFNL_MSG_BATCH_END);
    if (commit(fd, &transaction) != 0)
        return 4;
    if (!rules_case->server)
        return network_read_rules(&server, &mesh, &err) == 0 ||
                       !strstr(err.message, "nft list ruleset")
                   ? 2
                   : 0;
    (void)inet_pton(AF_INET, *rules_case->server ? rules_case->server : "0.0.0.0", &expected);
    return network_read_rules(&server, &mesh, &err) < 0 || server.s_addr != expected.s_addr ? 3 : 0;
}

/* Namespaces with packet filter rules, which a VM would bypass, but for those of a name server. */
static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof RULES / sizeof RULES[0]; i++) {
        rules_case = &RULES[i];
        print_message("rules %zu\n", i);
        if (call_in_namespace(tables_inside) == NOT_HERE)
            print_message("SKIP: no network namespace, or no nf_tables of this kind in it\n");
        else
            run_in_namespace(rules_inside);
    }
}

/* As dockerd has them, by either of the two programs that are called iptables. */
#define DOCKERS(iptables)                                                                          \
    iptables " -w -t nat -N DOCKER_OUTPUT && " iptables                                            \
             " -w -t nat -I OUTPUT -d 127.0.0.11 -j DOCKER_OUTPUT && " iptables                    \
             " -w -t nat -I DOCKER_OUTPUT -d 127.0.0.11 -p udp --dport 53 "                        \
             "-j DNAT --to-destination 127.0.0.11:5353 && " iptables                               \
             " -w -t nat -I POSTROUTING -s 127.0.0.11 -p udp --sport 5353 -j SNAT --to-source :53"

/* Tables that programs make. */
static const struct script_case {
    const char *script;
    const char *server; /* as above */
} SCRIPTS[] = {
    { "iptables-legacy -w -L", "" },
    { "iptables-legacy -w -A INPUT -s 10.0.0.1 -j ACCEPT", "" },
    { DOCKERS("iptables-legacy"), "127.0.0.11" },
    { DOCKERS("iptables-legacy") " && iptables-legacy -w -A INPUT -p icmp -j DROP", NULL },
    { DOCKERS("iptables-legacy") " && iptables-legacy -w -A INPUT -d 127.0.0.12 -j DROP", NULL },
    { DOCKERS("iptables-legacy") " && iptables-legacy -w -A INPUT -d 127.0.0.11 -j DROP", NULL },
    { "iptables-legacy -w -A INPUT -s 127.0.0.1 -j ACCEPT", "" },
    { "iptables-legacy -w -A INPUT -s 127.0.0.1 -j DROP", NULL },
    { "iptables-legacy -w -t nat -A OUTPUT -d 127.0.0.1 -p tcp --dport 6443 -j DNAT --to 10.0.0.1",
      NULL },
    { "iptables-legacy -w -A INPUT -d 127.0.0.1 -p tcp --dport 53:54 -j DROP", NULL },
    { "iptables-legacy -w -A INPUT -d 127.0.0.1 -p tcp ! --dport 53 -j DROP", NULL },
    { "iptables-legacy -w -A INPUT -d 127.0.0.1 -p tcp -m mark --mark 1 -m tcp --dport 53 -j DROP",
      "127.0.0.1" },
    { "iptables-legacy -w -P INPUT DROP", NULL },
    { "iptables-legacy -w -A INPUT ! -d 127.0.0.11 -j DROP", NULL },
    { "iptables-legacy -w -A INPUT -d 127.0.0.0/8 -j DROP", NULL },
    { "iptables-legacy -w -A INPUT -d 127.0.0.11/31 -j DROP", NULL },
    { "iptables-legacy -w -A INPUT -j LOG", NULL },
    { "ip6tables-legacy -w -L", NULL },
    { DOCKERS("iptables-nft"), "127.0.0.11" },
    { DOCKERS("iptables-nft") " && iptables-nft -w -P FORWARD DROP", NULL },
    { DOCKERS("iptables-nft") " && iptables-nft -w -A INPUT -p tcp --dport 81 -j DROP", NULL },
    { "iptables-nft -w -A INPUT -s 127.0.0.1 -j ACCEPT", "" },
    /* As older ones have all ports: in the words of the tables of old. */
    { "iptables-nft -w -A INPUT -d 127.0.0.1 -p tcp --dport 53 --tcp-option 5 -j DROP",
      "127.0.0.1" },
    { "iptables-nft -w -A INPUT -d 127.0.0.1 -p tcp ! --dport 53 --tcp-option 5 -j DROP", NULL },
    { "iptables-nft -w -t nat -A OUTPUT -d 127.0.0.1 -p tcp --dport 6443 -j DNAT --to 10.0.0.1",
      NULL },
    { "iptables-nft -w -A INPUT -d 127.0.0.1 -p udp ! --dport 53 -j DROP", NULL },
};

/* Those that are there, or the rows of the others are passed over. */
static struct program {
    const char *name;
    bool looked_for, is_here;
} programs[] = { { .name = "iptables-legacy" },
                 { .name = "iptables-nft" },
                 { .name = "ip6tables-legacy" } };

static const struct program *program; /* that is looked for */

static int program_inside(void)
{
    char script[128];
    (void)snprintf(script, sizeof script, "%s -w -t nat -L >/dev/null 2>&1", program->name);
    return system(script) == 0 ? 0 : NOT_HERE; /* NOLINT(cert-env33-c): its words are ours */
}

static bool is_here(const char *script)
{
    for (size_t i = 0; i < sizeof programs / sizeof programs[0]; i++) {
        struct program *at = &programs[i];
        if (strncmp(script, at->name, strlen(at->name)) != 0)
            continue;
        program = at;
        if (!at->looked_for)
            at->is_here = call_in_namespace(program_inside) == 0;
        at->looked_for = true;
        return at->is_here;
    }
    fail_msg("no such program is looked for: %s", script);
    return false;
}

static const struct script_case *script_case; /* of the namespace that is looked at */

static int script_inside(void)
{
    struct error err;
    struct in_addr server, expected = { 0 };
    struct network_mesh mesh;
    char script[1024];
    (void)snprintf(script, sizeof script, "(%s) >/dev/null 2>&1", script_case->script);
    if (system(script) != 0) /* NOLINT(cert-env33-c): its words are ours */
        return 3;
    if (!script_case->server)
        return network_read_rules(&server, &mesh, &err) == 0 ||
                       !strstr(err.message, "packet filter rules (")
                   ? 1
                   : 0;
    (void)inet_pton(AF_INET, *script_case->server ? script_case->server : "0.0.0.0", &expected);
    return network_read_rules(&server, &mesh, &err) < 0 || server.s_addr != expected.s_addr ? 2 : 0;
}

static void test_scripts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof SCRIPTS / sizeof SCRIPTS[0]; i++) {
        script_case = &SCRIPTS[i];
        print_message("%s\n", script_case->script);
        if (!is_here(script_case->script))
            print_message("SKIP: no network namespace, or no such program or tables in it\n");
        else
            run_in_namespace(script_inside);
    }
}

static int ports_inside(void)
{
    struct network_ports first, second;
    struct error err;
    char before[sizeof first.before];
    if (access("/proc/sys/net/ipv4/ip_local_port_range", W_OK) < 0)
        return NOT_HERE;
    if (network_claim_ports(&first, &err) < 0)
        return 5;
    memcpy(before, first.before, sizeof before);
    if (!strstr(before, "32768"))
        return 1;
    if (network_claim_ports(&second, &err) < 0 || !strstr(second.before, "32768"))
        return 2; /* the first one was killed, as it seems */
    network_release_ports(&second);
    if (network_claim_ports(&second, &err) < 0 || strcmp(second.before, before) != 0)
        return 3;
    network_release_left_ports();
    cleanup_close(&second.fd);
    if (network_claim_ports(&second, &err) < 0 || strcmp(second.before, before) != 0)
        return 4;
    network_release_ports(&second);
    network_release_ports(&first);
    return 0;
}

/* Whether the file of the current namespace says so. */
static bool range_begins(const char *first)
{
    char range[64] = "";
    _cleanup_fclose_ FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    return file && fgets(range, sizeof range, file) && strncmp(range, first, strlen(first)) == 0;
}

/* Who claimed them was killed before it made the first filter. */
static int left_ports_inside(void)
{
    struct network_ports ports;
    struct error err;
    char path[64];
    if (access("/proc/sys/net/ipv4/ip_local_port_range", W_OK) < 0)
        return NOT_HERE;
    if (network_claim_ports(&ports, &err) < 0 || !range_begins("61440"))
        return 1;
    cleanup_close(&ports.fd);
    _cleanup_close_ int namespace_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", namespace_fd);
    if (unshare(CLONE_NEWNET) < 0 || network_remove_leftovers(path, &err) < 0 ||
        setns(namespace_fd, CLONE_NEWNET) < 0)
        return 2;
    return range_begins("32768") ? 0 : 3;
}

static void test_ports(void **state)
{
    (void)state;
    run_in_namespace(ports_inside);
    run_in_namespace(left_ports_inside);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_scripts),
        cmocka_unit_test(test_ports),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
