/* What workloads' networks need of the machine: of its kernel, and of programs that others run. */
#include <dirent.h>
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "doctor.h"
#include "runtime/network/netlink.h"

/* Why these rows matter where hybrid itself sets up no network. */
#define FOR_JOINING "a network namespace for --network=ns:PATH"

/* Containers join a namespace with nothing else; a VM needs a tap for it. */
static void look_network(const struct runtime *runtime, struct finding *finding)
{
    bool tun = access("/dev/net/tun", F_OK) == 0;
    (void)runtime;
    if (tun)
        finding_set(finding, FINDING_GOOD, NULL,
                    "none, or a namespace to join; tun is there, for the taps of VMs");
    else
        finding_set(finding, FINDING_NOTE, "modprobe tun, for VMs with --network=ns:PATH",
                    "/dev/net/tun is missing: VMs have no network beyond loopback");
}

/* A VM refuses a namespace with rules that would not hold for it: they have to be listed. */
static void look_nftables(const struct runtime *runtime, struct finding *finding)
{
    const struct nfgenmsg any = { .nfgen_family = AF_UNSPEC, .version = NFNETLINK_V0 };
    struct netlink_message message;
    _cleanup_close_ int fd = netlink_open_family(NETLINK_NETFILTER);
    (void)runtime;
    netlink_begin(&message, NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, 0, &any, sizeof any);
    int tables = fd < 0 ? -errno : netlink_count(fd, &message);
    if (tables >= 0)
        finding_set(finding, FINDING_GOOD, NULL,
                    "nf_tables lists its rules: a VM joins no namespace with other than a name "
                    "server's or a routing mesh's%s",
                    doctor_has_program("nft") ? "" : "; nft is not there");
    else if (tables == -EPERM)
        finding_set(finding, FINDING_NOTE, "run hybrid as root, with CAP_NET_ADMIN",
                    "nf_tables cannot be asked: %s", strerror(-tables));
    else
        finding_set(finding, FINDING_GOOD, NULL, "nf_tables is not in this kernel: no rules");
}

static void look_cni(const struct runtime *runtime, struct finding *finding)
{
    static const char *const directories[] = { "/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni" };
    (void)runtime;
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "%s/bridge", directories[i]);
        if (access(path, X_OK) < 0)
            continue;
        finding_set(finding, FINDING_GOOD, NULL,
                    "plugins in %s: not called by hybrid, they can make " FOR_JOINING,
                    directories[i]);
        return;
    }
    finding_set(finding, FINDING_NOTE, NULL,
                "no plugins: not called by hybrid; engines, ip(8) or passt make " FOR_JOINING);
}

static void look_passt(const struct runtime *runtime, struct finding *finding)
{
    bool there = doctor_has_program("pasta");
    (void)runtime;
    finding_set(finding, there ? FINDING_GOOD : FINDING_NOTE, NULL,
                "%s: not called by hybrid, pasta can make " FOR_JOINING,
                there ? "it is there" : "it is not there");
}

const struct check network_checks[] = {
    { "network", 0, look_network },
    { "nftables", 0, look_nftables },
    { "cni", 0, look_cni },
    { "passt", 0, look_passt },
    { 0 },
};
