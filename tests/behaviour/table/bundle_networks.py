"""Bundles in network namespaces that engines make and configure: what is there at the start is what they get."""

import os
import signal

import harness
from table import test
from table.bundles import Bundle
from table.networks import OWN_4, OWN_6, PEER_4, SHOW, Network, run

LATER = "10.9.0.44"  # an address that comes between create and start


def in_network(t, network, path):
    """A bundle that shows its network and stays; path: of its namespace, None: a new one."""
    bundle = Bundle(t, SHOW + f"ping -c 1 -w 20 -I {LATER} {PEER_4} >/dev/null && echo from-later; echo ready; exec sleep 1000",
                    capabilities={each: ["CAP_NET_RAW"] for each in ("bounding", "effective", "permitted")})
    for applet in ("ip", "ping", "sed", "sort"):
        os.symlink("busybox", f"{bundle.path}/rootfs/bin/{applet}")
    os.makedirs(bundle.path + "/rootfs/etc")
    with open(bundle.path + "/rootfs/etc/resolv.conf", "w", encoding="ascii") as file:
        file.write(f"nameserver {PEER_4}\n")
    bundle.config["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs"})
    bundle.config["linux"]["resources"] = {"memory": {"limit": 96 << 20}}
    bundle.config["annotations"] = {"hybrid.isolation": t.isolation}
    for namespace in bundle.config["linux"]["namespaces"]:
        if path and namespace["type"] == "network":
            namespace["path"] = path
    bundle.network = network
    return bundle


def start(t, bundle):
    """Adds an address, starts it, and looks at it from both sides. Returns what it saw."""
    network = bundle.network
    run("ip", "-n", network.own, "addr", "add", f"{LATER}/24", "dev", "net0")
    network.settle()
    t.verb("start", bundle.id)
    t.eventually("it is ready", lambda: bundle.output().endswith("ready\n"), seconds=60)
    seen = bundle.output()
    for line in ("peer", "peer6", "full", "from-later"):
        t.check(f"\n{line}\n" in seen, f"{line} is missing in {seen}")
    t.check(network.ping_from_peer(OWN_4) and network.ping_from_peer(OWN_6), "the peer cannot ping the workload")
    t.check(t.isolation == "container" or "hybrid0" in network.state(), "there is no tap in the namespace")
    return seen


@test("bundle/vm-net-by-path", seconds=90)
def by_path(t):
    """The namespace is there before create; it is as before when the VM, or its monitor, was killed."""
    network = Network(t)
    bundle = in_network(t, network, network.path)
    bundle.config["annotations"]["hybrid.network.sendBps"] = "10000000"
    if t.isolation == "container":
        t.match("error of a limit of a container's network", "--network-send-bps: a container shares",
                bundle.create(status=125))
        del bundle.config["annotations"]["hybrid.network.sendBps"]
    bundle.create()
    pid = bundle.state()["pid"]
    t.equal("the namespace of its process", os.stat(network.path).st_ino, os.stat(f"/proc/{pid}/ns/net").st_ino)
    seen = start(t, bundle)
    if t.isolation == "vm":
        commands = [open(f"/proc/{child}/cmdline", "rb").read() for child in harness.descendants(pid)]
        t.check(any(b"--net-send-bps=10000000" in command for command in commands), f"no limit in {commands}")
        second = in_network(t, network, network.path)
        second.create()
        t.match("a second VM", "belongs to another VM", t.hybrid("start", second.id).err)
        t.verb("delete", "--force", second.id)
        os.kill(pid, signal.SIGKILL)
        t.eventually("the tap is gone", lambda: "hybrid0" not in network.state())
    t.verb("delete", "--force", bundle.id)
    t.equal("what is left in the namespace", network.before, network.state())
    t.equal("what is left of it", [], t.host.traces(bundle.id))
    return seen


@test("bundle/vm-net-by-hook", seconds=90)
def by_hook(t):
    """A new namespace, which a hook of create keeps and configures, as dockerd's does."""
    network = Network(t, own=False)
    bundle = in_network(t, network, None)
    script = ["set -e", r"""pid=$(sed 's/.*"pid": *\([0-9]*\).*/\1/')""", f"ip netns attach {network.own} $pid", *network.commands]
    bundle.config["hooks"] = {"prestart": [
        {"path": "/bin/sh", "args": ["sh", "-c", "\n".join(script)], "env": ["PATH=" + os.environ["PATH"]]}]}
    bundle.create()
    network.settle()
    before = network.state()
    seen = start(t, bundle)
    t.verb("kill", bundle.id, "KILL")
    bundle.await_status("stopped")
    t.equal("what is left in the namespace", before, network.state())
    t.verb("delete", bundle.id)
    t.equal("what is left of it", [], t.host.traces(bundle.id))
    return seen


def in_user_namespace(t, path=None):
    """A bundle whose root has the rights of CAP_NET_* over its own network alone, if that is its own."""
    powers = ["CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW"]
    bundle = Bundle(t, "ls /sys/class/net; ip addr add 10.9.0.1/32 dev lo && echo administers; "
                       "httpd -p 80 && echo serves", capabilities={each: powers for each in ("bounding", "effective", "permitted")})
    for applet in ("ip", "httpd"):
        os.symlink("busybox", f"{bundle.path}/rootfs/bin/{applet}")
    for directory in ("proc", "dev", "sys"):  # the root in there cannot make them: it is another's here
        os.mkdir(f"{bundle.path}/rootfs/{directory}")
    bundle.config["mounts"][2]["options"] = ["newinstance", "ptmxmode=0666", "mode=0620"]
    bundle.config["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs"})
    bundle.config["annotations"] = {"hybrid.isolation": t.isolation}
    linux = bundle.config["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "network"]
    linux["namespaces"] += [{"type": "user"}, {"type": "network", **({"path": path} if path else {})}]
    for kind in ("uid", "gid"):
        linux[kind + "Mappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    return bundle


@test("bundle/vm-net-of-a-user-namespace", seconds=90)
def of_user_namespace(t):
    """A new network belongs to the user namespace. A VM's with interfaces cannot: it is refused, as soon as it is known."""
    bundle = in_user_namespace(t)
    bundle.create()
    t.verb("start", bundle.id)
    bundle.await_status("stopped")
    seen = bundle.output()
    t.equal("what it may do", "lo\nadministers\nserves\n", seen)
    if t.isolation == "vm":
        network = Network(t)
        joined = in_user_namespace(t, network.path)
        t.match("by path", "linux.namespaces: user: the network of a VM", joined.create(status=125))
        hooked = in_user_namespace(t)
        script = r"""pid=$(sed 's/.*"pid": *\([0-9]*\).*/\1/') && nsenter -t $pid -n sh -c """ \
                 "'ip link add net0 type veth peer name net1 && ip link set net0 up'"
        hooked.config["hooks"] = {"prestart": [
            {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=" + os.environ["PATH"]]}]}
        hooked.create()
        t.match("by a hook", "linux.namespaces: user: its network namespace has been given .* net0",
                t.hybrid("start", hooked.id).err)
        t.verb("delete", "--force", hooked.id)
        t.equal("what is left of it", [], t.host.traces(hooked.id))
    return seen
