"""Containers of a pod that are killed, fail or are refused at the worst moment: the pod's VM and the others go on."""

import contextlib
import json
import os
import subprocess

from harness import process_stat
from table import test
from table.pod_neighbours import holders, make_member, make_pod, make_volume
from table.pods import make_container, make_sandbox, started

NEVER_BOOTS = {"HYBRID_VM_KERNEL_ARGUMENTS": "root=/dev/absent rootwait"}
FORSAKEN = "killed while it waited for the VM of its pod"


def state_file(t, bundle, name):
    return f"{t.host.root}/{bundle.id}/{name}"


def record(t, sandbox):
    """What is known of the keeper of a sandbox's machine; {}: there was none yet."""
    with contextlib.suppress(FileNotFoundError), open(state_file(t, sandbox, "pod.json"), encoding="ascii") as file:
        return json.load(file)
    return {}


def begin(t, bundle, **env):
    return t.spawn(t.command("start", bundle.id), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**t.host.env, **env})


def errors_of(t, start):
    errors = start.communicate(timeout=20 * t.slow)[1].decode()
    t.equal("exit status of start", 125, start.returncode)
    return errors


def members(t, sandbox, count, command=("sleep", "1000")):
    bundles = [make_container(t, sandbox, command) for _ in range(count)]
    for bundle in bundles:
        bundle.create()
    return bundles


@test("pod/killed-while-the-pod-boots", isolations=("vm",), seconds=120)
def killed_while_booting(t):
    """Their starts end with them, the one that makes the VM and the one that waits for it; nobody's VM does not go on."""
    sandbox = make_sandbox(t)
    started(t, sandbox)
    maker, waiter = members(t, sandbox, 2)
    first = begin(t, maker, **NEVER_BOOTS)
    t.eventually("a keeper", lambda: record(t, sandbox))
    keeper = record(t, sandbox)["pid"]
    second = begin(t, waiter)
    t.eventually("a second start that waits", lambda: any(
        "pod.lock" in os.readlink(f"/proc/{second.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{second.pid}/fd")))
    t.verb("delete", "--force", waiter.id)
    t.match("stderr of the start that waits", FORSAKEN, errors_of(t, second))
    t.equal("the other start", None, first.poll())
    t.verb("kill", maker.id, "KILL")
    t.match("stderr of the start that makes it", FORSAKEN, errors_of(t, first))
    maker.await_status("stopped")
    t.verb("delete", maker.id)
    t.eventually("no keeper", lambda: not process_stat(keeper))
    t.verb("delete", "--force", sandbox.id)
    t.equal("what is left of it", [], t.host.traces(sandbox.id))


def pids_file(cgroup, name):
    return next(path for path in (f"/sys/fs/cgroup/{cgroup}/{name}", f"/sys/fs/cgroup/pids/{cgroup}/{name}") if os.path.exists(path))


def read(path):
    with open(path, encoding="ascii") as file:
        return file.read()


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def leave_without_a_process(t, sandbox, bundle):
    """Ends a container at a moment when its pod's keeper can make no process to take its files away."""
    limit, count, events = (pids_file(record(t, sandbox)["cgroup"], f"pids.{name}") for name in ("max", "current", "events"))
    before, refused = read(limit), read(events)
    write(limit, read(count))
    try:
        t.verb("kill", bundle.id, "KILL")
        t.eventually("a process that cannot be made", lambda: read(events) != refused)
    finally:
        write(limit, before)


@test("pod/mishaps-of-one-container", isolations=("vm",), seconds=240)
def mishaps(t):
    """A start that is killed leaves the VM to the next; a container that the guest refuses leaves nothing behind."""
    sandbox = make_pod(t)
    volume = make_volume(t, sandbox)
    member = make_member(t, sandbox, "exec sleep 1000", {}, {"destination": "/volume", "type": "bind", "source": volume,
                                                             "options": ["rbind"]})
    member.create()
    start = begin(t, member)
    t.eventually("a keeper", lambda: record(t, sandbox))
    start.kill()
    start.communicate()
    keeper = record(t, sandbox)["pid"]
    t.eventually("a VM that nobody awaits", lambda: os.path.exists(state_file(t, sandbox, "pod.sock")), seconds=60)
    t.verb("start", member.id)
    t.equal("the keeper", keeper, record(t, sandbox)["pid"])

    # Less than a guest's kernel can do. Its monitor must end, though nobody takes its streams.
    refused = make_member(t, sandbox, "true", {"cpu": {"quota": 500}})
    refused.create()
    t.equal("start of a container that the guest refuses", 125, t.hybrid("start", refused.id).exit)
    refused.await_status("stopped")
    t.verb("delete", refused.id)

    # More than a machine can have, which a container of a pod need not have for itself.
    greedy = make_member(t, sandbox, "cat /sys/fs/cgroup/cpu.max", {"cpu": {"quota": 6500000, "period": 100000}})
    started(t, greedy).await_output("6500000 100000")
    greedy.await_status("stopped")

    t.check(holders(os.stat(volume).st_dev), "nobody has the volume: this row would not notice")
    leave_without_a_process(t, sandbox, member)
    member.await_status("stopped")
    t.eventually("the volume is let go", lambda: not holders(os.stat(volume).st_dev))
    t.equal("the keeper", keeper, record(t, sandbox)["pid"])
    t.check(process_stat(keeper), "the VM has ended")
    for bundle in (member, greedy, sandbox):
        t.verb("delete", "--force", bundle.id)
