"""Containers of a pod that share processes, all of them (shareProcessNamespace) or with one that is looked into
(kubectl debug --target): the same in the VM of a pod as by namespaces of the host."""

import json
import os
import signal
import subprocess

from table import test
from table.bundles import Bundle
from table.pods import end, make_container, make_sandbox, namespace, started


def make_pod(t):
    """A sandbox whose process 1 reaps: hybrid's own for VMs, else a shell."""
    if t.isolation == "vm":
        return started(t, make_sandbox(t, **{"io.kubernetes.cri.sandbox-memory": str(256 << 20)}))
    return started(t, Bundle(t, "while :; do sleep 1; done"))


def make_member(t, sandbox, command, processes_of=None):
    bundle = make_container(t, sandbox, ["sh", "-c", command])
    if t.isolation == "container":
        bundle.config["annotations"] = {}
    if processes_of:
        namespace(bundle, "pid")["path"] = f"/proc/{processes_of.state()['pid']}/ns/pid"
    return bundle


def processes(t, bundle):
    """What a process of the container sees: numbers by command lines, of a shell's not what it has just forked."""
    lines = (line.split(None, 2) for line in reversed(t.verb("exec", bundle.id, "ps", "-o", "pid,comm,args").splitlines()[1:]))
    return {arguments: int(pid) for pid, _, arguments in (line for line in lines if len(line) == 3)}


@test("pod/shared-processes", isolations=("container", "vm"), seconds=240)
def shared(t):
    """They see and signal each other; process 1 is none of theirs and reaps orphans; each ends alone, with all of its own."""
    ours = make_pod(t)
    first = started(t, make_member(t, ours, "echo mark > /mark; exec sleep 1001", ours))
    second = make_member(t, ours, 'sleep 1002 & (sleep 1003 &); trap "echo told; exit 7" TERM; echo up; while :; do sleep 0.1; done', ours)
    second.config["process"]["capabilities"] = {kind: ["CAP_KILL"] for kind in ("bounding", "permitted", "effective")}
    apart = started(t, make_member(t, ours, "exec sleep 1004"))
    for turn in ("at first", "again"):
        started(t, second)
        second.await_output("up\n")
        seen = processes(t, first)
        t.check({"sleep 1001", "sleep 1002", "sleep 1003"} <= set(seen), f"the first, {turn}, sees {seen}")
        t.check("sleep 1001" in processes(t, second), f"an exec in the second, {turn}, does not see the first")
        t.check(1 not in (seen["sleep 1001"], seen["sleep 1003"]), f"process 1 is one of theirs: {seen}")
        t.equal("one with its own", {"sleep 1004": 1}, {name: pid for name, pid in processes(t, apart).items() if name.startswith("sleep")})
        t.equal("files of another", "mark\n", t.verb("exec", second.id, "cat", f"/proc/{seen['sleep 1001']}/root/mark"))
        t.verb("exec", first.id, "kill", "-KILL", str(seen["sleep 1003"]))
        t.eventually("the orphan is reaped", lambda orphan=seen["sleep 1003"]: t.hybrid("exec", first.id, "ls", "-d", f"/proc/{orphan}").exit == 1)
        if t.isolation == "vm":
            t.equal("process 1", "hybrid-pause\n", t.verb("exec", first.id, "cat", "/proc/1/comm"))
            t.verb("exec", second.id, "kill", "-TERM", "1")
            t.verb("exec", second.id, "kill", "-INT", "1")
            t.match("files of process 1", "(?i)permission denied", t.hybrid("exec", first.id, "ls", "/proc/1/root/").err)
        main = next(pid for name, pid in seen.items() if "sleep 0.1" in name and "trap" in name)
        t.verb("exec", first.id, "kill", "-TERM", str(main))
        second.await_status("stopped")
        t.equal("its last word", "up\ntold\n", second.output())
        t.verb("delete", second.id)
        seen = processes(t, first)
        t.check("sleep 1001" in seen and "sleep 1002" not in seen, f"after the end of the second, {turn}: {seen}")
    if t.isolation == "vm": # on the host its output is a file, which nobody reads to its end
        end_of_one_whose_output_has_none(t, ours, first)
    end(t, first, apart, ours)


def end_of_one_whose_output_has_none(t, sandbox, neighbour):
    """A neighbour writes to it for ever: it ends nevertheless, alone, and with its last words."""
    bundle = started(t, make_member(t, sandbox, "echo up; exec sleep 1006", sandbox))
    bundle.await_output("up\n")
    main = processes(t, neighbour)["sleep 1006"]
    t.verb("exec", "--detach", neighbour.id, "sh", "-c", f"exec yes flood >/proc/{main}/fd/1",
           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    t.eventually("the flood is there", lambda: "flood" in bundle.output())
    t.verb("kill", bundle.id, "KILL")
    bundle.await_status("stopped")
    t.equal("its first words", "up\nflood\n", bundle.output()[:9])
    t.eventually("who wrote has nobody to read it", lambda: "yes flood" not in processes(t, neighbour))
    t.verb("delete", bundle.id)


def judged_by_policies(t, bundle):
    """By its path it is in the host's pid namespace, and is not; without a VM it would be."""
    del bundle.config["annotations"]["hybrid.isolation"]
    own = namespace(bundle, "pid")["path"]
    for default, path, why in (("vm", own, None), ("container", own, "as a container: it is to share the processes"),
                               ("vm", "/proc/self/ns/pid", "the host's pid namespace is denied")):
        namespace(bundle, "pid")["path"] = path
        policy = t.file("policy.json", json.dumps({"version": 1, "rules": [], "default": default,
                                                   "floors": {"denied_host_namespaces": ["pid"]}}))
        errors = bundle.create(before=("--policy", policy), status=125 if why else 0)
        t.match(f"with {default} for {path}", why or "^$", errors)
        t.verb("delete", "--force", bundle.id)


@test("pod/debug-container", isolations=("container", "vm"), seconds=240)
def debug(t):
    """It is in the pid namespace of its target, which goes on without it, and takes it along at its end."""
    ours = make_pod(t)
    target = started(t, make_member(t, ours, "echo target > /mark; exec sleep 1001"))
    looker = make_member(t, ours, "sleep 1003 & cat /proc/1/root/mark; echo up; exec sleep 1002", target)
    for victim in (looker, target):
        t.eventually("the target is up", lambda: "sleep 1001" in processes(t, target))
        started(t, looker)
        looker.await_output("up\n")
        t.equal("what it has read of its target's files", "target\nup\n", looker.output())
        for bundle in (looker, target):
            seen = processes(t, bundle)
            t.equal(f"process 1 among {seen}", 1, seen.get("sleep 1001"))
            t.check("sleep 1002" in seen, f"one does not see the other: {seen}")
        if t.isolation == "vm" and victim is looker:
            other = make_pod(t)
            t.match("for another pod", "namespaces: pid: .* nor /proc/PID/ns/pid of the process of one of its",
                    make_member(t, other, "true", target).create(status=125))
            end(t, other)
            judged_by_policies(t, make_member(t, ours, "true", target))
        t.verb("kill", victim.id, "KILL")
        victim.await_status("stopped")
        if victim is looker:
            t.verb("delete", looker.id)
            t.eventually("all of it has ended", lambda: not {"sleep 1002", "sleep 1003"} & set(processes(t, target)))
    looker.await_status("stopped")
    bundles = [looker, target, ours]
    if t.isolation == "vm":
        bundles.insert(0, end_of_a_stand_in(t, ours, target, looker))
    end(t, *bundles)


def end_of_a_stand_in(t, sandbox, target, looker):
    """Who stands in for the target is killed, and with it ends what it had in the guest. Returns one that comes too late."""
    beside = started(t, make_member(t, sandbox, "exec sleep 1005"))
    for bundle in (target, looker):
        t.verb("delete", bundle.id)
    started(t, target)
    late = make_member(t, sandbox, "true", target)
    namespace(looker, "pid")["path"] = namespace(late, "pid")["path"]
    late.create()
    started(t, looker)
    looker.await_output("up\n")
    os.kill(target.state()["pid"], signal.SIGKILL)
    for bundle in (target, looker):
        bundle.await_status("stopped")
    t.match("one whose target has ended", "does not run in the VM of this pod|has ended", t.hybrid("start", late.id).err)
    late.await_status("stopped")
    t.equal("beside them", {"sleep 1005": 1}, {name: pid for name, pid in processes(t, beside).items() if name.startswith("sleep")})
    end(t, beside)
    return late
