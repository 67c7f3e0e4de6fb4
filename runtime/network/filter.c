/*
 * tc-u32(8) and tc-mirred(8): the one classifier that is everywhere, with a key that matches
 * anything, and the action that hands the packet to another interface. (matchall, made for this, is
 * missing from some kernels.) Handle and priority are fixed, and the kernel refuses a second qdisc
 * or filter of ours. It does not refuse to remove another's: whoever looks first and acts then
 * holds the namespace's lock (attach.c).
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <stddef.h>
#include <string.h>

#include "netlink.h"
#include "network.h"

enum filter_priority {                     /* what comes first is asked first */
                       SHARE_PRIORITY = 1, /* ARP */
                       PASS_PRIORITY = 2,  /* answers to questions of the namespace */
                       FILTER_PRIORITY = 3,
};

enum {
    ACTION_NUMBER = 1, /* actions of a filter are counted from 1 */
    NEWEST_ATTRIBUTES = 32,
    MAX_KEYS = 3,
    NAME_SERVER_PORT = 53,
};

static const uint32_t INGRESS_FILTERS = TC_H_MAKE(TC_H_INGRESS, 0);
static const uint32_t FILTER_HANDLE = 0x80000800U; /* first hash table, first bucket, first node */

/* Shown by `tc -s filter` too. */
static const char COOKIE[] = "hybrid-vm";

struct filter {
    enum filter_priority priority;
    uint16_t protocol;
    uint32_t handle; /* 0: the kernel's choice */
    int to;          /* index of the other interface; 0: it passes */
    bool copy;       /* what goes there passes as well */
    size_t key_count;
    struct tc_u32_key keys[MAX_KEYS];
};

/*
 * IPv4 without options and not a fragment's rest, from port 53 to ours. That it is UDP or TCP is
 * not asked: others have no such ports.
 */
static void make_answer_keys(struct tc_u32_key keys[MAX_KEYS])
{
    keys[0] = (struct tc_u32_key){ .off = 0, .mask = htonl(0xff000000), .val = htonl(0x45000000) };
    keys[1] = (struct tc_u32_key){ .off = 4, .mask = htonl(0x1fff) };
    keys[2] = (struct tc_u32_key){ .off = 20,
                                   .mask = htonl(0xffff0000 | NETWORK_PORT_MASK),
                                   .val = htonl(NAME_SERVER_PORT << 16 | NETWORK_FIRST_PORT) };
}

static void put_action(struct netlink_message *message, const struct filter *filter)
{
    const struct tc_mirred handed_on = { .action = filter->copy ? TC_ACT_OK : TC_ACT_STOLEN,
                                         .eaction =
                                             filter->copy ? TCA_EGRESS_MIRROR : TCA_EGRESS_REDIR,
                                         .ifindex = (uint32_t)filter->to };
    size_t actions = netlink_nest(message, TCA_U32_ACT);
    size_t action = netlink_nest(message, ACTION_NUMBER);
    netlink_put_text(message, TCA_ACT_KIND, "mirred");
    netlink_put(message, TCA_ACT_COOKIE, COOKIE, sizeof COOKIE - 1);
    size_t options = netlink_nest(message, TCA_ACT_OPTIONS);
    netlink_put(message, TCA_MIRRED_PARMS, &handed_on, sizeof handed_on);
    netlink_end(message, options);
    netlink_end(message, action);
    netlink_end(message, actions);
}

static void put_filter(struct netlink_message *message, int from, const struct filter *filter)
{
    const struct tcmsg head = { .tcm_ifindex = from,
                                .tcm_handle = filter->handle,
                                .tcm_parent = INGRESS_FILTERS,
                                .tcm_info = TC_H_MAKE((uint32_t)filter->priority << 16,
                                                      htons(filter->protocol)) };
    union {
        struct tc_u32_sel selector;
        uint8_t bytes[sizeof(struct tc_u32_sel) + MAX_KEYS * sizeof(struct tc_u32_key)];
    } match;
    memset(&match, 0, sizeof match); /* a key whose mask is 0 matches */
    match.selector.flags = TC_U32_TERMINAL;
    match.selector.nkeys = filter->key_count > 0 ? (unsigned char)filter->key_count : 1;
    memcpy(match.bytes + sizeof match.selector, filter->keys,
           filter->key_count * sizeof filter->keys[0]);
    netlink_begin(message, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head);
    netlink_put_text(message, TCA_KIND, "u32");
    size_t options = netlink_nest(message, TCA_OPTIONS);
    if (filter->to != 0)
        put_action(message, filter);
    netlink_put(message, TCA_U32_SEL, &match,
                sizeof match.selector + match.selector.nkeys * sizeof(struct tc_u32_key));
    netlink_end(message, options);
}

static void put_qdisc(struct netlink_message *message, uint16_t type, uint16_t flags, int index)
{
    const struct tcmsg head = { .tcm_ifindex = index,
                                .tcm_handle = INGRESS_FILTERS,
                                .tcm_parent = TC_H_INGRESS };
    netlink_begin(message, type, flags, &head, sizeof head);
    netlink_put_text(message, TCA_KIND, "ingress");
}

int network_redirect(int netlink_fd, int from, int to, const char *name, struct error *err)
{
    struct netlink_message message;
    put_qdisc(&message, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, from);
    int cause = netlink_request(netlink_fd, &message);
    const char *what = "make an ingress qdisc on";
    if (cause == 0) {
        const struct filter all = {
            .priority = FILTER_PRIORITY, .protocol = ETH_P_ALL, .handle = FILTER_HANDLE, .to = to
        };
        put_filter(&message, from, &all);
        cause = netlink_request(netlink_fd, &message);
        what = "redirect what comes in on";
        if (cause != 0)
            (void)network_remove_filters(netlink_fd, from);
    }
    if (cause == 0)
        return 0;
    return error_set_errno(
        err, EXIT_OURS, cause, "cannot %s %s%s", what, name,
        cause == ENOENT ? " (has this kernel NET_SCH_INGRESS, NET_CLS_U32, NET_ACT_MIRRED?)" : "");
}

int network_share_answers(int netlink_fd, int from, int to, const char *name, struct error *err)
{
    const struct filter arp = {
        .priority = SHARE_PRIORITY, .protocol = ETH_P_ARP, .to = to, .copy = true
    };
    struct filter answers = { .priority = PASS_PRIORITY,
                              .protocol = ETH_P_IP,
                              .key_count = MAX_KEYS };
    struct netlink_message message;
    make_answer_keys(answers.keys);
    put_filter(&message, from, &arp);
    int cause = netlink_request(netlink_fd, &message);
    if (cause == 0) {
        put_filter(&message, from, &answers);
        cause = netlink_request(netlink_fd, &message);
    }
    if (cause == 0)
        return 0;
    return error_set_errno(err, EXIT_OURS, cause,
                           "cannot leave answers to the namespace's name server on %s", name);
}

int network_remove_filters(int netlink_fd, int index)
{
    struct netlink_message message;
    put_qdisc(&message, RTM_DELQDISC, 0, index);
    return netlink_request(netlink_fd, &message);
}

/* --- what is there -------------------------------------------------------------------------------
 */

struct filters {
    int index;
    bool clsact; /* the other qdisc of ingress: never ours */
    enum network_filters found;
};

static int each_qdisc(void *context, const struct nlmsghdr *message, struct error *err)
{
    struct filters *filters = context;
    const struct rtattr *attributes[NEWEST_ATTRIBUTES];
    struct tcmsg head;
    (void)err;
    if (message->nlmsg_len < NLMSG_LENGTH(sizeof head))
        return 0;
    memcpy(&head, NLMSG_DATA(message), sizeof head);
    netlink_parse_message(message, sizeof head, attributes, NEWEST_ATTRIBUTES);
    if (head.tcm_ifindex == filters->index && netlink_has(attributes[TCA_KIND], sizeof "clsact") &&
        memcmp(RTA_DATA(attributes[TCA_KIND]), "clsact", sizeof "clsact") == 0)
        filters->clsact = true;
    return 0;
}

static void parse_nested(const struct rtattr *attribute, const struct rtattr **table)
{
    netlink_parse(attribute ? RTA_DATA(attribute) : NULL, attribute ? RTA_PAYLOAD(attribute) : 0,
                  table, NEWEST_ATTRIBUTES);
}

/* Whether it is the one of ours that has no action, and so no cookie: by its keys. */
static bool lets_answers_pass(const struct rtattr *selector)
{
    struct tc_u32_key keys[MAX_KEYS];
    make_answer_keys(keys);
    return RTA_PAYLOAD(selector) == sizeof(struct tc_u32_sel) + sizeof keys &&
           memcmp((const char *)RTA_DATA(selector) + sizeof(struct tc_u32_sel), keys,
                  sizeof keys) == 0;
}

/* A filter as the kernel shows it. options: TCA_OPTIONS of u32. */
static enum network_filters judge(const struct rtattr *options)
{
    const struct rtattr *u32[NEWEST_ATTRIBUTES], *actions[NEWEST_ATTRIBUTES],
        *action[NEWEST_ATTRIBUTES], *parts[NEWEST_ATTRIBUTES];
    struct tc_mirred redirect;
    parse_nested(options, u32);
    if (!u32[TCA_U32_ACT] && (!u32[TCA_U32_SEL] || lets_answers_pass(u32[TCA_U32_SEL])))
        return NETWORK_FILTERS_NONE; /* or the hash table that filters lie in */
    parse_nested(u32[TCA_U32_ACT], actions);
    parse_nested(actions[ACTION_NUMBER], action);
    const struct rtattr *cookie = action[TCA_ACT_COOKIE];
    if (!cookie || RTA_PAYLOAD(cookie) != sizeof COOKIE - 1 ||
        memcmp(RTA_DATA(cookie), COOKIE, sizeof COOKIE - 1) != 0)
        return NETWORK_FILTERS_FOREIGN;
    parse_nested(action[TCA_ACT_OPTIONS], parts);
    if (!netlink_has(parts[TCA_MIRRED_PARMS], sizeof redirect))
        return NETWORK_FILTERS_FOREIGN;
    memcpy(&redirect, RTA_DATA(parts[TCA_MIRRED_PARMS]), sizeof redirect);
    return redirect.ifindex == 0 ? NETWORK_FILTERS_STALE : NETWORK_FILTERS_OURS;
}

static int each_filter(void *context, const struct nlmsghdr *message, struct error *err)
{
    struct filters *filters = context;
    const struct rtattr *attributes[NEWEST_ATTRIBUTES];
    (void)err;
    netlink_parse_message(message, sizeof(struct tcmsg), attributes, NEWEST_ATTRIBUTES);
    const struct rtattr *kind = attributes[TCA_KIND];
    bool u32 = netlink_has(kind, sizeof "u32") && memcmp(RTA_DATA(kind), "u32", sizeof "u32") == 0;
    enum network_filters found = u32 ? judge(attributes[TCA_OPTIONS]) : NETWORK_FILTERS_FOREIGN;
    if (filters->found < found)
        filters->found = found;
    return 0;
}

int network_filters_of(int netlink_fd, int index, struct error *err)
{
    struct netlink_message message;
    struct filters filters = { .index = index, .found = NETWORK_FILTERS_NONE };
    struct tcmsg head = { .tcm_ifindex = index };
    netlink_begin(&message, RTM_GETQDISC, 0, &head, sizeof head);
    if (netlink_dump(netlink_fd, &message, "the queueing disciplines", each_qdisc, &filters, err) <
        0)
        return -1;
    if (filters.clsact)
        return NETWORK_FILTERS_FOREIGN;
    head.tcm_parent = INGRESS_FILTERS;
    netlink_begin(&message, RTM_GETTFILTER, 0, &head, sizeof head);
    if (netlink_dump(netlink_fd, &message, "the filters", each_filter, &filters, err) < 0)
        return -1;
    return (int)filters.found;
}
