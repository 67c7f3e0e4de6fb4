"""Workloads in the background: run -d, ps, logs, exec, kill, stop, start, wait, rm."""

import contextlib
import ctypes
import glob
import json
import os
import re
import signal
import time

from table import test
from table.bundles import cgroup_file

FOREVER = ["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done"]


def status_of(t, name):
    for entry in json.loads(t.verb("ps", "-a", "--format", "json")):
        if entry.get("id", entry.get("ID")) == name:
            return entry["status"]
    return None


def await_log(t, name, text):
    t.eventually(f"{text!r} in the log", lambda: text in t.verb("logs", name))


@test("detached/prints-an-id")
def prints_id(t):
    result = t.run("-d", command=["sleep", "1000"], keep=True)
    t.equal("exit status", 0, result.exit, result)
    t.match("stdout", r"^[0-9a-f]{12}\n$", result.out)
    t.names.append(result.out.strip())
    t.equal("status", "running", status_of(t, result.out.strip()))
    t.verb("rm", "-f", result.out.strip())


@test("detached/failure-is-reported")
def failure(t):
    result = t.run("-d", command=["/no/such/program"])
    t.equal("exit status", 127, result.exit, result)
    t.match("stderr", "/no/such/program", result.err)
    t.equal("stdout", "", result.out)


@test("detached/removed-when-it-ends")
def removed(t):
    name = t.detached(command=["sh", "-c", "sleep 0.3"], keep=False)
    t.eventually("it is gone", lambda: status_of(t, name) is None)


@test("detached/does-not-hold-the-callers-streams")
def streams(t):
    """run -d returns, and a pipe that it wrote to reaches its end, while the workload runs."""
    start = time.monotonic()
    name = t.detached(command=["sleep", "1000"])
    t.check(time.monotonic() - start < 15 * t.slow, "run -d did not return")
    t.verb("rm", "-f", name)


@test("ps/lists")
def ps(t):
    name = t.detached(command=FOREVER)
    t.match("ps", rf"(?m)^{name}\b.*{t.isolation}", t.verb("ps"))
    t.match("ps -q", rf"(?m)^{name}$", t.verb("ps", "-q"))
    t.verb("kill", "-s", "KILL", name)
    t.equal("exit status", 137, t.exit_of(name))
    t.check(name not in t.verb("ps"), "ps shows a stopped workload")
    t.match("ps -a", rf"(?m)^{name}\b.*(?i:stopped|exited)", t.verb("ps", "-a"))
    t.verb("rm", name)
    t.check(name not in t.verb("ps", "-a"), "ps -a shows a removed workload")


@test("logs/kept-and-apart")
def logs(t):
    name = t.detached(command=["sh", "-c", "echo out; echo err >&2; printf 'no newline'"])
    t.eventually("it stops", lambda: status_of(t, name) == "stopped")
    result = t.hybrid("logs", name)
    t.equal("logs", (0, "out\nno newline", "err\n"), (result.exit, result.out, result.err))


@test("logs/of-unread-megabyte")
def long_log(t):
    name = t.detached(command=["probe", "pump", "1", "1000000"])
    t.eventually("it stops", lambda: status_of(t, name) == "stopped")
    t.equal("bytes", 1000000, len(t.hybrid("logs", name).stdout))


@test("logs/follow")
def follow(t):
    name = t.detached(command=["sh", "-c", "trap 'echo last; exit 0' TERM; echo first; while :; do sleep 0.1; done"])
    session = t.session(verb=["logs", "-f", name])
    session.expect("first\n")
    t.verb("kill", "-s", "TERM", name)
    session.expect("last\n")
    t.equal("exit status", 0, session.wait().exit)


@test("logs/tail-and-time")
def tail(t):
    name = t.detached(command=["sh", "-c", "for i in 1 2 3 4 5; do echo line $i; done"])
    t.eventually("it stops", lambda: status_of(t, name) == "stopped")
    t.equal("the last two", "line 4\nline 5\n", t.verb("logs", "--tail", "2", name))
    t.match("with times", r"^(\d{4}-\d\d-\d\dT[\d:.]+Z line \d\n){5}$", t.verb("logs", "-t", name))


@test("logs/of-a-foreground-workload")
def foreground_log(t):
    """What a workload without --rm printed can be read again."""
    name = t.name()
    t.equal("stdout", "seen\n", t.run("--name", name, command=["echo", "seen"], keep=True).out)
    t.equal("logs", "seen\n", t.verb("logs", name))


@test("kill/signals")
def kill(t):
    name = t.detached(command=["sh", "-c", "trap 'echo usr1' USR1; trap 'echo hup' HUP; echo up; while :; do sleep 0.1; done"])
    await_log(t, name, "up\n")
    for spelling, text in (("USR1", "usr1\n"), ("SIGHUP", "hup\n"), ("10", "usr1\n")):
        t.verb("kill", "-s", spelling, name)
        await_log(t, name, text)
    result = t.hybrid("kill", name, "HUP")  # the form for containers of bundles, whose second operand is no name
    t.equal("exit status of kill NAME SIGNAL", 125, result.exit, result)
    t.match("stderr", f"HUP is a signal: hybrid kill --signal=HUP {name}", result.err)
    t.equal("status", "running", status_of(t, name))
    t.verb("kill", name)
    t.eventually("it stops", lambda: status_of(t, name) == "stopped")
    result = t.hybrid("kill", name)
    t.equal("exit status of kill when stopped", 125, result.exit, result)
    t.match("stderr", name, result.err)


def find_process(arguments):
    """The one with these arguments, as the host knows it."""
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError), open(path, "rb") as file:
            if file.read().split(b"\0")[:-1] == [each.encode() for each in arguments]:
                return int(path.split("/")[2])
    return None


@test("kill/with-output-that-does-not-end", isolations=("container",))
def kill_undrained(t):
    """Somebody else holds its standard output, as a guest, or what runs one, may do it: killed once more it is over."""
    sleep = ["sleep", str(1000000 + os.getpid())]
    name = t.detached(command=sleep)
    t.eventually("its process", lambda: find_process(sleep))
    with open(f"/proc/{find_process(sleep)}/fd/1", "wb", buffering=0) as held:
        t.verb("kill", name)
        t.eventually("its end", lambda: not find_process(sleep))
        held.write(b"still there\n")
        await_log(t, name, "still there\n")  # it is waited for
        t.equal("status", "running", status_of(t, name))
        # A process has no command line any more some time before its parent hears of its end: a kill until then is the first.
        t.eventually("a kill after its end", lambda: "has just ended" in t.hybrid("kill", name).err)
        t.equal("exit status", 137, t.exit_of(name))


@test("kill/unknown-signal-refused")
def kill_unknown(t):
    result = t.hybrid("kill", "-s", "TREM", "whatever")
    t.equal("exit status", 125, result.exit, result)
    t.match("stderr", "TREM.*TERM", result.err)


@test("stop/by-stop-signal")
def stop(t):
    name = t.detached("--stop-signal", "USR2",
                      command=["sh", "-c", "trap 'echo asked; exit 4' USR2; echo up; while :; do sleep 0.1; done"])
    await_log(t, name, "up\n")
    t.verb("stop", name)
    t.equal("logs", "up\nasked\n", t.verb("logs", name))
    t.equal("status", "stopped", status_of(t, name))
    t.equal("exit status", 4, t.exit_of(name))


@test("stop/signal-of-the-image")
def stop_image(t):
    name = t.detached(image="user", command=["sh", "-c", "trap 'exit 5' USR1; echo up; while :; do sleep 0.1; done"])
    await_log(t, name, "up\n")
    t.verb("stop", name)
    t.equal("exit status", 5, t.exit_of(name))


@test("stop/kills-after-the-time")
def stop_kills(t):
    name = t.detached(command=["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"])
    await_log(t, name, "up\n")
    t.verb("stop", "-t", "1", name)
    t.equal("exit status", 137, t.exit_of(name))


@test("stop/other-signal")
def stop_other(t):
    name = t.detached(command=["sh", "-c", "trap 'exit 6' HUP; echo up; while :; do sleep 0.1; done"])
    await_log(t, name, "up\n")
    t.verb("stop", "-s", "HUP", name)
    t.equal("exit status", 6, t.exit_of(name))


@test("wait/several")
def wait_several(t):
    names = [t.detached(command=["sh", "-c", f"sleep 0.{n}; exit {n}"]) for n in (3, 1, 2)]
    t.equal("statuses, in the order asked for", "3\n1\n2\n", t.verb("wait", *names))


@test("wait/gives-the-status")
def wait(t):
    name = t.detached(command=["sh", "-c", "sleep 0.5; exit 42"])
    t.equal("exit status", 42, t.exit_of(name))
    t.equal("again", 42, t.exit_of(name))


@test("start/writable-layer-survives")
def start(t):
    name = t.detached(command=["sh", "-c", "echo run >>/mark; cat /mark; rm -f /etc/group; ls /etc/group 2>&1 | wc -l"])
    t.equal("exit status", 0, t.exit_of(name))
    t.verb("start", name)
    t.equal("exit status", 0, t.exit_of(name))
    t.equal("logs", "run\n1\nrun\nrun\n1\n", t.verb("logs", name))
    t.verb("rm", name)


@test("start/attached")
def start_attached(t):
    name = t.name()
    first = t.run("-i", "--name", name, command=["sh", "-c", "cat; exit 3"], stdin=b"one", keep=True)
    t.equal("first", (3, "one"), (first.exit, first.out))
    again = t.hybrid("start", "-i", name, stdin=b"two")
    t.equal("again", (3, "two"), (again.exit, again.out))


@test("start/running-refused")
def start_running(t):
    name = t.detached(command=FOREVER)
    result = t.hybrid("start", name)
    t.equal("exit status", 125, result.exit, result)
    t.match("stderr", f"{name}.*running", result.err)


@test("start/after-kill-of-everything")
def start_after_crash(t):
    """The writable layer outlives the death of all processes of the workload."""
    name = t.detached(command=["sh", "-c", "echo x >>/mark; sync; cat /mark; sleep 1000"])
    await_log(t, name, "x\n")
    t.verb("kill", "-s", "KILL", name)
    t.eventually("it stops", lambda: status_of(t, name) == "stopped")
    t.verb("start", name)
    await_log(t, name, "x\nx\nx\n")


@test("rm/running-refused")
def rm_running(t):
    name = t.detached(command=FOREVER)
    result = t.hybrid("rm", name)
    t.equal("exit status", 125, result.exit, result)
    t.match("stderr names the remedy", f"{name}.*(-f|stop)", result.err)
    t.verb("rm", "-f", name)
    t.equal("traces", [], t.host.traces(name))


@test("rm/leaves-nothing")
def rm_leaves_nothing(t):
    name = t.detached(command=["sh", "-c", "head -c 5000000 /dev/urandom >/x"])
    t.exit_of(name)
    t.verb("rm", name)
    t.equal("traces", [], t.host.traces(name))


@test("verbs/unknown-workload")
def unknown(t):
    for words in (["stop"], ["kill"], ["rm"], ["start"], ["logs"], ["wait"], ["exec"]):
        result = t.hybrid(*words, "no-such-workload", *(["true"] if words == ["exec"] else []))
        t.equal(f"exit status of {words[0]}", 125, result.exit, result)
        t.match(f"stderr of {words[0]}", "no-such-workload", result.err)


@test("exec/streams-and-status")
def execute(t):
    name = t.detached(command=FOREVER)
    result = t.hybrid("exec", name, "sh", "-c", "echo out; echo err >&2; exit 7")
    t.equal("result", (7, "out\n", "err\n"), (result.exit, result.out, result.err))
    for command, status in ((["/no/such/program"], 127), (["/opt/not-executable"], 126), (["probe", "fault"], 139),
                            (["probe", "raise", "15"], 143)):
        result = t.hybrid("exec", name, *command)
        t.equal(f"exit status of {command}", status, result.exit, result)


@test("exec/stdin")
def exec_stdin(t):
    name = t.detached(command=FOREVER)
    data = bytes(range(256)) * 2000
    result = t.hybrid("exec", "-i", name, "cat", stdin=data)
    t.equal("result", (0, data), (result.exit, result.stdout))
    t.equal("without -i", "", t.verb("exec", name, "cat", stdin=b"x"))


@test("exec/environment-user-directory")
def exec_options(t):
    name = t.detached("-e", "OF_RUN=1", command=FOREVER)
    out = t.verb("exec", "-e", "A=two words", "-e", "B=", "-u", "alice", "-w", "/opt", name,
                 "sh", "-c", 'echo "$A|$B|$OF_RUN|$HOME"; pwd; id -u; grep Groups /proc/self/status')
    t.equal("stdout", "two words||1|/home/alice\n/opt\n1000\nGroups:\t6 29 1000 \n", out)


@test("exec/directory-that-is-missing")
def exec_directory(t):
    """It is refused, as runc and crun do, not made: a slip of the finger would stay in the workload's files."""
    name = t.detached(command=FOREVER)
    result = t.hybrid("exec", "-w", "/missing", name, "pwd")
    t.equal("status", 125, result.exit, result)
    t.match("error", "working directory /missing: No such file", result.err)
    t.equal("what is there", 1, t.hybrid("exec", name, "test", "-e", "/missing").exit)


@test("exec/same-place")
def exec_same(t):
    """The command sees the workload's files, processes and limits, and has its capabilities and filter."""
    name = t.detached("--hostname", "box", command=["sh", "-c", "echo mine >/mark; echo up; while :; do sleep 1; done"])
    await_log(t, name, "up\n")
    out = t.verb("exec", name, "sh", "-c", "cat /mark; hostname; cat /proc/1/comm; "
                 "grep -E '^(Cap(Inh|Eff|Bnd|Amb)|Seccomp|NoNewPrivs):' /proc/self/status | tr -d '\\t'; "
                 "cut -d: -f3 /proc/self/cgroup | sort -u")
    t.equal("stdout", "mine\nbox\nsh\nCapInh:0000000000000000\nCapEff:00000000a80425fb\nCapBnd:00000000a80425fb\n"
            "CapAmb:0000000000000000\nNoNewPrivs:0\nSeccomp:2\n/\n", out)
    t.equal("descriptors", "0 pipe\n1 pipe\n2 pipe\n", t.verb("exec", "-i", name, "probe", "fds", stdin=b""))


@test("exec/terminal")
def exec_terminal(t):
    name = t.detached(command=FOREVER)
    term = t.terminal(verb=["exec", "-it", name, "sh"], rows=31, columns=91)
    term.expect(r"[#$] ")
    term.send("stty size; tty\r")
    term.expect("31 91\r\n")
    term.expect("/dev/(pts/\\d+|console)\r\n")
    term.resize(20, 70)
    term.send("sleep 0.5; stty size\r")
    term.expect("20 70\r\n")
    term.send("exit 6\r")
    t.equal("exit status", 6, term.wait())
    term.check_restored()


@test("exec/terminal-restored-after-kill")
def exec_terminal_killed(t):
    """kill -9 of `hybrid exec -it` leaves the caller's terminal as it was, and ends the command."""
    name = t.detached(command=["sleep", "1000"])
    term = t.terminal(verb=["exec", "-it", name, "sh", "-c", "echo ready; exec sleep 999"])
    term.expect("ready\r\n")
    term.await_raw()
    os.kill(term.process.pid, signal.SIGKILL)
    t.equal("exit status", -9, term.wait())
    term.check_restored()
    t.eventually("the command is gone", lambda: "sleep 999" not in t.verb("exec", name, "ps", "-o", "args"))
    t.verb("rm", "-f", name)


@test("exec/signals")
def exec_signals(t):
    name = t.detached(command=FOREVER)
    session = t.session(verb=["exec", name, "sh", "-c",
                              "trap 'echo got TERM; exit 3' TERM; echo ready; while :; do sleep 0.1; done"])
    session.expect("ready\n")
    session.signal(signal.SIGTERM)
    result = session.wait()
    t.equal("result", (3, "ready\ngot TERM\n"), (result.exit, result.out))
    t.equal("the workload", "running", status_of(t, name))


@test("exec/several-at-once")
def exec_several(t):
    name = t.detached(command=FOREVER)
    sessions = [t.session(verb=["exec", "-i", name, "sh", "-c", f"cat; exit {n}"]) for n in range(1, 6)]
    for n, session in enumerate(sessions, 1):
        session.send(f"to {n}\n".encode())
    for n, session in enumerate(sessions, 1):
        session.close_stdin()
        result = session.wait()
        t.equal("result", (n, f"to {n}\n"), (result.exit, result.out))


@test("exec/ends-with-the-workload")
def exec_ends(t):
    name = t.detached(command=FOREVER)
    session = t.session(verb=["exec", name, "sh", "-c", "echo ready; sleep 1000"])
    session.expect("ready\n")
    t.verb("kill", "-s", "KILL", name)
    t.equal("exit status", 137, session.wait().exit)


@test("exec/stopped-refused")
def exec_stopped(t):
    name = t.detached(command=["true"])
    t.exit_of(name)
    result = t.hybrid("exec", name, "true")
    t.equal("exit status", 125, result.exit, result)
    t.match("stderr", f"{name}.*(not running|stopped)", result.err)


@test("inspect/of-a-workload")
def labels(t):
    name = t.detached("--label", "colour=deep blue", "--annotation", "org.test.key=value", command=FOREVER)
    entries = [entry for entry in json.loads(t.verb("ps", "--format", "json")) if entry["id"] == name]
    t.equal("entries", 1, len(entries))
    t.check(re.search("deep blue", json.dumps(entries[0])) or
            re.search("deep blue", open(f"{t.host.root}/{name}/config.json", encoding="utf-8").read()),
            "the label is nowhere to be seen")


def in_force(t, name):
    """The process of `inspect --security`."""
    entries = json.loads(t.verb("inspect", "--security", name))
    t.equal("entries", 1, len(entries))
    return entries[0]


def landlock_version():
    """landlock_create_ruleset(2): the version of the kernel's interface, 0 if it has none."""
    return max(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1), 0)


@test("inspect/security")
def security_in_force(t):
    """What the kernel says, compared with /proc as this test reads it."""
    name = t.detached("--cap-drop", "ALL", "--cap-add", "KILL", "--ulimit", "nofile=77:77", command=FOREVER)
    entry = in_force(t, name)
    process = entry["process"]
    t.equal("isolation", t.isolation, entry["isolation"])
    with open(f"/proc/{process['pid']}/status", encoding="utf-8") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    t.equal("uid", [int(number) for number in status["Uid"].split()], process["uid"])
    t.equal("noNewPrivs", int(status["NoNewPrivs"]), process["noNewPrivs"])
    t.equal("its number in its namespace", 1, process["namespacePids"][-1])
    shared = {space for space, known in process["namespaces"].items() if known["shared"]}
    t.equal("shared namespaces", {"time"} if t.isolation == "vm" else {"time", "user"}, shared)
    t.equal("effective capabilities", [] if t.isolation == "vm" else ["CAP_KILL"], process["capabilities"]["effective"])
    t.equal("ambient capabilities", [], process["capabilities"]["ambient"])
    t.check(all(thread["seccomp"] == "filter" for thread in process["threads"]), f"threads: {process['threads']}")
    descriptors = {known["target"] for known in process["descriptors"]}
    if t.isolation == "vm":
        t.equal("boundary", "hybrid-vmm", entry["boundary"])
        t.check(min(process["uid"]) > 1000000000, f"uid {process['uid']}")
        t.equal("its only ids", [process["uid"][0]] * 2 + [1], [int(number) for number in process["uidMap"].split()])
        t.equal("Landlock", min(landlock_version(), 6), process["landlock"])
        t.equal("mounts", ["/"], [mount["target"] for mount in process["mounts"]])
        t.equal("dumpable", False, process["dumpable"])
        t.check("anon_inode:kvm-vm" in descriptors, f"descriptors: {descriptors}")
        t.check("/dev/kvm" not in descriptors, "/dev/kvm is still open")
        t.equal("core limit", {"soft": "0", "hard": "0"}, process["limits"]["core file size"])
    else:
        t.equal("boundary", "workload", entry["boundary"])
        t.equal("open files", {"soft": "77", "hard": "77"}, process["limits"]["open files"])
        proc = [mount for mount in process["mounts"] if mount["target"] == "/proc"]
        t.equal("procfs", ["proc"], [mount["type"] for mount in proc])
        covered = [mount for mount in process["mounts"] if mount["target"] == "/proc/sys"]
        t.check(covered and "ro" in covered[0]["options"].split(","), f"/proc/sys: {covered}")


@test("inspect/security-of-a-strange-name", isolations=("container",))
def security_of_strange_name(t):
    """A workload cannot spoil the report by a name that is no text."""
    name = t.detached(command=["sh", "-c", r"printf '\377\033[2J' >/proc/self/comm; echo up; while :; do sleep 1; done"])
    t.eventually("its name changes", lambda: in_force(t, name)["process"]["name"] != "sh")
    t.equal("its name", r"\xff\x1b[2J", in_force(t, name)["process"]["name"])


@test("inspect/security-of-what-does-not-run")
def security_of_stopped(t):
    name = t.detached(command=["true"])
    t.exit_of(name)
    result = t.hybrid("inspect", "--security", name)
    t.equal("exit status", 125, result.exit, result)
    t.match("stderr", f"{name} is not running", result.err)
    result = t.hybrid("inspect", "--security", "--type=image", "busybox")
    t.equal("exit status", 125, result.exit, result)
    t.match("stderr", "--security is about running workloads", result.err)


COUNT = ["sh", "-c", "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done"]


def await_lines(t, name, more_than):
    t.eventually(f"more than {more_than} lines", lambda: t.verb("logs", name).count("\n") > more_than)


@test("pause/stands-still-and-goes-on")
def pause(t):
    name = t.detached("-m", "64m", command=COUNT)
    await_lines(t, name, 2)
    t.verb("pause", name)
    t.equal("status", "paused", status_of(t, name))
    t.match("ps", r"Up .* \(paused\)", t.verb("ps"))
    time.sleep(0.3)  # what was on its way to the log
    before = t.verb("logs", name)
    time.sleep(0.7)
    t.equal("output while it is paused", before, t.verb("logs", name))
    t.match("exec", "is paused; resume it first", t.hybrid("exec", name, "true").err)
    t.match("a second pause", "it is paused already", t.hybrid("pause", name).err)
    t.verb("kill", "-s", "CONT", name)
    t.verb("resume", name)
    t.equal("status", "running", status_of(t, name))
    await_lines(t, name, before.count("\n") + 2)
    t.match("a second resume", "it is not paused", t.hybrid("resume", name).err)
    t.equal("exec", "0\n", t.verb("exec", name, "sh", "-c", "true; echo $?"))
    # Nothing that ends a workload waits for somebody to resume it.
    t.verb("pause", name)
    t.verb("kill", name)
    t.equal("exit status", 137, t.exit_of(name))
    t.match("pause of a stopped one", "is not running", t.hybrid("pause", name).err)
    for last in (("stop", "-t", "1"), ("rm", "-f")):
        name = t.detached("-m", "64m", command=COUNT)
        t.verb("pause", name)
        t.verb(*last, name)
    t.check(status_of(t, name) is None, "rm -f left it")


def hugetlb_offered():
    for path in ("/sys/fs/cgroup/cgroup.controllers", "/sys/fs/cgroup/unified/cgroup.controllers"):
        if os.path.exists(path):
            with open(path, encoding="ascii") as file:
                return "hugetlb" in file.read().split()
    return os.path.isdir("/sys/fs/cgroup/hugetlb")


def processes_limited(cgroup, controller):
    """Of the cgroup's processes, those in the hierarchy of the controller, whichever version it is."""
    for directory in (f"/sys/fs/cgroup/{controller}/{cgroup}", f"/sys/fs/cgroup/{cgroup}", f"/sys/fs/cgroup/unified/{cgroup}"):
        if os.path.isdir(directory):
            with open(f"{directory}/cgroup.procs", encoding="ascii") as file:
                return file.read().split()
    return []


@test("update/of-a-running-workload")
def update(t):
    """Processors and I/O of both; memory and processes of containers, since a VM's are its own kernel's."""
    name = t.detached("-m", "64m", "--pids-limit", "20", command=["sleep", "1000"])
    cgroup = "hybrid-" + name
    for options, quota in (("--cpu-quota", "50000", "--cpu-period", "100000"), "50000"), (("--cpus", "0.25"), "25000"):
        t.verb("update", *options, name)
        expected = f"{quota} 100000" if os.path.exists(f"/sys/fs/cgroup/{cgroup}/cpu.max") else quota
        t.equal(f"quota by {options}", expected, cgroup_file(cgroup, "cpu.cfs_quota_us", "cpu.max"))
    t.match("none", "--cpus: 0 is not a number of CPUs", t.hybrid("update", "--cpus", "0", name).err)
    t.match("both", "--cpus sets --cpu-quota and --cpu-period", t.hybrid("update", "--cpus", "1", "--cpu-period", "5000", name).err)
    for options, v1, v2, value in ((("--memory", "96m", "--memory-swap", "96m"), "memory.limit_in_bytes", "memory.max", str(96 << 20)),
                                   (("-m", "128m"), "memory.limit_in_bytes", "memory.max", str(128 << 20)),
                                   (("--pids-limit", "30"), "pids.max", "pids.max", "30")):
        result = t.hybrid("update", *options, name)
        if t.isolation == "vm":
            t.match(f"{options}", "is a VM: .* --cpu-", result.err)
        else:
            t.equal(f"{options}", 0, result.exit, result)
            t.equal(f"{options}", value, cgroup_file(cgroup, v1, v2))
    # Controllers that no limit named before: their hierarchies of v1 are joined now, by all processes.
    t.verb("update", "--cpuset-cpus", "0", name)
    t.equal("processors", "0", cgroup_file(cgroup, "cpuset.cpus", "cpuset.cpus"))
    t.check(processes_limited(cgroup, "cpuset"), "no process is in the cgroup with the set of CPUs")
    if t.isolation == "container":
        for process in ("1", "self"):
            t.match(f"processors of {process}", "Cpus_allowed_list:\\s*0$",
                    t.verb("exec", name, "grep", "Cpus_allowed_list", f"/proc/{process}/status").strip())
    if hugetlb_offered():
        settings = {"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]}
        t.verb("update", "--resources", "-", name, stdin=json.dumps(settings).encode())
        t.equal("huge pages", str(2 << 20), cgroup_file(cgroup, "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max"))
        t.check(processes_limited(cgroup, "hugetlb"), "no process is in the cgroup with the limit of huge pages")
    settings = {"unified": {"memory.low": "4096"}}
    result = t.hybrid("update", "--resources", "-", name, stdin=json.dumps(settings).encode())
    if t.isolation == "vm":
        t.match("a setting of memory", "is a VM: .* --cpu-", result.err)
    if os.path.exists(f"/sys/fs/cgroup/{cgroup}/io.weight"):
        t.verb("update", "--blkio-weight", "200", name)
        t.check(cgroup_file(cgroup, "blkio.weight", "io.weight") != "default 100", "the weight is what it was")
    t.verb("rm", "-f", name)
    t.match("one that does not exist", "no such workload", t.hybrid("update", "--cpu-share", "512", name).err)
