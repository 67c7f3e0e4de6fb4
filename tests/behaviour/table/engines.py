"""What engines ask of containers beyond their plain life: shared names, all processes, agents, processors."""

import array
import contextlib
import errno
import fcntl
import json
import os
import platform
import re
import select
import shutil
import socket
import struct
import subprocess
import threading

from harness import Skip
from table import test
from table.bundles import CONTAINERS, Bundle


@test("engine/one-cgroup-for-one-container", **CONTAINERS)
def one_cgroup(t):
    """Of several creations with one cgroupsPath at a time one succeeds, and is not harmed by the others."""
    path = f"/hybrid-shared-{t.name()}"
    bundles = [Bundle(t, ["sleep", "1000"]) for _ in range(8)]
    running = []
    for bundle in bundles:
        bundle.config["linux"]["cgroupsPath"] = path
        bundle.config["linux"]["resources"] = {"pids": {"limit": 20 + len(running)}}
        bundle.write()
    for bundle in bundles:
        with open(bundle.path + "/errors", "wb") as errors:
            running.append(t.spawn(t.command("create", "--bundle", bundle.path, bundle.id), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=errors))
    statuses = [process.wait(20 * t.slow) for process in running]
    t.equal("how many were created", 1, statuses.count(0))
    first = bundles[statuses.index(0)]
    for bundle in bundles:
        if bundle is not first:
            with open(bundle.path + "/errors", encoding="utf-8") as errors:
                t.match("the others", "(processes|another container is being made) in the cgroup", errors.read())
            t.match("their state", "does not exist", t.hybrid("state", bundle.id).err)
    t.equal("the first one", "created", first.status())
    t.verb("start", first.id)
    t.equal("after its start", "running", first.status())
    # What a stopped container had may be another's by the time it is deleted.
    second = bundles[statuses.index(125)]
    t.verb("kill", first.id, "KILL")
    first.await_status("stopped")
    second.create()
    t.verb("delete", first.id)
    t.equal("the next one with this cgroup", "created", second.status())
    t.verb("delete", "--force", second.id)
    t.check(not any(path[1:] in names for _, names, _ in os.walk("/sys/fs/cgroup")), "the cgroup is still there")


@contextlib.contextmanager
def stranger(t, places):
    """These directories of cgroups, and a process of nobody's in the first."""
    sleeper = t.spawn(["sleep", "1000"])
    try:
        for place in places:
            os.mkdir(place)
        for file in ("cpuset.cpus", "cpuset.mems") if "/cpuset/" in places[0] else ():
            shutil.copyfile(f"/sys/fs/cgroup/cpuset/{file}", f"{places[0]}/{file}")
        with open(places[0] + "/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(sleeper.pid))
        yield sleeper
    finally:
        sleeper.kill()
        sleeper.wait()
        for place in filter(os.path.isdir, places):
            os.rmdir(place)


@test("engine/cgroup-of-a-stranger", **CONTAINERS)
def strangers_cgroup(t):
    """Who is in one hierarchy only is neither joined nor harmed; what was there before stays, and nothing else."""
    name, v1 = f"hybrid-stranger-{t.name()}", os.path.isdir("/sys/fs/cgroup/cpu")
    for controllers in (("cpu",), ("cpu", "memory"), ("cpuset",)) if v1 else (("",),):
        places = [os.path.realpath(f"/sys/fs/cgroup/{controller}") + "/" + name for controller in controllers]
        bundle = Bundle(t, ["sleep", "1000"])
        bundle.config["linux"]["cgroupsPath"] = "/" + name
        with stranger(t, places) as sleeper:
            t.match(f"create, {controllers}", "there are processes in the cgroup", bundle.create(status=125))
            t.verb("delete", "--force", bundle.id)
            t.equal("the stranger's exit status", None, sleeper.poll())
            t.equal("directories", sorted(places),
                    sorted(f"{parent}/{name}" for parent, names, _ in os.walk("/sys/fs/cgroup") if name in names))


@test("engine/signal-to-all", **CONTAINERS)
def signal_all(t):
    """Also to processes in cgroups that the container made for itself."""
    below = "for d in /sys/fs/cgroup/memory /sys/fs/cgroup; do mkdir $d/below 2>/dev/null && " \
            "{ echo $$ > $d/below/cgroup.procs; break; }; done; "
    child = "trap 'echo took-%s' USR1; echo ready; while :; do sleep 0.1; done"
    bundle = Bundle(t, f"({child % 'one'}) & (sh -c \"{below}{child % 'two'}\") & {child % 'three'}")
    bundle.config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"})
    bundle.create()
    t.verb("start", bundle.id)
    t.eventually("all are ready", lambda: bundle.output().count("ready") == 3)
    t.verb("kill", "--all", bundle.id, "USR1")
    for name in ("one", "two", "three"):
        bundle.await_output("took-" + name)


@test("engine/hook-output-is-shown-only", **CONTAINERS)
def hook_output(t):
    bundle = Bundle(t, ["true"])
    bundle.config["hooks"] = {"createRuntime": [
        {"path": "/bin/sh", "args": ["sh", "-c", r"printf 'a\033]0;title\007b'; exit 1"]}]}
    errors = bundle.create(status=125)
    t.check("\033" not in errors and "\007" not in errors, f"a terminal would obey {errors!r}")
    t.match("what it printed", r"a\\x1b\]0;title\\x07b", errors)


def apparmor_is_enabled():
    with contextlib.suppress(OSError), open("/sys/module/apparmor/parameters/enabled", encoding="ascii") as file:
        return file.read().strip() == "Y"
    return False


@test("engine/apparmor-profile", **CONTAINERS)
def apparmor(t):
    """It confines the first process and those of exec, or nothing is run."""
    bundle = Bundle(t, "cat /proc/self/attr/current; (echo x > /denied) 2>&1; sleep 1000", apparmorProfile="hybrid-nosuch")
    t.match("a profile that cannot be had", "AppArmor", bundle.create(status=125))
    if not apparmor_is_enabled():
        raise Skip("AppArmor is not enabled on this machine; that it is refused was looked at")
    free = Bundle(t, ["cat", "/proc/self/attr/current"], apparmorProfile="unconfined")
    t.equal("unconfined", "unconfined\n", free.run())
    if not shutil.which("apparmor_parser") or not os.path.exists("/sys/kernel/security/apparmor"):
        raise Skip("unconfined and unknown were looked at; loading a profile takes apparmor_parser and securityfs")
    profile = t.file("profile", "profile hybrid-test flags=(attach_disconnected) "
                                "{ file, capability, network, signal, ptrace, deny /denied w, }\n")
    if t.finish(["apparmor_parser", "-K", "-r", profile], None, 20, None).exit != 0:
        raise Skip("no profile can be loaded here")
    t.closers.append(lambda: t.finish(["apparmor_parser", "-R", profile], None, 20, None))
    bundle.config["process"]["apparmorProfile"] = "hybrid-test"
    bundle.create()
    t.verb("start", bundle.id)
    bundle.await_output("hybrid-test (enforce)\n")
    bundle.await_output("/denied: Permission denied")
    t.equal("exec", "hybrid-test (enforce)\n", t.verb("exec", bundle.id, "cat", "/proc/self/attr/current"))


def processors(cpu_list):
    """The numbers in a list such as 0-2,5, as strace prints a set of them."""
    ranges = [[int(end) for end in part.split("-")] for part in cpu_list.split(",")]
    return " ".join(str(number) for each in ranges for number in range(each[0], each[-1] + 1))


@test("engine/processors-of-exec", processors=2, **CONTAINERS)
def exec_affinity(t):
    """On the way into the cgroup, and in it; the first process is not concerned."""
    show = ["grep", "Cpus_allowed_list", "/proc/self/status"]
    bundle = Bundle(t, ["sh", "-c", " ".join(show) + "; exec sleep 1000"],
                    execCPUAffinity={"initial": "0", "final": "1"})
    bundle.create()
    t.verb("start", bundle.id)
    bundle.await_output("Cpus_allowed_list")
    every = bundle.output().split()[-1]
    t.check(every not in ("0", "1"), f"the first process runs on {every}")
    t.equal("as the configuration says", "1", t.verb("exec", bundle.id, *show).split()[-1])
    for affinity, seen in (({"final": "0"}, "0"), ({"initial": "1"}, every), ({}, every)):
        process = {"cwd": "/", "args": show, "env": ["PATH=/bin"], "execCPUAffinity": affinity}
        file = t.file("process.json", json.dumps(process))
        t.equal(f"{affinity}", seen, t.verb("exec", "--process", file, bundle.id).split()[-1])
    process["execCPUAffinity"] = {"final": "1023"}
    file = t.file("process.json", json.dumps(process))
    t.match("no such processor", "execCPUAffinity.final", t.hybrid("exec", "--process", file, bundle.id).err)
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    process["execCPUAffinity"] = {"initial": "1", "final": "0"}
    file, trace = t.file("process.json", json.dumps(process)), t.file("trace", "")
    t.finish(["strace", "-f", "-o", trace, "-e", "trace=clone3,sched_setaffinity,write",
              *t.command("exec", "--process", file, bundle.id)], None, 20, None)
    with open(trace, encoding="utf-8", errors="replace") as file:
        calls = re.findall(r"sched_setaffinity\(0, \d+, \[([0-9, ]+)\]|(clone3)\(\{flags=CLONE_PIDFD", file.read())
    t.equal("the order of calls", ["1", "clone3", processors(every), "0"],
            [number.replace(", ", " ") or name for number, name in calls])


# seccomp_unotify(2): struct seccomp_notif, struct seccomp_notif_resp, and their requests.
NOTIFICATION, ANSWER = "QIIiIQ6Q", "QqiI"
RECEIVE, SEND, CONTINUE = 0xc0502100, 0xc0182101, 1
MKDIR = {"x86_64": (83, 258), "aarch64": (34,)}  # mkdir, mkdirat


class Agent:
    """Decides about the system calls of a container: no new directories, and everything else as it is."""

    def __init__(self, t, machine):
        self.path, self.refused, self.messages, self.asked = t.file("agent", ""), MKDIR[machine], [], 0
        os.unlink(self.path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen()
        t.closers.append(self.close)
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):  # a second time
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def accept(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            with connection:
                data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4))
                while more := connection.recv(65536):
                    data += more
            self.messages.append(json.loads(data))
            threading.Thread(target=self.decide, args=(array.array("i", ancillary[0][2])[0],), daemon=True).start()

    def decide(self, fd):
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while not poll.poll()[0][1] & select.POLLHUP:
            request = bytearray(struct.calcsize(NOTIFICATION))
            try:
                fcntl.ioctl(fd, RECEIVE, request)
                identity, _, _, number, *_ = struct.unpack(NOTIFICATION, request)
                self.asked += 1
                answer = (0, -errno.EROFS, 0) if number in self.refused else (0, 0, CONTINUE)
                fcntl.ioctl(fd, SEND, bytearray(struct.pack(ANSWER, identity, *answer)))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.EINTR):  # the process has ended meanwhile
                    raise
        os.close(fd)


@test("engine/seccomp-agent", **CONTAINERS)
def seccomp_agent(t):
    """Not one system call goes through without the agent: also not those between the filter and the command."""
    machine = platform.machine()
    if machine not in MKDIR:
        raise Skip(f"no system call numbers of {machine}")
    agent = Agent(t, machine)
    bundle = Bundle(t, "mkdir /made 2>&1; echo $?; sleep 1000")
    bundle.config["annotations"] = {"key": "value", "long": "x" * 20000}
    seccomp = bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": agent.path, "listenerMetadata": "of a test"}
    bundle.create()
    pid = bundle.state()["pid"]
    t.equal("messages before the start", [], agent.messages)
    t.verb("start", bundle.id)
    bundle.await_output("mkdir: can't create directory '/made': Read-only file system\n1\n")
    state = {"ociVersion": "1.2.0", "id": bundle.id, "status": "created", "pid": pid, "bundle": bundle.path,
             "annotations": bundle.config["annotations"]}
    t.equal("what the agent is told", {"ociVersion": "1.2.0", "fds": ["seccompFd"], "pid": pid,
                                       "metadata": "of a test", "state": state}, agent.messages[0])
    t.check(agent.asked > 20, f"it was asked {agent.asked} times only")
    process = {"cwd": "/", "args": ["mkdir", "/made"], "env": ["PATH=/bin"]}
    for options in ((), ("--detach", "--pid-file", bundle.path + "/exec.pid")):
        file = t.file("process.json", json.dumps(process))
        result = t.hybrid("exec", "--process", file, *options, bundle.id, stdout=subprocess.DEVNULL)
        t.equal("exit status of exec", 0 if options else 1, result.exit, result)
        message = agent.messages[-1]
        t.equal("state of the container", {**state, "status": "running"}, message["state"])
        t.check(message["pid"] != pid, "the process is not the first one")
    t.equal("connections", 3, len(agent.messages))
    # Without an agent nothing is started, and nothing hangs.
    agent.close()
    alone = Bundle(t, ["true"])
    alone.config["linux"]["seccomp"] = seccomp
    alone.create()
    t.match("start", "cannot reach the seccomp agent", t.hybrid("start", alone.id).err)
    alone.await_status("stopped")
    t.match("run", "cannot reach the seccomp agent", t.hybrid("run", "--bundle", alone.path, t.name()).err)


@test("engine/seccomp-agent-of-an-image")
def seccomp_agent_image(t):
    """The same for images; a VM's system calls cannot be decided about from outside, which is said."""
    machine = platform.machine()
    if machine not in MKDIR:
        raise Skip(f"no system call numbers of {machine}")
    agent = Agent(t, machine)
    profile = t.file("profile.json", json.dumps({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": agent.path,
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]}))
    result = t.run("--security-opt", "seccomp=" + profile, command=["mkdir", "/made"])
    if t.isolation == "vm":
        t.equal("exit status", 125, result.exit, result)
        t.match("why", "cannot look into a VM's processes", result.err)
    else:
        t.equal("exit status", 1, result.exit, result)
        t.match("stderr", "Read-only file system", result.err)
        t.equal("what the agent is told of", ["seccompFd"], agent.messages[0]["fds"])
