/*
 * Whether a namespace filters packets itself. What arrives for a VM leaves its interface before
 * any such rule would see it, so that a namespace with rules would be one without, silently.
 */
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "netlink.h"
#include "network.h"

/*
 * Tables of nft(8), and of iptables(8) where that is its front end. A kernel without nfnetlink has
 * no such socket; one without nf_tables calls the question invalid. Returns 1, 0, or -1 with *err.
 */
static int has_nft_tables(struct error *err)
{
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
        return error_set_errno(err, EXIT_OURS, -count,
                               "cannot read the packet filter rules of the network namespace");
    return count > 0;
}

/*
 * Tables of iptables-legacy(8), which are made when they are first used in a namespace. The files
 * exist in kernels that know it. Returns 1, 0, or -1 with *err.
 */
static int has_legacy_tables(struct error *err)
{
    static const char *const lists[] = { "/proc/thread-self/net/ip_tables_names",
                                         "/proc/thread-self/net/ip6_tables_names" };
    if (access("/proc/thread-self/net", F_OK) < 0)
        return error_set_errno(err, EXIT_OURS, errno, "cannot read /proc/thread-self/net");
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        _cleanup_fclose_ FILE *file = fopen(lists[i], "re");
        if (!file && errno == ENOENT)
            continue;
        if (file && fgetc(file) != EOF)
            return 1;
        if (!file || ferror(file))
            return error_set_errno(err, EXIT_OURS, errno, "cannot read %s", lists[i]);
    }
    return 0;
}

int network_refuse_rules(struct error *err)
{
    int nft = has_nft_tables(err);
    int legacy = nft == 0 ? has_legacy_tables(err) : 0;
    if (nft < 0 || legacy < 0)
        return -1;
    if (!nft && !legacy)
        return 0;
    return error_set(err, EXIT_OURS,
                     "the network namespace has packet filter rules (%s), which what a VM sends "
                     "and receives would pass by: remove them, or use --isolation=container",
                     nft ? "nft list ruleset" : "iptables-legacy-save");
}
