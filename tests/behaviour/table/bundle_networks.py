"""Bundles in network namespaces that engines make and configure: what is there at the start is what they get."""

import json
import os
import re
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


# A task behind a Swarm's routing mesh: two published ports lead to its port 80, one to its port 53 by UDP; 81 is not published.
PUBLISHED = (("tcp", 8080, 80), ("tcp", 8081, 80), ("udp", 5300, 53))
OTHER_4, OTHER_PEER, LISTENING = "10.9.0.3", "10.9.7.1", 7777  # what the rules are not about; who is asked from there; a port of it
# An echo by UDP, which once asks the peer of its own accord.
ECHO = f"""socket(S, 2, 2, 17); bind(S, pack("Sna4x8", 2, 53, "")) || die;
while ($from = recv(S, $text, 9999, 0)) {{
    send(S, $text, 0, pack("SnC4x8", 2, {LISTENING}, {", ".join(PEER_4.split("."))})) if $text eq "unasked";
    send(S, $text, 0, $from);
}}"""
SERVE = f"""
nc -ll -p 80 -e cat & nc -ll -p 81 -e cat & /usr/bin/perl -e '{ECHO}' &
timeout 5 nc {PEER_4} {LISTENING} </dev/null || echo "cannot ask"
timeout 60 nc {OTHER_PEER} {LISTENING} </dev/null
echo ready; exec sleep 1000
"""
# What comes back of what is sent, in both directions at once; a datagram is in pieces.
ASK_MESH = f"""
import socket, threading
def stream(address, port, size=3 << 20, seconds=60):
    sent, back = bytes(range(251)) * (size // 251), bytearray()
    try:
        with socket.create_connection((address, port), timeout=seconds) as asking:
            threading.Thread(target=asking.sendall, args=(sent,), daemon=True).start()
            while len(back) < len(sent):
                part = asking.recv(1 << 16)
                if not part:
                    break
                back += part
    except (TimeoutError, ConnectionRefusedError) as error:
        return type(error).__name__
    return back == sent
def datagram(asking, sent, seconds):
    asking.settimeout(seconds)
    try:
        return (sent is None or asking.send(sent) and True) and asking.recv(9999) == sent
    except TimeoutError:
        return "timeout"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
    other.bind(("", {LISTENING}))
    asking.connect(("{OWN_4}", 5300))
    print([datagram(asking, sent, 20) for sent in (b"x", bytes(1372), bytes(4000), b"unasked")], datagram(other, None, 3))
print(stream("{OWN_4}", 8080), stream("{OWN_4}", 8081), stream("{OWN_4}", 80, size=251), stream("{OWN_4}", 81, size=251, seconds=5))
print(stream("{OTHER_4}", 81, size=251), stream("{OTHER_4}", 8080, size=251))
"""
ANSWERS = """[True, True, True, True] timeout
True True True TimeoutError
True ConnectionRefusedError
"""


def lead_to_task(network, address):
    """dockerd's rules."""
    def rule(*arguments):
        run("ip", "netns", "exec", network.own, "iptables", "-w", *arguments)
    for protocol, published, target in PUBLISHED:
        rule("-t", "nat", "-A", "PREROUTING", "-d", address, "-p", protocol, "--dport", str(published), "-j", "REDIRECT",
             "--to-port", str(target))
        rule("-I", "INPUT", "-d", address, "-p", protocol, "--dport", str(target), "-m", "conntrack", "--ctstate",
             "NEW,ESTABLISHED", "-j", "ACCEPT")
        rule("-I", "OUTPUT", "-s", address, "-p", protocol, "--sport", str(target), "-m", "conntrack", "--ctstate",
             "ESTABLISHED", "-j", "ACCEPT")
    for protocol in ("sctp", "udp", "tcp"):
        rule("-A", "INPUT", "-d", address, "-p", protocol, "-j", "DROP")
        rule("-A", "OUTPUT", "-s", address, "-p", protocol, "-j", "DROP")


# Datagrams to a port that is served, by an interface that the mesh is not about, behind tags that a kernel takes for none.
ASK_BESIDE = f"""
import socket, struct
TAGS = [b"", b"\\x81\\0\\0\\0", b"\\x88\\xa8\\0\\0", b"\\x81\\0\\0\\0" * 3]
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
    sender.bind(("peer1", 0))
    for address, tags, times in [*(("{OWN_4}", tags, 50) for tags in TAGS), ("{OTHER_4}", b"", 10)]:
        packet = struct.pack(">BBHHHBBH4s4s", 69, 0, 29, 0, 0, 64, 17, 0, bytes([10, 9, 5, 1]), socket.inet_aton(address))
        packet += struct.pack(">HHHHB", 9, 53, 9, 0, 0)
        for _ in range(times):
            sender.send(b"\\2" + bytes(4) + b"\\2" + b"\\2" + bytes(4) + b"\\1" + tags + b"\\x08\\0" + packet)
"""


def connect_beside(t, network):
    """Another interface."""
    run("ip", "link", "add", "net1", "netns", network.own, "type", "veth", "peer", "name", "peer1", "netns", network.peer)
    for namespace, name, last in ((network.own, "net1", 2), (network.peer, "peer1", 1)):
        run("ip", "-n", namespace, "link", "set", name, "up", "addrgenmode", "none", "address", f"02:00:00:00:00:0{last}")
    t.eventually("it is up", lambda: "state UP" in run("ip", "-n", network.own, "link", "show", "net1"))
    network.before = network.state()


def check_beside(t, network):
    """Only what is not for the task's address gets through; connections are of a zone of the namespace's own."""
    def passed():
        return int(run("ip", "netns", "exec", network.own, "cat", "/sys/class/net/hybrid1/statistics/tx_packets"))
    before = passed()
    run("ip", "netns", "exec", network.peer, sys.executable, "-c", ASK_BESIDE)
    t.eventually("what is for another address passes", lambda: passed() >= before + 10)
    t.check(passed() < before + 50, f"of 200 frames to the task's address {passed() - before - 10} passed by another interface")
    zone = 1 + os.stat(network.path).st_ino % 65535
    t.match("the filters", rf"\bzone {zone}\b", run("tc", "-n", network.own, "filter", "show", "dev", "net0", "ingress"))


@test("bundle/vm-net-behind-a-routing-mesh", seconds=150)
def behind_a_mesh(t):
    """What dockerd's rules of the mesh lead to a task, and keep from it, is the same for a VM, whose packets do not meet them."""
    if not shutil.which("iptables"):
        raise harness.Skip("iptables is not installed")
    network = Network(t)
    lead_to_task(network, OWN_4)
    connect_beside(t, network)
    run("ip", "-n", network.peer, "addr", "add", f"{OTHER_PEER}/32", "dev", "peer0")
    run("ip", "-n", network.own, "route", "add", OTHER_PEER, "dev", "net0", "src", OTHER_4)
    asked = network.listen(LISTENING, lambda connection: connection.getpeername()[0], address="")
    bundle = in_network(t, network, network.path)
    bundle.config["process"]["args"] = ["sh", "-c", SERVE]
    for powers in bundle.config["process"]["capabilities"].values():
        powers.append("CAP_NET_BIND_SERVICE")
    for applet in ("nc", "timeout"):
        os.symlink("busybox", f"{bundle.path}/rootfs/bin/{applet}")
    for file in ("/usr/bin/perl", *re.findall(r"(/\S+) \(0x", run("ldd", "/usr/bin/perl"))):
        os.makedirs(os.path.dirname(bundle.path + "/rootfs" + file), exist_ok=True)
        shutil.copy(file, bundle.path + "/rootfs" + file)
    bundle.create()
    t.verb("start", bundle.id)
    t.eventually("it is ready", lambda: bundle.output().endswith("ready\n"), seconds=90)
    t.equal("what it could ask", "cannot ask\nready\n", bundle.output())
    t.equal("who has asked", OTHER_4, asked())
    t.equal("what reaches it", ANSWERS, run("ip", "netns", "exec", network.peer, sys.executable, "-c", ASK_MESH))
    t.check(network.ping_from_peer(OWN_4), "the peer cannot ping it")
    if t.isolation == "vm":
        check_beside(t, network)
    t.verb("delete", "--force", bundle.id)
    t.equal("what is left in the namespace", network.before, network.state())
    t.equal("what is left of it", [], t.host.traces(bundle.id))
    if t.isolation == "vm":
        run("ip", "netns", "exec", network.own, "iptables", "-D", "INPUT", "1")
        refused = in_network(t, network, network.path)
        refused.create()
        t.match("a rule less", "packet filter rules .*routing mesh do not count", t.hybrid("start", refused.id).err)
        t.verb("delete", "--force", refused.id)
