"""--network=ns:PATH: the same interfaces, addresses, routes and name servers in both isolations, and their traffic."""

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import harness
from table import row, test
from table.leaks import await_part

PEER_4, OWN_4, PEER_6, OWN_6 = "10.9.0.1", "10.9.0.2", "fd09::1", "fd09::2"
MAC = "02:11:22:33:44:55"
CLONE_NEWNET = 0x40000000

# (namespace, arguments of ip): `peer` is what the workload talks to, `own` what it joins.
LAYOUT = [
    ("peer", "addr add 10.9.0.1/24 dev peer0"), ("peer", "addr add fd09::1/64 dev peer0 nodad"),
    ("peer", "link set lo up"), ("peer", "link set peer0 mtu 1400"), ("peer", "link set peer0 up"),
    ("own", f"link set net0 mtu 1400 address {MAC}"), ("own", "addr add 10.9.0.2/24 brd + dev net0"),
    ("own", "addr add 10.9.0.3/32 dev net0"), ("own", "addr add 10.8.8.8/32 dev lo"),
    ("own", "addr add fd09::2/64 dev net0 nodad"), ("own", "link set lo up"), ("own", "link set net0 up"),
    ("own", "route add default via 10.9.0.1 metric 7"), ("own", "-6 route add default via fd09::1"),
    ("own", "route add 10.77.0.0/16 via 192.168.99.1 dev net0 onlink mtu 1300 src 10.9.0.3"),
    ("own", "route add unreachable 10.78.0.0/16"),
]

# What is the same in both: all but the numbers of interfaces, and how their queues are called.
SHOW = r"""
cat /etc/resolv.conf; ls /sys/class/net; cat /sys/class/net/net0/address /sys/class/net/net0/mtu
ip -o addr | sed 's/^[0-9]*: //; s/ flags [0-9]*//; s/@[^ ]*//'
ip route; ip -6 route | sort; ip route get 10.77.1.1 | head -n 1
cat /proc/sys/net/ipv4/ip_unprivileged_port_start
ping -c 1 -w 20 10.9.0.1 >/dev/null && echo peer; ping -c 1 -w 20 fd09::1 >/dev/null && echo peer6
ping -s 1372 -c 1 -w 20 10.9.0.1 >/dev/null && echo full
"""


def run(*arguments, check=True):
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)
    if check and done.returncode != 0:
        raise harness.Failure(f"{' '.join(arguments)}: {done.stdout.decode(errors='replace')}")
    return done.stdout.decode()


class Network:
    """Two network namespaces and what connects them, for one row."""

    count = living = 0
    lock = threading.Lock()
    mounted = os.path.ismount("/run/netns")  # `ip netns add` mounts it the first time, and nothing unmounts it

    def __init__(self, t, own=True):
        """own: whether the workload's namespace is made as well; else by who runs `commands`."""
        with Network.lock:
            Network.count += 1
            Network.living += 1
            number = Network.count
        self.own, self.peer = (f"hybrid-{kind}-{os.getpid()}-{number}" for kind in ("own", "peer"))
        self.path = f"/run/netns/{self.own}"
        self.commands = [f"ip link add net0 netns {self.own} type veth peer name peer0 netns {self.peer}"]
        self.commands += [f"ip -n {getattr(self, where)} {what}" for where, what in LAYOUT]
        t.closers.append(self.remove)
        run("ip", "netns", "add", self.peer)
        if own:
            run("ip", "netns", "add", self.own)
            for command in self.commands:
                run(*command.split())
            self.settle()
        os.makedirs(f"/etc/netns/{self.own}")
        with open(f"/etc/netns/{self.own}/resolv.conf", "w", encoding="ascii") as file:
            file.write(f"nameserver {PEER_4}\nsearch example.test\n")
        self.before = self.state() if own else None

    def settle(self):
        """The carrier comes a moment after `up`; then the kernel makes a link-local address, and looks for a second or
        two whether anybody else has it."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            addresses = run("ip", "-n", self.own, "-o", "addr", "show", "net0")
            carrier = "state UP" in run("ip", "-n", self.own, "-o", "link", "show", "net0")
            if carrier and "inet6 fe80" in addresses and " tentative " not in addresses:
                return
            time.sleep(0.1)
        raise harness.Failure(f"net0 does not become ready: {addresses}")

    def remove(self):
        for name in (self.own, self.peer):
            run("ip", "netns", "delete", name, check=False)
        shutil.rmtree(f"/etc/netns/{self.own}", ignore_errors=True)
        with Network.lock:
            Network.living -= 1
            if Network.living > 0:  # another row may be about to make its own in there
                return
            with contextlib.suppress(OSError):
                os.rmdir("/etc/netns")
            if not Network.mounted and not os.listdir("/run/netns"):
                run("umount", "/run/netns", check=False)
                with contextlib.suppress(OSError):
                    os.rmdir("/run/netns")

    def state(self):
        """Interfaces and traffic control of the namespace that workloads join."""
        return run("ip", "-n", self.own, "-o", "link") + run("tc", "-n", self.own, "qdisc", "show")

    def as_before(self):
        return self.state() == self.before

    def ping_from_peer(self, address):
        return subprocess.run(["ip", "netns", "exec", self.peer, "busybox", "ping", "-c", "1", "-w", "20", address],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False).returncode == 0

    def listen(self, port, serve, receive_buffer=None, address=PEER_4):
        """Serves one connection in the peer's namespace. Returns a function that waits for serve's result."""
        result, ready = [], threading.Event()

        def work():
            with open(f"/run/netns/{self.peer}", "rb") as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:  # this thread only
                    return
            with socket.socket() as listener:
                if receive_buffer:
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
                listener.bind((address, port))
                listener.listen()
                ready.set()
                with listener.accept()[0] as connection:
                    result.append(serve(connection))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        ready.wait(10)

        def wait(seconds=20):
            thread.join(seconds)
            return result[0] if result else None
        return wait


def receive_all(connection, pause=0.0, piece=1 << 20):
    """(bytes, digest) of all that comes."""
    count, digest = 0, hashlib.sha256()
    while data := connection.recv(piece):
        count += len(data)
        digest.update(data)
        time.sleep(pause)
    return count, digest.hexdigest()


def pattern_of(size):
    block = harness.pattern_block()
    return (block * (size // len(block) + 1))[:size]


def joined(t, network, *options, **settings):
    return t.session(f"--network=ns:{network.path}", *options, **settings)


@test("network/joined", seconds=60)
def is_joined(t):
    network = Network(t)
    session = joined(t, network, "-i", command=["sh", "-c", SHOW + "echo ready; read line"])
    session.expect("ready\n", seconds=60)
    t.check(network.ping_from_peer(OWN_4) and network.ping_from_peer(OWN_6), "the peer cannot ping the workload")
    seen = bytes(session.seen[1]).decode()
    for line in (f"nameserver {PEER_4}", "search example.test", MAC, "1400", "peer", "peer6", "full"):
        t.check(f"\n{line}\n" in "\n" + seen, f"{line} is missing in {seen}")
    session.send(b"\n")
    t.equal("exit status", 0, session.wait().exit)
    t.equal("what is left in the namespace", network.before, network.state())
    return seen


@test("network/small-mtu", seconds=60)
def small_mtu(t):
    """Below what IPv6 needs, an interface has none."""
    network = Network(t)
    run("ip", "-n", network.own, "link", "set", "net0", "mtu", "1200")
    script = ("cat /sys/class/net/net0/mtu; ip -o -6 addr show dev net0; "
              f"ping -s 1172 -c 1 -w 20 {PEER_4} >/dev/null && echo full")
    result = t.run(f"--network=ns:{network.path}", command=["sh", "-c", script])
    t.equal("stdout", "1200\nfull\n", result.out, result)


@test("network/transfer", seconds=300)
def transfers(t):
    """64 MiB each way on a machine of ordinary speed, byte by byte; the emulated host moves 1 MiB in a second."""
    size = t.options.stream_bytes // (64 if os.environ.get("TESTBED") else 16)
    network, expected, times = Network(t), hashlib.sha256(pattern_of(size)).hexdigest(), []

    def send(connection):
        start = time.monotonic()
        connection.sendall(pattern_of(size))
        connection.shutdown(socket.SHUT_WR)
        receive_all(connection)
        times.append(time.monotonic() - start)

    def receive(connection):
        start = time.monotonic()
        result = receive_all(connection)
        times.append(time.monotonic() - start)
        return result

    sent, received = network.listen(4001, receive), network.listen(4002, send)
    result = t.run(f"--network=ns:{network.path}", seconds=200,
                   command=["sh", "-c", f"probe pump 1 {size} | nc {PEER_4} 4001; "
                                        f"nc {PEER_4} 4002 </dev/null | sha256sum"])
    t.equal("exit status", 0, result.exit, result)
    t.equal("what the peer got", (size, expected), sent())
    received()
    t.equal("what the workload got", f"{expected}  -\n", result.out)
    t.note(f"{size / times[0] / 1e6:.1f} MB/s out, {size / times[1] / 1e6:.1f} in")


@test("network/rate", isolations=("vm",), alone=True, seconds=120)
def rate(t):
    """Asked for and seen, both ways: never more, and not much less."""
    network, asked, size, times = Network(t), 128 << 10, 384 << 10, []

    def timed(serve):
        def work(connection):
            start = time.monotonic()
            result = serve(connection)
            times.append(time.monotonic() - start)
            return result
        return work

    def send(connection):
        """Until the guest has acknowledged the last byte; what is in buffers here has not passed the limit."""
        connection.sendall(pattern_of(size))
        deadline = time.monotonic() + 60
        while struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0] and time.monotonic() < deadline:
            time.sleep(0.02)

    sent, received = network.listen(4004, timed(receive_all)), network.listen(4005, timed(send))
    result = t.run(f"--network=ns:{network.path}", f"--network-send-bps={asked}", f"--network-receive-bps={asked}",
                   seconds=100, command=["sh", "-c", f"probe pump 1 {size} | nc {PEER_4} 4004; "
                                                     f"nc {PEER_4} 4005 </dev/null | sha256sum"])
    digest = hashlib.sha256(pattern_of(size)).hexdigest()
    t.equal("exit status", 0, result.exit, result)
    t.equal("what the peer got", (size, digest), sent())
    received()
    t.equal("what the workload got", f"{digest}  -\n", result.out)
    for way, seconds in zip(("out", "in"), times):
        seen = (size - asked / 10) / seconds  # without the burst
        t.note(f"{way}: {seen / asked:.2f} of the rate asked for")
        t.check(asked / 3 < seen <= asked, f"{way}: {seen:.0f} bytes a second, {asked} were asked for")


@test("network/rate-refused")
def rate_refused(t):
    network = Network(t)
    for options, wanted in ((["--network-send-bps=1m"], "--network-send-bps: there is no network to limit"),
                            ([f"--network=ns:{network.path}", "--network-receive-pps=63"], "packets a second, from 64"),
                            ([f"--network=ns:{network.path}", "--network-receive-bps=1m"],
                             "--network-receive-bps .annotation .*: a container shares .*--isolation=vm")):
        if t.isolation == "vm" and "container" in wanted:
            continue
        result = t.run(*options, command=["true"])
        t.equal("exit status", 125, result.exit, result)
        t.match("stderr", wanted, result.err)
    shown = t.hybrid("run", f"--isolation={t.isolation}", "--dry-run", f"--network=ns:{network.path}",
                     "--network-send-bps=1m", t.host.image("test"))
    if t.isolation == "vm":
        t.match("dry run", "limit +network-send-bps 1048576 a second", shown.out)
    else:
        t.equal("exit status of a dry run", 125, shown.exit, shown)
        t.match("stderr of a dry run", r"--network-send-bps \(annotation .*\): a container shares", shown.err)


@test("network/last-bytes", seconds=60)
def last_bytes(t):
    """What a command has written before it ended arrives, though the peer reads slowly."""
    network, size = Network(t), 20000
    got = network.listen(4003, lambda connection: receive_all(connection, 0.1, 2000), receive_buffer=8192)
    result = t.run(f"--network=ns:{network.path}",
                   command=["sh", "-c", f"probe pump 1 {size} | nc {PEER_4} 4003 & "
                                        "until grep -q ':0FA3 0[14568]' /proc/net/tcp; do :; done; sleep 0.3"])
    t.equal("exit status", 0, result.exit, result)
    t.equal("what the peer got", (size, hashlib.sha256(pattern_of(size)).hexdigest()), got())


@test("network/down-and-up", seconds=60)
def down_and_up(t):
    network = Network(t)
    script = (f"ip link set net0 down; ping -c 1 -w 2 {PEER_4} >/dev/null 2>&1 && echo reached; ip link set net0 up; "
              f"ping -c 1 -w 20 {PEER_4} >/dev/null && echo back")
    result = t.run(f"--network=ns:{network.path}", "--cap-add=NET_ADMIN", command=["sh", "-c", script])
    t.equal("stdout", "back\n", result.out, result)


def leaves_nothing(part, status):
    def check(t):
        network, name = Network(t), t.name()
        session = joined(t, network, "--name", name, command=["sh", "-c", "echo ready; sleep 1000"])
        session.expect("ready\n", seconds=60)
        t.check(t.isolation == "container" or not network.as_before(), "there is no tap in the namespace")
        os.kill(await_part(t, part, session), signal.SIGKILL)
        t.equal("exit status", status, session.wait().exit)
        t.eventually("the namespace is as before", network.as_before)
    return check


test("network/kill-9-of-hybrid", seconds=60, isolations=("vm",))(leaves_nothing("cli", -9))
test("network/kill-9-of-the-monitor", seconds=60, isolations=("vm",))(leaves_nothing("monitor", 125))
test("network/kill-9-of-the-vmm", seconds=60, isolations=("vm",))(leaves_nothing("vmm", 125))


@test("network/kill-9-of-a-detached-monitor", seconds=90, isolations=("vm",))
def detached_monitor(t):
    """Its tap is gone with it; the filter is taken away by the next command that meets what is left."""
    network = Network(t)
    name = t.detached(f"--network=ns:{network.path}", command=["sleep", "1000"])
    monitors = [pid for pid in harness.descendants(os.getpid())
                if (harness.process_stat(pid) or ("", "", 0))[2] == os.getpid()
                and name.encode() in open(f"/proc/{pid}/cmdline", "rb").read()]
    second = t.run(f"--network=ns:{network.path}", command=["true"])
    t.equal("exit status of a second VM", 125, second.exit, second)
    t.match("its error", "belongs to another VM", second.err)
    for pid in monitors:
        os.kill(pid, signal.SIGKILL)
    t.eventually("the tap is gone", lambda: "hybrid0" not in network.state())
    t.verb("ps", "-a")
    t.eventually("the namespace is as before", network.as_before)
    t.verb("start", name)
    t.check(network.ping_from_peer(OWN_4), "it is not reached after the second start")
    t.verb("rm", "-f", name)
    t.equal("what is left in the namespace", network.before, network.state())


@test("network/refused-by-the-policy", isolations=("container",))
def refused_by_the_policy(t):
    network = Network(t)
    rule = {"name": "alone", "match": {"networks": ["joined"]}, "isolation": "deny"}
    path = t.file("policy.json", json.dumps({"version": 1, "rules": [rule], "default": "container"}))
    for option, status in ((f"--network=ns:{network.path}", 125), ("--network=none", 0)):
        result = t.hybrid("--policy", path, "run", "--rm", option, t.host.image("test"), "true")
        t.equal(f"exit status with {option}", status, result.exit, result)
        t.check((status == 0) == ('rule "alone"' not in result.err), f"stderr: {result.err}")


row("network/of-the-host-by-its-path", ["true"], options=["--network=ns:/proc/self/ns/net"], exit=125,
    stderr=re.compile("/proc/self/ns/net is the host's own network"))
row("network/no-namespace", ["true"], options=["--network=ns:/proc/self/ns/uts"], exit=125,
    stderr=re.compile("/proc/self/ns/uts is not a network namespace"))
row("network/not-there", ["true"], options=["--network=ns:/run/netns/nowhere"], exit=125,
    stderr=re.compile("cannot open the network namespace /run/netns/nowhere: No such file"))
