"""kill -9 of anything at any time leaves nothing: processes, mounts, cgroups, files."""

import os
import re
import shutil
import signal
import subprocess
import time

import harness
import together
from sessions import Unended
from table import Row, test
from table.bundles import Bundle

COMMAND = ["sh", "-c", "echo ready; while :; do sleep 0.1; done"]


def victims(t, cli):
    """The processes of one `hybrid run`: name of the part -> process id."""
    found = {"cli": cli}
    for pid in harness.children_below(cli):
        seen = harness.process_stat(pid)
        if not seen:
            continue
        if seen[0].startswith("hybrid-vmm"):
            if b"--probe" not in harness.arguments_of(pid):  # that one only looks whether KVM works
                found["vmm"] = pid
        elif seen[2] == cli:
            found["monitor"] = pid
        elif "monitor" in found and seen[2] == found["monitor"]:
            found["workload"] = pid
    return found


def await_part(t, part, session):
    """The process id of a part, as soon as there is one."""
    deadline = time.monotonic() + 20 * t.slow
    while part not in (found := victims(t, session.pid)):
        t.check(session.process.poll() is None and time.monotonic() < deadline, f"no {part} among {found}")
        time.sleep(0.0005)  # a lone processor is to start it meanwhile
    return found[part]


def judge_end(t, result, *statuses):
    t.check(result.exit in statuses, f"exit status: expected {statuses}, got {result.exit}; stderr {result.err!r}")
    if result.exit == 125:
        t.match("stderr", "^hybrid: ", result.err)


def kill_part(part, status):
    def run(t):
        name = t.name()
        session = t.session("--name", name, command=COMMAND)
        session.expect("ready\n")
        os.kill(await_part(t, part, session), signal.SIGKILL)
        judge_end(t, session.wait(), status)
        t.eventually("nothing is left of it", lambda: not t.host.traces(name))
    return run


# Alone, so that the main thread runs it: of that one's children the reaper takes those that nobody here has started.
@test("host/no-exit-status-is-lost", isolations=("container",), once=True, alone=True)
def exit_statuses(t):
    """A command of a row that fails is seen to fail, while what others left behind is being reaped."""
    seen = [subprocess.run(["sh", "-c", "sleep 0.001 & exit 7"], check=False).returncode for _ in range(200)]
    t.equal("exit statuses", {7}, set(seen))


def judged(shared, t):
    """Of each row what judging it says."""
    said = []
    for entry in shared.rows:
        try:
            said.append(shared.judge(entry, t) or "passed")
        except harness.Failure as failure:
            said.append(str(failure))
    return said


@test("host/a-row-that-hangs-fails-alone", isolations=("container",), once=True)
def hanging_rows(t):
    """Rows that share a workload or a start: the one that does not end is named, and those that ended are judged."""
    rows = [Row(name, ["sh", "-c", script], stdout="1\n", seconds=seconds)
            for name, script, seconds in (("first", "echo 1", 20), ("hangs", "exec sleep 1000 >&- 2>&-", 0.5), ("last", "echo 1", 20))]
    entered = together.Entered(rows)
    entered.run(t)
    first, hangs, last = judged(entered, t)
    t.equal("rows that end in one workload", ["passed"] * 2, [first, last])
    t.match("the one that does not", "^did not end within", hangs)
    dead = together.enter(rows[0], t, "no workload", ["a", "b", "c"])
    t.equal("one after three that did not end",
            "not tried: of those before it in the same workload did not end a, b, c", str(dead))
    started = together.Start(rows)
    for out, err, expected in ((b"1\n<>0;", b"<>", ["passed", "^after 1 of 3 rows in one start: late", "^not run: hangs, before it"]),
                               (b"1\n<>", b"<>", ["^after 0 of 3", "^not run: first", "^not run: first"])):
        started.results = together.parts_until("<>", rows, Unended("late", out, err))
        for wanted, seen in zip(expected, judged(started, t), strict=True):
            t.match("of rows in one start", wanted, seen)


test("kill-9/of-hybrid")(kill_part("cli", -9))
test("kill-9/of-the-monitor")(kill_part("monitor", 125))
test("kill-9/of-the-workload", isolations=("container",))(kill_part("workload", 137))
test("kill-9/of-the-vmm", isolations=("vm",))(kill_part("vmm", 125))


def statuses_of_stopped(t, workload):
    """Stops a workload and returns what its death may be told as: from the exec on, the end of the command.

    Before, it is a start that failed; but in its last moment there, with all set up, nobody can tell the two apart.
    """
    os.kill(workload, signal.SIGSTOP)
    t.eventually("it stops", lambda: harness.process_stat(workload)[1] == "T")
    return (137,) if harness.process_stat(workload)[0] == "sleep" else (125, 137)


VM_TIMES = 10  # how much longer than a container a VM takes to start, and so the steps in its life


def kill_at(part, delay, status=None):
    """Kills a part when it has lived for `delay` seconds; each attempt gives it a little longer."""
    def run(t):
        name = t.name()
        for attempt in range(4):
            session = t.session("--name", f"{name}-{attempt}", command=["sleep", "1000"])
            victim = await_part(t, part, session)
            time.sleep(delay * t.slow * (1 + attempt / 4) * (VM_TIMES if t.isolation == "vm" else 1))
            expected = statuses_of_stopped(t, victim) if part == "workload" else (status,)
            os.kill(victim, signal.SIGKILL)
            judge_end(t, session.wait(), *expected)
            t.eventually("no process, mount or cgroup is left of it",
                         lambda: not t.host.traces(f"{name}-{attempt}", files=False))
            t.hybrid("ps", "-a")  # what died before it had a monitor is removed by the next command
            t.equal("what is left", [], t.host.traces(f"{name}-{attempt}"))
    return run


# Milliseconds into the life of each: before, within and after the making of namespaces, mounts and cgroups.
for milliseconds in (0, 1, 2, 4, 8, 16, 32):
    test(f"kill-9/of-hybrid-after-{milliseconds}-ms", seconds=60)(kill_at("cli", milliseconds / 1000, -9))
for milliseconds in (0, 2, 4, 8, 16):
    test(f"kill-9/of-the-monitor-after-{milliseconds}-ms", seconds=60)(kill_at("monitor", milliseconds / 1000, 125))
    test(f"kill-9/of-the-vmm-after-{milliseconds}-times-{VM_TIMES}-ms", seconds=60, isolations=("vm",))(
        kill_at("vmm", milliseconds / 1000, 125))
    test(f"kill-9/of-the-workload-after-{milliseconds}-ms", seconds=60, isolations=("container",))(
        kill_at("workload", milliseconds / 1000))


def monitor_of(name):
    """Of a detached workload, which was adopted by this test: our only child whose arguments name it."""
    monitor, = (pid for pid in harness.descendants(os.getpid()) if name.encode() in harness.arguments_of(pid)
                and (harness.process_stat(pid) or (0, 0, 0))[2] == os.getpid())
    return monitor


@test("kill-9/of-a-detached-monitor")
def detached_monitor(t):
    """rm, or the next start, clears away what a killed monitor left."""
    name = t.detached(command=COMMAND)
    os.kill(monitor_of(name), signal.SIGKILL)
    t.eventually("ps says that it stopped",
                 lambda: not re.search(rf"(?m)^{name}$", t.verb("ps", "-q")))
    t.verb("start", name)
    t.eventually("it runs again", lambda: re.search(rf"(?m)^{name}$", t.verb("ps", "-q")))
    t.verb("rm", "-f", name)
    t.eventually("nothing is left of it", lambda: not t.host.traces(name))


@test("kill-9/of-a-monitor-that-should-have-removed")
def monitor_with_rm(t):
    """With --rm, whoever notices first that its monitor is dead removes it: rm -f says that it is gone, not that it never was."""
    name = t.detached("--rm", command=COMMAND)
    os.kill(monitor_of(name), signal.SIGKILL)
    t.equal("rm -f", f"{name}\n", t.verb("rm", "-f", name))
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


@test("kill-9/leaves-a-namesake-alone", isolations=("container",))
def namesake(t):
    """What was killed below one root is cleared away; a workload of the same name below another root is not hurt."""
    name = t.detached(command=COMMAND)
    root, data = t.host.directory + "/namesakes", t.host.directory + "/namesakes-data"
    shutil.copytree(f"{t.host.root}/{name}", f"{root}/{name}", ignore=lambda *_: ["control.sock"])
    try:
        t.equal("killed", "", t.verb("--root", root, "--data", data, "ps", "-q"))
        t.verb("--root", root, "--data", data, "rm", name)
        t.equal("its namesake's command", "still here\n", t.verb("exec", name, "echo", "still here"))
    finally:
        for directory in (root, data):
            shutil.rmtree(directory, ignore_errors=True)


def damage(t, name):
    """Cuts its state short, as no process of ours does. What needs it says so, and how to go on."""
    with open(f"{t.host.root}/{name}/state.json", "w", encoding="ascii") as file:
        file.write('{"id": "')
    for verb in (("rm", name), ("stop", name), ("state", name)):
        t.match(f"{verb[0]} of it", f"{name}/state.json cannot be read: .*`hybrid rm -f {name}`", t.hybrid(*verb).err)
    t.match("prune beside it", f"what workload {name} uses .* not known: .*hybrid rm -f {name}", t.hybrid("image", "prune", "-f").err)


def await_nothing_left(t, name):
    t.eventually(f"nothing is left of {name}", lambda: not t.host.traces(name))


@test("kill-9/and-a-damaged-state", seconds=120, alone=True)
def damaged_state(t):
    """rm -f removes what it can know without a state, and tells what it cannot. A namesake of another root is not touched."""
    running, killed, stopped = t.detached(command=COMMAND), t.detached(command=COMMAND), t.detached(command=["true"])
    t.equal("stopped", 0, t.exit_of(stopped))
    damage(t, running)
    t.match("rm -f of a running one", f"^{running}\n$", t.verb("rm", "-f", running))
    await_nothing_left(t, running)
    os.kill(monitor_of(killed), signal.SIGKILL)
    for name in (killed, stopped):
        damage(t, name)
        told = t.hybrid("rm", "-f", name)
        t.equal("exit status", 0, told.exit, told)
        t.match("what it could not know", f"the state of {name} could not be read; removed were its directories", told.err)
        await_nothing_left(t, name)
    t.verb("image", "prune", "-f")


@test("kill-9/what-is-no-workload-stays", isolations=("container",))
def no_workload(t):
    """A directory beside workloads, be it somebody's by mistake in --root: no -f removes it."""
    root = t.host.directory + "/others"
    os.makedirs(root + "/www")
    try:
        for file in ("index.html", "state.json"):
            with open(f"{root}/www/{file}", "w", encoding="ascii") as page:
                page.write('{"mine": true}')
            for verb in (("rm", "-f"), ("delete", "--force")):
                t.check(t.hybrid("--root", root, *verb, "www").exit != 0, f"{verb} succeeds")
        t.equal("what is there", ["index.html", "state.json"], sorted(os.listdir(root + "/www")))
    finally:
        shutil.rmtree(root)


@test("bundle/damaged-state-of-a-sandbox", isolations=("container",))
def damaged_sandbox(t):
    """Its pod's machine has a cgroup of its own, which bears the same mark."""
    bundle = Bundle(t, ["true"])
    bundle.config["linux"]["cgroupsPath"] = "/" + bundle.id
    bundle.config["annotations"] = {"hybrid.isolation": "vm", "io.kubernetes.cri.container-type": "sandbox",
                                    "io.kubernetes.cri.sandbox-id": bundle.id}
    bundle.create()
    t.verb("start", bundle.id)
    machine = t.spawn(["sleep", "1000"])
    marked = [path for path in harness.cgroup_directories() if path.endswith("/" + bundle.id) and os.listxattr(path)]
    for path in marked:
        os.mkdir(path + "-vm")
        for file in ("cpuset.cpus", "cpuset.mems"):  # on v1 nobody can be in there without
            if os.path.exists(f"{path}/{file}"):
                shutil.copyfile(f"{path}/{file}", f"{path}-vm/{file}")
        for name in os.listxattr(path):
            os.setxattr(path + "-vm", name, os.getxattr(path, name))
        with open(path + "-vm/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(machine.pid))
    damage(t, bundle.id)
    told = t.hybrid("rm", "-f", bundle.id)
    t.equal("exit status", 0, told.exit, told)
    t.equal("the process in it", -signal.SIGKILL, machine.wait(10))
    t.equal("its cgroups", [], [path for path in marked if os.path.exists(path + "-vm")])
    t.match("what was removed", f"its cgroups .*{bundle.id}-vm", told.err)
    await_nothing_left(t, bundle.id)


@test("bundle/damaged-state", seconds=90, alone=True)
def damaged_bundle(t):
    """The same of what engines made: created, running, stopped."""
    for number, verbs in enumerate(((), ("start",), ("start", "kill"))):
        bundle = Bundle(t, "exec sleep 1000")
        bundle.config["annotations"] = {"hybrid.isolation": t.isolation}
        bundle.create()
        for verb in verbs:
            t.verb(verb, bundle.id, *(["KILL"] if verb == "kill" else []), seconds=60)
        damage(t, bundle.id)
        told = t.hybrid(*(("delete", "--force") if number % 2 else ("rm", "-f")), bundle.id)
        t.equal("exit status", 0, told.exit, told)
        t.match("what it could not know", f"the state of {bundle.id} could not be read", told.err)
        await_nothing_left(t, bundle.id)
