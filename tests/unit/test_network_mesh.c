/* A Swarm's routing mesh in a namespace: its rules recognised, as root in namespaces of our own,
 * and what filters are asked for. */
/* link: network cgroup program */
#include "cleanup.h"
#include "runtime/network/mesh.h"
#include "runtime/network/netlink.h"
#include "runtime/network/network.h"
#include "test_namespace.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/pkt_cls.h>
#include <linux/tc_act/tc_ct.h>
#include <linux/tc_act/tc_gact.h>
#include <linux/tc_act/tc_mirred.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* --- recognising ---------------------------------------------------------------------------------
 */

/* As dockerd has them; $i is the program, $a the task's address. */
#define PORT(protocol, published, target)                                                          \
    "$i -t nat -A PREROUTING -d $a -p " protocol " --dport " published                             \
    " -j REDIRECT --to-port " target "\n" ACCEPT(protocol, target)
#define ACCEPT(protocol, target)                                                                   \
    "$i -I INPUT -d $a -p " protocol " --dport " target                                            \
    " -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT\n"                                          \
    "$i -I OUTPUT -s $a -p " protocol " --sport " target                                           \
    " -m conntrack --ctstate ESTABLISHED -j ACCEPT\n"
#define DROP(protocol)                                                                             \
    "$i -A INPUT -d $a -p " protocol " -j DROP\n$i -A OUTPUT -s $a -p " protocol " -j DROP\n"
#define DROPS DROP("sctp") DROP("udp") DROP("tcp")
#define WHOLE PORT("tcp", "8080", "80") DROPS
#define NAMES                                                                                      \
    "$i -t nat -A OUTPUT -d 127.0.0.11 -p udp --dport 53 -j DNAT --to-destination "                \
    "127.0.0.11:5353\n"

static const struct rules_case {
    const char *script;
    const char *found; /* NULL: refused */
} RULES[] = {
    { WHOLE, "10.0.0.7 tcp 8080>80" },
    { WHOLE NAMES, "10.0.0.7 tcp 8080>80" },
    { PORT("tcp", "8080", "80") PORT("udp", "8080", "53") PORT("tcp", "8081", "80") DROPS,
      "10.0.0.7 tcp 8080>80 udp 8080>53 tcp 8081>80" },
    { PORT("tcp", "80", "80") DROPS, "10.0.0.7 tcp 80>80" },
    { PORT("tcp", "8080", "80") PORT("tcp", "80", "8080") DROPS,
      "10.0.0.7 tcp 8080>80 tcp 80>8080" },
    { WHOLE "$i -t nat -A OUTPUT -j RETURN\n$i -A FORWARD -s 10.0.0.8 -j ACCEPT\n",
      "10.0.0.7 tcp 8080>80" },
    { ACCEPT("tcp", "80"), "0.0.0.0" }, /* what only lets pass */
    /* One thing is missing, or there is one more. */
    { PORT("tcp", "8080", "80"), NULL },
    { PORT("tcp", "8080", "80") DROP("sctp") DROP("udp"), NULL },
    { DROPS, NULL },
    { ACCEPT("tcp", "80") DROPS, NULL },
    { WHOLE ACCEPT("tcp", "81"), NULL },
    { WHOLE "$i -D OUTPUT 1\n", NULL },
    { WHOLE "$i -D INPUT 1\n", NULL },
    { WHOLE "$i -I INPUT -s 10.0.0.8 -j ACCEPT\n", NULL },
    { WHOLE "$i -I INPUT -p icmp -j DROP\n", NULL },
    { WHOLE "$i -A FORWARD -j DROP\n", NULL },
    { WHOLE "$i -P INPUT DROP\n", NULL },
    { WHOLE "$i -N mine\n$i -A OUTPUT -j mine\n", NULL },
    { WHOLE "$i -t nat -I PREROUTING -s 10.0.0.8 -j ACCEPT\n", NULL },
    { WHOLE "$i -t nat -A POSTROUTING -j MASQUERADE\n", NULL },
    /* One is another. */
    { PORT("sctp", "8080", "80") DROPS, NULL },
    { "$i -t nat -A PREROUTING -d $a -p tcp --dport 8080 -j REDIRECT --to-port 80-81\n" ACCEPT(
          "tcp", "80") DROPS,
      NULL },
    { "$i -t nat -A PREROUTING -d $a -p tcp --dport 8080:8081 -j REDIRECT --to-port 80\n" ACCEPT(
          "tcp", "80") DROPS,
      NULL },
    { "$i -t nat -A PREROUTING -d $a -p tcp ! --dport 8080 -j REDIRECT --to-port 80\n" ACCEPT(
          "tcp", "80") DROPS,
      NULL },
    { "$i -t nat -A PREROUTING -d $a/31 -p tcp --dport 8080 -j REDIRECT --to-port 80\n" ACCEPT(
          "tcp", "80") DROPS,
      NULL },
    { "$i -t nat -A PREROUTING -i lo -d $a -p tcp --dport 8080 -j REDIRECT --to-port 80\n" ACCEPT(
          "tcp", "80") DROPS,
      NULL },
    { "$i -t nat -A PREROUTING -d 10.0.0.8 -p tcp --dport 8080 -j REDIRECT --to-port 80\n" ACCEPT(
          "tcp", "80") DROPS,
      NULL },
    { "$i -t nat -A PREROUTING -d $a -p tcp --dport 8080 -j DNAT --to 10.0.0.7:80\n" ACCEPT(
          "tcp", "80") DROPS,
      NULL },
    { "$i -t nat -A PREROUTING -d $a -p tcp --dport 8080 -j REDIRECT --to-port 80\n"
      "$i -t nat -A PREROUTING -d $a -p tcp --dport 8080 -j REDIRECT --to-port 81\n" ACCEPT(
          "tcp", "80") ACCEPT("tcp", "81") DROPS,
      NULL },
    { "$i -t nat -A PREROUTING -d $a -p tcp --dport 8080 -j REDIRECT --to-port 80\n" DROPS
      "$i -A INPUT -d $a -p tcp --dport 80 -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT\n"
      "$i -I OUTPUT -s $a -p tcp --sport 80 -m conntrack --ctstate ESTABLISHED -j ACCEPT\n",
      NULL }, /* too late */
    { "$i -t nat -A PREROUTING -d $a -p tcp --dport 8080 -j REDIRECT --to-port 80\n" DROPS
      "$i -I INPUT -d $a -p tcp --dport 80 -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT\n"
      "$i -I OUTPUT -s $a -p tcp --sport 80 -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT\n",
      NULL },
    { "$i -t nat -A PREROUTING -d $a -p tcp --dport 8080 -j REDIRECT --to-port 80\n" DROPS
      "$i -I INPUT -d $a -p tcp --dport 80 -m conntrack ! --ctstate NEW,ESTABLISHED -j ACCEPT\n"
      "$i -I OUTPUT -s $a -p tcp --sport 80 -m conntrack --ctstate ESTABLISHED -j ACCEPT\n",
      NULL },
    { "$i -t nat -A PREROUTING -d $a -p tcp --dport 8080 -j REDIRECT --to-port 80\n" DROPS
      "$i -I INPUT -d $a -p tcp --dport 80 -j ACCEPT\n"
      "$i -I OUTPUT -s $a -p tcp --sport 80 -m conntrack --ctstate ESTABLISHED -j ACCEPT\n",
      NULL },
};

static const char *const PROGRAMS[] = { "iptables-legacy", "iptables-nft" };

static const char *program;
static const struct rules_case *rules_case;

/* "ADDRESS", then of each port " PROTOCOL PUBLISHED>TARGET". */
static void describe_mesh(const struct network_mesh *mesh, char *text, size_t size)
{
    (void)inet_ntop(AF_INET, &mesh->address, text, (socklen_t)size);
    for (uint32_t i = 0; i < mesh->port_count; i++) {
        const struct network_mesh_port *port = &mesh->ports[i];
        size_t length = strlen(text);
        (void)snprintf(text + length, size - length, " %s %u>%u",
                       port->protocol == IPPROTO_TCP ? "tcp" : "udp", port->published,
                       port->target);
    }
}

/* Returns whether the kernel takes it. */
static bool run_rules(const char *script)
{
    char text[4096];
    (void)snprintf(text, sizeof text, "exec >/dev/null 2>&1; set -e; i='%s -w' a=10.0.0.7\n%s",
                   program, script);
    return system(text) == 0; /* NOLINT(cert-env33-c): its words are ours */
}

static int program_inside(void)
{
    return run_rules(WHOLE) ? 0 : NOT_HERE;
}

static int rules_inside(void)
{
    struct network_mesh mesh;
    struct in_addr server;
    struct error err;
    char text[256];
    if (!run_rules(rules_case->script))
        return 3;
    int result = network_read_rules(&server, &mesh, &err);
    if (!rules_case->found)
        return result == 0 || !strstr(err.message, "packet filter rules (") ? 1 : 0;
    if (result < 0)
        return 2;
    describe_mesh(&mesh, text, sizeof text);
    return strcmp(text, rules_case->found) == 0 ? 0 : 4;
}

static void test_rules(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof PROGRAMS / sizeof PROGRAMS[0]; i++) {
        program = PROGRAMS[i];
        if (call_in_namespace(program_inside) != 0) {
            print_message("SKIP: no network namespace, or no %s or its tables in it\n", program);
            continue;
        }
        for (size_t j = 0; j < sizeof RULES / sizeof RULES[0]; j++) {
            rules_case = &RULES[j];
            print_message("%s:\n%s", program, rules_case->script);
            run_in_namespace(rules_inside);
        }
    }
}

/* As many ports as there is room for, and one more. */
static void test_too_many(void **state)
{
    static struct mesh mesh;
    struct mesh_rule rule = { .chain = MESH_PREROUTING,
                              .verdict = MESH_REDIRECT,
                              .destination = { htonl(0x0a000007) },
                              .protocol = IPPROTO_UDP,
                              .new_port = 53 };
    (void)state;
    for (unsigned i = 1; i <= NETWORK_MAX_MESH_PORTS; i++) {
        rule.destination_port = (uint16_t)i;
        assert_true(mesh_take(&mesh, &rule));
    }
    rule.destination_port++;
    assert_false(mesh.too_many);
    assert_false(mesh_take(&mesh, &rule));
    assert_true(mesh.too_many);
}

/* --- what is asked for ---------------------------------------------------------------------------
 */

enum { NETWORK = 5, TAP = 9, MAX_TEXT = 512 };

static const struct network_mesh MESH = {
    .address = { 0 }, /* is set when it is used */
    .port_count = 3,
    .ports = { { IPPROTO_TCP, 8080, 80 }, { IPPROTO_TCP, 8081, 80 }, { IPPROTO_UDP, 53, 5300 } },
};

#define TAGS(from) from " 3 8100 u32 drop", from " 4 88a8 u32 drop"
#define REFUSALS(from, address)                                                                    \
    from " 10 800 flower" address " proto 6 drop", from " 10 800 flower" address " proto 17 drop", \
        from " 10 800 flower" address " proto 132 drop"
#define TRACKING(from, address, to)                                                                \
    from " 5 800 flower" address " ct 8 then -1", from " 6 800 flower" address " state a/a to " to
#define TO_TASK   " to 10.0.0.7"
#define FROM_TASK " from 10.0.0.7"
#define NEW_TO(priority, protocol, port, tracking)                                                 \
    "5 " priority " 800 flower" TO_TASK " proto " protocol " port " port " state 9/9 " tracking    \
    " then 3 to 9"

static const char *const ON_THE_INGRESS_NETWORK[] = {
    TAGS("5"),
    REFUSALS("5", TO_TASK),
    TRACKING("5", TO_TASK, "9"),
    NEW_TO("7", "6", "8080", "ct 29 10.0.0.7:80"),
    NEW_TO("8", "6", "80", "ct 1"),
    NEW_TO("7", "6", "8081", "ct 29 10.0.0.7:80"),
    NEW_TO("7", "17", "53", "ct 29 10.0.0.7:5300"),
    NEW_TO("8", "17", "5300", "ct 1"),
    TAGS("9"),
    REFUSALS("9", ""),
    "9 9 800 flower from 10.1.0.7 to 5",
    TRACKING("9", FROM_TASK, "5"),
    NULL,
};

static const char *const ELSEWHERE[] = {
    TAGS("5"), REFUSALS("5", TO_TASK), TAGS("9"), REFUSALS("9", FROM_TASK), NULL,
};

struct text {
    char bytes[MAX_TEXT];
    size_t length;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int n =
        vsnprintf(text->bytes + text->length, sizeof text->bytes - text->length, format, arguments);
    va_end(arguments);
    assert_true(n >= 0 && (size_t)n < sizeof text->bytes - text->length);
    text->length += (size_t)n;
}

/* The number of that many bytes. */
static unsigned value_of(const struct rtattr *attribute, size_t size)
{
    uint16_t two;
    uint32_t four;
    if (!attribute || RTA_PAYLOAD(attribute) != size) {
        fail_msg("an attribute is missing, or has not %zu bytes", size);
        return 0;
    }
    const void *data = RTA_DATA(attribute);
    memcpy(&two, data, size < 2 ? 0 : 2);
    memcpy(&four, data, size < 4 ? 0 : 4);
    return size == 4 ? four : size == 2 ? two : *(const uint8_t *)data;
}

static void add_address(struct text *text, const char *word, const struct rtattr *address,
                        const struct rtattr *mask)
{
    char name[INET_ADDRSTRLEN];
    if (!address)
        return;
    assert_int_equal(value_of(mask, 4), UINT32_MAX);
    add(text, " %s%s", word, inet_ntop(AF_INET, RTA_DATA(address), name, sizeof name));
}

static void add_keys(struct text *text, const struct rtattr **keys)
{
    assert_int_equal(value_of(keys[TCA_FLOWER_KEY_ETH_TYPE], 2), htons(0x0800));
    add_address(text, "from ", keys[TCA_FLOWER_KEY_IPV4_SRC], keys[TCA_FLOWER_KEY_IPV4_SRC_MASK]);
    add_address(text, "to ", keys[TCA_FLOWER_KEY_IPV4_DST], keys[TCA_FLOWER_KEY_IPV4_DST_MASK]);
    if (keys[TCA_FLOWER_KEY_IP_PROTO])
        add(text, " proto %u", value_of(keys[TCA_FLOWER_KEY_IP_PROTO], 1));
    for (int i = TCA_FLOWER_KEY_TCP_DST; i <= TCA_FLOWER_KEY_UDP_DST; i += 2)
        if (keys[i]) {
            bool tcp = i == TCA_FLOWER_KEY_TCP_DST;
            assert_int_equal(value_of(keys[TCA_FLOWER_KEY_IP_PROTO], 1), tcp ? 6 : 17);
            add(text, " port %u", ntohs((uint16_t)value_of(keys[i], 2)));
        }
    if (keys[TCA_FLOWER_KEY_CT_STATE])
        add(text, " state %x/%x", value_of(keys[TCA_FLOWER_KEY_CT_STATE], 2),
            value_of(keys[TCA_FLOWER_KEY_CT_STATE_MASK], 2));
}

static void add_tracking(struct text *text, const struct rtattr **options)
{
    struct tc_ct parameters;
    char name[INET_ADDRSTRLEN];
    struct stat own;
    assert_int_equal(stat("/proc/self/ns/net", &own), 0);
    assert_int_equal(value_of(options[TCA_CT_ZONE], 2), 1 + own.st_ino % 65535);
    add(text, " ct %x", value_of(options[TCA_CT_ACTION], 2));
    if (options[TCA_CT_NAT_IPV4_MIN])
        add(text, " %s:%u",
            inet_ntop(AF_INET, RTA_DATA(options[TCA_CT_NAT_IPV4_MIN]), name, sizeof name),
            ntohs((uint16_t)value_of(options[TCA_CT_NAT_PORT_MIN], 2)));
    memcpy(&parameters, RTA_DATA(options[TCA_CT_PARMS]), sizeof parameters);
    add(text, " then %d", parameters.action);
}

static void add_action(struct text *text, const struct rtattr *action)
{
    const struct rtattr *parts[32], *options[32];
    struct tc_mirred handed_on;
    struct tc_gact dropped;
    netlink_parse(RTA_DATA(action), RTA_PAYLOAD(action), parts, 32);
    assert_memory_equal(RTA_DATA(parts[TCA_ACT_COOKIE]), "hybrid-vm", 9);
    assert_true(parts[TCA_ACT_OPTIONS]->rta_type & NLA_F_NESTED); /* or ct does not read them */
    netlink_parse(RTA_DATA(parts[TCA_ACT_OPTIONS]), RTA_PAYLOAD(parts[TCA_ACT_OPTIONS]), options,
                  32);
    const char *kind = RTA_DATA(parts[TCA_ACT_KIND]);
    if (strcmp(kind, "ct") == 0) {
        add_tracking(text, options);
    } else if (strcmp(kind, "gact") == 0) {
        memcpy(&dropped, RTA_DATA(options[TCA_GACT_PARMS]), sizeof dropped);
        add(text, "%s", dropped.action == TC_ACT_SHOT ? " drop" : " ?");
    } else {
        assert_string_equal(kind, "mirred");
        memcpy(&handed_on, RTA_DATA(options[TCA_MIRRED_PARMS]), sizeof handed_on);
        assert_int_equal(handed_on.eaction, TCA_EGRESS_REDIR);
        add(text, " to %u", handed_on.ifindex);
    }
}

/* "INTERFACE PRIORITY PROTOCOL CLASSIFIER", what it matches, and its actions. */
static void describe_filter(const struct nlmsghdr *message, struct text *text)
{
    const struct rtattr *parts[TCA_FLOWER_KEY_CT_LABELS_MASK + 1], *actions[4],
        *attributes[TCA_MAX + 1];
    struct tcmsg head;
    memcpy(&head, NLMSG_DATA(message), sizeof head);
    netlink_parse_message(message, sizeof head, attributes, TCA_MAX + 1);
    const char *kind = RTA_DATA(attributes[TCA_KIND]);
    bool flower = strcmp(kind, "flower") == 0;
    text->length = 0;
    add(text, "%d %u %x %s", head.tcm_ifindex, head.tcm_info >> 16, ntohs((uint16_t)head.tcm_info),
        kind);
    netlink_parse(RTA_DATA(attributes[TCA_OPTIONS]), RTA_PAYLOAD(attributes[TCA_OPTIONS]), parts,
                  sizeof parts / sizeof parts[0]);
    if (flower)
        add_keys(text, parts);
    const struct rtattr *list = parts[flower ? TCA_FLOWER_ACT : TCA_U32_ACT];
    netlink_parse(RTA_DATA(list), RTA_PAYLOAD(list), actions, 4);
    for (size_t i = 1; i < 4; i++)
        if (actions[i])
            add_action(text, actions[i]);
}

/* What the kernel says to each question: `good` times that it is done, then that errno. */
static int open_kernel(int ends[2], int good, int then)
{
    struct {
        struct nlmsghdr head;
        int32_t code;
    } answer = { .head = { sizeof answer, NLMSG_ERROR, 0, 1, 0 } };
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends),
                     0);
    for (int i = 0; i <= good; i++) {
        answer.code = i < good ? 0 : -then;
        assert_int_equal(send(ends[1], &answer, sizeof answer, 0), sizeof answer);
    }
    return ends[0];
}

/* One interface, of the ingress network, is number 0, the other 1. */
static int obey(int fd, bool ingress, struct error *err)
{
    static struct network_description description = {
        .interface_count = 2,
        .interfaces = { { .name = "eth0" }, { .name = "eth1" } },
        .address_count = 3,
        .addresses = { { .interface = 0, .family = AF_INET },
                       { .interface = 1, .family = AF_INET },
                       { .interface = 0, .family = AF_INET6 } },
    };
    struct network_mesh mesh = MESH;
    assert_int_equal(inet_pton(AF_INET, "10.0.0.7", &mesh.address), 1);
    assert_int_equal(inet_pton(AF_INET, "10.0.0.7", description.addresses[0].local), 1);
    assert_int_equal(inet_pton(AF_INET, "10.1.0.7", description.addresses[1].local), 1);
    return network_obey_mesh(fd, &mesh, &description, ingress ? 0 : 1, NETWORK, TAP, err);
}

static void check_filters(bool has_address, const char *const *expected)
{
    struct error err = { 0 };
    int ends[2], count = 0;
    while (expected[count])
        count++;
    assert_int_equal(obey(open_kernel(ends, count, EIO), has_address, &err), 0);
    for (int i = 0; i < count; i++) {
        struct netlink_message message;
        struct text text;
        assert_true(recv(ends[1], &message, sizeof message, 0) > 0);
        describe_filter(&message.head, &text);
        assert_string_equal(text.bytes, expected[i]);
    }
    char rest;
    assert_int_equal(recv(ends[1], &rest, sizeof rest, 0), -1);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* The number of a socket's namespace is told to its administrator. */
static void need_root(void)
{
    if (geteuid() != 0) {
        print_message("SKIP: needs root\n");
        skip();
    }
}

static void test_filters(void **state)
{
    (void)state;
    need_root();
    check_filters(true, ON_THE_INGRESS_NETWORK);
    check_filters(false, ELSEWHERE);
}

/* What this kernel has not is named. */
static void test_missing(void **state)
{
    static const struct {
        bool ingress;
        int good, code;
        const char *said;
    } cases[] = {
        { true, 0, ENOENT,
          "this kernel has no cls_u32 or no act_gact, which a VM needs there: modprobe -a cls_u32 "
          "act_gact," },
        { true, 2, ENOENT,
          "this kernel has no cls_flower, which a VM needs there: modprobe -a cls_flower," },
        { true, 5, ENOENT,
          "this kernel has no act_ct, which a VM needs there: modprobe -a act_ct," },
        { true, 6, ENOENT, "this kernel has no act_mirred, which" },
        { true, 7, EOPNOTSUPP, "cannot tie eth0 to the routing mesh of a Swarm (by act_ct): " },
        { true, 17, ENOENT, "this kernel has no act_mirred, which" }, /* from another address */
        { false, 0, ENOENT, "this kernel has no cls_u32 or no act_gact, which" },
        { false, 2, ENOENT,
          "cannot tie eth1 to the routing mesh of a Swarm: this kernel has no cls_flower," },
    };
    (void)state;
    need_root();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = { 0 };
        int ends[2];
        assert_int_equal(
            obey(open_kernel(ends, cases[i].good, cases[i].code), cases[i].ingress, &err), -1);
        print_message("%s\n", err.message);
        assert_non_null(strstr(err.message, cases[i].said));
        (void)close(ends[0]);
        (void)close(ends[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_missing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
