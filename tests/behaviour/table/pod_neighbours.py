"""Containers of a pod in its one VM: what they share, what each has for itself, and what is let go of when one ends."""

import os

from table import test
from table.pods import holders, make_container, make_sandbox, make_volume, started

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def make_pod(t):
    """A sandbox whose loopback is up, as an engine's network plugin leaves it; and a directory for its /dev/shm."""
    sandbox = make_sandbox(t, **{"io.kubernetes.cri.sandbox-memory": str(256 << 20)})
    started(t, sandbox)
    loopback = ["nsenter", "-t", str(sandbox.state()["pid"]), "-n", "ip", "link", "set", "lo", "up"]
    t.equal("loopback", 0, t.finish(loopback, None, 20, None).exit)
    os.mkdir(sandbox.path + "/shm")
    return sandbox


def make_member(t, sandbox, command, resources, *mounts):
    """One of its containers: with the pod's shared memory, and its own cgroup to be seen."""
    bundle = make_container(t, sandbox, ["sh", "-c", command])
    bundle.config["linux"]["resources"] = resources
    bundle.config["mounts"] += [
        {"destination": "/dev/shm", "type": "bind", "source": sandbox.path + "/shm", "options": ["rbind"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}, *mounts]
    return bundle


@test("pod/neighbours-in-one-vm", isolations=("vm",), seconds=240)
def neighbours(t):
    """They talk over loopback and shared memory; limits, a pause and the OOM killer concern one of them alone."""
    ours = make_pod(t)
    volume = make_volume(t, ours)
    server = make_member(t, ours, "echo x > /volume/file; busybox nc -ll -p 7777 -e /bin/hostname & busybox mkfifo /fifo; exec 9<>/fifo; "
                                  "i=0; while :; do i=$((i+1)); echo $i > /dev/shm/count; read -t 1 nothing <&9; done",
                         {"memory": {"limit": 64 << 20, "reservation": 8 << 20}, "pids": {"limit": 30},
                          "cpu": {"quota": 400000, "period": 100000, "shares": 512}},
                         {"destination": "/volume", "type": "bind", "source": volume, "options": ["rbind"]})
    client = make_member(t, ours, "exec sleep 1000",
                         {"unified": {"memory.oom.group": "1", "memory.swap.max": "0"},
                          "hugepageLimits": [{"pageSize": "2MB", "limit": 0}, {"pageSize": "1GB", "limit": 0}]})
    client.config["linux"]["namespaces"].remove({"type": "cgroup"})  # as engines do on hosts with cgroup v1
    for bundle in (server, client):
        started(t, bundle)

    def seen(bundle, *command):
        return t.verb("exec", bundle.id, *command)

    def limits(bundle, *files):
        return seen(bundle, "cat", *(f"/sys/fs/cgroup/{file}" for file in files)).split("\n")[:-1]
    t.equal("one kernel", seen(server, "cat", BOOT_ID), seen(client, "cat", BOOT_ID))
    t.eventually("an answer over 127.0.0.1", lambda: t.hybrid("exec", client.id, "busybox", "nc", "127.0.0.1", "7777").out == "pod-name\n",
                 seconds=30)
    t.match("the client's processes and files", r"^sleep\n(sh\n)?(grep\n)?$",
            t.hybrid("exec", client.id, "sh", "-c", "grep -h . /proc/[0-9]*/comm; ls -d /volume").out)
    t.equal("limits", [str(64 << 20), "30", "400000 100000", "20"], limits(server, "memory.max", "pids.max", "cpu.max", "cpu.weight"))
    t.equal("what is rarer", (str(8 << 20), "1"), (*limits(server, "memory.low"), *limits(client, "memory.oom.group")))
    t.equal("the client's own cgroup is all that it sees", "0::/\n", seen(client, "cat", "/proc/self/cgroup"))
    t.equal("limits of the client", ["max", "max", "max 100000"], limits(client, "memory.max", "pids.max", "cpu.max"))
    t.verb("update", "--memory", "80m", "--pids-limit", "40", "--memory-reservation", "9m", server.id)
    t.equal("new limits", [str(80 << 20), "40", "400000 100000", str(9 << 20)],
            limits(server, "memory.max", "pids.max", "cpu.max", "memory.low"))

    t.verb("pause", server.id)
    counts = [seen(client, "cat", "/dev/shm/count") for _ in range(3)]
    t.equal("what a paused one does", [counts[0]] * 3, counts)
    t.verb("resume", server.id)
    t.eventually("it goes on", lambda: seen(client, "cat", "/dev/shm/count") != counts[0])

    eater = ["busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=90M", "count=1"]
    t.equal("what takes more memory than the server may", 137, t.hybrid("exec", server.id, *eater, seconds=60).exit)
    t.equal("the same in the client", 0, t.hybrid("exec", client.id, *eater, seconds=60).exit)
    t.check(holders(os.stat(volume).st_dev), "nobody has the server's volume: this row would not notice")
    t.verb("kill", server.id, "KILL")
    server.await_status("stopped")
    t.verb("delete", server.id)
    t.eventually("the volume is let go", lambda: not holders(os.stat(volume).st_dev))
    t.equal("the client", "pod-name\n", seen(client, "hostname"))
    for bundle in (client, ours):
        t.verb("delete", "--force", bundle.id)
