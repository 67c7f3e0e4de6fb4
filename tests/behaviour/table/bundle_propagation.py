"""Mounts that appear after the start: binds that propagate, from the host, to it, or not at all (mount_namespaces(7))."""

import os

from harness import Skip
from table import test
from table.bundle_files import bind, map_users
from table.bundles import CONTAINERS, Bundle

KINDS = ("rprivate", "rslave", "rshared")
# In a mount namespace of its own, whose mounts are shared as those of a host that systemd has booted.
HOST = """hybrid=$1 id=$2 bundle=$3 source=$4; shift 4
mount -t tmpfs shared $source && mkdir $source/before $source/later $source/inside || exit 9
mount -t tmpfs before $source/before && touch $source/before/file || exit 9
$hybrid create --bundle $bundle $id </dev/null >$bundle/output 2>&1 && $hybrid start $id || { cat $bundle/output; exit 8; }
mount -t tmpfs later $source/later && touch $source/later/file || exit 9
for kind in rprivate rslave rshared; do
    echo "$kind $($hybrid exec $id sh -c "cd /$kind; echo */file")"
    $hybrid exec $id busybox mount -t tmpfs inside /$kind/inside || exit 7
    echo "host $(grep -c "$source/inside " /proc/self/mountinfo)"
    ! mountpoint -q $source/inside || umount $source/inside
done
$hybrid exec $id sh -c "grep -c '/rslave/inside ' /proc/self/mountinfo"
$hybrid delete --force $id
umount $source/later $source/before && umount $source && echo "all let go"
"""


def see(t, change=None, propagation=None):
    bundle = Bundle(t, "exec sleep 1000")
    source = t.file("source", "") + ".d"
    mounts = bundle.config["mounts"]
    if change:
        change(bundle)
    bundle.config["process"]["capabilities"] = {kind: ["CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted", "inheritable")}
    for kind in KINDS:
        os.mkdir(f"{bundle.path}/rootfs/{kind}")
        mounts.append(bind(source, "/" + kind, "rbind", kind))
    if propagation:
        bundle.config["linux"]["rootfsPropagation"] = propagation
    bundle.write()
    host = ["unshare", "--mount", "--propagation", "shared", "sh", "-c", 'mkdir "$4"; ' + HOST, "sh", t.host.hybrid, bundle.id, bundle.path, source]
    return t.finish(host, None, 40, None)


@test("bundle/propagation", seconds=60, **CONTAINERS)
def propagation(t):
    """Private sees what was there at the start, slave also what comes, and of shared the host sees that too; what is
    mounted in a slave stays in there. The root's own propagation "private" is not theirs."""
    for root in (None, "rprivate"):
        result = see(t, propagation=root)
        t.equal(f"root {root}: {result.err}", ["rprivate before/file", "host 0", "rslave before/file later/file", "host 0",
                                               "rshared before/file later/file", "host 1", "1", "all let go"], result.out.splitlines())


@test("bundle/propagation-to-a-user-namespace", seconds=60, **CONTAINERS)
def of_users(t):
    """Its root gets what comes, and gives nothing back: the kernel makes its mounts slaves of the host's."""
    result = see(t, change=map_users)
    t.equal(result.err, ["rprivate before/file", "host 0", "rslave before/file later/file", "host 0",
                         "rshared before/file later/file", "host 0", "1", "all let go"], result.out.splitlines())


ROOT = """hybrid=$1 id=$2 bundle=$3; shift 3
$hybrid create --bundle $bundle $id </dev/null >$bundle/output 2>&1 && $hybrid start $id || { cat $bundle/output; exit 8; }
mount -t tmpfs later $bundle/rootfs/later && touch $bundle/rootfs/later/file || exit 9
$hybrid exec $id sh -c 'echo later/*; cd inside; echo *'
grep -o " $bundle/rootfs/.* " /proc/self/mountinfo | cut -d ' ' -f 2 | sed 's:.*/::'
$hybrid delete --force $id
umount $bundle/rootfs/later
"""


@test("bundle/root-propagation", seconds=60, **CONTAINERS)
def root_propagation(t):
    """What the host mounts in the root of a container appears there if the root is a slave, and only then; nothing that
    is mounted for the container appears on the host. A source in the root is what is mounted there and below it before."""
    for kind, seen in (("slave", "later/file"), ("rslave", "later/file"), ("shared", "later/*"), (None, "later/*")):
        bundle = Bundle(t, "exec sleep 1000")
        for directory in ("later", "inside", "below/before", "made"):
            os.makedirs(f"{bundle.path}/rootfs/{directory}")
        bundle.config["mounts"] += [bind(bundle.path + "/rootfs/bin", "/below/before", "rprivate"),
                                    bind(bundle.path + "/rootfs/below", "/made", "rbind", "rslave"),
                                    bind(bundle.path + "/rootfs/made/before", "/inside", "rslave")]
        if kind:
            bundle.config["linux"]["rootfsPropagation"] = kind
        bundle.write()
        host = ["unshare", "--mount", "--propagation", "shared", "sh", "-c", ROOT, "sh", t.host.hybrid, bundle.id, bundle.path]
        result = t.finish(host, None, 40, None)
        applets = " ".join(sorted(os.listdir(bundle.path + "/rootfs/bin")))
        t.equal(f"root {kind}: {result.err}", f"{seen}\n{applets}\nlater\n", result.out)


@test("bundle/shared-with-the-host", **CONTAINERS)
def shared(t):
    """What would be mounted on the host, through a bind that it shares, is refused before; a slave takes it."""
    def outcome(kind, change):
        bundle, source = Bundle(t, "grep -c ' /both/inside ' /proc/mounts"), t.file("source", "") + ".d"
        bundle.config["mounts"].append(bind(source, "/both", "rbind", kind))
        change(bundle.config)
        bundle.write()
        script = 'mkdir -p $1/inside && mount -t tmpfs x $1 && mkdir $1/inside && shift && "$@"; echo "$?, host: $(grep -c "$0/inside " /proc/self/mountinfo)"; umount $0'
        line = ["unshare", "--mount", "--propagation", "shared", "sh", "-c", script, source, source, *t.command("run", "--bundle", bundle.path, bundle.id)]
        return t.finish(line, None, 20, None)

    for what, change in (
            ("mount", lambda config: config["mounts"].append({"destination": "/both/inside", "type": "tmpfs", "source": "tmpfs"})),
            ("new directory", lambda config: config["mounts"].append({"destination": "/both/inside/new", "type": "tmpfs", "source": "tmpfs"})),
            ("mask", lambda config: config["linux"].update(maskedPaths=["/both/inside"])),
            ("read-only path", lambda config: config["linux"].update(readonlyPaths=["/both/inside"])),
            ("root that is shared too", lambda config: config["linux"].update(rootfsPropagation="rshared", maskedPaths=["/both/inside", "/proc/keys"]))):
        result = outcome("rshared", change)
        t.equal(f"{what}: {result.err}", "125, host: 0\n", result.out)
        t.match(what, "cannot mount on /both/inside.*shared with the host.*rslave", result.err)
        t.match(f"{what}, slave", "(0|1), host: 0\n$", outcome("rslave", change).out)
    harmless = outcome("rshared", lambda config: config["linux"].update(rootfsPropagation="rshared", maskedPaths=["/proc/keys"]))
    t.equal(f"without: {harmless.err}", "0\n1, host: 0\n", harmless.out)


@test("bundle/propagation-keeps-the-order", **CONTAINERS)
def order(t):
    """Mounts are listed in the order of the configuration, also those whose sources are cloned before their turn."""
    if (6, 8) <= tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) < (6, 15):
        raise Skip("this kernel lists mounts in the order in which they were made, and clones no detached ones")
    bundle = Bundle(t, "grep -o ' /[abcd] ' /proc/mounts | tr -d ' \\n'")
    bundle.config["mounts"] += [{"destination": "/a", "type": "tmpfs", "source": "tmpfs"}, bind("/etc", "/b", "rslave"),
                                {"destination": "/c", "type": "tmpfs", "source": "tmpfs"}, bind("/etc", "/d", "rbind", "rshared")]
    t.equal("the order", "/a/b/c/d", bundle.run())
