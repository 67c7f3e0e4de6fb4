"""Bundles in network namespaces that engines make and configure: what is there at the start is what they get."""

import json
import os
import shutil
import signal
import subprocess
import sys

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
        t.match("error of a limit of a container's network", r"annotation hybrid\.network\.sendBps\): a container shares",
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


# A name server on the namespace's loopback, as dockerd has one: no workload asks its port, a rule leads there.
NAME_SERVER, HIDDEN_PORT, ANSWER = "127.0.0.11", 5353, "10.9.0.77"
SERVER = [sys.executable, os.path.join(os.path.dirname(os.path.dirname(__file__)), "name_server.py")]
# One of `many.test` by TCP, whose answer is 27 + 250 * 16 bytes, with the length before it.
ASK = r"""
asked() { nslookup -type=a "$@" | grep -A 9 Name: | grep -c "Address.*10.9.0.77"; }
asked known.test; asked known.test 10.9.0.1
printf '\0\033\0\1\1\0\0\1\0\0\0\0\0\0\4many\4test\0\0\1\0\1' | nc -w 20 127.0.0.11 53 | head -c 4029 | wc -c
for i in 1 2 3 4 5 6 7 8; do asked known.test & done; wait
"""
FROM_THE_NAMESPACE = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
    asking.settimeout(20)
    asking.sendto(bytes(5) + bytes([1]) + bytes(6) + bytes([1, 120, 0, 0, 1, 0, 1]), ("10.9.0.1", 53))
    assert socket.inet_aton("10.9.0.77") in asking.recv(512)
"""


def serve_names(t, namespace, address, port):
    """Starts a name server there, and waits for it."""
    server = t.spawn(["ip", "netns", "exec", namespace, *SERVER, address, str(port), ANSWER], stdin=subprocess.DEVNULL,
                     stdout=subprocess.PIPE)
    t.closers.append(server.kill)
    t.equal("the name server", b"ready\n", server.stdout.readline())


def lead_to_server(network):
    """dockerd's rules."""
    def rule(*arguments):
        run("ip", "netns", "exec", network.own, "iptables", "-w", "-t", "nat", *arguments)
    rule("-N", "DOCKER_OUTPUT")
    rule("-I", "OUTPUT", "-d", NAME_SERVER, "-j", "DOCKER_OUTPUT")
    rule("-N", "DOCKER_POSTROUTING")
    rule("-I", "POSTROUTING", "-d", NAME_SERVER, "-j", "DOCKER_POSTROUTING")
    for protocol in ("udp", "tcp"):
        rule("-I", "DOCKER_OUTPUT", "-d", NAME_SERVER, "-p", protocol, "--dport", "53", "-j", "DNAT",
             "--to-destination", f"{NAME_SERVER}:{HIDDEN_PORT}")
        rule("-I", "DOCKER_POSTROUTING", "-s", NAME_SERVER, "-p", protocol, "--sport", str(HIDDEN_PORT), "-j", "SNAT",
             "--to-source", ":53")


def check_helper(t, bundle):
    """What asks for a VM is as jailed as its monitor, and shown; without it the VM ends."""
    shown = json.loads(t.verb("inspect", "--security", bundle.id))[0]
    helpers = [each for each in shown["companions"] if each["name"] == "hybrid-names"]
    t.equal("helpers", 1, len(helpers))
    helper = helpers[0]
    t.equal("capabilities", [[]] * 5, list(helper["capabilities"].values()))
    t.equal("no_new_privs", 1, helper["noNewPrivs"])
    t.check(all(thread["seccomp"] == "filter" for thread in helper["threads"]), f"threads: {helper['threads']}")
    t.check(min(helper["uid"]) > 1000000000 and helper["uid"] not in [each["uid"] for each in shown["companions"] if each != helper],
            f"uid {helper['uid']}")
    t.equal("mounts", ["/"], [mount["target"] for mount in helper["mounts"]])
    with_network = os.stat(f"/proc/{helper['pid']}/ns/net").st_ino
    t.equal("its network", os.stat(bundle.network.path).st_ino, with_network)
    os.kill(helper["pid"], signal.SIGKILL)
    bundle.await_status("stopped")


@test("bundle/vm-net-with-a-name-server", seconds=120)
def with_name_server(t):
    """A name server within the namespace is asked by all workloads of it, and can ask others itself."""
    if not shutil.which("iptables"):
        raise harness.Skip("iptables is not installed")
    network = Network(t)
    serve_names(t, network.own, NAME_SERVER, HIDDEN_PORT)
    serve_names(t, network.peer, PEER_4, 53)
    lead_to_server(network)
    ports = run("ip", "netns", "exec", network.own, "cat", "/proc/sys/net/ipv4/ip_local_port_range")
    bundle = in_network(t, network, network.path)
    bundle.config["process"]["args"] = ["sh", "-c", ASK + "echo ready; exec sleep 1000"]
    for applet in ("nslookup", "nc", "wc"):
        os.symlink("busybox", f"{bundle.path}/rootfs/bin/{applet}")
    with open(bundle.path + "/rootfs/etc/resolv.conf", "w", encoding="ascii") as file:
        file.write(f"nameserver {NAME_SERVER}\n")
    bundle.create()
    t.verb("start", bundle.id)
    t.eventually("it is ready", lambda: bundle.output().endswith("ready\n"), seconds=90)
    t.equal("answers", "1\n1\n4029\n" + "1\n" * 8 + "ready\n", bundle.output())
    run("ip", "netns", "exec", network.own, sys.executable, "-c", FROM_THE_NAMESPACE)
    if t.isolation == "vm":
        check_helper(t, bundle)
    t.verb("delete", "--force", bundle.id)
    t.equal("what is left in the namespace", network.before, network.state())
    t.equal("ports", ports, run("ip", "netns", "exec", network.own, "cat", "/proc/sys/net/ipv4/ip_local_port_range"))
    t.equal("what is left of it", [], t.host.traces(bundle.id))
    if t.isolation == "vm":
        run("ip", "netns", "exec", network.own, "iptables", "-A", "INPUT", "-p", "icmp", "-j", "DROP")
        refused = in_network(t, network, network.path)
        refused.create()
        t.match("other rules", "packet filter rules .*about one name server", t.hybrid("start", refused.id).err)
        t.verb("delete", "--force", refused.id)
