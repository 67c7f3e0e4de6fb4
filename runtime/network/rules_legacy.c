/*
 * Tables of iptables-legacy(8): they are made when they are first used in a namespace, and the
 * kernel gives each as one block of entries, as ip_tables.h has it.
 */
#include "rules.h"

/* linux/netfilter_ipv4/ip_tables.h needs net/if.h before it. */
#include <net/if.h>

#include <errno.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"

enum { MAX_TABLE_BYTES = 16 << 20 };

static const char LIST[] = "/proc/thread-self/net/ip_tables_names";
static const char LIST_6[] = "/proc/thread-self/net/ip6_tables_names";

static struct in_addr loopback_of(struct in_addr address, struct in_addr mask, bool inverted)
{
    bool is_one = mask.s_addr == INADDR_NONE && !inverted && rules_is_loopback(address);
    return is_one ? address : (struct in_addr){ 0 };
}

/* Whether one of the entry's matches asks for port 53. */
static bool asks_names(const char *entry, const struct ipt_entry *head)
{
    struct xt_entry_match match;
    for (size_t at = sizeof *head; at + sizeof match <= head->target_offset;
         at += match.u.match_size) {
        memcpy(&match, entry + at, sizeof match);
        size_t left = head->target_offset - at;
        if (match.u.match_size < sizeof match || match.u.match_size > left)
            return false;
        if (rules_asks_names(match.u.user.name, sizeof match.u.user.name, entry + at + sizeof match,
                             match.u.match_size - sizeof match))
            return true;
    }
    return false;
}

static struct rules_match match_of(const char *entry, const struct ipt_entry *head)
{
    const struct ipt_ip *ip = &head->ip;
    return (struct rules_match){
        .source = loopback_of(ip->src, ip->smsk, ip->invflags & IPT_INV_SRCIP),
        .destination = loopback_of(ip->dst, ip->dmsk, ip->invflags & IPT_INV_DSTIP),
        .names = asks_names(entry, head),
    };
}

/* Whether the target leaves a packet as it is: lets it pass, looks at other rules, or only marks
 * where a chain begins. An unknown one may do anything. size: of the target. */
static bool is_passive(const struct xt_entry_target *target, size_t size)
{
    int verdict = 0;
    if (strcmp(target->u.user.name, XT_ERROR_TARGET) == 0)
        return true;
    if (strcmp(target->u.user.name, XT_STANDARD_TARGET) != 0 ||
        size < sizeof(struct xt_standard_target))
        return false;
    memcpy(&verdict, (const char *)target + offsetof(struct xt_standard_target, verdict),
           sizeof verdict);
    return verdict >= 0 || verdict == XT_RETURN || verdict == -NF_ACCEPT - 1;
}

/* Every entry is inside `size` bytes. Returns 0, or -1: they do not fit together. */
static int note_entries(struct rules *rules, const char *entries, size_t size)
{
    for (size_t at = 0; at < size;) {
        struct ipt_entry entry;
        struct xt_entry_target target;
        if (size - at < sizeof entry)
            return -1;
        memcpy(&entry, entries + at, sizeof entry);
        if (entry.next_offset > size - at || entry.target_offset > entry.next_offset ||
            entry.next_offset - entry.target_offset < (int)sizeof target)
            return -1;
        const char *from = entries + at + entry.target_offset;
        const struct rules_match match = match_of(entries + at, &entry);
        if (!is_passive((const struct xt_entry_target *)(const void *)from,
                        (size_t)(entry.next_offset - entry.target_offset)))
            rules_note(rules, &match);
        at += entry.next_offset;
    }
    return 0;
}

static int read_table(int fd, const char *name, struct rules *rules, struct error *err)
{
    struct ipt_getinfo info = { 0 };
    socklen_t length = sizeof info;
    (void)snprintf(info.name, sizeof info.name, "%s", name);
    if (getsockopt(fd, IPPROTO_IP, IPT_SO_GET_INFO, &info, &length) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the iptables table %s", name);
    if (info.size > MAX_TABLE_BYTES)
        return error_set(err, EXIT_OURS, "the iptables table %s has %u bytes, at most %d are read",
                         name, info.size, MAX_TABLE_BYTES);
    _cleanup_free_ struct ipt_get_entries *table = calloc(1, sizeof *table + info.size);
    if (!table)
        return error_set(err, EXIT_OURS, "out of memory");
    (void)snprintf(table->name, sizeof table->name, "%s", name);
    table->size = info.size;
    length = (socklen_t)(sizeof *table + info.size);
    if (getsockopt(fd, IPPROTO_IP, IPT_SO_GET_ENTRIES, table, &length) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read the iptables table %s", name);
    if (note_entries(rules, (const char *)table->entrytable, info.size) < 0)
        return error_set(err, EXIT_OURS, "cannot make sense of the iptables table %s", name);
    return 0;
}

/* The file exists in kernels that know such tables. Returns it, or NULL with errno. */
static FILE *open_list(const char *path)
{
    return fopen(path, "re");
}

static int read_tables(FILE *names, struct rules *rules, struct error *err)
{
    char name[XT_TABLE_MAXNAMELEN];
    _cleanup_close_ int fd = -1;
    while (fscanf(names, "%31s", name) == 1) {
        if (fd < 0)
            fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
        if (fd < 0)
            return error_set_errno(err, EXIT_OURS, errno, "cannot ask for iptables tables");
        if (read_table(fd, name, rules, err) < 0)
            return -1;
    }
    return 0;
}

/* No engine leads anything to a name server by these: each counts. */
static int look_for_ipv6(struct rules *rules, struct error *err)
{
    _cleanup_fclose_ FILE *names = open_list(LIST_6);
    if (!names && errno == ENOENT)
        return 0;
    if (names && fgetc(names) != EOF)
        rules->others = true;
    else if (!names || ferror(names))
        return error_set_errno(err, EXIT_OURS, errno, "cannot read %s", LIST_6);
    return 0;
}

int rules_read_legacy(struct rules *rules, struct error *err)
{
    if (access("/proc/thread-self/net", F_OK) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read /proc/thread-self/net");
    _cleanup_fclose_ FILE *names = open_list(LIST);
    if (!names && errno != ENOENT)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read %s", LIST);
    if (names && read_tables(names, rules, err) < 0)
        return -1;
    return look_for_ipv6(rules, err);
}
