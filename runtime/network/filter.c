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

enum {
    FILTER_PRIORITY = 1,
    ACTION_NUMBER = 1, /* actions of a filter are counted from 1 */
    NEWEST_ATTRIBUTES = 32,
};

static const uint32_t INGRESS_FILTERS = TC_H_MAKE(TC_H_INGRESS, 0);
static const uint32_t FILTER_HANDLE = 0x80000800U; /* first hash table, first bucket, first node */

/* Shown by `tc -s filter` too. */
static const char COOKIE[] = "hybrid-vm";

static void put_action(struct netlink_message *message, int to)
{
    const struct tc_mirred redirect = { .action = TC_ACT_STOLEN,
                                        .eaction = TCA_EGRESS_REDIR,
                                        .ifindex = (uint32_t)to };
    size_t actions = netlink_nest(message, TCA_U32_ACT);
    size_t action = netlink_nest(message, ACTION_NUMBER);
    netlink_put_text(message, TCA_ACT_KIND, "mirred");
    netlink_put(message, TCA_ACT_COOKIE, COOKIE, sizeof COOKIE - 1);
    size_t options = netlink_nest(message, TCA_ACT_OPTIONS);
    netlink_put(message, TCA_MIRRED_PARMS, &redirect, sizeof redirect);
    netlink_end(message, options);
    netlink_end(message, action);
    netlink_end(message, actions);
}

static void put_filter(struct netlink_message *message, int from, int to)
{
    const struct tcmsg head = { .tcm_ifindex = from,
                                .tcm_handle = FILTER_HANDLE,
                                .tcm_parent = INGRESS_FILTERS,
                                .tcm_info = TC_H_MAKE(FILTER_PRIORITY << 16, htons(ETH_P_ALL)) };
    union {
        struct tc_u32_sel selector;
        uint8_t bytes[sizeof(struct tc_u32_sel) + sizeof(struct tc_u32_key)];
    } match;
    memset(&match, 0, sizeof match); /* a key whose mask is 0 matches */
    match.selector.flags = TC_U32_TERMINAL;
    match.selector.nkeys = 1;
    netlink_begin(message, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head);
    netlink_put_text(message, TCA_KIND, "u32");
    size_t options = netlink_nest(message, TCA_OPTIONS);
    put_action(message, to);
    netlink_put(message, TCA_U32_SEL, &match, sizeof match);
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
        put_filter(&message, from, to);
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

/* A filter as the kernel shows it. options: TCA_OPTIONS of u32. */
static enum network_filters judge(const struct rtattr *options)
{
    const struct rtattr *u32[NEWEST_ATTRIBUTES], *actions[NEWEST_ATTRIBUTES],
        *action[NEWEST_ATTRIBUTES], *parts[NEWEST_ATTRIBUTES];
    struct tc_mirred redirect;
    parse_nested(options, u32);
    if (!u32[TCA_U32_SEL] && !u32[TCA_U32_ACT])
        return NETWORK_FILTERS_NONE; /* the hash table that filters lie in */
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
