#!/usr/bin/python3
"""How much one VM can spoil the day of its neighbours: neighbours.py BUILD; needs root and a KVM that runs Linux.

A victim, as a container and as a VM, answers bytes that it is sent, one after the other: the time until the answer is
there is taken, alone and while a VM of half a processor does its worst. The table shows the ratio of the two 99th
percentiles; how large it may be, nobody can say for all machines, so no number fails. What fails: a victim that does
not answer to the end, an aggressor that ends, and one that gets far more processor time than its limit.
The serial port is not among them: a workload, whatever its capabilities, has no way to it, and a guest's kernel that floods
it is a case of run.py. "hybrid" are processors that hybrid's own process used for the aggressor, beyond that limit.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time

ROUNDS = int(os.environ.get("NEIGHBOURS_ROUNDS", "300"))
ONLY = re.compile(os.environ.get("NEIGHBOURS_ONLY", ""))  # names of neighbours
SECONDS = 60           # for all rounds
WINDOW = 3             # seconds, at least, that the neighbour's processor time is taken over: its quota comes in portions
QUOTA = 0.5            # processors of the aggressor
EXCESS = 1.5           # times the quota that fail; what the kernel accounts late is less
NETWORKS = (f"neighbours-{os.getpid()}-a", f"neighbours-{os.getpid()}-b")
ADDRESSES = ("10.213.7.1", "10.213.7.2")

EXITS = "int main(void) { for (;;) { unsigned a = 0, b, c = 0, d; " \
        '__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d)); } }'
DATAGRAMS = f"""#include <arpa/inet.h>
int main(void) {{
    struct sockaddr_in to = {{ .sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {{ inet_addr("{ADDRESSES[1]}") }} }};
    char data[1400] = "";
    for (int fd = socket(AF_INET, SOCK_DGRAM, 0);;) sendto(fd, data, sizeof data, 0, (struct sockaddr *)&to, sizeof to);
}}"""

# Name -> options, command; a command that ends in a brace is a program instead, in C.
AGGRESSORS = {
    "busy loop": ([], "while :; do :; done"),
    "exits (CPUID)": ([], EXITS),
    "vsock flood": ([], "exec cat /dev/zero"),
    "vsock, small pieces": ([], "exec dd if=/dev/zero bs=1"),
    "block flood": (["--keep"], "while :; do dd if=/dev/zero of=/x bs=64k count=256 conv=fsync; done 2>/dev/null"),
    "network flood": (["--network=ns:/run/netns/" + NETWORKS[0]], DATAGRAMS),
    "log flood": (["-d"], "exec yes"),
}


class Host:
    def __init__(self, hybrid, directory):
        self.hybrid = hybrid
        self.env = {**os.environ, "HYBRID_ROOT": f"{directory}/root", "HYBRID_DATA": f"{directory}/data"}
        self.program = f"{directory}/program"

    def compile(self, command):
        """A program's source becomes a file and the command that takes it from standard input; others stay."""
        source = command if command.endswith("}") else "int main(void) { return 0; }"
        subprocess.run(["gcc", "-O1", "-static", "-x", "c", "-o", self.program, "-"], input=source.encode(), check=True)
        return "cat >/program && chmod +x /program && exec /program" if command.endswith("}") else command

    def call(self, *arguments):
        return subprocess.run([self.hybrid, *arguments], env=self.env, stdin=subprocess.DEVNULL, check=False,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def start(self, *arguments, **streams):
        return subprocess.Popen([self.hybrid, "run", *arguments], env=self.env, **streams)

    def cpu_seconds(self, name):
        """Of the workload's cgroup, on the host."""
        cgroup = re.search(r'"cgroup": "([^"]+)"', self.call("inspect", name).stdout)[1]
        for path, scale in ((f"/sys/fs/cgroup/cpu,cpuacct/{cgroup}/cpuacct.usage", 1e9),
                            (f"/sys/fs/cgroup/cpuacct/{cgroup}/cpuacct.usage", 1e9),
                            (f"/sys/fs/cgroup/{cgroup}/cpu.stat", 1e6)):
            with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
                return int(re.search(r"\d+", file.read())[0]) / scale
        raise RuntimeError(f"no processor time of {cgroup}")


    def monitor_seconds(self, name):
        """Of hybrid's own process for the workload."""
        pid = re.search(r'"monitorPid": (\d+)', self.call("inspect", name).stdout)[1]
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Victim:
    """Sends a byte back for each that it gets."""

    def __init__(self, host, isolation):
        self.host, self.name = host, f"victim-{isolation}"
        self.process = host.start("--rm", "-i", "--name", self.name, f"--isolation={isolation}", "-m", "64m", "busybox",
                                  "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.answer()

    def answer(self):
        start = time.monotonic()
        self.process.stdin.write(b"x")
        if self.process.stdout.read(1) != b"x":
            raise RuntimeError(f"{self.name} does not answer")
        return time.monotonic() - start

    def measure(self):
        """(median, 99th percentile) in milliseconds, or None if it did not finish in time."""
        deadline, times = time.monotonic() + SECONDS, []
        while len(times) < ROUNDS:
            times.append(self.answer() * 1000)
            if time.monotonic() > deadline:
                return None
            time.sleep(0.002)
        times.sort()
        return times[len(times) // 2], times[len(times) * 99 // 100]

    def end(self):
        self.process.stdin.close()
        if self.process.wait(60) != 0:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}")


@contextlib.contextmanager
def networks():
    """Two network namespaces with a link between them; in the second, somebody listens and never reads."""
    def ip(*arguments):
        subprocess.run(["ip", *arguments], check=True)

    listens = "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 9)); print(flush=True); time.sleep(1e6)"
    with contextlib.ExitStack() as stack:
        for name in NETWORKS:
            ip("netns", "add", name)
            stack.callback(subprocess.run, ["ip", "netns", "del", name], check=False)
        ip("-n", NETWORKS[0], "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", NETWORKS[1])
        for name, address in zip(NETWORKS, ADDRESSES):
            ip("-n", name, "address", "add", address + "/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
        listener = stack.enter_context(subprocess.Popen(["ip", "netns", "exec", NETWORKS[1], sys.executable, "-c", listens],
                                                        stdout=subprocess.PIPE))
        stack.callback(listener.kill)
        listener.stdout.readline()
        yield


@contextlib.contextmanager
def aggressor(host, options, command):
    """A VM at work. Yields its name."""
    name = f"aggressor-{time.monotonic_ns()}"
    keep = "--keep" in options or "-d" in options
    reads = [] if "-d" in options else ["-i"]
    command = host.compile(command)
    with open(host.program, "rb") as program, tempfile.TemporaryFile() as words:
        process = host.start(*([] if keep else ["--rm"]), *reads, *(o for o in options if o != "--keep"), "--name", name,
                             "--isolation=vm", f"--cpus={QUOTA}", "-m", "64m", "busybox", "sh", "-c", command,
                             stdin=program, stdout=subprocess.DEVNULL, stderr=words)
        try:
            deadline = time.monotonic() + 60
            while '"status": "running"' not in host.call("inspect", name).stdout:
                if time.monotonic() > deadline or process.poll():
                    words.seek(0)
                    raise RuntimeError(f"the aggressor does not start: {words.read(500).decode(errors='replace').strip()}")
                time.sleep(0.1)
            time.sleep(1)  # it is at it
            yield name
        finally:
            host.call("rm", "-f", name)
            process.wait()


def meet(host, victim, options, command):
    """(victim's times, processors that the aggressor used, and hybrid for it, outside of its limit)"""
    with aggressor(host, options, command) as name:
        before, start = (host.cpu_seconds(name), host.monitor_seconds(name)), time.monotonic()
        times = victim.measure()
        time.sleep(max(0.0, start + WINDOW - time.monotonic()))
        if '"status": "running"' not in host.call("inspect", name).stdout:
            raise RuntimeError(f"it has ended: {command}")
        after, passed = (host.cpu_seconds(name), host.monitor_seconds(name)), time.monotonic() - start
        return times, *((b - a) / passed for a, b in zip(before, after))


def main():
    failed = 0
    with tempfile.TemporaryDirectory(prefix="neighbours-") as directory, networks():
        host = Host(os.path.abspath(sys.argv[1]) + "/hybrid", directory)
        print(f"     {'victim':10}{'neighbour':22}{'median':>10}{'99 %':>10}{'ratio':>8}{'processors':>12}{'hybrid':>8}", flush=True)
        for isolation in ("container", "vm"):
            victim = Victim(host, isolation)
            victim.measure()  # the first ones meet cold caches
            alone = victim.measure()
            if not alone:
                print(f"FAIL neighbours/{isolation}: the victim alone does not answer {ROUNDS} times", flush=True)
                return 1
            print(f"     {isolation:10}{'none':22}{alone[0]:8.2f}ms{alone[1]:8.2f}ms{1:8.1f}", flush=True)
            for name, (options, command) in AGGRESSORS.items():
                if not ONLY.search(name):
                    continue
                case = f"neighbours/{isolation}/{re.sub('[^a-z]+', '-', name.lower()).strip('-')}"
                try:
                    times, used, own = meet(host, victim, options, command)
                except RuntimeError as error:
                    print(f"FAIL {case}: {error}", flush=True)
                    failed += 1
                    continue
                wrong = "" if times else f"the victim did not answer {ROUNDS} times in {SECONDS} s"
                if used > QUOTA * EXCESS:
                    wrong += f" the neighbour used {used:.2f} processors of {QUOTA}"
                if times:
                    print(f"     {isolation:10}{name:22}{times[0]:8.2f}ms{times[1]:8.2f}ms{times[1] / alone[1]:8.1f}"
                          f"{used:12.2f}{own:8.2f}", flush=True)
                failed += bool(wrong)
                print(f"FAIL {case}: {wrong}" if wrong else f"PASS {case}", flush=True)
            victim.end()
    return 1 if failed else 0


sys.exit(main())
