"""Bundles that join a user namespace which another one made: `podman run --userns=container:ID`, pods with one."""

import json
import os

from table import test
from table.bundle_files import map_users
from table.bundles import CONTAINERS, Bundle

MAPPING = ["0 100000 1000"]


def mapped(t, command, **process):
    """One whose user namespace is its own: new, or to be given a path."""
    bundle = Bundle(t, command, **process)
    bundle.config["mounts"][2]["options"] = ["newinstance", "ptmxmode=0666", "mode=0620"]
    map_users(bundle)
    return bundle


def joining(t, path, command):
    """With its mappings, as podman, containerd and CRI-O give them beside a path."""
    bundle = mapped(t, command)
    bundle.config["linux"]["namespaces"][-1]["path"] = path
    return bundle


def set_namespaces(bundle, **paths):
    for kind, path in paths.items():
        spaces = [each for each in bundle.config["linux"]["namespaces"] if each["type"] != kind]
        bundle.config["linux"]["namespaces"] = [*spaces, {"type": kind, "path": path}]


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)


@test("bundle/user-namespace-of-another", **CONTAINERS)
def of_another(t):
    """A new pid namespace that belongs to it; and the process is the engine's as any other's is."""
    first = mapped(t, ["sleep", "1000"])
    first.create()
    pid = first.state()["pid"]
    source = t.host.files + "/" + first.id
    os.makedirs(source)
    t.closers.append(lambda: os.path.exists(source) and os.rmdir(source))
    second = joining(t, f"/proc/{pid}/ns/user",
                     "trap 'exit 5' USR1; cat /proc/self/uid_map; stat -c %u:%g /mnt; echo $$; while :; do sleep 0.1; done")
    second.config["mounts"].append({"destination": "/mnt", "source": source, "options": ["bind", "idmap"]})
    complaints, mapped_owner = second.create("--pid-file", second.path + "/pid", status=None), "0:0"
    if "its file system may not know how" in complaints:
        second.config["mounts"].pop()
        complaints, mapped_owner = second.create("--pid-file", second.path + "/pid", status=None), "65534:65534"
    t.equal("what create says", "", complaints)
    state = second.state()
    with open(second.path + "/pid", encoding="ascii") as file:
        t.equal("pid file", str(state["pid"]), file.read())
    seen = status_of(state["pid"])
    t.equal("who it is, out here and in there", ("100000", "1"), (seen["Uid"].split()[0], seen["NSpid"].split()[-1]))
    # Nobody of hybrid's stands between it and whoever collects orphans, as with any other container.
    t.equal("its parent is as the first one's", status_of(pid)["PPid"], seen["PPid"])
    for kind in ("pid", "net", "ipc", "uts", "mnt"):
        t.check(os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/{state['pid']}/ns/{kind}"), f"{kind} is shared")
    t.equal("user namespaces", *(os.readlink(f"/proc/{each}/ns/user") for each in (pid, state["pid"])))
    t.verb("start", second.id)
    second.await_output("1\n")
    t.equal("output", [*MAPPING, mapped_owner, "1"], [" ".join(line.split()) for line in second.output().splitlines()])
    t.equal("exec", "0\n", t.verb("exec", second.id, "id", "-u"))
    # Entered by the child itself: with nsdelegate, nobody is moved to a cgroup from inside of another's.
    third = joining(t, f"/proc/{pid}/ns/user", "readlink /proc/self/ns/cgroup")
    set_namespaces(third, cgroup=f"/proc/{pid}/ns/cgroup")
    t.equal("with its cgroup namespace", os.readlink(f"/proc/{pid}/ns/cgroup") + "\n", third.run())
    t.verb("pause", second.id)
    second.await_status("paused")
    t.verb("resume", second.id)
    t.verb("kill", second.id, "USR1")
    second.await_status("stopped")
    t.verb("delete", second.id)
    t.equal("what is left", [], t.host.traces(second.id))
    # Its processes too, where the pid namespace is joined as well.
    inside = joining(t, f"/proc/{pid}/ns/user", "echo $$; cat /proc/self/uid_map; ps | grep -c '[s]leep 1000'")
    set_namespaces(inside, pid=f"/proc/{pid}/ns/pid")
    t.verb("start", first.id)
    number, mapping, sleeps = inside.run().splitlines()
    t.equal("with its pid namespace", (True, MAPPING[0], "1"), (int(number) > 1, " ".join(mapping.split()), sleeps))
    wrong = joining(t, f"/proc/{pid}/ns/user", ["true"])
    wrong.config["linux"]["gidMappings"][0]["hostID"] = 5
    t.match("another mapping", f"linux.gidMappings is not the mapping of the user namespace /proc/{pid}/ns/user",
            wrong.create(status=125))
    t.equal("what is left of it", [], t.host.traces(wrong.id))


@test("bundle/user-namespace-beside-others-of-the-host", **CONTAINERS)
def beside(t):
    """Those that are joined may be the host's, whether the user namespace is new or joined: they are entered before it."""
    holder = Bundle(t, ["sleep", "1000"])
    holder.config["hostname"] = "held"
    holder.create()
    held = f"/proc/{holder.state()['pid']}/ns"
    script = "hostname; readlink /proc/self/ns/net; cat /proc/self/uid_map"
    expected = ["held", os.readlink(held + "/net"), *MAPPING]
    first = mapped(t, script + "; exec sleep 1000")
    set_namespaces(first, network=held + "/net", uts=held + "/uts")
    first.create()
    t.verb("start", first.id)
    t.eventually("three lines", lambda: len(first.output().splitlines()) == 3)
    t.equal("new", expected, [" ".join(line.split()) for line in first.output().splitlines()])
    second = joining(t, f"/proc/{first.state()['pid']}/ns/user", script)
    set_namespaces(second, network=held + "/net", uts=held + "/uts")
    t.equal("joined", expected, [" ".join(line.split()) for line in second.run().splitlines()])
    process = t.file("process.json", json.dumps({"cwd": "/", "args": ["hostname"], "env": ["PATH=/bin"],
                                                 "user": {"uid": 0, "gid": 0}}))
    t.equal("exec", "held\n", t.verb("exec", "--process", process, first.id))
