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

/* Reads each of the entry's matches: whether one asks for port 53, and what that is to the mesh. */
static bool read_matches(const char *entry, const struct ipt_entry *head, struct mesh_rule *mesh)
{
    struct xt_entry_match match;
    bool names = false;
    for (size_t at = sizeof *head; at + sizeof match <= head->target_offset;
         at += match.u.match_size) {
        memcpy(&match, entry + at, sizeof match);
        size_t left = head->target_offset - at;
        if (match.u.match_size < sizeof match || match.u.match_size > left) {
            mesh->others = true;
            return names;
        }
        const void *info = entry + at + sizeof match;
        size_t size = match.u.match_size - sizeof match;
        match.u.user.name[sizeof match.u.user.name - 1] = '\0';
        mesh_read_match(mesh, match.u.user.name, match.u.user.revision, info, size);
        names |= rules_asks_names(match.u.user.name, sizeof match.u.user.name, info, size);
    }
    return names;
}

/* An address of which every bit counts, or zeros: any. */
static struct in_addr only_address(struct in_addr address, struct in_addr mask, bool *others)
{
    *others |= mask.s_addr != INADDR_NONE && mask.s_addr != 0;
    return mask.s_addr == INADDR_NONE ? address : (struct in_addr){ 0 };
}

static void read_head(const struct ipt_ip *ip, struct mesh_rule *mesh)
{
    static const unsigned char any[IFNAMSIZ] = { 0 };
    mesh->source = only_address(ip->src, ip->smsk, &mesh->others);
    mesh->destination = only_address(ip->dst, ip->dmsk, &mesh->others);
    mesh->protocol = (uint8_t)ip->proto;
    mesh->others |= ip->flags != 0 || ip->invflags != 0 ||
                    memcmp(ip->iniface_mask, any, sizeof any) != 0 ||
                    memcmp(ip->outiface_mask, any, sizeof any) != 0;
}

static struct rules_match match_of(const char *entry, const struct ipt_entry *head,
                                   struct mesh_rule *mesh)
{
    const struct ipt_ip *ip = &head->ip;
    read_head(ip, mesh);
    return (struct rules_match){
        .source = loopback_of(ip->src, ip->smsk, ip->invflags & IPT_INV_SRCIP),
        .destination = loopback_of(ip->dst, ip->dmsk, ip->invflags & IPT_INV_DSTIP),
        .names = read_matches(entry, head, mesh),
    };
}

/* The verdict of a standard target; jumps are positive. size: of the target. */
static bool read_verdict(const struct xt_entry_target *target, size_t size, int *verdict)
{
    if (strcmp(target->u.user.name, XT_STANDARD_TARGET) != 0 ||
        size < sizeof(struct xt_standard_target))
        return false;
    memcpy(verdict, (const char *)target + offsetof(struct xt_standard_target, verdict),
           sizeof *verdict);
    return true;
}

static void read_target(const struct xt_entry_target *target, size_t size, struct mesh_rule *mesh)
{
    int verdict = 0;
    if (!read_verdict(target, size, &verdict)) {
        mesh_read_target(mesh, target->u.user.name, target->u.user.revision, target + 1,
                         size - sizeof *target);
        return;
    }
    mesh->others |= verdict != -NF_ACCEPT - 1 && verdict != -NF_DROP - 1;
    mesh->verdict = verdict == -NF_ACCEPT - 1 ? MESH_ACCEPT : MESH_DROP;
}

/* Whether the target leaves a packet as it is: lets it pass, looks at other rules, or only marks
 * where a chain begins. An unknown one may do anything. size: of the target. */
static bool is_passive(const struct xt_entry_target *target, size_t size)
{
    int verdict = 0;
    if (strcmp(target->u.user.name, XT_ERROR_TARGET) == 0)
        return true;
    return read_verdict(target, size, &verdict) &&
           (verdict >= 0 || verdict == XT_RETURN || verdict == -NF_ACCEPT - 1);
}

/* Of which of the mesh's chains the entry is a rule; what the last of a chain does is its policy.
 */
static enum mesh_chain find_chain(const struct ipt_getinfo *info, size_t at)
{
    static const struct {
        const char *chain;
        unsigned hook;
    } chains[] = { { "PREROUTING", NF_INET_PRE_ROUTING },
                   { "INPUT", NF_INET_LOCAL_IN },
                   { "OUTPUT", NF_INET_LOCAL_OUT } };
    for (size_t i = 0; i < sizeof chains / sizeof chains[0]; i++) {
        unsigned hook = chains[i].hook;
        if (info->valid_hooks & 1U << hook && at >= info->hook_entry[hook] &&
            at < info->underflow[hook])
            return mesh_find_chain(info->name, chains[i].chain);
    }
    return MESH_ELSEWHERE;
}

/* Every entry is inside `info->size` bytes. Returns 0, or -1: they do not fit together. */
static int note_entries(struct rules *rules, const char *entries, const struct ipt_getinfo *info)
{
    for (size_t at = 0; at < info->size;) {
        struct ipt_entry entry;
        struct xt_entry_target target;
        struct mesh_rule mesh = { .chain = find_chain(info, at) };
        if (info->size - at < sizeof entry)
            return -1;
        memcpy(&entry, entries + at, sizeof entry);
        if (entry.next_offset > info->size - at || entry.target_offset > entry.next_offset ||
            entry.next_offset - entry.target_offset < (int)sizeof target)
            return -1;
        const struct xt_entry_target *from =
            (const struct xt_entry_target *)(const void *)(entries + at + entry.target_offset);
        size_t size = (size_t)(entry.next_offset - entry.target_offset);
        const struct rules_match match = match_of(entries + at, &entry, &mesh);
        read_target(from, size, &mesh);
        if (!mesh_take(rules->mesh, &mesh) && !is_passive(from, size))
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
    if (note_entries(rules, (const char *)table->entrytable, &info) < 0)
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
