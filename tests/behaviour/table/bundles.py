"""OCI bundles, driven as container engines drive a runtime: create, start, exec, kill, delete and the rest."""

import array
import copy
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import time

from harness import Skip, children_below, descendants, process_stat
from table import test

BUSYBOX = "/bin/busybox"
APPLETS = ("sh", "cat", "echo", "sleep", "ls", "id", "kill", "grep", "tty", "stat", "readlink", "mkdir", "true",
           "hostname", "touch", "uname", "head", "ps")
CONFIG = {
    "ociVersion": "1.2.0",
    "process": {"cwd": "/", "args": ["true"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
    "root": {"path": "rootfs"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
    ],
    "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network", "cgroup")]},
}
CONTAINERS = {"isolations": ("container",)}


class Bundle:
    """A directory with a root file system of busybox, and a configuration to be changed before write()."""

    def __init__(self, t, command, **process):
        if not os.path.exists(BUSYBOX):
            raise Skip(f"{BUSYBOX} is not installed")
        self.t, self.id, self.path = t, t.name(), f"{t.host.files}/{t.names[-1]}.bundle"
        os.makedirs(self.path + "/rootfs/bin")
        shutil.copy(BUSYBOX, self.path + "/rootfs/bin/busybox")
        for applet in APPLETS:
            os.symlink("busybox", f"{self.path}/rootfs/bin/{applet}")
        self.config = copy.deepcopy(CONFIG)
        self.config["process"].update(process, args=["sh", "-c", command] if isinstance(command, str) else command)
        t.closers.append(lambda: shutil.rmtree(self.path, ignore_errors=True))
        t.closers.append(lambda: t.hybrid("delete", "--force", self.id))

    def write(self):
        with open(self.path + "/config.json", "w", encoding="utf-8") as file:
            json.dump(self.config, file)

    def create(self, *options, status=0, program=None, before=(), **settings):
        """Creates it, with output into a file: nobody would read a pipe to its end."""
        self.write()
        with open(self.path + "/output", "wb") as output:
            command = [program or self.t.host.hybrid, *before, "create", "--bundle", self.path, *options, self.id]
            process = self.t.spawn(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE,
                                   **settings)
            # Read from the process alone: the container keeps its copy of the pipe.
            process.wait(20 * self.t.slow)
            os.set_blocking(process.stderr.fileno(), False)
            errors = (process.stderr.read() or b"").decode()
        if status is not None:
            self.t.equal("exit status of create", status, process.returncode)
        return errors

    def state(self):
        return json.loads(self.t.verb("state", self.id))

    def status(self):
        return self.state()["status"]

    def await_status(self, status):
        self.t.eventually(f"status {status}", lambda: self.status() == status)

    def output(self):
        with open(self.path + "/output", encoding="utf-8") as file:
            return file.read()

    def await_output(self, text):
        self.t.eventually(f"{text!r} in the output", lambda: text in self.output())

    def read(self, name):
        with open(self.path + "/rootfs/" + name, encoding="utf-8") as file:
            return file.read()

    def run(self, *options, status=0, **settings):
        self.write()
        result = self.t.hybrid("run", "--bundle", self.path, *options, self.id, **settings)
        self.t.equal("exit status of run --bundle", status, result.exit, result)
        return result.out


def cgroup_file(name, v1, v2):
    """The content of a control file of the cgroup called `name`, on either version, or on v2 beside v1."""
    for path in (f"/sys/fs/cgroup/{v1.split('.')[0]}/{name}/{v1}", f"/sys/fs/cgroup/{name}/{v2}",
                 f"/sys/fs/cgroup/unified/{name}/{v2}"):
        if os.path.exists(path):
            with open(path, encoding="ascii") as file:
                return file.read().strip()
    raise Skip(f"this host has no {v1} or {v2}")


@test("bundle/lifecycle", **CONTAINERS)
def lifecycle(t):
    bundle = Bundle(t, "echo ran > /ran; exec sleep 1000")
    bundle.create("--pid-file", bundle.path + "/pid")
    state = bundle.state()
    t.equal("state", ("created", bundle.id, bundle.path, "1.2.0"),
            (state["status"], state["id"], state["bundle"], state["ociVersion"]))
    t.equal("where its root is, and in list", [bundle.path + "/rootfs"] * 2, [state["rootfs"]] + [
        each["rootfs"] for each in json.loads(t.verb("list", "--format", "json")) if each["id"] == bundle.id])
    with open(bundle.path + "/pid", encoding="ascii") as file:
        t.equal("pid file", str(state["pid"]), file.read())
    t.check(not os.path.exists(bundle.path + "/rootfs/ran"), "the command ran before its start")
    t.verb("delete", bundle.id, status=125)
    t.verb("start", bundle.id)
    t.equal("status after start", "running", bundle.status())
    t.eventually("the command runs", lambda: os.path.exists(bundle.path + "/rootfs/ran"))
    t.match("second start", "only a created container", t.hybrid("start", bundle.id).err)
    t.match("delete of a running one", "is running", t.hybrid("delete", bundle.id).err)
    t.verb("kill", bundle.id, "KILL")
    bundle.await_status("stopped")
    t.equal("pid after the end", 0, bundle.state()["pid"])
    t.match("kill of a stopped one", "container not running", t.hybrid("kill", bundle.id, "9").err)
    t.verb("delete", bundle.id)
    t.match("state of a deleted one", "does not exist", t.hybrid("state", bundle.id).err)
    t.verb("delete", "--force", bundle.id)


@test("bundle/create-leaves-only-the-container", alone=True, **CONTAINERS)
def no_monitor(t):
    """The container's first process is all that stays, and it holds nothing that is not its command's."""
    bundle = Bundle(t, ["sleep", "1000"])
    bundle.create()
    pid = bundle.state()["pid"]
    t.equal("processes left by create", {pid}, set(descendants(os.getpid())) & {pid} | {
        below for below in descendants(os.getpid()) if (process_stat(below) or ("",))[0].startswith("hybrid")})
    names = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    t.equal("descriptors beyond the streams", 1, len([name for name in names if name.startswith("socket:")]))
    t.equal("all descriptors", 4, len(names))
    t.verb("start", bundle.id)
    t.eventually("its descriptors are the streams",
                 lambda: sorted(os.listdir(f"/proc/{pid}/fd")) == ["0", "1", "2"])


@test("bundle/run", **CONTAINERS)
def run(t):
    bundle = Bundle(t, "cat; echo $A; exit 7", env=["PATH=/bin", "A=b"])
    t.equal("stdout", "input\nb\n", bundle.run(status=7, stdin=b"input\n"))
    t.match("it is deleted", "does not exist", t.hybrid("state", bundle.id).err)
    t.match("options of images", "--memory is for images",
            t.hybrid("run", "--bundle", bundle.path, "-m", "64m", bundle.id).err)


@test("bundle/run-with-a-terminal", seconds=60)
def run_terminal(t):
    bundle = Bundle(t, "stty size 2>/dev/null || busybox stty size; tty; read line; "
                       "busybox yes more than a terminal holds | head -n 9999; echo got $line; exit 9", terminal=True)
    bundle.config["annotations"] = {"hybrid.isolation": t.isolation}
    bundle.write()
    terminal = t.terminal(verb=("run", "--bundle", bundle.path, bundle.id), rows=33, columns=77)
    terminal.expect("33 77")
    terminal.expect("/dev/pts/0")
    terminal.send("words\r")
    terminal.expect("got words")
    t.equal("exit status", 9, terminal.wait())


@test("bundle/command-that-cannot-be-executed", **CONTAINERS)
def not_executable(t):
    """Told by create, in the words that engines look for."""
    for command, status, words in ((["nosuch"], 127, "executable file not found in PATH"),
                                   (["/nosuch"], 127, "no such file or directory"),
                                   (["/proc"], 126, "permission denied")):
        bundle = Bundle(t, command)
        t.match(f"create with {command}", words, bundle.create(status=status))
        t.match("nothing is left", "does not exist", t.hybrid("state", bundle.id).err)


@test("bundle/hooks", **CONTAINERS)
def hooks(t):
    """Six points, in order, with the state on stdin, each where it belongs."""
    bundle = Bundle(t, "echo command >> /order")
    order = bundle.path + "/rootfs/order"

    def hook(kind, path):
        return {"path": "/bin/sh", "args": ["sh", "-c", f'echo "{kind} $HOOK $(cat)" >> {path}'],
                "env": ["PATH=/bin:/usr/bin", "HOOK=h"]}
    bundle.config["annotations"] = {"key": "value"}
    bundle.config["hooks"] = {
        **{kind: [hook(kind, order)] for kind in ("prestart", "createRuntime", "createContainer", "poststart",
                                                  "poststop")},
        "startContainer": [hook("startContainer", "/order")]}
    bundle.create()
    pid = bundle.state()["pid"]
    t.verb("start", bundle.id)
    bundle.await_status("stopped")
    t.verb("delete", bundle.id)
    seen = [line.split(" ", 2) for line in bundle.read("order").splitlines()]
    kinds = [words[0] for words in seen]
    t.equal("before the start", ["prestart", "createRuntime", "createContainer", "startContainer"], kinds[:4])
    t.equal("at the start, in either order", ["command", "poststart"], sorted(kinds[4:6]))
    t.equal("at the end", ["poststop"], kinds[6:])
    for kind, status, number in (("createRuntime", "creating", pid), ("createContainer", "creating", 1),
                                 ("startContainer", "created", 1), ("poststart", "running", pid),
                                 ("poststop", "stopped", None)):
        words = seen[kinds.index(kind)]
        state = json.loads(words[2])
        t.equal(f"state given to {kind}",
                ("h", bundle.id, status, number, bundle.path, {"key": "value"}),
                (words[1], state["id"], state["status"], state.get("pid"), state["bundle"], state["annotations"]))


@test("bundle/hook-that-fails", **CONTAINERS)
def failing_hooks(t):
    for kind in ("prestart", "createRuntime", "createContainer"):
        bundle = Bundle(t, ["true"])
        bundle.config["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo reason; exit 3"]}]}
        t.match(kind, f"the {kind} hook /bin/sh failed with exit status 3: reason", bundle.create(status=125))
        t.match("nothing is left", "does not exist", t.hybrid("state", bundle.id).err)
    bundle = Bundle(t, ["true"])
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}]}
    t.match("timeout", "did not end within 1 seconds", bundle.create(status=125))
    bundle = Bundle(t, ["sleep", "1000"])
    bundle.config["hooks"] = {"poststart": [{"path": "/bin/false"}], "poststop": [{"path": "/nosuch"}]}
    bundle.create()
    t.match("a poststart hook is only warned of", "poststart hook /bin/false", t.hybrid("start", bundle.id).err)
    result = t.hybrid("delete", "--force", bundle.id)
    t.equal("exit status of delete", 0, result.exit, result)
    t.match("so is a poststop hook", "poststop hook /nosuch", result.err)


@test("bundle/console-socket", **CONTAINERS)
def console(t):
    bundle = Bundle(t, "tty; echo to-the-terminal; sleep 1000", terminal=True)
    t.match("without", "say with --console-socket", bundle.create(status=125))
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    t.closers.append(listener.close)
    listener.bind(bundle.path + "/console")
    listener.listen()
    bundle.create("--console-socket", bundle.path + "/console")
    connection = listener.accept()[0]
    _, ancillary, _, _ = connection.recvmsg(4096, socket.CMSG_SPACE(4))
    connection.close()
    master = array.array("i", ancillary[0][2])[0]
    t.closers.append(lambda: os.close(master))
    t.check(os.isatty(master), "what came is no terminal")
    t.verb("start", bundle.id)
    seen = b""
    while b"to-the-terminal" not in seen:
        seen += os.read(master, 4096)
    t.match("tty", "/dev/pts/0", seen.decode())


@test("bundle/exec", **CONTAINERS)
def execute(t):
    bundle = Bundle(t, ["sleep", "1000"])
    bundle.create()
    t.verb("start", bundle.id)
    result = t.hybrid("exec", bundle.id, "sh", "-c", "echo out; exit 5")
    t.equal("exec ID COMMAND", (5, "out\n"), (result.exit, result.out))
    process = {"cwd": "/bin", "args": ["sh", "-c", "echo $A $PWD $(id -u) > /detached; exec sleep 1000"],
               "env": ["PATH=/bin", "A=b"], "user": {"uid": 0, "gid": 0}}
    file = t.file("process.json", json.dumps(process))
    # Its streams are the caller's, which it keeps: no pipes that would be read to their end.
    t.verb("exec", "--process", file, "--detach", "--pid-file", bundle.path + "/exec.pid", bundle.id,
           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(bundle.path + "/exec.pid", encoding="ascii") as opened:
        pid = int(opened.read())
    t.eventually("its output", lambda: os.path.exists(bundle.path + "/rootfs/detached")
                 and bundle.read("detached") == "b /bin 0\n")
    t.equal("ps", sorted((bundle.state()["pid"], pid)), json.loads(t.verb("ps", "--format", "json", bundle.id)))
    t.equal("its namespaces", os.readlink(f"/proc/{bundle.state()['pid']}/ns/mnt"), os.readlink(f"/proc/{pid}/ns/mnt"))
    process["args"] = ["nosuch"]
    missing = t.hybrid("exec", "--process", t.file("process.json", json.dumps(process)), "-d", bundle.id)
    t.equal("a command that does not exist", 127, missing.exit, missing)
    t.verb("kill", "--all", bundle.id, "KILL")
    bundle.await_status("stopped")
    t.match("exec after the end", "container not running", t.hybrid("exec", bundle.id, "true").err)


@test("bundle/pause", **CONTAINERS)
def pause(t):
    bundle = Bundle(t, "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done")
    bundle.create()
    t.verb("start", bundle.id)
    bundle.await_output("2\n")
    t.verb("pause", bundle.id)
    t.equal("status", "paused", bundle.status())
    before = bundle.output()
    time.sleep(0.5)
    t.equal("output while it is paused", before, bundle.output())
    t.match("exec", "is paused", t.hybrid("exec", bundle.id, "true").err)
    t.verb("pause", bundle.id, status=125)
    t.verb("resume", bundle.id)
    t.equal("status", "running", bundle.status())
    t.eventually("it goes on", lambda: len(bundle.output()) > len(before))
    t.verb("pause", bundle.id)
    t.verb("kill", bundle.id, "KILL")
    bundle.await_status("stopped")


@test("bundle/update-and-events", **CONTAINERS)
def update(t):
    bundle = Bundle(t, ["sleep", "1000"])
    bundle.config["linux"]["resources"] = {"memory": {"limit": 64 << 20}, "pids": {"limit": 20}}
    bundle.create()
    t.verb("start", bundle.id)
    name = "hybrid-" + bundle.id
    t.equal("memory limit", str(64 << 20), cgroup_file(name, "memory.limit_in_bytes", "memory.max"))
    t.verb("update", "--memory", "128m", "--pids-limit", "30", bundle.id)
    t.equal("new limit", str(128 << 20), cgroup_file(name, "memory.limit_in_bytes", "memory.max"))
    resources = {"memory": {"limit": 96 << 20}, "pids": {"limit": -1}, "devices": None}
    t.verb("update", "--resources", "-", bundle.id, stdin=json.dumps(resources).encode())
    t.equal("from stdin", (str(96 << 20), "max"), (cgroup_file(name, "memory.limit_in_bytes", "memory.max"),
                                                   cgroup_file(name, "pids.max", "pids.max")))
    event = json.loads(t.verb("events", "--stats", bundle.id))
    t.equal("event", ("stats", bundle.id, 96 << 20),
            (event["type"], event["id"], event["data"]["memory"]["usage"]["limit"]))
    t.check(event["data"]["memory"]["usage"]["usage"] > 0 and event["data"]["pids"] == {"current": 1}, f"{event}")


@test("bundle/rates-of-disks-are-refused")
def disk_rates(t):
    """A bundle has no disks of hybrid's: an annotation that limits them is refused by its name, in both isolations."""
    bundle = Bundle(t, ["true"])
    bundle.config["annotations"] = {"hybrid.isolation": t.isolation, "hybrid.disk.writeBps": "10000000"}
    t.match("error", r"annotations\.hybrid\.disk\.writeBps: .*linux\.resources\.blockIO", bundle.create(status=125))


@test("bundle/isolation-is-never-weaker", **CONTAINERS)
def isolation(t):
    """What a VM cannot give is refused by its field, before anything is started."""
    bundle = Bundle(t, ["true"])
    bundle.config["annotations"] = {"hybrid.isolation": "vms"}
    t.match("a misspelt one", "must be", bundle.create(status=125))
    bundle.config["annotations"] = {"hybrid.isolation": "vm"}
    good = copy.deepcopy(bundle.config)

    def refused(field, **settings):
        t.match(field, f"as a VM: {field}.*nothing weaker", bundle.create(status=125, **settings))
        bundle.config = copy.deepcopy(good)

    for kind in ("pid", "ipc", "uts", "network"):
        for namespace in bundle.config["linux"]["namespaces"]:
            if namespace["type"] == kind:
                namespace["path"] = "/proc/1/ns/" + {"network": "net"}.get(kind, kind)
        refused(f"linux.namespaces: {kind}")
    bundle.config["linux"]["namespaces"] = [each for each in good["linux"]["namespaces"] if each["type"] != "network"]
    refused("linux.namespaces: network")
    bundle.config["linux"]["devices"] = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}]
    refused(r"linux.devices\[0\] \(/dev/fuse\)")
    bundle.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/agent"}
    refused("linux.seccomp: SCMP_ACT_NOTIFY")
    bundle.config["hooks"] = {"createContainer": [{"path": "/bin/true"}]}
    refused("hooks.createContainer")
    refused("--cgroup-manager=disabled", before=("--cgroup-manager", "disabled"))
    bundle.config = copy.deepcopy(good)
    del bundle.config["annotations"]
    link = bundle.path + "/hybrid-vm"
    os.symlink(t.host.hybrid, link)
    bundle.config["hooks"] = {"createContainer": [{"path": "/bin/true"}]}
    t.match("by name", "as a VM: hooks", bundle.create(status=125, program=link))
    plan = t.finish([link, "run", "--dry-run", "--isolation=container", t.host.image("test")], None, 20, None)
    t.match("an image by that name", "isolation +vm", plan.out)


def in_vm(t, command, **process):
    bundle = Bundle(t, command, **process)
    bundle.config["annotations"] = {"hybrid.isolation": "vm"}
    bundle.config["linux"]["resources"] = {"memory": {"limit": 96 << 20}}
    return bundle


def resume_half_paused(t, bundle):
    """As a pause leaves it that is killed before it reaches the monitor, and a resume after it did."""
    path = f"{t.host.root}/{bundle.id}/state.json"
    with open(path, encoding="utf-8") as file:
        recorded = json.load(file)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({**recorded, "status": "paused"}, file)
    t.equal("recorded status", "paused", bundle.status())
    t.verb("resume", bundle.id)
    t.equal("status", "running", bundle.status())


def exec_detached(t, bundle):
    """As an engine runs a second command: with its own profile, and a pipe that it forgot to close."""
    process = {"cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}}
    good = t.file("process.json", json.dumps({**process, "args": ["sh", "-c", "echo ran > /ran; exec sleep 1000"],
                                              "apparmorProfile": "docker-default"}))
    bad = t.file("process.json", json.dumps({**process, "args": ["nosuch"]}))
    pid_file, (reader, writer) = bundle.path + "/pid2", os.pipe()
    t.verb("exec", "--detach", "--pid-file", pid_file, "--process", good, bundle.id, stdout=subprocess.DEVNULL,
           stderr=subprocess.DEVNULL, pass_fds=(writer,))
    os.close(writer)
    with open(pid_file, encoding="ascii") as file:
        t.equal("its process", "hybrid-exec", process_stat(int(file.read()))[0])
    with open(reader, "rb") as leaked:
        t.check(select.select([leaked], [], [], 0)[0], "its process keeps the pipe")
    t.eventually("exec --detach", lambda: os.path.exists(bundle.path + "/rootfs/ran"))
    failed = t.hybrid("exec", "--detach", "--process", bad, bundle.id)
    t.equal("exec --detach of nothing", 127, failed.exit, failed)
    t.match("its message", "nosuch", failed.err)


@test("bundle/vm-life", isolations=("vm",))
def vm_life(t):
    """Every call of an engine, on a bundle in a VM; its files are the host's, and nothing is left."""
    bundle = in_vm(t, "echo up; cat /volume/in > /out; trap 'echo down; exit 7' TERM; while :; do sleep 0.1; done")
    volume = bundle.path + "/volume"
    os.makedirs(volume)
    with open(volume + "/in", "w", encoding="utf-8") as file:
        file.write("through a volume\n")
    bundle.config["mounts"].append({"destination": "/volume", "type": "bind", "source": "volume", "options": ["rbind", "ro"]})
    bundle.config["linux"]["cgroupsPath"] = f"/{bundle.id}-vm"
    bundle.config["process"]["apparmorProfile"] = "docker-default"  # as engines have it on hosts with AppArmor
    log = t.file("log", "")
    t.equal("create", "", bundle.create("--pid-file", bundle.path + "/pid", before=("--log", log)))
    t.match("the log", "level=warning .*apparmorProfile is left out", open(log, encoding="utf-8").read())
    pid = int(open(bundle.path + "/pid", encoding="ascii").read())
    state = bundle.state()
    t.equal("state", ("created", pid), (state["status"], state["pid"]))
    t.match("the cgroup of its process", f"/{bundle.id}-vm", open(f"/proc/{pid}/cgroup", encoding="ascii").read())
    t.equal("the root directory of its process", sorted(os.listdir(bundle.path + "/rootfs")),
            sorted(os.listdir(f"/proc/{pid}/root")))
    t.equal("output before the start", "", bundle.output())
    t.verb("start", bundle.id)
    bundle.await_output("up\n")
    t.match("start again", "is running", t.hybrid("start", bundle.id).err)
    t.eventually("what it wrote", lambda: os.path.exists(bundle.path + "/rootfs/out") and bundle.read("out"))
    t.equal("what it wrote", "through a volume\n", bundle.read("out"))
    t.check(t.verb("exec", bundle.id, "cat", "/proc/sys/kernel/random/boot_id")
            != open("/proc/sys/kernel/random/boot_id", encoding="ascii").read(), "it runs on the host's kernel")
    t.equal("exec", 3, t.hybrid("exec", bundle.id, "sh", "-c", "exit 3").exit)
    exec_detached(t, bundle)
    listed = dict(line.split(maxsplit=1) for line in t.verb("ps", bundle.id).splitlines()[1:])  # each has a command
    t.check(str(pid) in listed and any("hybrid-vmm" in command for command in listed.values()), f"ps: {listed}")
    t.check(json.loads(t.verb("events", "--stats", bundle.id))["data"]["memory"]["usage"]["usage"] > 0, "no memory is used")
    t.verb("pause", bundle.id)
    t.equal("status", "paused", bundle.status())
    t.verb("resume", bundle.id)
    resume_half_paused(t, bundle)
    t.match("update of memory", "is a VM: .* --cpu-", t.hybrid("update", "--memory", "1g", bundle.id).err)
    t.verb("update", "--cpu-quota", "200000", bundle.id)
    t.verb("kill", bundle.id, "TERM")
    bundle.await_output("down\n")
    bundle.await_status("stopped")
    t.verb("delete", bundle.id)
    t.equal("what is left of it", [], t.host.traces(bundle.id))


@test("bundle/vm-run", isolations=("vm",))
def vm_run(t):
    """The status and the output of run --bundle; a command that a mount brings, or nothing; kill -9 of the monitor."""
    t.equal("output", "out\n", in_vm(t, "echo out; exit 5").run(status=5))
    brought = in_vm(t, "echo brought")  # sh is a link to what is mounted
    os.rename(brought.path + "/rootfs/bin/busybox", brought.path + "/busybox")
    brought.config["mounts"].append({"destination": "/bin/busybox", "type": "bind", "source": brought.path + "/busybox",
                                     "options": ["rbind", "ro"]})
    t.equal("with the file of its command mounted", "brought\n", brought.run())
    missing = in_vm(t, ["nosuch"])
    t.match("stderr of create", "nosuch.*not found", missing.create(status=127))
    missing.config["mounts"].append({"destination": "/bin/more", "type": "bind", "source": missing.path, "options": ["rbind"]})
    missing.write()  # it might be there
    result = t.hybrid("run", "--bundle", missing.path, missing.id)
    t.equal("exit status", 127, result.exit, result)
    t.match("stderr", "nosuch", result.err)
    killed = in_vm(t, "echo up; sleep 1000")
    killed.create("--pid-file", killed.path + "/pid")
    t.verb("start", killed.id)
    killed.await_output("up\n")
    os.kill(int(open(killed.path + "/pid", encoding="ascii").read()), signal.SIGKILL)
    killed.await_status("stopped")
    t.verb("delete", killed.id)
    t.equal("what is left of it", [], t.host.traces(killed.id))


@test("bundle/vm-killed-at-its-start", isolations=("vm",), seconds=60)
def vm_killed_at_start(t):
    """A guest that never gets anywhere is killed like any other, while its start is awaited."""
    bundle = in_vm(t, ["true"])
    bundle.create("--pid-file", bundle.path + "/pid",
                  env={**t.host.env, "HYBRID_VM_KERNEL_ARGUMENTS": "root=/dev/absent rootwait"})
    pid = int(open(bundle.path + "/pid", encoding="ascii").read())
    start = t.spawn(t.command("start", bundle.id), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    t.eventually("the VM is there", lambda: any((process_stat(each) or ("",))[0] == "hybrid-vmm" for each in children_below(pid)))
    t.match("a second start", "is being used|started already", t.hybrid("start", bundle.id).err)
    t.verb("kill", bundle.id, "KILL")
    t.match("stderr of start", "was killed while it was being started", start.communicate(timeout=20 * t.slow)[1].decode())
    t.equal("exit status of start", 125, start.returncode)
    bundle.await_status("stopped")
    t.verb("delete", bundle.id)
    t.equal("what is left of it", [], t.host.traces(bundle.id))


@test("bundle/log", **CONTAINERS)
def log(t):
    """The last line is what the shim reports; global options with one dash, as Go programs write them."""
    bundle = Bundle(t, ["true"])
    path = bundle.path + "/log"
    t.verb("--root", t.host.root, "--log", path, "--log-format", "json", "delete", bundle.id, status=125)
    t.verb("-log", path, "-log-format=json", "-debug", "state", bundle.id, status=125)
    t.verb("--log", path, "--log-format", "json", "start", bundle.id, status=125)
    t.verb("--log", path, "--log-format", "json", "--debug", "kill", bundle.id, "9", status=125)
    with open(path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    t.equal("levels", ["error", "debug", "error", "error", "debug", "error"], [line["level"] for line in lines])
    for number in (0, 2, 3, 5):
        t.match("message", f"{bundle.id} does not exist", lines[number]["msg"])
    t.equal("call", f"kill {bundle.id}", lines[4]["msg"])
    unknown = ["CAP_NOSUCH", "é" * 40, "CAP_\n\x1b[2J", *(f"CAP_X{number}" for number in range(50))]
    bundle.config["process"]["capabilities"] = {kind: ["CAP_CHOWN", *unknown] for kind in ("bounding", "permitted")}
    bundle.write()
    t.verb("--log", path, "run", "--bundle", bundle.path, bundle.id)
    with open(path, encoding="utf-8") as file:
        warnings = [line for line in file if "level=warning" in line]
    t.equal("warnings", 6, len(warnings))
    t.match("no capability", '"CAP_NOSUCH.* is no capability', warnings[0])
    t.match("a cut name", '"' + "é" * 31 + '.* is no capability', warnings[1])
    t.match("an escape sequence", r'"CAP_\?\?\[2J.* is no capability', warnings[2])
    t.match("the others", "48 more names are no capabilities", warnings[5])
    t.match("no checkpoints", "checkpoint is not supported", t.hybrid("checkpoint", bundle.id).err)


@test("bundle/features", **CONTAINERS)
def features(t):
    """What `features` lists is accepted, and nothing else."""
    listed = json.loads(t.verb("features"))
    seccomp = listed["linux"]["seccomp"]
    bundle = Bundle(t, ["true"])

    def accepted(change):
        bundle.config = copy.deepcopy(CONFIG)
        change(bundle.config)
        bundle.write()
        return t.hybrid("run", "--bundle", bundle.path, bundle.id).exit == 0

    def filtered(key, value):
        rule = {"names": ["uname"], "action": "SCMP_ACT_ERRNO"}
        profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
        if key == "action":
            rule["action"] = value
        elif key == "operator":
            rule["args"] = [{"index": 0, "value": 1, "op": value}]
        else:
            profile[key] = [value]
        return lambda config: config["linux"].update(seccomp=profile)

    # An agent must listen for the first; the second is of use only with the first.
    tried = [filtered(key, value) for key, values in
             (("action", seccomp["actions"]), ("operator", seccomp["operators"]), ("architectures", seccomp["archs"]),
              ("flags", seccomp["supportedFlags"])) for value in values
             if value not in ("SCMP_ACT_NOTIFY", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV")]
    # Mapped ids have a row of their own; "bind" makes another kind of mount, and is tried with each option.
    options = [name for name in listed["mountOptions"] if name not in ("idmap", "ridmap")]
    tried += [lambda config, name=name: config["mounts"].append(
        {"destination": "/bound", "type": "none", "source": bundle.path, "options": ["bind", name]}) for name in options]
    tried += [lambda config, kind=kind: config["linux"].update(
        namespaces=[space for space in CONFIG["linux"]["namespaces"] if space["type"] != kind] + [{"type": kind}])
              for kind in listed["linux"]["namespaces"] if kind != "user"]
    t.equal("listed, but refused", [], [number for number, change in enumerate(tried) if not accepted(change)])
    unlisted = [filtered("action", "SCMP_ACT_NOSUCH"), filtered("operator", "SCMP_CMP_NOSUCH"),
                filtered("architectures", "SCMP_ARCH_NOSUCH"), filtered("flags", "SECCOMP_FILTER_FLAG_NEW_LISTENER"),
                lambda config: config["mounts"].append({"destination": "/bound", "type": "none", "source": bundle.path,
                                                        "options": ["bind", "nosuch"]}),
                lambda config: config["linux"]["namespaces"].append({"type": "nosuch"}),
                lambda config: config["process"].update(selinuxLabel="a:b:c:d"),
                lambda config: config["linux"].update(intelRdt={"closID": "x"})]
    t.equal("not listed, but accepted", [], [number for number, change in enumerate(unlisted) if accepted(change)])


@test("bundle/one-dash", **CONTAINERS)
def one_dash(t):
    """Options with one dash, as callers written in Go may have them, also where a verb has letters that would fit."""
    bundle = Bundle(t, ["sleep", "1000"])
    process = t.file("process.json", json.dumps({**CONFIG["process"], "args": ["echo", "in"]}))
    bundle.create("-no-pivot", "-no-new-keyring")
    t.verb("start", bundle.id)
    t.equal("exec", "in\n", t.verb("exec", "-process", process, "-detach", "-pid-file", bundle.path + "/exec", bundle.id))
    t.check(os.path.exists(bundle.path + "/exec"), "exec -pid-file wrote none")
    t.equal("processes", [bundle.state()["pid"]], json.loads(t.verb("ps", "-format", "json", bundle.id))[:1])
    t.verb("kill", "-all", bundle.id, "KILL")
    t.verb("delete", "-force", bundle.id)


@test("bundle/preserved-descriptors", **CONTAINERS)
def preserved(t):
    bundle = Bundle(t, "read line <&3; echo $line; for fd in 0 1 2 3 4 5 6 7 8 9; do test -e /proc/self/fd/$fd "
                       "&& echo $fd; done; true")
    reader, writer = os.pipe()
    os.write(writer, b"through the pipe\n")
    os.close(writer)
    os.set_inheritable(reader, True)
    bundle.write()
    # Its number is another one in this process, of two digits if others have many open, which dash does not know: bash puts it
    # there, and leaks a second one.
    script = f'exec 3<&{reader} 4<&{reader}; exec "$0" "$@"'
    result = t.finish(["bash", "-c", script, t.host.hybrid, "run", "--bundle", bundle.path, "--preserve-fds", "1",
                       bundle.id], None, 20, None, pass_fds=(reader,))
    os.close(reader)
    t.equal("exit status", 0, result.exit, result)
    t.equal("what it has", "through the pipe\n0\n1\n2\n3\n", result.out)
    missing = t.hybrid("run", "--bundle", bundle.path, "--preserve-fds", "9", bundle.id)
    t.match("descriptors that are not there", "is not open", missing.err)


def run_as_service(t, bundle, sockets, *options, number="$$"):
    """hybrid run as what systemd has opened a socket for (sd_listen_fds(3)): descriptor 3; 4 is the null device."""
    reader, writer = socket.socketpair()
    with reader, writer:
        script = f'exec 3<&{reader.fileno()} 4</dev/null; export LISTEN_FDS={sockets} LISTEN_PID={number}; exec "$0" "$@"'
        return t.finish(["bash", "-c", script, t.host.hybrid, "run", "--bundle", bundle.path, *options, bundle.id], None, 60, None,
                        pass_fds=(reader.fileno(),))


@test("bundle/sockets-of-systemd")
def listening(t):
    """What podman hands on where its unit is started by a socket."""
    bundle = Bundle(t, "echo $LISTEN_FDS $LISTEN_PID; for fd in 3 4 5; do readlink /proc/self/fd/$fd; done; true")
    bundle.config["process"]["env"] += ["LISTEN_FDS=7", "LISTEN_PID=7"]
    bundle.config["annotations"] = {"hybrid.isolation": t.isolation}
    bundle.write()
    result = run_as_service(t, bundle, 1, "--preserve-fds", "1")
    if t.isolation == "vm":
        t.match("stderr", "LISTEN_FDS.*cannot be passed into a VM", result.err)
        t.equal("exit status and what is left", (125, []), (result.exit, t.host.traces(bundle.id)))
        return
    t.match("what it has", r"^1 1\nsocket:\[\d+\]\n/dev/null\n$", result.out)
    t.equal("exit status", 0, result.exit, result)
    t.match("what are none", "LISTEN_FDS, many, is no number", run_as_service(t, bundle, "many").err)
    t.match("too many", r"LISTEN_FDS=900: descriptor \d+ is not open", run_as_service(t, bundle, 900).err)
    result = run_as_service(t, bundle, 1, number=1)
    t.equal("those of another process", (0, "7 7\n"), (result.exit, result.out))


@test("bundle/selinux-is-not-there")
def no_selinux(t):
    """tests/conformance/selinux is where it is."""
    if os.path.exists("/sys/fs/selinux/enforce"):
        raise Skip("this host has SELinux")
    bundle = Bundle(t, "echo ran", selinuxLabel="system_u:system_r:container_t:s0:c1,c2")
    bundle.config["annotations"] = {"hybrid.isolation": t.isolation}
    t.match("create", "process.selinuxLabel.*remove it", bundle.create(status=125))
    # What it would label are file systems: a kernel without SELinux knows no labels of files.
    del bundle.config["process"]["selinuxLabel"]
    bundle.config["linux"]["mountLabel"] = "system_u:object_r:container_file_t:s0:c1,c2"
    t.equal("with a mount label", "ran\n", bundle.run())


@test("bundle/systemd-is-not-there")
def no_systemd(t):
    """tests/conformance/systemd is where it is."""
    if os.path.exists("/run/systemd/system"):
        raise Skip("systemd runs here")
    for before in (("--systemd-cgroup",), ("--cgroup-manager", "systemd")):
        bundle = Bundle(t, "true")
        bundle.config["annotations"] = {"hybrid.isolation": t.isolation}
        bundle.config["linux"]["cgroupsPath"] = "machine.slice:hybrid:" + bundle.id
        t.match("create", "does not run here.*cgroupfs", bundle.create(status=125, before=before))
        t.match("state", "does not exist", t.hybrid("state", bundle.id).err)
        shutil.rmtree(bundle.path)
    t.match("run", "does not run here", t.hybrid("--systemd-cgroup", "run", "--rm", "--isolation", t.isolation,
                                                 t.host.image("test"), "true").err)


@test("bundle/cgroup-of-others", **CONTAINERS)
def foreign_cgroup(t):
    """Its cgroup is killed with it: one with other processes in it is refused."""
    first, second = Bundle(t, ["sleep", "1000"]), Bundle(t, ["true"])
    first.create()
    second.config["linux"]["cgroupsPath"] = f"/hybrid-{first.id}"
    # The first one's child may have the lock of its maker for a moment yet, on a busy machine.
    t.match("create", "(processes|being made) in the cgroup", second.create(status=125))
    t.equal("the other one", "created", first.status())


@test("bundle/own-cgroup-only", **CONTAINERS)
def own_cgroup(t):
    """Without a cgroup namespace as well, a container does not see the host's cgroups."""
    bundle = Bundle(t, "ls /sys/fs/cgroup /sys/fs/cgroup/memory 2>/dev/null; cat /sys/fs/cgroup/memory/cgroup.procs "
                       "/sys/fs/cgroup/cgroup.procs 2>/dev/null | grep -c .")
    bundle.config["linux"]["namespaces"] = [{"type": "pid"}, {"type": "mount"}]
    bundle.config["mounts"] += [
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}]
    out = bundle.run()
    t.check("hybrid-" not in out and int(out.split()[-1]) < 8, out)


@test("bundle/members-of-the-configuration", **CONTAINERS)
def members(t):
    bundle = Bundle(t, "uname -m; cat /proc/self/oom_score_adj; grep -c 'boottime *100000' /proc/self/timens_offsets; "
                       "cat /proc/sys/kernel/msgmax; hostname; grep ^Groups: /proc/self/status; grep policy /proc/self/sched",
                    user={"uid": 0, "gid": 0, "additionalGids": [0, 7, 0, 7, 1]},
                    scheduler={"policy": "SCHED_BATCH"}, oomScoreAdj=500,
                    ioPriority={"class": "IOPRIO_CLASS_BE", "priority": 6},
                    rlimits=[{"type": "RLIMIT_NOFILE", "soft": 18446744073709551615, "hard": 18446744073709551615}])
    bundle.config["linux"]["personality"] = {"domain": "LINUX32"}
    bundle.config["linux"]["namespaces"].append({"type": "time"})
    bundle.config["linux"]["timeOffsets"] = {"boottime": {"secs": 100000, "nanosecs": 0}}
    bundle.config["linux"]["sysctl"] = {"kernel.msgmax": "4096"}
    bundle.config["hostname"] = "named"
    lines = bundle.run().splitlines()
    t.equal("what it sees", ["i686", "500", "1", "4096", "named", "Groups:\t0 1 7 "], lines[:6])
    t.match("scheduler", r":\s+3$", lines[6] if len(lines) > 6 else "policy : 3")
    bundle.config["process"]["args"], bundle.id = ["sleep", "1000"], t.name()
    bundle.create()
    t.verb("start", bundle.id)
    t.equal("the machine of a further process", "i686\n", t.verb("exec", bundle.id, "uname", "-m"))
    t.verb("delete", "--force", bundle.id)


@test("bundle/copy-up", **CONTAINERS)
def copy_up(t):
    bundle = Bundle(t, "stat -c '%a %u' /data/file; readlink /data/link; cat /data/sub/file; touch /data/new")
    os.makedirs(bundle.path + "/rootfs/data/sub")
    for name in ("file", "sub/file"):
        with open(f"{bundle.path}/rootfs/data/{name}", "w", encoding="ascii") as file:
            file.write(name + "\n")
    os.chmod(bundle.path + "/rootfs/data/file", 0o4750)
    os.chown(bundle.path + "/rootfs/data/file", 7, 8)
    os.chmod(bundle.path + "/rootfs/data/file", 0o4750)
    os.symlink("/etc/passwd", bundle.path + "/rootfs/data/link")
    bundle.config["mounts"].append({"destination": "/data", "type": "tmpfs", "source": "tmpfs",
                                    "options": ["tmpcopyup"]})
    t.equal("stdout", "4750 7\n/etc/passwd\nsub/file\n", bundle.run())
    t.check(not os.path.exists(bundle.path + "/rootfs/data/new"), "the covered directory was written to")


@test("bundle/joined-namespaces", **CONTAINERS)
def joined(t):
    first, second = Bundle(t, ["sleep", "1000"]), Bundle(t, "hostname; readlink /proc/self/ns/net; ps | grep -c sleep")
    first.config["hostname"] = "shared"
    first.create()
    t.verb("start", first.id)
    pid = first.state()["pid"]
    second.config["linux"]["namespaces"] = [
        {"type": "mount"}, *({"type": kind, "path": f"/proc/{pid}/ns/{name}"}
                             for kind, name in (("pid", "pid"), ("network", "net"), ("uts", "uts"), ("ipc", "ipc")))]
    lines = second.run().splitlines()
    t.equal("what the second one sees", ["shared", os.readlink(f"/proc/{pid}/ns/net")], lines[:2])
    t.check(int(lines[2]) >= 1, "the first one's processes are not seen")


@test("bundle/mapped-mounts", **CONTAINERS)
def mapped(t):
    """Ids of a bind mount by a mapping of its own, and by the container's user namespace."""
    source = t.host.files + "/mapped"
    os.makedirs(source, exist_ok=True)
    with open(source + "/file", "w", encoding="ascii") as file:
        file.write("content\n")
    os.chown(source + "/file", 5, 6)
    bundle = Bundle(t, "stat -c '%u:%g' /data/file")
    mount = {"destination": "/data", "source": source, "options": ["bind"],
             "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 100}],
             "gidMappings": [{"containerID": 0, "hostID": 2000, "size": 100}]}
    bundle.config["mounts"].append(mount)
    bundle.write()
    result = t.hybrid("run", "--bundle", bundle.path, bundle.id)
    if "its file system may not know how" in result.err:
        raise Skip(result.err.strip())
    t.equal("stdout", "1005:2006\n", result.out, result)
    inside = Bundle(t, "stat -c '%u:%g' /data/file && touch /data/new && stat -c '%u' /data/new")
    inside.config["mounts"].append({"destination": "/data", "source": source, "options": ["bind", "idmap"]})
    inside.config["mounts"][2]["options"] = ["newinstance", "ptmxmode=0666", "mode=0620"]
    inside.config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uid", "gid"):
        inside.config["linux"][kind + "Mappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    for directory in ("proc", "dev", "data"):  # the root in there cannot make them: it is another's here
        os.mkdir(f"{inside.path}/rootfs/{directory}")
    t.equal("in a user namespace", "5:6\n0\n", inside.run())
    t.equal("the owner outside", 0, os.stat(source + "/new").st_uid)


def make_oom_score(t, score):
    """One that tells its own, in a user namespace."""
    bundle = Bundle(t, "cat /proc/self/oom_score_adj; exec sleep 1000", oomScoreAdj=score)
    bundle.config["mounts"][2]["options"] = ["newinstance", "ptmxmode=0666", "mode=0620"]
    bundle.config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uid", "gid"):
        bundle.config["linux"][kind + "Mappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    for directory in ("proc", "dev"):
        os.mkdir(f"{bundle.path}/rootfs/{directory}")
    return bundle


@test("bundle/vm-oom-score-in-a-user-namespace", isolations=("vm",))
def oom_score_in_a_guest(t):
    """Below 0 as well, which processes in a user namespace cannot choose themselves."""
    bundle = make_oom_score(t, -500)
    bundle.config["annotations"] = {"hybrid.isolation": "vm"}
    bundle.create()
    t.verb("start", bundle.id)
    bundle.await_output("-500\n")


@test("bundle/oom-score-in-a-user-namespace", **CONTAINERS)
def oom_score(t):
    """The files that set it are the real root's, for the first process and for those that join it."""
    bundle = make_oom_score(t, 200)
    bundle.create()
    t.verb("start", bundle.id)
    bundle.await_output("200\n")
    process = t.file("process.json", json.dumps({
        "cwd": "/", "args": ["cat", "/proc/self/oom_score_adj"], "env": ["PATH=/bin"], "oomScoreAdj": 300,
        "user": {"uid": 0, "gid": 0}}))
    t.equal("exec", "300\n", t.verb("exec", "--process", process, bundle.id))
    if not shutil.which("strace"):
        raise Skip("strace is not installed")
    # Dumpable, the workload could take it over while it still has what the workload shall not have.
    trace = t.file("trace", "")
    traced = ["strace", "-f", "-o", trace, "-e", "trace=prctl", *t.command("exec", "--process", process, bundle.id)]
    t.equal("traced", "300\n", t.finish(traced, None, 20, None).out)
    with open(trace, encoding="utf-8") as file:
        calls = file.read()
    t.check("PR_SET_DUMPABLE, SUID_DUMP_DISABLE" in calls, f"never made undumpable: {calls}")
    t.check("SUID_DUMP_USER" not in calls, f"dumpable for a while: {calls}")


@test("bundle/mounts-do-not-reach-the-host", **CONTAINERS)
def private(t):
    """Most hosts' mounts are shared: a root or a source cloned there must be taken out of their peer groups."""
    source = t.file("mapped-file", "content")
    bundle = Bundle(t, "cat /proc/self/mountinfo")
    bundle.config["mounts"].append({"destination": "/data", "source": source, "options": ["bind", "idmap"]})
    bundle.config["mounts"][2]["options"] = ["newinstance", "ptmxmode=0666", "mode=0620"]
    bundle.config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uid", "gid"):
        bundle.config["linux"][kind + "Mappings"] = [{"containerID": 0, "hostID": 100000, "size": 1000}]
    for directory in ("proc", "dev"):
        os.mkdir(f"{bundle.path}/rootfs/{directory}")
    with open(bundle.path + "/rootfs/data", "w", encoding="ascii"):
        pass
    bundle.write()
    program = t.command("run", "--bundle", bundle.path, bundle.id)
    script = '"$@"; echo "host: $?"; cat /proc/self/mountinfo'
    host = ["unshare", "--mount", "--propagation", "shared", "sh", "-c", script, "sh", *program]
    result = t.finish(host, None, 20, None)
    if "its file system may not know how" in result.err:
        raise Skip(result.err.strip())
    inside, _, outside = result.out.partition("host: 0\n")
    t.check(outside, f"it did not run: {result.err}")
    t.check(" /data " in inside, f"the mount is there: {inside}")
    t.check("shared:" not in inside, f"mounts with peers on the host: {inside}")
    t.check(bundle.path not in outside, f"mounts on the host: {outside}")


@test("bundle/mount-namespace-of-the-host", **CONTAINERS)
def host_mounts(t):
    """Its root would be exchanged for everybody."""
    bundle = Bundle(t, ["true"])
    for path, complaint in (("/proc/self/ns/mnt", "it is the host's"), (None, "must have a mount namespace")):
        bundle.config["linux"]["namespaces"] = [{"type": "pid"}, *([{"type": "mount", "path": path}] if path else [])]
        t.match(f"{path}", complaint, bundle.create(status=125))


@test("bundle/namespaces-of-the-host-by-path", **CONTAINERS)
def host_namespaces(t):
    """What would rename or tune the host is refused as without a namespace; joining alone is not."""
    def now(name):  # a failure of this row must change nothing
        with open("/proc/sys/" + name.replace(".", "/"), encoding="ascii") as file:
            return file.read().strip()

    def sysctl(name):
        return {"linux": {"sysctl": {name: now(name)}}}

    for kind, file, changes, complaint in (
            ("uts", "uts", {"hostname": now("kernel.hostname")}, "hostname"),
            ("network", "net", sysctl("net.ipv4.ip_forward"), "net.ipv4.ip_forward"),
            ("ipc", "ipc", sysctl("kernel.msgmax"), "kernel.msgmax"),
            ("cgroup", "cgroup", {"mounts": [{"destination": "/cgroups", "type": "cgroup", "source": "cgroup"}]},
             "/cgroups would show")):
        for change in (True, False):
            bundle = Bundle(t, ["true"])
            for space in bundle.config["linux"]["namespaces"]:
                if space["type"] == kind:
                    space["path"] = f"/proc/self/ns/{file}"
            for key, value in changes.items() if change else ():
                if isinstance(value, list):
                    bundle.config[key] += value
                elif isinstance(value, dict):
                    bundle.config[key].update(value)
                else:
                    bundle.config[key] = value
            errors = bundle.create(status=125 if change else 0)
            t.match(kind, f"the host's: .*{complaint}" if change else "^$", errors)


@test("bundle/namespace-that-is-none", **CONTAINERS)
def no_namespace(t):
    """What is no namespace is not even opened: a named pipe would have create wait for its writer."""
    for make in (os.mkfifo, os.mkdir):
        bundle = Bundle(t, ["true"])
        make(bundle.path + "/none")
        for space in bundle.config["linux"]["namespaces"]:
            if space["type"] == "uts":
                space["path"] = bundle.path + "/none"
        t.match("stderr", "linux.namespaces: .*/none is no namespace", bundle.create(status=125))


@test("bundle/create-killed-at-any-moment", seconds=120)
def killed_create(t):
    """kill -9 of create: delete --force clears up whatever there is, and nothing stays (the harness looks)."""
    for step in range(25):
        bundle = Bundle(t, ["sleep", "1000"])
        bundle.config["annotations"] = {"hybrid.isolation": t.isolation}
        bundle.write()
        with open(os.devnull, "wb") as output:
            process = t.spawn(t.command("create", "--bundle", bundle.path, bundle.id), stdin=subprocess.DEVNULL,
                              stdout=output, stderr=output)
            time.sleep(0.0008 * step * t.slow)
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        t.verb("delete", "--force", bundle.id)
        t.equal("traces", [], t.host.traces(bundle.id))


@test("bundle/many", seconds=120, **CONTAINERS)
def many(t):
    """Twenty at once, each through its whole life."""
    bundles = [Bundle(t, ["sleep", "1000"]) for _ in range(20)]

    def each(*arguments):
        running = [t.spawn(t.command(*(word if word != "ID" else bundle.id for word in arguments)),
                           stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                           cwd=bundle.path) for bundle in bundles]
        t.equal(f"exit statuses of {arguments[0]}", [0] * len(bundles),
                [process.wait(60 * t.slow) for process in running])
    for bundle in bundles:
        bundle.write()
    each("create", "ID")
    each("start", "ID")
    each("kill", "ID", "KILL")
    for bundle in bundles:
        bundle.await_status("stopped")
    each("delete", "ID")


@test("bundle/working-directory-outside", **CONTAINERS)
def outside(t):
    """A descriptor that leaks from the caller is no way out, at create as at exec (CVE-2024-21626)."""
    leak = os.open("/", os.O_RDONLY)
    t.closers.append(lambda: os.close(leak))
    running = Bundle(t, ["sleep", "1000"])
    running.create()
    t.verb("start", running.id)
    for number in {*range(3, 12), leak}:
        bundle = Bundle(t, "cat /etc/shadow; pwd", cwd=f"/proc/self/fd/{number}")
        bundle.create(status=125, pass_fds=(leak,))
        process = {"cwd": f"/proc/self/fd/{number}", "args": ["pwd"], "env": ["PATH=/bin"]}
        result = t.hybrid("exec", "--process", t.file("process.json", json.dumps(process)), running.id,
                          pass_fds=(leak,))
        t.equal(f"exec with descriptor {number}", 125, result.exit, result)


@test("bundle/working-directory-of-a-read-only-root", **CONTAINERS)
def made_in_time(t):
    """Images name directories that they lack: kubelets run such with readOnlyRootFilesystem, and other runtimes make them."""
    bundle = Bundle(t, "pwd; stat -c '%a %u' .; touch file || touch /file", cwd="/missing/too")
    bundle.config["root"]["readonly"] = True
    t.equal("what it prints", "/missing/too\n755 0\n", bundle.run(status=1))
    bundle = Bundle(t, ["true"])
    bundle.config["mounts"].append({"destination": "/bin", "source": "/etc/hostname", "type": "bind", "options": ["bind"]})
    t.match("what dockerd adds advice to", "mount a file on /bin.*: Not a directory", bundle.create(status=125))


@test("bundle/own-program-is-out-of-reach", **CONTAINERS)
def own_program(t):
    """What a container executes of us is a read-only copy, for create, run and exec (CVE-2019-5736)."""
    script = "exec 3</proc/$PPID/exe 2>/dev/null || exec 3</proc/1/exe; (echo x >/proc/self/fd/3) 2>&1; true"
    bundle = Bundle(t, ["/proc/self/exe", "--version"])
    with open(t.host.hybrid, "rb") as file:
        before = file.read()
    bundle.write()
    t.hybrid("run", "--bundle", bundle.path, bundle.id)
    running = Bundle(t, ["sleep", "1000"])
    running.create()
    pid = running.state()["pid"]
    t.check(os.statvfs(f"/proc/{pid}/exe").f_flag & os.ST_RDONLY, "a created container's program is writable")
    t.verb("start", running.id)
    t.hybrid("exec", running.id, "sh", "-c", script)
    with open(t.host.hybrid, "rb") as file:
        t.check(file.read() == before, "the program was changed")
