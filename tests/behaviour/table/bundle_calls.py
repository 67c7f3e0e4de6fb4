"""The command line of OCI runtimes, as runc and crun have it."""

import glob
import json
import os
import platform
import re
import subprocess
import time

from harness import Skip
from table import test
from table.engines import MKDIR, Agent
from table.bundles import CONTAINERS, Bundle, cgroup_file

STATUS = "grep -E '^(Cap(Bnd|Eff|Prm|Amb)|NoNewPrivs):' /proc/self/status; echo $(id -G) $(pwd)"


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@test("kill/probe")
def probe(t):
    """Signal 0 is none: nothing happens but the answer."""
    name = t.detached(command=["sleep", "1000"])
    t.verb("kill", "-s", "0", name)
    t.match("as a second operand", "0 is a signal", t.hybrid("kill", name, "0").err)
    t.equal("status", "running", json.loads(t.verb("inspect", name))[0]["status"])
    t.verb("stop", "-t", "0", name)
    t.match("stopped", "is not running", t.hybrid("kill", "-s", "0", name).err)


@test("bundle/kill-probe", seconds=60)
def bundle_probe(t):
    bundle = Bundle(t, ["sleep", "1000"])
    bundle.config["annotations"] = {"hybrid.isolation": t.isolation}
    bundle.create()
    t.verb("kill", bundle.id, "0")
    t.verb("start", bundle.id)
    t.verb("kill", bundle.id, "0")
    bundle.await_status("running")
    t.verb("kill", bundle.id, "KILL")
    bundle.await_status("stopped")
    t.match("stopped", "not running", t.hybrid("kill", bundle.id, "0").err)


@test("bundle/kill-where-the-pid-namespace-is-shared", **CONTAINERS)
def kill_shared(t):
    """No pid namespace that ends with the first process: KILL and delete --force end all that are in the cgroup."""
    def start():
        bundle = Bundle(t, "setsid sleep 999 & echo $! >/other; echo up; exec sleep 1000")
        spaces = bundle.config["linux"]["namespaces"]
        bundle.config["linux"]["namespaces"] = [each for each in spaces if each["type"] != "pid"]
        bundle.create()
        t.verb("start", bundle.id)
        bundle.await_output("up\n")
        other = int(bundle.read("other"))
        t.check(alive(other), "the other process runs")
        return bundle, other

    bundle, other = start()
    t.verb("kill", bundle.id, "TERM")
    bundle.await_status("stopped")
    t.check(alive(other), "TERM went to the first process only")
    t.verb("kill", bundle.id, "KILL")
    t.eventually("the other one ends, though the first has gone", lambda: not alive(other))
    t.match("nobody left", "not running", t.hybrid("kill", bundle.id, "KILL").err)
    bundle, other = start()
    t.verb("pause", bundle.id)
    t.verb("kill", bundle.id, "KILL")
    t.eventually("all end, also of one that is paused", lambda: not alive(other))
    bundle.await_status("stopped")
    t.verb("delete", bundle.id)
    bundle, other = start()
    t.verb("delete", "--force", bundle.id)
    t.check(not alive(other), "a process is left")
    t.equal("what is left", [], t.host.traces(bundle.id))


def start_sleeper(t, **process):
    bundle = Bundle(t, ["sleep", "1000"], **process)
    bundle.config["annotations"] = {"hybrid.isolation": t.isolation}
    bundle.create()
    t.verb("start", bundle.id)
    return bundle


@test("bundle/exec-options", seconds=60)
def exec_options(t):
    """The same in both isolations, in the words of runc and crun."""
    sets = {each: ["CAP_KILL"] for each in ("bounding", "effective", "permitted")}
    bundle = start_sleeper(t, capabilities=sets)
    kill, both = 1 << 5, 1 << 5 | 1 << 10
    seen = t.verb("exec", "--cwd", "/bin", "--cap", "CAP_NET_BIND_SERVICE", "-g", "7,8", "--additional-gids", "9",
                  "--no-new-privs", "--user", "0:5", bundle.id, "sh", "-c", STATUS)
    t.equal("changed", {"CapPrm": both, "CapEff": both, "CapBnd": both, "CapAmb": 0, "NoNewPrivs": 1, "": "5 7 8 9 /bin"}, parsed(seen))
    seen = parsed(t.verb("exec", bundle.id, "sh", "-c", STATUS))
    t.equal("not changed", {"CapPrm": kill, "CapEff": kill, "CapBnd": kill, "CapAmb": 0, "NoNewPrivs": 0, "": "0 /"}, seen)
    for option, complaint in (("--cap=CAP_KIL", "did you mean CAP_KILL"), ("-g=x", "write numbers"), ("-g=1,", "write numbers"),
                              ("--cgroup=../x", "VM" if t.isolation == "vm" else "refusing the cgroup path"),
                              ("--cgroup=absent", "VM" if t.isolation == "vm" else "there is no cgroup")):
        result = t.hybrid("exec", option, bundle.id, "true")
        t.equal(f"exit status with {option}", 125, result.exit, result)
        t.match(option, complaint, result.err)
    for options in (("-g", "7"), ("--no-new-privs",), *([("--cgroup=x", "-g", "7")] if t.isolation == "container" else [])):
        result = t.hybrid("exec", "--process=/dev/null", *options, bundle.id)
        t.match(f"--process and {options}", "the object of --process has it", result.err)
    result = t.hybrid("exec", "--preserve-fds=1", bundle.id, "true")
    t.match("a descriptor that is not there", "descriptor 3 is not open", result.err)


def parsed(text):
    lines = [line.partition(":\t") for line in text.splitlines()]
    return {key if rest else "": int(rest, 16) if rest else key for key, _, rest in lines}


@test("exec/what-the-workload-has-not")
def exec_own(t):
    """A command in a workload of `hybrid run` has at most what that was given."""
    name = t.detached(command=["sleep", "1000"])
    for option in ("--cap=CAP_SYS_ADMIN", "--apparmor=unconfined", "--process-label=x", "--cgroup=x"):
        result = t.hybrid("exec", option, name, "true")
        t.equal(f"exit status with {option}", 125, result.exit, result)
        t.match(option, "for containers of bundles", result.err)
    t.equal("what it may say", "0 7 /tmp\n", t.verb("exec", "-u", "0:0", "--additional-gids", "7", "--cwd", "/tmp", "--no-new-privs", name,
                                                    "sh", "-c", "echo $(id -G) $(pwd)"))


@test("bundle/exec-while-paused", seconds=60)
def exec_paused(t):
    bundle = start_sleeper(t)
    t.verb("pause", bundle.id)
    t.match("refused", "is paused", t.hybrid("exec", bundle.id, "true").err)
    session = t.spawn(t.command("exec", "--ignore-paused", bundle.id, "echo", "done"), stdout=subprocess.PIPE)
    time.sleep(0.5)
    t.equal("it waits", None, session.poll())
    t.verb("resume", bundle.id)
    t.equal("output", b"done\n", session.communicate(timeout=20 * t.slow)[0])
    t.equal("exit status", 0, session.returncode)


@test("bundle/exec-in-the-foreground", **CONTAINERS)
def exec_foreground(t):
    """Descriptors, a pid file and a cgroup of its own below the container's."""
    bundle = start_sleeper(t)
    pid = bundle.path + "/exec-pid"
    script = f'exec 3<{t.file("three", "three")} 4<{t.file("four", "four")}; exec "$@"'
    line = t.command("exec", "--preserve-fds", "2", "--pid-file", pid, bundle.id, "sh", "-c", "cat <&3; cat <&4; ls /proc/self/fd")
    result = t.finish(["sh", "-c", script, "sh", *line], b"", 20, None)
    t.match("descriptors", r"^threefour0\n1\n2\n3\n4\n\d+\n$", result.out)
    with open(pid, encoding="ascii") as file:
        t.check(int(file.read()) > 1, "the pid file has no number")
    made = []
    with open(f"/proc/{bundle.state()['pid']}/cgroup", encoding="ascii") as file:
        names = {line.rstrip("\n").split(":", 2)[2] for line in file}
    name = next(each for each in names if bundle.id in each)
    for place in glob.glob(f"/sys/fs/cgroup{name}") + glob.glob(f"/sys/fs/cgroup/*{name}"):
        if not os.path.islink(os.path.dirname(place)):
            os.makedirs(place + "/below", exist_ok=True)
            made.append(place + "/below")
            for file in ("cpuset.cpus", "cpuset.mems"):  # without which v1 takes no process
                if os.path.exists(f"{place}/tasks") and os.path.exists(f"{place}/{file}"):
                    with open(f"{place}/{file}", encoding="ascii") as source, \
                            open(f"{place}/below/{file}", "w", encoding="ascii") as target:
                        target.write(source.read())
    t.check(made, f"no directory of {name}")
    seen = t.verb("exec", "--cgroup", "below", bundle.id, "cat", "/proc/self/cgroup")
    t.check(len(re.findall("/below$", seen, re.M)) >= 1, f"it is not in there: {seen}")


HAND_ON = "cd /sys/fs/cgroup && mkdir init && echo $$ >init/cgroup.procs && for each in $(cat cgroup.controllers); do " \
          "echo +$each >cgroup.subtree_control; done; cat cgroup.subtree_control; echo ready; exec sleep 1000"


@test("bundle/exec-beside-cgroups-of-its-own", seconds=60)
def exec_nested(t):
    """As in docker:dind or with systemd inside: v2 lets no process be in a cgroup that hands controllers on."""
    if t.isolation == "container" and not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        raise Skip("this host has cgroup v1, which has no such rule")
    bundle = Bundle(t, HAND_ON)
    bundle.config["annotations"] = {"hybrid.isolation": t.isolation}
    bundle.config["mounts"].append({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"})
    bundle.create()
    t.verb("start", bundle.id)
    bundle.await_output("ready")
    t.match("what it hands on", r"(?m)^[a-z ]*\bmemory\b", bundle.output())
    t.equal("where a command is", "0::/init\n", t.verb("exec", bundle.id, "cat", "/proc/self/cgroup"))
    t.verb("exec", "--detach", bundle.id, "touch", "/detached")
    t.eventually("the detached one", lambda: os.path.exists(bundle.path + "/rootfs/detached"))
    t.verb("delete", "--force", bundle.id)


@test("bundle/update-of-what-bounds-each-other", **CONTAINERS)
def update_pairs(t):
    """Numbers that v1 compares as each is written, and those that an update sets back to 0."""
    bundle = Bundle(t, ["sleep", "1000"])
    name = bundle.id
    bundle.config["linux"]["cgroupsPath"] = "/" + name
    bundle.config["linux"]["resources"] = {"memory": {"limit": 64 << 20, "swap": 96 << 20}, "pids": {"limit": 20}}
    bundle.create()
    t.verb("update", "--memory", "128m", "--memory-swap", "160m", name)
    t.verb("update", "--memory", "-1", name)
    t.check(int(cgroup_file(name, "memory.limit_in_bytes", "memory.max").replace("max", str(1 << 62))) > 1 << 60, "memory is limited")
    t.verb("update", "--pids-limit", "0", name)
    t.equal("pids", "1", cgroup_file(name, "pids.max", "pids.max"))
    t.verb("update", "--cpu-period", "1000000", "--cpu-quota", "500000", name)
    t.verb("update", "--cpu-period", "10000", "--cpu-quota", "3000", name)
    t.equal("quota", "3000", cgroup_file(name, "cpu.cfs_quota_us", "cpu.max").split()[0])
    for quota, burst in (("6000", "6000"), ("3000", "2000"), ("4000", "4000")):  # both shrink, and grow
        t.verb("update", "--cpu-quota", quota, "--cpu-burst", burst, name)
        t.equal("quota and burst", (quota, burst), (cgroup_file(name, "cpu.cfs_quota_us", "cpu.max").split()[0],
                                                    cgroup_file(name, "cpu.cfs_burst_us", "cpu.max.burst")))
    for option, v1, v2, value in (("--cpu-burst", "cpu.cfs_burst_us", "cpu.max.burst", "2000"), ("--cpu-idle", "cpu.idle", "cpu.idle", "1")):
        for number in (value, "0", value):
            t.verb("update", option, number, name)
            t.equal(option, number, cgroup_file(name, v1, v2))


@test("bundle/update-within-a-limited-parent", **CONTAINERS)
def update_in_parent(t):
    """On v1 a quota may not be beyond the parent's: period and quota are written in the order that keeps it so."""
    bundle = Bundle(t, ["sleep", "1000"])
    parent = "/sys/fs/cgroup/cpu/" + bundle.id
    if not os.path.exists("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"):
        raise Skip("no cgroup v1 with processor time")
    bundle.config["linux"]["cgroupsPath"] = f"/{bundle.id}/inner"
    bundle.config["linux"]["resources"] = {"cpu": {"quota": 500000, "period": 1000000}}
    # In each hierarchy, a runtime makes what is above.
    t.closers.append(lambda: [os.rmdir(directory) for directory in glob.glob(f"/sys/fs/cgroup/*/{bundle.id}")
                              if not os.path.islink(os.path.dirname(directory))])
    bundle.create()
    with open(parent + "/cpu.cfs_quota_us", "w", encoding="ascii") as file:
        file.write("50000")
    t.match("beyond it", "cannot set the CPU quota to 600000", t.hybrid("update", "--cpu-quota", "600000", bundle.id).err)
    t.verb("update", "--cpu-period", "10000", "--cpu-quota", "3000", bundle.id)
    t.equal("quota", "3000", cgroup_file(bundle.id + "/inner", "cpu.cfs_quota_us", "cpu.max"))


@test("bundle/few-descriptors", seconds=60)
def few_descriptors(t):
    """The limit is the command's: what is done before, names of groups and a hook among it, needs more."""
    def limits(number):
        return [{"type": "RLIMIT_NOFILE", "soft": number, "hard": number}]

    bundle = Bundle(t, "ulimit -n; exec sleep 1000", rlimits=limits(3))
    bundle.config["annotations"] = {"hybrid.isolation": t.isolation}
    if t.isolation == "container":  # in a VM hooks of this kind are refused
        bundle.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "echo hook >/hook"]}]}
    bundle.create()
    t.verb("start", bundle.id)
    bundle.await_output("3\n")
    if t.isolation == "container":
        t.equal("the hook", "hook\n", bundle.read("hook"))
    process = t.file("process.json", json.dumps({"cwd": "/", "args": ["sh", "-c", "ulimit -n"], "env": ["PATH=/bin"],
                                                 "user": {"uid": 0, "gid": 0}, "rlimits": limits(0)}))
    t.equal("exec", "0\n", t.verb("exec", "--process", process, bundle.id))
    machine = platform.machine()
    if t.isolation == "vm" or machine not in MKDIR:
        return
    # A listener takes a descriptor too; and the agent, asked about everything, is not asked about the limit.
    agent = Agent(t, machine)
    asking = Bundle(t, "ulimit -n; exec sleep 1000", rlimits=limits(3))
    asking.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": agent.path}
    asking.create()
    t.verb("start", asking.id)
    asking.await_output("3\n")
    t.equal("exec with a listener", "0\n", t.verb("exec", "--process", process, asking.id))
    t.check(agent.asked > 20, f"the agent was asked {agent.asked} times only")
