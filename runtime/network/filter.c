/*
 * tc-u32(8) and tc-mirred(8): the one classifier that is everywhere, with a key that matches
 * anything, and the action that hands the packet to another interface. (matchall, made for this, is
 * missing from some kernels.) The kernel refuses a second qdisc of ours. It does not refuse to
 * remove another's: whoever looks first and acts then holds the namespace's lock (attach.c).
 */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_gact.h>
#include <linux/tc_act/tc_mirred.h>
#include <stddef.h>
#include <string.h>

#include "filter.h"
#include "netlink.h"
#include "network.h"

enum {
    NEWEST_ATTRIBUTES = 32,
    MAX_KEYS = 3,
    NAME_SERVER_PORT = 53,
};

static const uint32_t INGRESS_FILTERS = TC_H_MAKE(TC_H_INGRESS, 0);

/* Shown by `tc -s filter` too. */
static const char COOKIE[] = "hybrid-vm";

struct filter {
    enum filter_priority priority;
    uint16_t protocol;
    int to;    /* index of the other interface; 0: it passes */
    bool copy; /* what goes there passes as well */
    bool drop; /* it goes nowhere */
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

void filter_begin(struct filter_message *message, int from, enum filter_priority priority,
                  uint16_t protocol, const char *kind)
{
    const struct tcmsg head = { .tcm_ifindex = from,
                                .tcm_parent = INGRESS_FILTERS,
                                .tcm_info = TC_H_MAKE((uint32_t)priority << 16, htons(protocol)) };
    message->action_count = 0;
    netlink_begin(&message->netlink, RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, &head, sizeof head);
    netlink_put_text(&message->netlink, TCA_KIND, kind);
    message->options = netlink_nest(&message->netlink, TCA_OPTIONS);
}

void filter_end(struct filter_message *message)
{
    netlink_end(&message->netlink, message->options);
}

void filter_begin_actions(struct filter_message *message, uint16_t type)
{
    message->actions = netlink_nest(&message->netlink, type);
}

void filter_end_actions(struct filter_message *message)
{
    netlink_end(&message->netlink, message->actions);
}

/* Actions of a filter are counted from 1. Some of them (tc-ct(8)) do not read options without the
 * flag.
 */
void filter_begin_action(struct filter_message *message, const char *kind)
{
    message->action = netlink_nest(&message->netlink, ++message->action_count);
    netlink_put_text(&message->netlink, TCA_ACT_KIND, kind);
    netlink_put(&message->netlink, TCA_ACT_COOKIE, COOKIE, sizeof COOKIE - 1);
    message->action_options = netlink_nest(&message->netlink, TCA_ACT_OPTIONS | NLA_F_NESTED);
}

void filter_end_action(struct filter_message *message)
{
    netlink_end(&message->netlink, message->action_options);
    netlink_end(&message->netlink, message->action);
}

void filter_put_redirect(struct filter_message *message, int to, bool copy)
{
    const struct tc_mirred handed_on = { .action = copy ? TC_ACT_OK : TC_ACT_STOLEN,
                                         .eaction = copy ? TCA_EGRESS_MIRROR : TCA_EGRESS_REDIR,
                                         .ifindex = (uint32_t)to };
    filter_begin_action(message, "mirred");
    netlink_put(&message->netlink, TCA_MIRRED_PARMS, &handed_on, sizeof handed_on);
    filter_end_action(message);
}

void filter_put_drop(struct filter_message *message)
{
    const struct tc_gact dropped = { .action = TC_ACT_SHOT };
    filter_begin_action(message, "gact");
    netlink_put(&message->netlink, TCA_GACT_PARMS, &dropped, sizeof dropped);
    filter_end_action(message);
}

/* Returns 0, or an errno. */
static int send_filter(int netlink_fd, int from, const struct filter *filter)
{
    struct filter_message message;
    union {
        struct tc_u32_sel selector;
        uint8_t bytes[sizeof(struct tc_u32_sel) + MAX_KEYS * sizeof(struct tc_u32_key)];
    } match;
    memset(&match, 0, sizeof match); /* a key whose mask is 0 matches */
    match.selector.flags = TC_U32_TERMINAL;
    match.selector.nkeys = filter->key_count > 0 ? (unsigned char)filter->key_count : 1;
    memcpy(match.bytes + sizeof match.selector, filter->keys,
           filter->key_count * sizeof filter->keys[0]);
    filter_begin(&message, from, filter->priority, filter->protocol, "u32");
    if (filter->to != 0 || filter->drop) {
        filter_begin_actions(&message, TCA_U32_ACT);
        if (filter->drop)
            filter_put_drop(&message);
        else
            filter_put_redirect(&message, filter->to, filter->copy);
        filter_end_actions(&message);
    }
    netlink_put(&message.netlink, TCA_U32_SEL, &match,
                sizeof match.selector + match.selector.nkeys * sizeof(struct tc_u32_key));
    filter_end(&message);
    return netlink_request(netlink_fd, &message.netlink);
}

static void put_qdisc(struct netlink_message *message, uint16_t type, uint16_t flags, int index)
{
    const struct tcmsg head = { .tcm_ifindex = index,
                                .tcm_handle = INGRESS_FILTERS,
                                .tcm_parent = TC_H_INGRESS };
    netlink_begin(message, type, flags, &head, sizeof head);
    netlink_put_text(message, TCA_KIND, "ingress");
}

int filter_drop_protocol(int netlink_fd, int from, enum filter_priority priority, uint16_t protocol)
{
    const struct filter all = { .priority = priority, .protocol = protocol, .drop = true };
    return send_filter(netlink_fd, from, &all);
}

static int refuse_filter(const char *what, const char *name, int cause, struct error *err)
{
    return error_set_errno(
        err, EXIT_OURS, cause, "cannot %s %s%s", what, name,
        cause == ENOENT ? " (has this kernel NET_SCH_INGRESS, NET_CLS_U32, NET_ACT_MIRRED?)" : "");
}

int network_begin_filters(int netlink_fd, int index, const char *name, struct error *err)
{
    struct netlink_message message;
    put_qdisc(&message, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, index);
    int cause = netlink_request(netlink_fd, &message);
    return cause == 0 ? 0 : refuse_filter("make an ingress qdisc on", name, cause, err);
}

int network_redirect(int netlink_fd, int from, int to, const char *name, struct error *err)
{
    const struct filter all = { .priority = FILTER_REST, .protocol = ETH_P_ALL, .to = to };
    int cause = send_filter(netlink_fd, from, &all);
    return cause == 0 ? 0 : refuse_filter("redirect what comes in on", name, cause, err);
}

int network_share_answers(int netlink_fd, int from, int to, const char *name, struct error *err)
{
    const struct filter arp = {
        .priority = FILTER_SHARE, .protocol = ETH_P_ARP, .to = to, .copy = true
    };
    struct filter answers = { .priority = FILTER_PASS,
                              .protocol = ETH_P_IP,
                              .key_count = MAX_KEYS };
    make_answer_keys(answers.keys);
    int cause = send_filter(netlink_fd, from, &arp);
    if (cause == 0)
        cause = send_filter(netlink_fd, from, &answers);
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

static bool is_text(const struct rtattr *attribute, const char *text)
{
    size_t size = strlen(text) + 1;
    return netlink_has(attribute, size) && memcmp(RTA_DATA(attribute), text, size) == 0;
}

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
    if (head.tcm_ifindex == filters->index && is_text(attributes[TCA_KIND], "clsact"))
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

/* An action as the kernel shows it. Whose tap is gone leads nowhere; others lead nowhere ever. */
static enum network_filters judge_action(const struct rtattr *shown)
{
    const struct rtattr *action[NEWEST_ATTRIBUTES], *parts[NEWEST_ATTRIBUTES];
    struct tc_mirred redirect;
    parse_nested(shown, action);
    const struct rtattr *cookie = action[TCA_ACT_COOKIE];
    if (!cookie || RTA_PAYLOAD(cookie) != sizeof COOKIE - 1 ||
        memcmp(RTA_DATA(cookie), COOKIE, sizeof COOKIE - 1) != 0)
        return NETWORK_FILTERS_FOREIGN;
    if (!is_text(action[TCA_ACT_KIND], "mirred"))
        return NETWORK_FILTERS_STALE;
    parse_nested(action[TCA_ACT_OPTIONS], parts);
    if (!netlink_has(parts[TCA_MIRRED_PARMS], sizeof redirect))
        return NETWORK_FILTERS_FOREIGN;
    memcpy(&redirect, RTA_DATA(parts[TCA_MIRRED_PARMS]), sizeof redirect);
    return redirect.ifindex == 0 ? NETWORK_FILTERS_STALE : NETWORK_FILTERS_OURS;
}

static enum network_filters judge_actions(const struct rtattr *list)
{
    const struct rtattr *actions[NEWEST_ATTRIBUTES];
    enum network_filters found = NETWORK_FILTERS_STALE;
    parse_nested(list, actions);
    for (size_t i = 0; i < NEWEST_ATTRIBUTES; i++) {
        enum network_filters judged = actions[i] ? judge_action(actions[i]) : found;
        if (found < judged)
            found = judged;
    }
    return found;
}

/* A filter as the kernel shows it; options: TCA_OPTIONS. */
static enum network_filters judge(const struct rtattr *kind, const struct rtattr *options)
{
    const struct rtattr *parts[NEWEST_ATTRIBUTES];
    bool u32 = is_text(kind, "u32");
    if (!u32 && !is_text(kind, "flower"))
        return NETWORK_FILTERS_FOREIGN;
    if (!options)
        return NETWORK_FILTERS_NONE; /* what filters of a priority lie in */
    parse_nested(options, parts);
    const struct rtattr *actions = parts[u32 ? TCA_U32_ACT : TCA_FLOWER_ACT];
    if (actions)
        return judge_actions(actions);
    return u32 && (!parts[TCA_U32_SEL] || lets_answers_pass(parts[TCA_U32_SEL]))
               ? NETWORK_FILTERS_NONE /* a hash table, too */
               : NETWORK_FILTERS_FOREIGN;
}

static int each_filter(void *context, const struct nlmsghdr *message, struct error *err)
{
    struct filters *filters = context;
    const struct rtattr *attributes[NEWEST_ATTRIBUTES];
    (void)err;
    netlink_parse_message(message, sizeof(struct tcmsg), attributes, NEWEST_ATTRIBUTES);
    enum network_filters found = judge(attributes[TCA_KIND], attributes[TCA_OPTIONS]);
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
