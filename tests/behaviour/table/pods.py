"""Pods of VMs, as container engines make them: a sandbox that runs nothing, and one VM for all containers."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess

from harness import descendants, process_stat
from table import test
from table.bundles import CONTAINERS, Bundle

TYPE, SANDBOX = "io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"
CRIO_TYPE, CRIO_SANDBOX = "io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"
SHARED = {"network": "net", "ipc": "ipc", "uts": "uts"}
PORT_START = "net.ipv4.ip_unprivileged_port_start"


def make_sandbox(t, **annotations):
    """A bundle whose image would tell if anything of it was executed."""
    bundle = Bundle(t, "echo executed")
    bundle.config["hostname"] = "pod-name"
    bundle.config["linux"]["sysctl"] = {PORT_START: "77"}
    bundle.config["annotations"] = {"hybrid.isolation": "vm", TYPE: "sandbox", SANDBOX: bundle.id, **annotations}
    return bundle


def make_container(t, sandbox, command=("true",), namespaces_of=None, **annotations):
    """One that joins what a pod shares, as engines write it."""
    bundle = Bundle(t, list(command))
    bundle.config["annotations"] = {"hybrid.isolation": "vm", TYPE: "container", SANDBOX: sandbox.id, **annotations}
    pid = (namespaces_of or sandbox).state()["pid"]
    for namespace in bundle.config["linux"]["namespaces"]:
        if namespace["type"] in SHARED:
            namespace["path"] = f"/proc/{pid}/ns/{SHARED[namespace['type']]}"
    return bundle


def started(t, bundle):
    bundle.create()
    t.verb("start", bundle.id)
    return bundle


def namespace(bundle, kind):
    return next(each for each in bundle.config["linux"]["namespaces"] if each["type"] == kind)


@test("pod/sandbox-runs-nothing", **CONTAINERS)
def sandbox(t):
    """Its process sees no file, has no right and no descriptor; its namespaces are as the bundle says."""
    bundle = make_sandbox(t)
    bundle.config["process"]["capabilities"] = {each: ["CAP_SYS_ADMIN"] for each in ("bounding", "effective", "permitted")}
    bundle.create()
    t.equal("state", ("created", "sandbox"), (bundle.status(), bundle.state()["isolation"]))
    t.verb("start", bundle.id)
    pid = bundle.state()["pid"]
    # By the start, what it holds is closed: that is how `start` learns of it.
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    t.equal("its name", "hybrid-pause", status["Name"])
    t.equal("capabilities", {"0" * 16}, {status[each] for each in status if each.startswith("Cap")})
    t.equal("user, group, filter, privileges", ("65534\t" * 4, "65534\t" * 4, "2", "1"),
            (status["Uid"] + "\t", status["Gid"] + "\t", status["Seccomp"], status["NoNewPrivs"]))
    t.equal("its root directory", [], os.listdir(f"/proc/{pid}/root/"))
    t.equal("descriptors", [], os.listdir(f"/proc/{pid}/fd"))
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as file:
        t.match("all mounts", r"^\S+ \S+ \S+ /empty / ro,nosuid,nodev,noexec.* - tmpfs \S+ \S+\n$", file.read())
    for kind, value in (("-u", "pod-name\n"), ("-n", "77\n")):
        command = ["hostname"] if kind == "-u" else ["cat", "/proc/sys/" + PORT_START.replace(".", "/")]
        t.equal(" ".join(command), value, t.finish(["nsenter", "-t", str(pid), kind, *command], None, 20, None).out)
    t.match("exec", "nothing is ever executed", t.hybrid("exec", bundle.id, "sh").err)
    t.match("ps", rf"(?m)^{re.escape(bundle.id)} .* hybrid-pause .* sandbox$", t.verb("ps"))
    for number in ("USR1", "CHLD", "STOP", "CONT"):
        t.verb("kill", bundle.id, number)
    t.verb("pause", bundle.id)
    t.verb("resume", bundle.id)
    t.equal("after a signal that ends nothing", "running", bundle.status())
    t.verb("kill", bundle.id, "TERM")
    bundle.await_status("stopped")
    t.verb("delete", bundle.id)
    t.equal("output", "", bundle.output())
    t.equal("what is left of it", [], t.host.traces(bundle.id))


@test("pod/sandbox-of-podman", **CONTAINERS)
def podmans_sandbox(t):
    """It has no mark: its program is one. Whoever else asks for this program as a VM gets a VM, or an error."""
    bundle = make_sandbox(t)
    bundle.config["annotations"] = {"hybrid.isolation": "vm", "io.container.manager": "libpod"}
    bundle.config["process"]["args"] = ["/catatonit", "-P"]
    started(t, bundle)
    t.equal("isolation", "sandbox", bundle.state()["isolation"])
    os.kill(bundle.state()["pid"], signal.SIGKILL)
    bundle.await_status("stopped")
    for manager, args in ((None, ["/catatonit", "-P"]), ("libpod", ["/catatonit", "-P", "x"]), ("libpod", ["/pause"])):
        other = make_sandbox(t)
        other.config["annotations"] = {"hybrid.isolation": "vm", **({"io.container.manager": manager} if manager else {})}
        other.config["process"]["args"] = args
        errors = other.create(status=None)
        if errors:  # the image has no such program; or no VM can be had here
            t.match(f"{manager} {args}", f'cannot start a VM|cannot execute "{args[0]}"', errors)
        else:
            t.equal(f"{manager} {args}", "vm", other.state()["isolation"])
    plain = make_sandbox(t)
    del plain.config["annotations"]["hybrid.isolation"]
    t.equal("one that no VM was asked for", "executed\n", plain.run())


@test("pod/sandbox-that-is-refused", **CONTAINERS)
def refused_sandbox(t):
    """What pods of VMs cannot share, and marks that nobody honest sets."""
    def change(kind, **member):
        return lambda bundle: namespace(bundle, kind).update(member)

    def drop(kind):
        def apply(bundle):
            del bundle.config["linux"]["sysctl"]  # with the host's network it would be refused itself
            bundle.config["linux"]["namespaces"].remove(namespace(bundle, kind))
        return apply
    for name, apply, why in (
            ("hostPID", drop("pid"), "namespaces: pid: the host's"),
            ("hostIPC", drop("ipc"), "namespaces: ipc: the host's"),
            ("hostNetwork", drop("network"), "namespaces: network: the host's"),
            ("the host's network by path", change("network", path="/proc/self/ns/net"), "is the host's own network"),
            ("ipc of others", change("ipc", path="/proc/self/ns/ipc"), "namespaces: ipc: one that somebody else"),
            ("uts of others", change("uts", path="/proc/self/ns/uts"), "namespaces: uts: one that somebody else"),
            ("hostUsers", lambda bundle: bundle.config["linux"]["namespaces"].append(
                {"type": "user", "path": "/proc/self/ns/user"}), "user, time, or cgroup"),
            ("a hook inside", lambda bundle: bundle.config.update(
                hooks={"createContainer": [{"path": "/bin/true"}]}), "hooks.createContainer"),
            ("another one's id", lambda bundle: bundle.config["annotations"].update({SANDBOX: "another"}), "names another one"),
            ("no id", lambda bundle: bundle.config["annotations"].update({SANDBOX: "../x"}), SANDBOX),
            ("another type", lambda bundle: bundle.config["annotations"].update({TYPE: "pod"}), 'must be "sandbox" or "container"'),
            ("two minds", lambda bundle: bundle.config["annotations"].update({CRIO_TYPE: "container", CRIO_SANDBOX: bundle.id}),
             "say different things")):
        bundle = make_sandbox(t)
        apply(bundle)
        t.match(name, why, bundle.create(status=125))
        t.match("nothing is left", "does not exist", t.hybrid("state", bundle.id).err)
    policy = t.file("policy.json", json.dumps({"version": 1, "rules": [], "default": "vm", "floors": {"denied_sandboxes": True}}))
    os.chmod(policy, 0o600)
    bundle = make_sandbox(t)
    t.match("a policy", "denied_sandboxes forbids", bundle.create(status=125, before=("--policy", policy)))


@test("pod/container-that-is-refused", **CONTAINERS)
def refused_container(t):
    """Whatever is not in its own sandbox's namespaces, or not for its VM, before anything is made."""
    ours, others = started(t, make_sandbox(t)), started(t, make_sandbox(t))
    plain = started(t, Bundle(t, ["sleep", "1000"]))

    def refused(name, why, bundle):
        t.match(name, why, bundle.create(status=125))
        t.match("nothing is left", "does not exist", t.hybrid("state", bundle.id).err)
    refused("another one's sandbox", "is not the namespace of the pod's sandbox",
            make_container(t, others, namespaces_of=ours))
    for kind, file in SHARED.items():
        bundle = make_container(t, ours)
        namespace(bundle, kind)["path"] = f"/proc/{others.state()['pid']}/ns/{file}"
        refused(f"another one's {kind}", f"{kind}: .* is not the namespace of", bundle)
        namespace(bundle, kind)["path"] = "/proc/self/ns/" + file
        refused(f"the host's {kind}", f"{kind}: .* is not the namespace of", bundle)
    for whose in ("self", "1", others.state()["pid"], plain.state()["pid"], ours.state()["pid"] + (1 << 22)):
        bundle = make_container(t, ours)
        namespace(bundle, "pid")["path"] = f"/proc/{whose}/ns/pid"
        refused(f"processes of {whose}", "namespaces: pid: .* is neither the namespace of the pod's sandbox", bundle)
    refused("a sandbox that runs its program", "was made as a container", make_container(t, plain))
    bundle = make_container(t, ours)
    del bundle.config["annotations"]["hybrid.isolation"]
    refused("a container in a sandbox for VMs", "as a container: .* made for VMs", bundle)
    bundle = make_container(t, others, namespaces_of=ours)
    namespace(bundle, "pid")["path"] = ""  # programs in Go write it for what is not set
    refused("no path", "is not the namespace of the pod's sandbox", bundle)
    for identity, why in (("nosuch", "does not exist"), ("../" + ours.id, SANDBOX), ("", SANDBOX), (None, SANDBOX + " is missing")):
        bundle = make_container(t, ours, **{SANDBOX: identity})
        if identity is None:
            del bundle.config["annotations"][SANDBOX]
        refused(f"the id {identity!r}", why, bundle)
    refused("two minds", "say different things", make_container(t, ours, **{CRIO_TYPE: "container", CRIO_SANDBOX: others.id}))
    refused("to be a sandbox", "say different things", make_container(t, ours, **{CRIO_TYPE: "sandbox"}))
    bundle = make_container(t, ours)
    del namespace(bundle, "network")["path"]
    refused("a network of its own", "one network, the sandbox's", bundle)
    bundle = make_container(t, ours)
    bundle.config["linux"]["namespaces"].remove(namespace(bundle, "pid"))
    refused("the VM's own processes", "each container must have one of its own", bundle)
    for resources, why in (({"memory": {"limit": 2 << 30}}, "io.kubernetes.cri.sandbox-memory"), ({"cpu": {"cpus": "0"}}, "resources.cpu.cpus: .*cpuManagerPolicy none.*limit the pod as a whole"),
                           ({"blockIO": {"weight": 100}}, "resources.blockIO.weight: .*limit the pod as a whole"),
                           ({"unified": {"io.weight": "100"}}, "unified: io.weight"),
                           ({"hugepageLimits": [{"pageSize": "2MB", "limit": 2 << 20}]}, r"hugepageLimits\[0\]: .*no huge pages")):
        bundle = make_container(t, ours)
        bundle.config["linux"]["resources"] = resources
        refused(f"{resources}", why, bundle)
    sized = started(t, make_sandbox(t, **{"io.kubernetes.cri.sandbox-memory": "many"}))
    refused("a size that is no number", "sandbox-memory must be a number", make_container(t, sized))
    bundle = make_container(t, ours)
    del bundle.config["annotations"][TYPE]
    refused("no mark", "ipc: a namespace of the host", bundle)
    t.verb("kill", ours.id, "KILL")
    ours.await_status("stopped")
    bundle = make_container(t, others)
    bundle.config["annotations"][SANDBOX] = ours.id
    refused("a sandbox that has ended", "is stopped", bundle)


def end(t, *bundles):
    """Deletes them in this order, and looks for what is left."""
    for bundle in bundles:
        t.verb("delete", "--force", bundle.id)
        t.equal(f"what is left of {bundle.id}", [], t.host.traces(bundle.id))


def keeper_of(t, sandbox):
    """The process that has the pod's VM, and the processes that make it up, by their names."""
    with open(f"{t.host.root}/{sandbox.id}/pod.json", encoding="utf-8") as file:
        pid = json.load(file)["pid"]
    children = [below for below in descendants(os.getpid()) if (process_stat(below) or ("", "", 0))[2] == pid]
    return pid, {process_stat(below)[0]: below for below in children if process_stat(below)}


def make_volume(t, sandbox):
    """A file system of its own on this host. Returns its directory."""
    volume = sandbox.path + "/volume"
    os.mkdir(volume)
    t.equal("a volume", 0, t.finish(["mount", "-t", "tmpfs", "volume", volume], None, 20, None).exit)
    t.closers.insert(0, lambda: t.finish(["umount", "-l", volume], None, 20, None))
    return volume


def holders(device):
    """Which processes of ours have something open on a file system, or have it mounted in a namespace of their own."""
    found, mark, own = [], f" {os.major(device)}:{os.minor(device)} ", os.readlink("/proc/self/ns/mnt")
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            found += [f"{pid}: {fd}" for fd in os.listdir(f"/proc/{pid}/fd") if os.stat(f"/proc/{pid}/fd/{fd}").st_dev == device]
            if os.readlink(f"/proc/{pid}/ns/mnt") != own:
                with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as file:
                    found += [f"{pid}: {line}" for line in file if mark in line]
    return found


def check_let_go(t, what, device, place):
    """A process that is being made, perhaps of a row beside this one, has all mounts of the host for a moment, where they are there."""
    t.equal(what, [], [each for each in holders(device) if f" / {place} " not in each])
    t.eventually(f"{what} a moment later: nobody", lambda: not holders(device))


def add_shm(bundle, shared):
    bundle.config["mounts"].append({"destination": "/dev/shm", "type": "bind", "source": shared, "options": ["rbind"]})
    return bundle


@test("pod/containers-of-one-vm", isolations=("vm",), seconds=240)
def containers(t):
    """They have the sandbox's name, sysctls, network and shared memory, and nothing else of each other."""
    ours = make_sandbox(t)
    shared = os.path.join(ours.path, "shm")
    os.mkdir(shared)
    started(t, add_shm(ours, shared))
    place = make_volume(t, ours)
    first = add_shm(make_container(t, ours, ["sh", "-c", f"hostname; cat /proc/sys/{PORT_START.replace('.', '/')}; uname -r; "
                                             "echo x > /dev/shm/file; echo ready; exec sleep 1000"]), shared)
    first.config["linux"]["resources"] = {"memory": {"limit": 96 << 20}}
    first.create()
    t.equal("network of its process", os.stat(f"/proc/{ours.state()['pid']}/ns/net").st_ino,
            os.stat(f"/proc/{first.state()['pid']}/ns/net").st_ino)
    t.equal("its pod", ours.id, first.state()["pod"])
    second = add_shm(make_container(t, ours, ["sh", "-c", "cat /dev/shm/file; ps; ls /; echo y > /place/file; exec sleep 1001"]), shared)
    second.config["mounts"].append({"destination": "/place", "type": "bind", "source": place, "options": ["rbind"]})
    second.create()
    t.check(not os.path.exists(f"{t.host.root}/{ours.id}/pod.json"), "there is a VM before a container was started")
    t.verb("start", first.id)
    t.eventually("it is ready", lambda: first.output().endswith("ready\n"), seconds=60)
    t.match("what it has seen", r"^pod-name\n77\n\S+-hybrid\nready\n$", first.output())
    keeper, machine = keeper_of(t, ours)
    t.verb("start", second.id)
    t.eventually("the second's file", lambda: os.path.exists(place + "/file"), seconds=60)
    t.check(second.output().startswith("x\n"), f"no shared memory: {second.output()!r}")
    t.check("sleep 1000" not in second.output() and "\nplace\n" in second.output(), f"what it sees: {second.output()!r}")
    t.equal("shared memory is the guest's", [], os.listdir(shared))
    t.equal("one machine", (keeper, machine), keeper_of(t, ours))
    t.equal("descriptors of its keeper that lead to files",
            [], [name for name in (os.readlink(f"/proc/{keeper}/fd/{fd}") for fd in os.listdir(f"/proc/{keeper}/fd"))
                 if name.startswith("/") and not name.startswith(("/dev/null", "/sys/fs/cgroup", "/run/hybrid/.networks"))
                 and name != f"/proc/{machine['hybrid-vmm']}/task"])
    t.equal("exec", "pod-name\n", t.verb("exec", first.id, "hostname"))
    t.verb("pause", second.id)
    t.equal("beside one that stands still", ("paused", "alive\n"), (second.status(), t.verb("exec", first.id, "echo", "alive")))
    t.verb("resume", second.id)
    t.verb("update", "--memory", "64m", "--pids-limit", "50", second.id)
    t.match("processors of the host", "linux.resources.cpu.cpus", t.hybrid("update", "--cpuset-cpus", "0", second.id).err)
    t.match("more than there is", "cannot grow", t.hybrid("update", "--memory", "8g", second.id).err)
    device = os.stat(place).st_dev
    t.check(holders(device), "nobody has the second's volume: this row would not notice")
    t.verb("kill", second.id, "KILL")
    second.await_status("stopped")
    t.verb("delete", second.id)
    check_let_go(t, "who has its volume", device, place)
    t.equal("the other goes on", "alive\n", t.verb("exec", first.id, "echo", "alive"))
    os.unlink(place + "/file")
    second.create()
    t.verb("start", second.id)
    t.eventually("the second again", lambda: os.path.exists(place + "/file"), seconds=60)
    t.check(holders(device), "nobody has the second's volume again")
    t.verb("delete", "--force", second.id)  # while it runs: as well, when that is done
    check_let_go(t, "who has its volume after that", device, place)
    end(t, first, second, ours)
    t.check(not os.path.exists(f"/proc/{keeper}"), "the keeper outlives its pod")


def create_with_errors(t, bundle):
    """Creates it so that what its monitor says at its end can be read."""
    bundle.write()
    with open(bundle.path + "/output", "wb") as output, open(bundle.path + "/errors", "wb") as errors:
        process = t.spawn([t.host.hybrid, "create", "--bundle", bundle.path, bundle.id], stdin=subprocess.DEVNULL,
                          stdout=output, stderr=errors)
    t.equal("exit status of create", 0, process.wait(20 * t.slow))


def errors_of(bundle):
    with open(bundle.path + "/errors", encoding="utf-8") as file:
        return file.read()


@test("pod/state-that-is-lost", isolations=("vm",), seconds=240)
def lost_state(t):
    """With a sandbox whose state is damaged goes the machine of its pod, and who keeps it."""
    ours = started(t, make_sandbox(t))
    first = started(t, make_container(t, ours, ["sleep", "1000"]))
    keeper, machine = keeper_of(t, ours)
    with open(f"{t.host.root}/{ours.id}/state.json", "w", encoding="ascii") as file:
        file.write('{"id": "')
    told = t.hybrid("rm", "-f", ours.id, seconds=60)
    t.equal("exit status", 0, told.exit, told)
    t.match("what was removed", rf"its cgroups .*{ours.id}-vm", told.err)
    t.equal("processes of the machine", [], [pid for pid in (keeper, *machine.values()) if os.path.exists(f"/proc/{pid}")])
    first.await_status("stopped")
    t.verb("delete", first.id)
    for bundle in (first, ours):
        t.equal(f"what is left of {bundle.id}", [], t.host.traces(bundle.id))


def refused_beside_a_stopped_keeper(t, sandbox, containers):
    """systemd stops the VM's scope: who is there has its time, and who comes does not take it from them."""
    keeper, _ = keeper_of(t, sandbox)
    late = make_container(t, sandbox, ["true"])
    late.create()
    os.kill(keeper, signal.SIGTERM)
    t.eventually("it listens no more", lambda: not can_connect(f"{t.host.root}/{sandbox.id}/pod.sock"))
    t.match("another one", "is being stopped.* process " + str(keeper), t.hybrid("start", late.id).err)
    t.equal("it can be tried again", "created", late.status())
    t.verb("delete", "--force", late.id)
    for bundle in containers:
        t.equal("beside it", "alive\n", t.verb("exec", bundle.id, "echo", "alive"))
    t.equal("their keeper", keeper, keeper_of(t, sandbox)[0])


def can_connect(path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as probe:
        return probe.connect_ex(path) == 0


@test("pod/machine-that-is-lost", isolations=("vm",), seconds=400)
def lost_machine(t):
    """Whatever is killed: containers end, are told why, can be started again, and nothing is left."""
    ours = started(t, make_sandbox(t))
    containers = [make_container(t, ours, ["sh", "-c", f"echo up; exec sleep 100{i}"]) for i in range(2)]

    def start_both():
        for bundle in containers:
            create_with_errors(t, bundle)
        starts = [t.spawn([t.host.hybrid, "start", bundle.id]) for bundle in containers]  # at once: one VM
        t.equal("two starts", [0, 0], [process.wait(100 * t.slow) for process in starts])
        for bundle in containers:
            t.eventually("it runs", lambda bundle=bundle: "up" in bundle.output(), seconds=60)
        return keeper_of(t, ours)
    for victim, why in (("keeper", "hybrid-pod, was killed"), ("hybrid-vmm", "hybrid-vmm was ended by signal 9"),
                        ("virtiofsd", "virtiofsd, which serves its shared files")):
        keeper, machine = start_both()
        t.equal("processes of the machine", {"hybrid-vmm", "virtiofsd"}, set(machine))
        os.kill(machine.get(victim, keeper), signal.SIGKILL)
        for bundle in containers:
            bundle.await_status("stopped")
            t.match(f"{victim} was killed", why, errors_of(bundle))
            t.verb("delete", bundle.id)
            t.equal(f"what is left of {bundle.id}", [], t.host.traces(bundle.id))
    start_both()
    os.kill(containers[0].state()["pid"], signal.SIGKILL)
    containers[0].await_status("stopped")
    t.equal("beside a monitor that was killed", "alive\n", t.verb("exec", containers[1].id, "echo", "alive"))
    t.verb("delete", containers[0].id)
    create_with_errors(t, containers[0])
    t.verb("start", containers[0].id)
    t.eventually("it runs again", lambda: "up" in containers[0].output(), seconds=60)
    refused_beside_a_stopped_keeper(t, ours, containers)
    os.kill(ours.state()["pid"], signal.SIGKILL)
    ours.await_status("stopped")
    t.equal("beside a sandbox that was killed", "alive\n", t.verb("exec", containers[1].id, "echo", "alive"))
    third = make_container(t, ours, namespaces_of=containers[1])
    t.match("another one in it", "is stopped", third.create(status=125))
    t.verb("delete", ours.id)
    t.equal("what is left of it", [], t.host.traces(ours.id))
    for bundle in containers:
        bundle.await_status("stopped")
        t.match("the sandbox was deleted", "was ended with the pod's sandbox", errors_of(bundle))
    end(t, *containers)
