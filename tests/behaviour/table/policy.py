"""The policy: it chooses, its floors hold inside the workload, nothing weakens it, every decision is told and kept."""

import contextlib
import json
import os
import shutil
import sys

from table import test
from table.bundles import Bundle

PROJECT = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", ".."))
FLOORS = {"no_new_privileges": True, "seccomp": "default", "denied_capabilities": ["NET_RAW", "SYS_ADMIN"],
          "limits": {"memory": "64m", "cpus": 0.5, "pids": 20}}


def policy(t, default, *rules, **members):
    return t.file("policy.json", json.dumps({"version": 1, "rules": list(rules), "default": default, **members}))


def run(t, path, *arguments, command=("true",), **settings):
    return t.hybrid("--policy", path, "run", "--rm", *arguments, t.host.image("test"), *command, **settings)


def decisions(t):
    with open(t.host.data + "/audit.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


@test("policy/isolation-by-policy", isolations=("container",))
def chooses(t):
    """Without --isolation, and with auto, the policy decides; an option can only strengthen."""
    dry = ("--dry-run", "--format=json")
    for default, options, wanted in (("container", (), "container"), ("vm", (), "vm"), ("vm", ("--isolation=auto",), "vm"),
                                     ("container", ("--isolation=vm",), "vm"), ("vm", ("--isolation=vm",), "vm")):
        result = run(t, policy(t, default), *dry, *options)
        t.equal(f"exit status with {default} {options}", 0, result.exit, result)
        shown = json.loads(result.out)
        t.equal("the plan's isolation", wanted, shown["annotations"]["hybrid.isolation"])
        t.equal("the decision", (wanted, "default"), (shown["policy"]["isolation"], shown["policy"]["rule"]))
    for default, options in (("vm", ("--isolation=container",)), ("deny", ()), ("deny", ("--isolation=vm",))):
        result = run(t, policy(t, default), *options)
        t.equal(f"exit status with {default} {options}", 125, result.exit, result)
        t.match("stderr", "refused by the policy .*default", result.err)


@test("policy/floors-inside")
def floors(t):
    """What a workload sees of the floors, without any option."""
    path = t.file("policy.json", json.dumps({"version": 1, "floors": FLOORS, "rules": [], "default": t.isolation}))
    result = run(t, path, command=("sh", "-c", "grep -E 'NoNewPrivs|CapBnd|Seccomp:' /proc/self/status"), seconds=60)
    t.equal("exit status", 0, result.exit, result)
    seen = dict(line.split() for line in result.out.splitlines())
    t.equal("no_new_privs and seccomp", ("1", "2"), (seen["NoNewPrivs:"], seen["Seccomp:"]))
    t.equal("NET_RAW", 0, int(seen["CapBnd:"], 16) >> 13 & 1)
    result = run(t, path, command=("sh", "-c", "for i in $(seq 40); do sleep 9 & done"), seconds=60)
    t.check(result.exit != 0, "40 processes started, 20 are allowed")


@test("policy/floors-refuse", isolations=("container",))
def refuses(t):
    path = policy(t, "container", floors=FLOORS)
    for options, wanted in ((("--cap-add", "NET_RAW"), "CAP_NET_RAW"), (("--cap-add", "ALL"), "CAP_NET_RAW"),
                            (("-m", "65m"), "--memory"), (("--cpus", "0.6"), "--cpus"), (("--pids-limit", "21"), "20"),
                            (("--security-opt", "seccomp=unconfined"), "seccomp"),
                            (("--security-opt", "no-new-privileges=false"), "no-new-privileges")):
        result = run(t, path, *options)
        t.equal(f"exit status with {options}", 125, result.exit, result)
        t.match(f"stderr with {options}", f"refused by the policy .*{wanted}", result.err)
    for options in (("-m", "32m"), ("--cpus", "0.2"), ("--pids-limit", "10"), ("--cap-drop", "ALL")):
        t.equal(f"exit status with {options}", 0, run(t, path, *options).exit)


@test("policy/exec-has-the-floors", isolations=("container",))
def exec_floors(t):
    name = t.name()
    path = policy(t, "container", floors=FLOORS)
    t.verb("--policy", path, "run", "-d", "--name", name, t.host.image("test"), "sleep", "1000")
    seen = t.verb("exec", name, "grep", "-E", "NoNewPrivs|CapBnd", "/proc/self/status")
    t.match("no_new_privs", r"NoNewPrivs:\s+1", seen)
    t.equal("NET_RAW", 0, int(seen.split("CapBnd:")[1].split()[0], 16) >> 13 & 1)


@test("policy/bundle", isolations=("container",))
def bundle(t):
    """An engine's containers have the same policy: refused, or with the floors, also in exec and update."""
    for default in ("deny", "vm"):
        refused = Bundle(t, "true")
        # What a VM cannot give: it is asked for one, by the policy alone.
        refused.config["hooks"] = {"createContainer": [{"path": "/bin/true"}]}
        errors = refused.create(before=("--policy", policy(t, default)), status=125)
        t.match("stderr", "refused by the policy .*default" if default == "deny" else "as a VM: hooks", errors)
        t.check(refused.id in [each["id"] for each in decisions(t)], "the decision is not in the audit file")
    path = policy(t, "container", floors={"denied_capabilities": ["NET_RAW"], "no_new_privileges": True,
                                          "limits": {"memory": "64m", "pids": 20}})
    capabilities = {kind: ["CAP_NET_RAW", "CAP_CHOWN"] for kind in ("bounding", "effective", "permitted")}
    container = Bundle(t, "sleep 1000", capabilities=capabilities)
    container.create(before=("--policy", path))
    t.verb("start", container.id)
    process = t.file("process.json", json.dumps({
        "cwd": "/", "args": ["grep", "-E", "NoNewPrivs|CapBnd", "/proc/self/status"], "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0}, "capabilities": capabilities}))
    for what, seen in (("the first process", t.verb("exec", container.id, "grep", "-E", "NoNewPrivs|CapBnd",
                                                   "/proc/1/status")),
                       ("exec", t.verb("--policy", path, "exec", "--process", process, container.id))):
        t.match(f"no_new_privs of {what}", r"NoNewPrivs:\s+1", seen)
        t.equal(f"capabilities of {what}", 1, int(seen.split("CapBnd:")[1].split()[0], 16))
    result = t.hybrid("--policy", path, "exec", "--cap=NET_RAW", container.id, "true")
    t.equal("exit status of exec --cap", 125, result.exit, result)
    t.match("exec --cap", "refused by the policy .*: the capability CAP_NET_RAW is denied; leave --cap out", result.err)
    t.verb("--policy", path, "exec", "--cap=CHOWN", container.id, "true")
    for option, status in (("65m", 125), ("32m", 0)):
        result = t.hybrid("--policy", path, "update", "--memory", option, container.id)
        t.equal(f"exit status of update --memory {option}", status, result.exit, result)


@test("policy/exec-asks-the-rules", isolations=("container",))
def exec_rules(t):
    """A process object cannot ask for what its container would not have been given."""
    path = policy(t, "container", {"name": "admins", "match": {"capabilities": ["SYS_ADMIN"]}, "isolation": "vm"})
    container = Bundle(t, "sleep 1000")
    container.create(before=("--policy", path))
    t.verb("start", container.id)
    for asked, status in (("CAP_SYS_ADMIN", 125), ("CAP_CHOWN", 0)):
        process = t.file("process.json", json.dumps({
            "cwd": "/", "args": ["true"], "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0},
            "capabilities": {"bounding": [asked]}}))
        result = t.hybrid("--policy", path, "exec", "--process", process, container.id)
        t.equal(f"exit status with {asked}", status, result.exit, result)
        t.match("stderr", "admins" if status else "^$", result.err)


@test("policy/bundle-asks-of-the-host", isolations=("container",))
def of_the_host(t):
    """Namespaces of the host, hooks and filters that only a bundle can ask for: rules see them, floors refuse them."""
    def without(kind, path=None):
        def change(config):
            spaces = config["linux"]["namespaces"]
            spaces[:] = [space for space in spaces if space["type"] != kind]
            spaces += [{"type": kind, "path": path}] if path else []
        return change

    def hook(path):
        return lambda config: config.update(hooks={"createRuntime": [{"path": path}]})

    def filtered(default, *rules):
        return lambda config: config["linux"].update(seccomp={"defaultAction": "SCMP_ACT_" + default, "syscalls": [
            {"names": names, "action": "SCMP_ACT_" + action} for names, action in rules]})

    def leads(path):
        link = t.file("hook", "")
        os.unlink(link)
        os.symlink(path, link)
        return link

    everything = ["read", "write", "execve", "userfaultfd"]
    for change, rule, floor, wanted in (
            (without("pid"), {"host_namespaces": ["pid"]}, {"denied_host_namespaces": ["pid"]}, "host's pid namespace"),
            (without("ipc", "/proc/self/ns/ipc"), {"host_namespaces": ["ipc"]}, {"denied_host_namespaces": ["ipc"]},
             "host's ipc namespace"),
            (without("network"), {"host_namespaces": ["network"]}, {"denied_host_namespaces": ["network"]},
             "host's network namespace"),
            (without("uts", "/proc/self/ns/uts"), {"joined_namespaces": ["uts"]}, None, None),
            (hook("/usr/bin/env"), {"hooks": ["/usr"]}, {"allowed_hooks": ["/opt"]}, "hook /usr/bin/env"),
            (hook(leads("/usr/bin/env")), {"hooks": ["/usr"]}, {"allowed_hooks": ["/opt", os.path.realpath(
                os.path.dirname(leads("/")))]}, "hook .*"),
            (hook("/no/such"), {"hooks": ["/usr"]}, {"allowed_hooks": ["/no/such"]}, "hook /no/such"),
            (filtered("ALLOW"), None, {"seccomp": "required"}, "must refuse what it does not list"),
            (filtered("NOTIFY"), None, {"seccomp": "required"}, "agent or tracer"),
            (filtered("ERRNO", (everything, "LOG")), None, {"seccomp": "required"}, "let userfaultfd through")):
        for match, floors in ((rule, None), (None, floor)):
            if not match and not floors:
                continue
            bundle = Bundle(t, "true")
            change(bundle.config)
            path = policy(t, "container", *([{"name": "asks", "match": match, "isolation": "deny"}] if match else []),
                          floors=floors or {})
            errors = bundle.create(before=("--policy", path), status=125)
            t.match(f"stderr of {match or floors}", f"refused by the policy .*{'asks' if match else wanted}", errors)
    allowed = Bundle(t, "true")
    hook("/bin/true")(allowed.config)
    allowed.create(before=("--policy", policy(t, "container", floors={
        "allowed_hooks": [os.path.realpath("/bin/true")], "denied_host_namespaces": ["pid", "ipc", "uts"]})))


@test("policy/bundle-shows-no-more", isolations=("container",))
def shows_no_more(t):
    """What `hybrid run` hides and makes read-only by default, a floor does for bundles that do not; ways round are refused."""
    path = policy(t, "container", floors={"masked_paths": ["/proc/keys", "/proc/acpi"], "allowed_sysctls": ["net.core."],
                                          "readonly_paths": ["/proc/sys", "/sys"], "denied_propagation": ["shared"]})
    bundle = Bundle(t, "cat /proc/keys; ls /proc/acpi; touch /proc/sys/kernel/domainname /sys/kernel/profiling; true")
    sysfs = {"destination": "/sys", "type": "sysfs", "source": "sysfs"}
    bundle.config["mounts"].append(sysfs)
    bundle.config["linux"].update(maskedPaths=[], sysctl={"net.core.somaxconn": "99"})
    bundle.write()
    result = t.hybrid("--policy", path, "run", "--bundle", bundle.path, bundle.id)
    t.equal("exit status", 0, result.exit, result)
    t.equal("what is hidden shows", "", result.out)
    t.equal("written", 2, result.err.count("Read-only file system"), result)
    for change, wanted in (
            (lambda config: config["mounts"].append({**sysfs, "destination": "/elsewhere"}), "in another place"),
            (lambda config: config["mounts"].append({"destination": "/p", "type": "bind", "source": "/proc",
                                                     "options": ["rbind"]}), "in another place"),
            (lambda config: config["mounts"].append({"destination": "/o", "type": "overlay", "source": "/tmp",
                                                     "options": ["lowerdir=link:empty"]}), "in another place"),
            (lambda config: config["mounts"].append({"destination": "/c", "type": "cgroup", "source": "cgroup"}),
             "in another place"),
            (lambda config: config["linux"].update(sysctl={"kernel.msgmax": "1"}), "sysctl kernel.msgmax"),
            (lambda config: config["linux"].update(rootfsPropagation="rshared"), "rootfsPropagation rshared is denied")):
        refused = Bundle(t, "true")
        change(refused.config)
        t.match("stderr", "refused by the policy .*" + wanted, refused.create(before=("--policy", path), status=125))
    # While the mounts are made, the root is where it is on the host: the workload's own procfs is on its proc.
    for source in ("/rootfs/proc", "/rootfs/link/sys", ""):
        refused = Bundle(t, "true")
        os.symlink("proc", refused.path + "/rootfs/link")
        refused.config["mounts"].append({"destination": "/x", "type": "bind", "source": refused.path + source, "options": ["rbind"]})
        t.match(f"stderr of {source}", "refused by the policy .*in another place", refused.create(before=("--policy", path), status=125))


@test("policy/limits-cannot-be-lifted", isolations=("container",))
def limits_hold(t):
    """A bundle's writable cgroup file system is none where the policy sets limits, and binds of the host's are refused."""
    path = policy(t, "container", floors={"limits": {"pids": 20}})
    bundle = Bundle(t, "for file in $(find /cg -name pids.max); do echo max > $file; done")
    os.symlink("busybox", bundle.path + "/rootfs/bin/find")
    bundle.config["mounts"].append({"destination": "/cg", "type": "cgroup", "source": "cgroup", "options": ["rw"]})
    bundle.write()
    result = t.hybrid("--policy", path, "run", "--bundle", bundle.path, bundle.id)
    t.match("stderr", "Read-only file system", result.err)
    refused = Bundle(t, "true")
    refused.config["mounts"].append({"destination": "/cg", "type": "bind", "source": "/sys/fs/cgroup",
                                     "options": ["rbind"]})
    t.match("stderr", "refused by the policy .*limits can be lifted", refused.create(before=("--policy", path), status=125))


class Swapped:
    """A symbolic link that leads here and there in turn, as fast as one process can change it."""

    def __init__(self, t, path, *targets):
        self.path = path
        t.closers.append(lambda: os.path.lexists(path) and os.unlink(path))
        os.symlink(targets[0], path)
        loop = ("import os, sys\npath, *targets = sys.argv[1:]\nwhile True:\n  for target in targets:\n"
                "    os.symlink(target, path + '.new')\n    os.rename(path + '.new', path)")
        self.process = t.spawn([sys.executable, "-c", loop, path, *targets])

    def end(self):
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path + ".new")


def allowed_and_denied(t):
    """A directory with one directory of each name, whose file says which it is in."""
    directory = t.file("judged", "") + ".d"
    for name in ("allowed", "denied"):
        os.makedirs(f"{directory}/{name}")
        with open(f"{directory}/{name}/file", "w", encoding="ascii") as file:
            file.write(name)
    t.closers.append(lambda: shutil.rmtree(directory))
    return directory


@test("policy/what-was-judged-is-opened", isolations=("container",), seconds=60)
def judged(t):
    """Who changes a link between the policy's look and the opening gets round no rule and no floor."""
    directory = allowed_and_denied(t)
    other = t.spawn(["unshare", "--uts", "sleep", "1000"])
    own = os.readlink("/proc/self/ns/uts")
    t.eventually("another uts namespace", lambda: os.readlink(f"/proc/{other.pid}/ns/uts") != own)
    theirs = os.readlink(f"/proc/{other.pid}/ns/uts")
    bind = {"destination": "/m", "type": "bind", "source": directory + "/link", "options": ["rbind"]}
    spaces = [{"type": kind} for kind in ("pid", "mount", "ipc", "network", "cgroup")]
    cases = (
        ("a mount", ["cat", "/m/file"], "allowed", lambda config: config["mounts"].append(bind),
         {"rules": [{"name": "r", "match": {"mounts": [directory + "/denied"]}, "isolation": "deny"}]},
         (directory + "/allowed", directory + "/denied")),
        ("a namespace", ["readlink", "/proc/self/ns/uts"], theirs, lambda config: config["linux"].update(
            namespaces=[*spaces, {"type": "uts", "path": directory + "/link"}]),
         {"rules": [], "floors": {"denied_host_namespaces": ["uts"]}},
         (f"/proc/{other.pid}/ns/uts", "/proc/self/ns/uts")))
    for what, command, wanted, change, members, targets in cases:
        bundle = Bundle(t, command)
        change(bundle.config)
        bundle.write()
        path = t.file("policy.json", json.dumps({"version": 1, "default": "container", **members}))
        link, seen = Swapped(t, directory + "/link", *targets), {}
        for _ in range(40):
            result = t.hybrid("--policy", path, "run", "--bundle", bundle.path, bundle.id)
            if result.exit == 0:
                t.equal(f"what {what} shows", wanted, result.out.strip())
            else:
                t.match(f"stderr of {what}", "policy", result.err)
            seen[result.exit] = seen.get(result.exit, 0) + 1
        link.end()
        os.unlink(link.path)
        t.check(len(seen) == 2, f"the link to {what} always led to one of the two: {seen}")


@test("policy/what-was-judged-is-shared", isolations=("vm",), seconds=60)
def judged_shares(t):
    """A VM boots at the start, long after its bundle was judged: it is given what its links led to then, or nothing."""
    directory = allowed_and_denied(t)
    path = policy(t, "vm", {"name": "r", "match": {"mounts": [directory + "/denied"]}, "isolation": "deny"})
    for swapped, status in (("link", 0), ("allowed", 125)):
        os.symlink("allowed", directory + "/link")
        bundle = Bundle(t, ["cat", "/m/file"])
        bundle.config["mounts"].append({"destination": "/m", "type": "bind", "source": directory + "/link",
                                        "options": ["rbind"]})
        bundle.create(before=("--policy", path))
        os.rename(f"{directory}/{swapped}", f"{directory}/was-{swapped}")
        os.symlink("denied", f"{directory}/{swapped}")
        result = t.hybrid("start", bundle.id, seconds=60)
        t.equal(f"exit status with another {swapped}", status, result.exit, result)
        if status == 0:
            bundle.await_status("stopped")
            t.equal("what it was given", "allowed", bundle.output())
        else:
            t.match("stderr", "judged by the policy as .*/allowed: Too many levels of symbolic links", result.err)
        os.unlink(directory + "/link")


@test("policy/gone-judges-nothing", isolations=("container",))
def gone(t):
    """What a policy wrote beside a path counts as long as there is one: not after it, and not from a bundle."""
    directory = t.file("gone", "") + ".d"
    for name in ("then", "now"):
        os.makedirs(f"{directory}/{name}")
        with open(f"{directory}/{name}/file", "w", encoding="ascii") as file:
            file.write(name)
    t.closers.append(lambda: shutil.rmtree(directory))
    link, name = directory + "/link", t.name()
    os.symlink("then", link)
    t.equal("with it", "then", t.verb("--policy", policy(t, "container"), "run", "--name", name, "-v", link + ":/m",
                                      t.host.image("test"), "cat", "/m/file"))
    os.unlink(link)
    os.symlink("now", link)
    t.equal("without it", "now", t.verb("start", "-a", name))
    bundle = Bundle(t, ["cat", "/m/file"])
    bundle.config["mounts"].append({"destination": "/m", "type": "bind", "source": link, "options": ["rbind"],
                                    "hybrid.resolved": directory + "/then"})
    t.equal("of a bundle", "now", bundle.run())


@test("policy/names-only-strengthen", isolations=("container",), alone=True)
def image_names(t):
    """A name that anyone gives to anything opens nothing, and closes what it says."""
    image, name = t.host.image("test"), f"registry.example/trusted/{t.name()}"
    t.verb("tag", image, name)
    for key, isolation, default, wanted in (("reference", "container", "vm", "vm"), ("reference", "vm", "container", "vm"),
                                            ("pulled_from", "container", "vm", "vm"),
                                            ("reference", "deny", "container", "deny")):
        path = policy(t, default, {"name": "r", "match": {key: ["registry.example/trusted"]}, "isolation": isolation})
        result = t.hybrid("--policy", path, "policy", "explain", name)
        t.match(f"{key} {isolation} {default}", f"(?m)^decision +{wanted}$", result.out)
    t.verb("rmi", name)


@test("policy/audit-rotates", isolations=("container",), alone=True)
def rotates(t):
    """One file and an older one, of 4 MiB at most, each line whole; what cannot be recorded is not run."""
    path, audit = policy(t, "container"), t.host.data + "/audit.jsonl"
    run(t, path)
    line = open(audit, "rb").read().splitlines(True)[-1]
    entry = json.loads(line)
    t.equal("members", {"time", "id", "image", "digest", "uid", "cgroup", "pid", "policy", "rule", "isolation", "floors"},
            set(entry))
    t.match("time", r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", entry["time"])
    with open(audit, "ab") as file:
        file.write(line * ((4 << 20) // len(line)))
    with open(audit + ".1", "w", encoding="utf-8") as file:
        file.write("older than old\n")
    size = os.path.getsize(audit)
    run(t, path)
    t.equal("lines of the new file", 1, len(decisions(t)))
    t.equal("the older one", size, os.path.getsize(audit + ".1"))
    t.equal("modes", [0o600, 0o600], [os.stat(name).st_mode & 0o777 for name in (audit, audit + ".1")])
    t.equal("files", 2, len([name for name in os.listdir(t.host.data) if name.startswith("audit")]))
    os.unlink(audit + ".1")
    os.unlink(audit)
    os.mkdir(audit)
    result = run(t, path)
    t.equal("exit status", 125, result.exit, result)
    t.match("stderr", "cannot record the policy's decision in .*so nothing is run", result.err)
    os.rmdir(audit)


@test("policy/relative-path", isolations=("container",))
def relative(t):
    """--policy is a file of the caller's directory, not of the bundle's."""
    container = Bundle(t, "true")
    strict = policy(t, "deny")
    with open(f"{container.path}/{os.path.basename(strict)}", "w", encoding="utf-8") as file:
        json.dump({"version": 1, "rules": [], "default": "container"}, file)
    errors = container.create(before=("--policy", os.path.basename(strict)), status=125, cwd=os.path.dirname(strict))
    t.match("stderr", "refused by the policy .*default", errors)


@test("policy/recorded", isolations=("container",), alone=True)
def recorded(t):
    """The decision is in inspect and in the audit file, refusals too; a dry run leaves no trace."""
    path, name = policy(t, "container", floors=FLOORS), t.name()
    t.verb("--policy", path, "run", "--name", name, t.host.image("test"), "true")
    shown = json.loads(t.verb("inspect", name))[0]["policy"]
    t.equal("the decision", (path, "default", "container"), (shown["policy"], shown["rule"], shown["isolation"]))
    t.check("processes: 20 at most" in shown["floors"], f"floors: {shown['floors']}")
    run(t, policy(t, "deny"))
    before = len(decisions(t))
    run(t, path, "--dry-run")
    lines = decisions(t)
    t.equal("lines after a dry run", before, len(lines))
    t.equal("the refusal", ("deny", "default"), (lines[-1]["isolation"], lines[-1]["rule"]))
    ours = [line for line in lines if line["id"] == name]
    t.equal("lines of the workload", 1, len(ours))
    t.equal("its isolation", "container", ours[0]["isolation"])


@test("policy/start-asks-again", isolations=("container",))
def start(t):
    """A workload that the policy of today would not let run as it is does not start again."""
    name = t.name()
    t.hybrid("run", "--name", name, t.host.image("test"), "true")
    for default, members in (("vm", {}), ("deny", {}), ("container", {"floors": FLOORS})):
        result = t.hybrid("--policy", policy(t, default, **members), "start", name)
        t.equal(f"exit status with {default} {members}", 125, result.exit, result)
        t.match("stderr", "policy", result.err)
    t.verb("--policy", policy(t, "container"), "start", "-a", name)


@test("policy/image-cannot-weaken", isolations=("container",))
def image_labels(t):
    """Labels and annotations of the user make nothing weaker; those of a trusted prefix say who the tenant is."""
    weak = {"name": "weak", "match": {"labels": {"trust": "yes"}}, "isolation": "container"}
    result = run(t, policy(t, "vm", weak), "--dry-run", "--format=json", "--label", "trust=yes")
    t.equal("isolation", "vm", json.loads(result.out)["policy"]["isolation"])
    gold = {"name": "gold", "match": {"tenant": {"annotations": {"tenant.name": "gold"}}}, "isolation": "container"}
    path = policy(t, "vm", gold, tenant_annotations="tenant.")
    for option, wanted in (("--label", "vm"), ("--annotation", "container")):
        result = run(t, path, "--dry-run", "--format=json", option, "tenant.name=gold")
        t.equal(f"isolation with {option}", wanted, json.loads(result.out)["policy"]["isolation"])


@test("policy/refused-files", isolations=("container",))
def files(t):
    """Nothing runs by a policy that others could have written, or that is none."""
    valid = json.dumps({"version": 1, "rules": [], "default": "container"})
    for content, mode, owner, wanted in ((valid, 0o666, 0, "written by others"), (valid, 0o600, 1, "owned by user 1"),
                                         ("{", 0o600, 0, "not valid JSON"), ('{"version":1}', 0o600, 0, "missing"),
                                         (valid.replace("rules", "ruels"), 0o600, 0, "did you mean \"rules\"")):
        path = t.file("policy.json", content)
        os.chmod(path, mode)
        os.chown(path, owner, 0)
        for verb in (("run", "--rm", t.host.image("test"), "true"), ("policy", "check", path),
                     ("policy", "explain", t.host.image("test"))):
            result = t.hybrid("--policy", path, *verb)
            t.equal(f"exit status of {verb[:2]}", 125, result.exit, result)
            t.match(f"stderr of {verb[:2]}", wanted, result.err)
    result = run(t, "/nowhere/policy.json")
    t.match("stderr", "/nowhere/policy.json: No such file", result.err)


@test("policy/explain", isolations=("container",))
def explain(t):
    rule = {"name": "powerful", "match": {"capabilities": ["SYS_ADMIN"]}, "isolation": "vm"}
    path = policy(t, "container", rule)
    image = t.host.image("test")
    for options, decided, decision in (((), "default", "container"), (("--cap-add", "SYS_ADMIN"), "powerful", "vm")):
        for order in ((image, *options), (*options, image)):
            seen = t.verb("--policy", path, "policy", "explain", *order)
            t.match("the rule", f'decided by "{decided}"', seen)
            t.match("the decision", f"(?m)^decision +{decision}$", seen)
    result = t.hybrid("--policy", policy(t, "deny"), "policy", "explain", image)
    t.equal("exit status of a refusal", 125, result.exit, result)
    t.match("stderr names the nearest word", "explian.*explain", t.hybrid("policy", "explian", image).err)


@test("policy/shipped", isolations=("container",))
def shipped(t):
    """The two ready policies are valid, and decide as their descriptions say."""
    image = t.host.image("test")
    for name, options, wanted in (("developer", (), "container"), ("developer", ("--cap-add", "SYS_ADMIN"), "vm"),
                                  ("multi-tenant", (), "vm"), ("multi-tenant", ("--cap-add", "SYS_ADMIN"), "deny")):
        with open(f"{PROJECT}/runtime/policy/{name}.json", encoding="utf-8") as file:
            path = t.file(name + ".json", file.read())
        t.match("check", "valid", t.verb("policy", "check", path))
        result = t.hybrid("--policy", path, "policy", "explain", image, *options)
        t.match(f"{name} {options}", f"(?m)^decision +{wanted}$", result.out)


@test("policy/trusted-tenant-and-image", isolations=("container",))
def trusted(t):
    """multi-tenant.json, filled in: both the tenant and the image must be trusted."""
    image = t.host.image("test")
    with open(f"{PROJECT}/runtime/policy/multi-tenant.json", encoding="utf-8") as file:
        document = json.load(file)
    seen = t.verb("--policy", t.file("p.json", json.dumps(document)), "policy", "explain", image)
    digest = seen.split("digest")[1].split()[0]
    uid = int(seen.split("uid ")[1].split(",")[0])
    match = next(rule for rule in document["rules"] if rule["name"] == "trusted")["match"]
    for digests, uids, wanted in (([digest], [uid], "container"), ([digest], [uid + 1], "vm"), ([], [uid], "vm"),
                                  (["sha256:" + "0" * 64], [uid], "vm")):
        match["digest"], match["tenant"]["uid"] = digests, uids
        seen = t.verb("--policy", t.file("p.json", json.dumps(document)), "policy", "explain", image)
        t.match(f"{digests} {uids}", f"(?m)^decision +{wanted}$", seen)


@test("policy/engines", isolations=("container",))
def engines(t):
    """A bundle's configuration gets the floors, or is refused; limits and processes given later keep them."""
    name, bundle = t.name(), t.host.directory + "/policy-bundle"
    os.makedirs(bundle + "/rootfs/bin")
    shutil.copy("/bin/busybox", bundle + "/rootfs/bin/busybox")
    t.verb("spec", "--bundle", bundle)
    with open(bundle + "/config.json", encoding="utf-8") as file:
        config = json.load(file)
    config["process"].update(terminal=False, args=["/bin/busybox", "true"])
    config["linux"].pop("resources", None)
    with open(bundle + "/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    result = t.hybrid("--policy", policy(t, "deny"), "create", "--bundle", bundle, name)
    t.equal("exit status with deny", 125, result.exit, result)
    t.match("stderr", "refused by the policy .*denies this workload", result.err)
    path = policy(t, "container", floors={**FLOORS, "seccomp": "required"})
    t.match("without a filter", "seccomp filter is required",
            t.hybrid("--policy", path, "create", "--bundle", bundle, name).err)
    path = policy(t, "container", floors={key: FLOORS[key] for key in FLOORS if key != "seccomp"})
    t.verb("--policy", path, "create", "--bundle", bundle, name, stdout=None, stderr=None)
    shown = json.loads(t.verb("inspect", name))[0]
    t.equal("memory", 64 << 20, shown["config"]["linux"]["resources"]["memory"]["limit"])
    t.equal("no_new_privs", True, shown["config"]["process"]["noNewPrivileges"])
    t.equal("the decision", "default", shown["policy"]["rule"])
    for option in (("--memory", "65m"), ("--memory", "-1"), ("--pids-limit", "21")):
        result = t.hybrid("--policy", path, "update", *option, name)
        t.equal(f"exit status of update {option}", 125, result.exit, result)
        t.match("stderr", "refused by the policy", result.err)
    t.verb("--policy", path, "update", "--memory", "32m", name)
    t.verb("delete", "--force", name)
    shutil.rmtree(bundle)
