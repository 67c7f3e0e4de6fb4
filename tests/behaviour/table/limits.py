"""Limits hold, within 10 %, and what reaches them does no harm to anything else."""

import os
import re
import subprocess
import threading
import time

import harness
from table import row, test


def usable(t, mib, *options):
    """How many MiB a workload could touch before it was ended."""
    result = t.run("-m", f"{mib}m", *options, command=["probe", "eat", str(mib * 2)], seconds=60)
    t.equal("exit status", 137, result.exit, result)
    t.match("stderr", "(?i)out.of.memory", result.err)
    return int(result.out.split()[-1])


@test("limit/memory-64", alone=True, seconds=60)
def memory_64(t):
    t.within("MiB used of 64", 64, usable(t, 64))


@test("limit/memory-200", alone=True, seconds=60)
def memory_200(t):
    t.within("MiB used of 200", 200, usable(t, 200))


@test("limit/memory-with-init", alone=True, seconds=60)
def memory_init(t):
    t.within("MiB used of 64", 64, usable(t, 64, "--init"))


row("limit/memory-enough", "probe eat 100 | tail -n 1", options=["-m", "128m"], stdout="100\n", seconds=60)
# What lies in a file system in memory counts. One process, so that there is none to go on when it was killed. Not `head -c`,
# which goes byte by byte: 60 MB are 10 s in an emulated processor's VM, wherever they go to, and `dd` is 20 times as fast.
# Alone: beside another VM on one emulated processor they took minutes.
row("limit/memory-of-tmpfs", "exec dd if=/dev/zero of=/t/x bs=64k count=1500", options=["-m", "48m", "--tmpfs", "/t:size=100m"],
    stderr=re.compile("(?i)out of memory"), exit=137, seconds=60, alone=True)
row("limit/memory-of-shm", "exec dd if=/dev/zero of=/dev/shm/x bs=64k count=900", options=["-m", "48m"],
    stderr=re.compile("(?i)out of memory"), exit=137, seconds=60, alone=True)
for bad in ("1k", "-5m", "64q", "64 m", "", "9999999999999999999g"):
    row(f"limit/memory-refused-{bad or 'empty'}", ["true"], options=["-m", bad], exit=125, stderr=re.compile("memory|-m"))

row("limit/pids", ["probe", "forks", "100"], options=["--pids-limit", "20"], stdout="19 EAGAIN\n")
row("limit/pids-with-init", ["probe", "forks", "100"], options=["--pids-limit", "20", "--init"], stdout="18 EAGAIN\n")
row("limit/pids-unlimited", ["probe", "forks", "300"], options=["--pids-limit", "-1"], stdout="300 ok\n")
row("limit/pids-refused", ["true"], options=["--pids-limit", "many"], exit=125, stderr=re.compile("many"))
row("limit/cpus-refused", ["true"], options=["--cpus", "two"], exit=125, stderr=re.compile("two"))
row("limit/cpus-zero-refused", ["true"], options=["--cpus=-1"], exit=125, stderr=re.compile("-1"))
row("limit/cpuset", ["grep", "Cpus_allowed_list", "/proc/self/status"], options=["--cpuset-cpus", "0"],
    stdout="Cpus_allowed_list:\t0\n")
row("limit/cpuset-refused", ["true"], options=["--cpuset-cpus", "0-"], exit=125, stderr=re.compile("0-"))


def idle_processors():
    """Seconds for which processors of this machine had nothing to do so far."""
    with open("/proc/stat", encoding="ascii") as file:
        return int(file.readline().split()[4]) / os.sysconf("SC_CLK_TCK")


def share_used(t, cpus, seconds=4):
    """Processor time over wall time of a workload that would use all it gets, as the host counts it."""
    session = t.session("--cpus", cpus, command=["sh", "-c", "echo ready; probe spin 1000 & probe spin 1000 & wait"])
    session.expect("ready\n")
    time.sleep(1.0 * min(t.slow, 3))
    pids = harness.descendants(session.pid)
    start, before = time.monotonic(), harness.cpu_seconds(pids)
    time.sleep(seconds)  # on a slow machine, too: what counts is the number of periods of the quota, 0.1 s each
    used, wall = harness.cpu_seconds(pids) - before, time.monotonic() - start
    session.signal(9)
    session.wait()
    return used / wall


def quota_holds(t, cpus):
    """Never more than the quota; and all of it, if the machine had it to give in one of three tries."""
    best = 0
    for _ in range(3):
        start, idle = time.monotonic(), idle_processors()
        used = share_used(t, str(cpus), 5)
        spare = (idle_processors() - idle) / (time.monotonic() - start)
        t.check(used <= cpus * 1.1, f"processors used: expected {cpus} within 10%, got {used:.3f}")
        best = max(best, used)
        if best >= cpus * 0.9:
            break
    if best < cpus * 0.9 and spare < cpus:
        raise harness.Skip(f"others keep this machine busy: {best:.2f} used of {cpus}, {spare:.2f} idle")
    t.note(f"used {best:.3f} of {cpus}")
    t.within("processors used", cpus, best)


@test("limit/cpu-half", alone=True, seconds=60)
def cpu_half(t):
    quota_holds(t, 0.5)


@test("limit/cpu-quarter", alone=True, seconds=60)
def cpu_quarter(t):
    quota_holds(t, 0.25)


@test("limit/cpu-one", alone=True, processors=2, seconds=60)
def cpu_one(t):
    used = share_used(t, "1")
    t.note(f"used {used:.3f} of 1")
    t.check(used <= 1.1, f"processors used: expected at most 1 within 10%, got {used:.3f}")


@test("limit/fork-bomb", alone=True, seconds=60)
def fork_bomb(t):
    """A fork bomb ends at the pids limit; meanwhile the host starts processes as before."""
    seconds = 3 * min(t.slow, 2)
    slowest, done = [0.0], threading.Event()

    def watch():
        while not done.is_set():
            start = time.monotonic()
            subprocess.run(["/bin/true"], check=True)
            slowest[0] = max(slowest[0], time.monotonic() - start)
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = t.run("--pids-limit", "100", "--cpus", "1", command=["probe", "bomb", str(seconds)], seconds=60)
    finally:
        done.set()
        watcher.join()
    t.equal("result", (0, "survived\n"), (result.exit, result.out))
    t.note(f"slowest start of a process on the host {slowest[0]:.2f} s")
    t.check(slowest[0] < 1.0 * t.slow, f"the host took {slowest[0]:.1f} s to run true")
