"""kill -9 of anything at any time leaves nothing: processes, mounts, cgroups, files."""

import os
import re
import signal
import time

import harness
from table import test

COMMAND = ["sh", "-c", "echo ready; while :; do sleep 0.1; done"]


def victims(t, cli):
    """The processes of one `hybrid run`: name of the part -> process id."""
    found = {"cli": cli}
    for pid in harness.descendants(cli):
        seen = harness.process_stat(pid)
        if not seen:
            continue
        if seen[0].startswith("hybrid-vmm"):
            found["vmm"] = pid
        elif seen[2] == cli:
            found["monitor"] = pid
        elif "monitor" in found and seen[2] == found["monitor"]:
            found["workload"] = pid
    return found


def kill_part(part, status):
    def run(t):
        name = t.name()
        session = t.session("--name", name, command=COMMAND)
        session.expect("ready\n")
        found = victims(t, session.pid)
        t.check(part in found, f"no {part} among {found}")
        os.kill(found[part], signal.SIGKILL)
        result = session.wait()
        t.equal("exit status", status, result.exit, result)
        if status == 125:
            t.match("stderr", "^hybrid: ", result.err)
        t.eventually("nothing is left of it", lambda: not t.host.traces(name))
    return run


test("kill-9/of-hybrid")(kill_part("cli", -9))
test("kill-9/of-the-monitor")(kill_part("monitor", 125))
test("kill-9/of-the-workload", isolations=("container",))(kill_part("workload", 137))
test("kill-9/of-the-vmm", isolations=("vm",))(kill_part("vmm", 125))


def kill_at(part, delay):
    def run(t):
        name = t.name()
        for attempt in range(4):
            session = t.session("--name", f"{name}-{attempt}", command=["sleep", "1000"])
            time.sleep(delay * t.slow * (1 + attempt / 4) * (20 if t.isolation == "vm" else 1))
            # One kill: where the part does not exist yet, the command line itself is the victim.
            os.kill(victims(t, session.pid).get(part, session.pid), signal.SIGKILL)
            session.wait()
            t.eventually("no process, mount or cgroup is left of it",
                         lambda: not t.host.traces(f"{name}-{attempt}", files=False))
            t.hybrid("ps", "-a")  # what died before it had a monitor is removed by the next command
            t.equal("what is left", [], t.host.traces(f"{name}-{attempt}"))
    return run


# Milliseconds into the start: before, within and after the making of namespaces, mounts and cgroups.
for milliseconds in (0, 1, 2, 4, 8, 16, 32):
    test(f"kill-9/of-hybrid-after-{milliseconds}-ms", seconds=60)(kill_at("cli", milliseconds / 1000))
for milliseconds in (2, 4, 8, 16):
    test(f"kill-9/of-the-monitor-after-{milliseconds}-ms", seconds=60)(kill_at("monitor", milliseconds / 1000))
    test(f"kill-9/of-the-vmm-after-{milliseconds}-times-20-ms", seconds=60, isolations=("vm",))(
        kill_at("vmm", milliseconds / 1000))
    test(f"kill-9/of-the-workload-after-{milliseconds}-ms", seconds=60, isolations=("container",))(
        kill_at("workload", milliseconds / 1000))


@test("kill-9/of-a-detached-monitor")
def detached_monitor(t):
    """rm, or the next start, clears away what a killed monitor left."""
    name = t.detached(command=COMMAND)
    # The workload was adopted by this test: the monitor is our child whose arguments name it.
    monitors = [pid for pid in harness.descendants(os.getpid())
                if (harness.process_stat(pid) or ("", "", 0))[2] == os.getpid()
                and name.encode() in open(f"/proc/{pid}/cmdline", "rb").read()]
    t.equal("monitors", 1, len(monitors))
    os.kill(monitors[0], signal.SIGKILL)
    t.eventually("ps says that it stopped",
                 lambda: not re.search(rf"(?m)^{name}$", t.verb("ps", "-q")))
    t.verb("start", name)
    t.eventually("it runs again", lambda: re.search(rf"(?m)^{name}$", t.verb("ps", "-q")))
    t.verb("rm", "-f", name)
    t.eventually("nothing is left of it", lambda: not t.host.traces(name))


@test("kill-9/many-at-once", seconds=120)
def many(t):
    """Several of one image at once, killed in any order: shared layer mounts go with the last one."""
    sessions = []
    for _ in range(4):
        sessions.append(t.session("--name", t.name(), command=COMMAND))
    for session in sessions:
        session.expect("ready\n", seconds=60)
    for session in sessions:
        session.signal(signal.SIGKILL)
    for session in sessions:
        session.wait()
    for name in t.names:
        t.eventually("nothing is left of it", lambda n=name: not t.host.traces(n))
