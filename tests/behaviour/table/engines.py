"""What engines ask of containers beyond their plain life: shared names, all processes, agents, processors."""

import os
import subprocess

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


@test("engine/signal-to-all", **CONTAINERS)
def signal_all(t):
    """Also to processes in cgroups that the container made for itself."""
    below = "for d in /sys/fs/cgroup/memory /sys/fs/cgroup; do mkdir $d/below 2>/dev/null && " \
            "{ echo $$ > $d/below/cgroup.procs; break; }; done; "
    child = "trap 'echo took-%s; exit' USR1; echo ready; while :; do sleep 0.1; done"
    bundle = Bundle(t, f"({child % 'one'}) & (sh -c \"{below}{child % 'two'}\") & {child % 'first'}")
    bundle.config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"})
    bundle.create()
    t.verb("start", bundle.id)
    t.eventually("all are ready", lambda: bundle.output().count("ready") == 3)
    t.verb("kill", "--all", bundle.id, "USR1")
    t.eventually("the first process took it", lambda: "took-first" in bundle.output())
    for name in ("took-one", "took-two"):
        t.check(name in bundle.output(), f"{name} is missing: {bundle.output()}")
    bundle.await_status("stopped")


@test("engine/hook-output-is-shown-only", **CONTAINERS)
def hook_output(t):
    bundle = Bundle(t, ["true"])
    bundle.config["hooks"] = {"createRuntime": [
        {"path": "/bin/sh", "args": ["sh", "-c", r"printf 'a\033]0;title\007b'; exit 1"]}]}
    errors = bundle.create(status=125)
    t.check("\033" not in errors and "\007" not in errors, f"a terminal would obey {errors!r}")
    t.match("what it printed", r"a\\x1b\]0;title\\x07b", errors)
