"""What engines ask of containers beyond their plain life: shared names, all processes, agents, processors."""

import array
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import platform
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading

from harness import Session, Skip
from table import test
from table.bundles import CONTAINERS, Bundle
from table.networks import Network
from table.pods import make_container, make_sandbox, started


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


DENIED = "Operation not permitted\n" * 2
# Shows what is denied, then runs a command. A cgroup of its own below the rules: on v2 one with processes has no children that
# have controllers.
INSIDE_DENIED = """mkdir -p "$0/caller" && echo $$ >"$0/caller/cgroup.procs"
(: <>/dev/ptmx) 2>&1 | grep -o "Operation not permitted"; (: <>/dev/null) 2>&1 | grep -o "Operation not permitted"; exec "$@" """


def deny_on_v2(place):
    """Attaches the shortest program of type CGROUP_DEVICE: the answer is 0 (bpf(2), the system's numbers of PROG_LOAD, ATTACH).
    Others may be beside it, as engines do it."""
    number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", 0xb7, 0, 0, 0, 0x95, 0, 0, 0))
    text = ctypes.create_string_buffer(b"GPL")
    libc = ctypes.CDLL(None, use_errno=True)

    def bpf(command, attributes):
        result = libc.syscall(number, command, attributes, len(attributes))
        if result < 0:
            raise OSError(ctypes.get_errno(), f"bpf({command})")
        return result
    program = bpf(5, struct.pack("=IIQQ", 15, 2, ctypes.addressof(code), ctypes.addressof(text)))
    directory = os.open(place, os.O_RDONLY)
    try:
        bpf(8, struct.pack("=IIII", directory, program, 6, 2))
    finally:
        os.close(directory)
        os.close(program)


def deny_devices(t):
    """A cgroup that denies every device, as an engine's rules for a workload may: its name, and what a command is to be called
    by to be below it."""
    name = f"hybrid-denied-{t.name()}"

    def is_removed():
        places = [path for path, _, _ in os.walk("/sys/fs/cgroup", topdown=False) if f"/{name}" in path]
        for path in places:
            with open(path + "/cgroup.procs", encoding="ascii") as file, contextlib.suppress(ProcessLookupError):
                for pid in file.read().split():  # a row that failed, or whose run was killed
                    os.kill(int(pid), signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.rmdir(path)
        return not places
    v1 = os.path.isdir("/sys/fs/cgroup/devices")
    place = f"/sys/fs/cgroup/{'devices/' if v1 else ''}{name}"
    t.closers.append(lambda: t.eventually("the cgroups are gone", is_removed))
    os.mkdir(place)
    if v1:
        with open(place + "/devices.deny", "w", encoding="ascii") as file:
            file.write("a")
    else:
        deny_on_v2(place)
    return name, ["sh", "-c", INSIDE_DENIED, place]


@test("engine/run-where-devices-are-denied", seconds=60)
def run_without_devices(t):
    """An engine's rules for the workload, whose cgroup it may call hybrid in, leave hybrid what it needs itself."""
    _, inside = deny_devices(t)
    # Its caller's pipe is closed when the command has closed it, not at its end.
    command = t.run_arguments("-i", "--name", t.name(), command=["sh", "-c", "cat; exec >&-; sleep 1000"])
    session = Session(t, t.spawn([*inside, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
    session.send(b"through\n")
    session.close_stdin()
    session.readers[0].join(40 * t.slow)
    t.equal("what the shell, then the workload says", DENIED + "through\n", session.seen[1].decode())
    t.check(not session.readers[0].is_alive(), "standard output is still open")
    session.signal(9)
    session.wait()
    # What loads images is started with it as its input: the one that comes along, and one that is not there.
    data = t.file("data", "") + ".d"
    os.mkdir(data)
    t.closers.append(lambda: shutil.rmtree(data))
    loads = t.command("--data", data, "run", "--dry-run", f"--isolation={t.isolation}", "busybox", "true")
    result = t.finish([*inside, *loads], None, 60, None)
    t.equal("the embedded image", (0, ""), (result.exit, result.err))
    result = t.finish([*inside, *t.command("run", "--pull=always", "127.0.0.1:1/nosuch")], None, 60, None)
    t.match("an image that cannot be had", "127.0.0.1:1", result.err)
    t.check("not permitted" not in result.err, f"the helper was not started: {result.err}")


@test("engine/no-streams-where-devices-are-denied", isolations=("container",))
def streams_without_devices(t):
    """A stream that the caller has closed is not taken by the next file that hybrid opens, the log or its state."""
    _, inside = deny_devices(t)
    log = t.file("log", "")
    closing = ["sh", "-c", 'exec "$@" >&-', "sh"]
    result = t.finish([*inside, *closing, *t.command("--log", log, "version")], None, 20, None)
    t.equal("what the shell says", DENIED, result.out)
    with open(log, encoding="utf-8") as file:
        t.check("hybrid" not in file.read(), "standard output went into the log")
    result = t.finish([*inside, *t.command("doctor", "--json")], None, 60, None)
    rows = json.loads(result.out[result.out.index("{"):])["findings"]
    t.equal("the store", ["good"], [row["status"] for row in rows if row["name"] == "store"])


@test("engine/container-where-devices-are-denied", isolations=("container",), seconds=60)
def container_without_devices(t):
    """On v2, as podman's pods are: it starts, its devices are there, and the rules hold when it opens them."""
    if os.path.isdir("/sys/fs/cgroup/devices"):
        raise Skip("on cgroup v1 a cgroup cannot allow what the one above it denies")
    name, _ = deny_devices(t)
    bundle = Bundle(t, "stat -c %F /dev/null; (: >/dev/null) 2>&1; sleep 1000")
    bundle.config["linux"]["cgroupsPath"] = f"/{name}/it"
    bundle.create()
    t.verb("start", bundle.id)
    bundle.await_output("/dev/null: Operation not permitted")
    t.check(bundle.output().startswith("character special file\n"), f"what it found: {bundle.output()}")


@test("engine/machine-where-devices-are-denied", isolations=("vm",), seconds=90)
def machine_without_devices(t):
    """The same of a VM in a cgroup below that one: its monitor, its terminal and its interface."""
    network = Network(t)
    bundle = Bundle(t, "tty; cat /sys/class/net/net0/address; echo to-the-terminal; exec sleep 1000", terminal=True)
    bundle.config["mounts"].append({"destination": "/sys", "type": "sysfs", "source": "sysfs"})
    bundle.config["annotations"] = {"hybrid.isolation": "vm"}
    name, inside = deny_devices(t)
    bundle.config["linux"]["cgroupsPath"] = f"/{name}/vm"
    for namespace in bundle.config["linux"]["namespaces"]:
        if namespace["type"] == "network":
            namespace["path"] = network.path
    bundle.write()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    t.closers.append(listener.close)
    listener.bind(bundle.path + "/console")
    listener.listen()
    create = t.command("create", "--bundle", bundle.path, "--console-socket", bundle.path + "/console", bundle.id)
    result = t.finish([*inside, *create], None, 60, None, stderr=subprocess.STDOUT)
    t.equal("what the shell says, and create", (0, DENIED), (result.exit, result.out))
    with listener.accept()[0] as connection:
        _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
    master = array.array("i", ancillary[0][2])[0]
    t.closers.append(lambda: os.close(master))
    t.verb("start", bundle.id, seconds=60)
    seen = b""
    while b"to-the-terminal" not in seen:
        seen += os.read(master, 4096)
    t.match("its terminal and interface", r"/dev/pts/0\r\n[0-9a-f:]{17}\r\n", seen.decode())
    t.verb("delete", "--force", bundle.id)


@test("engine/pod-where-devices-are-denied", isolations=("vm",), seconds=90)
def pod_without_devices(t):
    """The same of the VM of a pod, which its first container starts."""
    sandbox = started(t, make_sandbox(t))
    bundle = make_container(t, sandbox, ["echo", "through"])
    bundle.create()
    _, inside = deny_devices(t)
    result = t.finish([*inside, *t.command("start", bundle.id)], None, 60, None, stderr=subprocess.STDOUT)
    t.equal("what the shell says, and start", (0, DENIED), (result.exit, result.out))
    bundle.await_output("through\n")
    t.verb("delete", "--force", sandbox.id)


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
