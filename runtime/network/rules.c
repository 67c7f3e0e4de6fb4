/*
 * Whether a namespace filters packets itself. What arrives for a VM leaves its interface before
 * any such rule would see it, so that a namespace with rules would be one without, silently.
 */
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "netlink.h"
#include "network.h"

/* Tables of nft(8), and of iptables(8) where that is its front end. */
static bool has_nft_tables(void)
{
    const struct nfgenmsg any = { .nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0 };
    struct netlink_message message;
    _cleanup_close_ int fd = netlink_open_family(NETLINK_NETFILTER);
    if (fd < 0)
        return false; /* a kernel without it */
    netlink_begin(&message, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0, &any, sizeof any);
    return netlink_count(fd, &message) > 0;
}

/* Tables of iptables-legacy(8), which are made when they are first used in a namespace. */
static bool has_legacy_tables(void)
{
    static const char *const lists[] = { "/proc/thread-self/net/ip_tables_names",
                                         "/proc/thread-self/net/ip6_tables_names" };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        _cleanup_fclose_ FILE *file = fopen(lists[i], "re");
        if (file && fgetc(file) != EOF)
            return true;
    }
    return false;
}

int network_refuse_rules(struct error *err)
{
    bool nft = has_nft_tables();
    if (!nft && !has_legacy_tables())
        return 0;
    return error_set(err, EXIT_OURS,
                     "the network namespace has packet filter rules (%s), which what a VM sends "
                     "and receives would pass by: remove them, or use --isolation=container",
                     nft ? "nft list ruleset" : "iptables-legacy-save");
}
