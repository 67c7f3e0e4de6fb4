"""Pods of VMs, as container engines make them: a sandbox that runs nothing, and one VM in its namespaces."""

import json
import os
import re
import signal

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
    """Whatever is not the one VM in its own sandbox's namespaces, before anything is made."""
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
    bundle = make_container(t, ours)
    namespace(bundle, "pid")["path"] = f"/proc/{ours.state()['pid']}/ns/pid"
    refused("shareProcessNamespace", "namespaces: pid: .*shareProcessNamespace", bundle)
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
    del bundle.config["annotations"][TYPE]
    refused("no mark", "ipc: a namespace of the host", bundle)
    t.verb("kill", ours.id, "KILL")
    ours.await_status("stopped")
    t.check(ours.state().get("member") is None, f"a member of {ours.state()}")
    bundle = make_container(t, others)
    bundle.config["annotations"][SANDBOX] = ours.id
    refused("a sandbox that has ended", "is stopped", bundle)


@test("pod/one-vm-at-a-time", isolations=("vm",), seconds=120)
def one_vm(t):
    """It has the sandbox's name, sysctls and network; a second is refused until the first has ended."""
    ours = started(t, make_sandbox(t))
    shared = os.path.join(ours.path, "shm")
    os.mkdir(shared)
    first = make_container(t, ours, ["sh", "-c", f"hostname; cat /proc/sys/{PORT_START.replace('.', '/')}; uname -r; "
                                     "echo x > /dev/shm/file; echo ready; exec sleep 1000"])
    first.config["mounts"].append({"destination": "/dev/shm", "type": "bind", "source": shared, "options": ["rbind"]})
    first.config["linux"]["resources"] = {"memory": {"limit": 96 << 20}}
    first.create()
    pid = first.state()["pid"]
    t.equal("network of its process", os.stat(f"/proc/{ours.state()['pid']}/ns/net").st_ino, os.stat(f"/proc/{pid}/ns/net").st_ino)
    t.equal("the sandbox's member", first.id, ours.state()["member"])
    second = make_container(t, ours)
    second.config["linux"]["resources"] = first.config["linux"]["resources"]
    t.match("a second one", f"one container at a time, and {first.id} is in the pod of {ours.id}", second.create(status=125))
    t.verb("start", first.id)
    t.eventually("it is ready", lambda: first.output().endswith("ready\n"), seconds=60)
    t.match("what it has seen", r"^pod-name\n77\n\S+-hybrid\nready\n$", first.output())
    t.check(os.path.exists(shared + "/file"), "the file in the pod's /dev/shm is missing")
    t.match("a second one beside a running one", "one container at a time", second.create(status=125))
    t.equal("exec", "pod-name\n", t.verb("exec", first.id, "hostname"))
    t.verb("kill", first.id, "KILL")
    first.await_status("stopped")
    second.create()
    t.equal("the sandbox's next member", second.id, ours.state()["member"])
    for bundle in (second, first, ours):
        t.verb("delete", "--force", bundle.id)
        t.equal("what is left of it", [], t.host.traces(bundle.id))
