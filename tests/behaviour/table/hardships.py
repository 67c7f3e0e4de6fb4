"""What goes wrong around a workload: a full disk, a file cut short, processes that are stopped, clocks that jump."""

import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import time

import archives
import harness
from observe import cgroup_directories
from table import test

FOREVER = ["sh", "-c", "trap 'exit 0' TERM; echo up; while :; do sleep 0.1; done"]
MIB = 1 << 20
ENOSPC = "No space left on device"


@contextlib.contextmanager
def mounted(t, *arguments):
    """A directory of its own with something mounted on it, gone afterwards."""
    with tempfile.TemporaryDirectory(dir=t.host.directory) as directory:
        subprocess.run(["mount", *arguments, directory], check=True)
        try:
            yield directory
        finally:
            subprocess.run(["umount", "-l", directory], check=True)


@contextlib.contextmanager
def block_device(t, size):
    """An ext4 file system on a loop device."""
    with tempfile.NamedTemporaryFile(dir=t.host.directory) as file:
        file.truncate(size)
        subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", file.name], check=True)
        with mounted(t, "-o", "loop", file.name) as directory:
            yield directory


def with_data(t, data, *options, command, seconds=60, keep=True):
    """Runs the embedded image with a data directory of its own."""
    remove = [] if keep else ["--rm"]
    return t.hybrid("run", f"--isolation={t.isolation}", *remove, *options, "busybox", *command,
                    env={"HYBRID_DATA": data}, seconds=seconds)


def pid_of(t, name, key="pid"):
    return json.loads(t.verb("inspect", name))[0][key]


# --- disks ----------------------------------------------------------------------------------------------


def write_time(t, data, *options):
    """Seconds that 6 MiB take to be on the disk, as the workload has it; or the Result that refuses."""
    script = "read a b </proc/uptime; dd if=/dev/zero of=/x bs=64k count=96 conv=fsync 2>/dev/null && " \
             "read c d </proc/uptime; echo $a $c"
    result = with_data(t, data, "--name", name := t.name(), *options, command=["sh", "-c", script])
    if result.exit == 0:
        t.hybrid("rm", "-f", name, env={"HYBRID_DATA": data})
        before, after = map(float, result.out.split())
        return after - before
    return result


@test("limit/disk-write-rate", alone=True, seconds=120)
def disk_write_rate(t):
    """2 MiB a second, however the workload runs. Less than that is no error: only faster is."""
    with block_device(t, 192 * MIB) as data:
        limited = write_time(t, data, "--device-write-bps=2m")
        if isinstance(limited, float):
            free = write_time(t, data)
            t.note(f"6 MiB in {limited:.1f} s, without the limit in {free:.1f} s")
            t.check(limited >= 2.5, f"6 MiB were written in {limited:.1f} s")
            return
        t.equal("isolation that refuses", "container", t.isolation)
        t.match("stderr", "--device-write-bps .*only cgroup v2 counts all; --isolation=vm limits it anywhere",
                limited.err)
        t.note("refused: this host has cgroup v1")


@test("limit/disk-read-rate", alone=True, seconds=120)
def disk_read_rate(t):
    """Requests and bytes: 20 reads past the page cache, of 10 a second."""
    script = "dd if=/dev/zero of=/x bs=64k count=20 conv=fsync 2>/dev/null; read a b </proc/uptime; " \
             "dd if=/x of=/dev/null bs=64k iflag=direct 2>/dev/null && read c d </proc/uptime; echo $a $c"
    with block_device(t, 192 * MIB) as data:
        for options, least in ((["--device-read-iops=10"], 1.5), (["--device-read-bps=640k"], 1.5), ([], 0)):
            result = with_data(t, data, "--name", name := t.name(), *options, command=["sh", "-c", script])
            t.equal("exit status", 0, result.exit, result)
            t.hybrid("rm", "-f", name, env={"HYBRID_DATA": data})
            before, after = map(float, result.out.split())
            t.note(f"{' '.join(options) or 'no limit'}: {after - before:.2f} s")
            t.check(after - before >= least, f"{options}: 20 reads took {after - before:.2f} s")


@test("limit/disk-rate-and-pauses", alone=True, seconds=120)
def disk_rate_and_pauses(t):
    """Paused while it waits for its turn to read, a workload goes on afterwards."""
    script = "dd if=/dev/zero of=/x bs=64k count=10 conv=fsync 2>/dev/null; " \
             "while dd if=/x of=/dev/null bs=64k iflag=direct 2>/dev/null; do echo read; done"
    with block_device(t, 192 * MIB) as data:
        env = {"HYBRID_DATA": data}
        result = with_data(t, data, "-d", "--name", name := t.name(), "--device-read-iops=10",
                           command=["sh", "-c", script])
        t.equal("exit status of run -d", 0, result.exit, result)

        def await_rounds(more):
            wanted = t.hybrid("logs", name, env=env).out.count("read") + more
            t.eventually("it reads", lambda: t.hybrid("logs", name, env=env).out.count("read") >= wanted)

        await_rounds(1)
        for _ in range(5):
            for verb in ("pause", "resume"):
                result = t.hybrid(verb, name, env=env)
                t.equal(f"exit status of {verb}", 0, result.exit, result)
            time.sleep(0.15)
        await_rounds(2)
        t.hybrid("rm", "-f", name, env=env)


@test("limit/disk-rate-refused")
def disk_rate_refused(t):
    for options, wanted in ((["--device-read-bps=/dev/sda:1mb"], "a rate without a device, such as 10m"),
                            (["--device-write-iops=0"], "a number of requests a second, from 1"),
                            (["--rm", "--device-write-bps=1m"], "with --rm the writable layer is in memory")):
        result = t.hybrid("run", f"--isolation={t.isolation}", *options, t.host.image("test"), "true")
        t.equal("exit status", 125, result.exit, result)
        t.match("stderr", wanted, result.err)
    shown = t.hybrid("run", f"--isolation={t.isolation}", "--dry-run", "--device-read-bps=1m", t.host.image("test"))
    t.match("dry run", "limit +device-read-bps 1048576 a second", shown.out)
    if t.isolation == "container":
        with mounted(t, "-t", "tmpfs", "-o", "size=64m", "none") as data:
            result = with_data(t, data, "--device-read-bps=1m", command=["true"], keep=False)
            t.equal("exit status", 125, result.exit, result)
            t.match("stderr", "--device-read-bps: .* is on no block device .*--isolation=vm", result.err)


@test("hardship/disk-full", isolations=("vm",), alone=True, seconds=120)
def disk_full(t):
    """The host's disk is full under a VM's writable layer: an I/O error in there, a word of hybrid's here."""
    with mounted(t, "-t", "tmpfs", "-o", "size=24m", "none") as data:
        result = with_data(t, data, "--name", name := t.name(), seconds=100, command=[
            "sh", "-c", "dd if=/dev/zero of=/x bs=64k count=640 conv=fsync 2>&1; echo lives; cat /proc/uptime"])
        t.hybrid("rm", "-f", name, env={"HYBRID_DATA": data})
        t.equal("exit status", 0, result.exit, result)
        t.match("stdout", r"(Input/output error|Read-only file system|No space)(.|\n)*lives\n\d", result.out)
        t.match("stderr", rf"hybrid: the VM of {name} had an I/O error: the writable layer .*{ENOSPC}", result.err)


@test("hardship/disk-full-at-the-end", isolations=("vm",), alone=True, seconds=120)
def disk_full_at_the_end(t):
    """The same for what is only written out once the workload has ended: it succeeded, and its data is lost."""
    with mounted(t, "-t", "tmpfs", "-o", "size=24m", "none") as data:
        result = with_data(t, data, "--name", name := t.name(), seconds=100,
                           command=["dd", "if=/dev/zero", "of=/x", "bs=64k", "count=640"])
        try:
            t.equal("exit status", 0, result.exit, result)
            t.match("its own stderr", r"640\+0 records out", result.err)
            t.match("stderr", rf"hybrid: the VM of {name} had an I/O error: the writable layer .*{ENOSPC}", result.err)
            env = {"HYBRID_DATA": data}
            t.match("ps", r"Exited \(0\) .* \(warning\)", t.verb("ps", "-a", env=env))
            t.match("inspect", ENOSPC, json.loads(t.verb("inspect", name, env=env))[0]["warning"])
        finally:
            t.hybrid("rm", "-f", name, env={"HYBRID_DATA": data})


@test("hardship/layer-cut-short", isolations=("vm",), alone=True, seconds=120)
def layer_cut_short(t):
    """A layer's file is truncated under a running VM: reads fail in there, and nothing else does."""
    with tempfile.TemporaryDirectory(dir=t.host.directory) as data:
        env = {"HYBRID_DATA": data}
        path = f"{data}/large.tar"
        with open("/bin/busybox", "rb") as busybox:
            shell = archives.tar([archives.entry("bin/busybox", data=busybox.read(), mode=0o755)])
        large = archives.tar([archives.entry("large", data=os.urandom(32 * MIB))])
        with open(path, "wb") as file:
            file.write(archives.Image([shell, large], "large:1").archive())
        t.verb("load", "-q", path, env=env)
        os.unlink(path)
        name = t.name()
        t.verb("run", "-d", "--name", name, "--isolation=vm", "large:1", "/bin/busybox", "sleep", "1000", env=env)
        try:
            layers = [file.path for file in os.scandir(f"{data}/store/layers") if file.stat().st_size > 32 * MIB]
            t.equal("files of that size", 1, len(layers))
            os.truncate(layers[0], 8 * MIB)
            read = t.hybrid("exec", name, "/bin/busybox", "dd", "if=/large", "of=/dev/null", "bs=1M", env=env)
            t.match("reading it", "I/O error|Input/output error", read.err)
            # Nobody was there to be told: it is kept where one would look, while it runs and afterwards.
            t.eventually("ps tells", lambda: re.search(r"Up .* \(warning\)", t.hybrid("ps", env=env).out))
            warning = json.loads(t.verb("inspect", name, env=env))[0]["warning"]
            t.equal("inspect tells", "the image's layers cannot be read: a file on the host was cut short", warning)
            t.equal("another command", "on\n",
                    t.hybrid("exec", name, "/bin/busybox", "echo", "on", env=env).out)
            t.verb("stop", "-t", "0", name, env=env)
            t.match("ps of the stopped one", r"Exited \(137\) .* \(warning\)", t.verb("ps", "-a", env=env))
            t.equal("inspect of the stopped one", warning, json.loads(t.verb("inspect", name, env=env))[0]["warning"])
        finally:
            t.hybrid("rm", "-f", name, env=env)


@test("hardship/out-of-host-memory", isolations=("vm",), alone=True, seconds=60)
def out_of_memory(t):
    """The host takes a VM's memory away: its monitor is killed, which is told as what it is."""
    session = t.session("--name", name := t.name(), "-m", "128m",
                        command=["sh", "-c", "echo ready; while :; do dd if=/dev/zero of=/dev/shm/x bs=1M count=30; done"])
    session.expect("ready\n")
    directories = [path for path in cgroup_directories() if path.endswith(pid_of(t, name, "cgroup"))]
    files = [f"{path}/{file}" for path in directories for file in ("memory.max", "memory.limit_in_bytes")
             if os.path.exists(f"{path}/{file}")]
    t.check(files, f"no limit of memory in {directories}")
    with contextlib.suppress(OSError), open(files[0], "w", encoding="ascii") as file:
        file.write(str(24 * MIB))
    result = session.wait(60)
    t.equal("exit status", 125, result.exit, result)
    t.match("stderr", "the host's out-of-memory killer ended hybrid-vmm", result.err)


# --- processes ------------------------------------------------------------------------------------------


@test("hardship/kill-during-the-boot", isolations=("vm",), seconds=60)
def kill_during_boot(t):
    """A guest that gets nowhere: rm -f, kill and stop do not wait for the minute that it is given."""
    hangs = {"HYBRID_VM_KERNEL_ARGUMENTS": "root=/dev/absent rootwait"}
    for ending, left in ((("rm", "-f"), False), (("kill",), True), (("stop", "-t", "0"), True)):
        name = t.name()
        session = t.session(verb=["run", "-d", "--name", name, "--isolation=vm", t.host.image("test"), "true"],
                            env={**t.host.env, **hangs})
        t.eventually("it boots", lambda: any(
            (harness.process_stat(pid) or ("",))[0].startswith("hybrid-vmm") for pid in harness.children_below(session.pid)))
        time.sleep(0.2)
        start = time.monotonic()
        t.verb(*ending, name)
        result = session.wait()
        spent = time.monotonic() - start
        t.equal("exit status of run -d", 137, result.exit, result)
        t.check(spent < 10 * t.slow, f"{ending} took {spent:.1f} s")
        t.equal("it is still listed", left, os.path.isdir(f"{t.host.root}/{name}"))
        if left:
            t.equal("its exit status", 137, t.exit_of(name))


@test("hardship/stopped-vmm", isolations=("vm",), seconds=60)
def stopped_vmm(t):
    """A VM whose monitor does not run any more obeys nobody inside it; KILL holds all the same."""
    name = t.detached(command=FOREVER)
    os.kill(pid_of(t, name), signal.SIGSTOP)
    start = time.monotonic()
    t.verb("stop", "-t", "1", name, seconds=40)
    t.note(f"stop -t 1 took {time.monotonic() - start:.1f} s")
    t.equal("its exit status", 137, t.exit_of(name))


@test("hardship/stopped-monitor", seconds=60)
def stopped_monitor(t):
    """hybrid's own process is stopped: what cannot be carried out says so in time, and rm -f ends it."""
    name = t.detached(command=FOREVER)
    os.kill(pid_of(t, name, "monitorPid"), signal.SIGSTOP)
    result = t.hybrid("kill", "-s", "USR1", name, seconds=30)
    t.equal("exit status of kill", 125, result.exit, result)
    t.match("stderr", f"the monitor of {name} does not answer .*hybrid rm -f {name}", result.err)
    t.verb("rm", "-f", name, seconds=30)
    t.eventually("nothing is left of it", lambda: not t.host.traces(name))


# --- time -----------------------------------------------------------------------------------------------

CLOCKS = "while :; do echo $(cut -d' ' -f1 /proc/uptime) $(date +%s); sleep 0.1; done"


@test("hardship/clock-after-a-stop", isolations=("vm",), alone=True, seconds=90)
def clock_after_stop(t):
    """The VM stands still for seconds, as on a host that sleeps or is overloaded: its clocks are right afterwards."""
    session = t.session("--name", name := t.name(), command=["sh", "-c", CLOCKS])

    def clocks():
        """The guest's monotonic time, ours when it came, and how far its real time is from ours."""
        with session.changed:  # two ends of lines from now: the last one was begun after that
            wanted = session.seen[1].count(b"\n") + 2
        t.eventually("the guest tells the time", lambda: session.seen[1].count(b"\n") >= wanted)
        uptime, date = bytes(session.seen[1]).split(b"\n")[-2].split()
        return float(uptime), time.monotonic(), int(date) - time.time()

    before, start, _ = clocks()
    vmm = pid_of(t, name)
    for _ in range(2):
        os.kill(vmm, signal.SIGSTOP)
        time.sleep(4)
        os.kill(vmm, signal.SIGCONT)
        now, here, off = clocks()
        t.note(f"real time off by {off:.1f} s, {now - before:.1f} s of {here - start:.1f} s went by")
        # A second, which is what `date` shows, and what a line takes to get here.
        t.check(-2 <= off <= 1, f"the guest's real time is {off:.1f} s off")
        t.check(abs(now - before - (here - start)) < 1,
                f"its monotonic time went on by {now - before:.1f} s in {here - start:.1f} s")
    session.signal(signal.SIGKILL)
    session.wait()


RANDOM = "cat /proc/sys/kernel/random/boot_id; head -c 16 /dev/urandom | od -An -tx1; cut -d' ' -f1 /proc/uptime"


@test("hardship/seeds-differ", isolations=("vm",), seconds=60)
def seeds(t):
    """Two VMs, and two starts of one, share no random numbers, and none waits for them."""
    name = t.name()
    seen = {t.run("--name", name, command=["sh", "-c", RANDOM], keep=True).out}
    t.verb("start", name)
    t.exit_of(name)
    lines = t.verb("logs", name).splitlines(keepends=True)
    seen |= {"".join(lines[at:at + 3]) for at in range(0, len(lines), 3)}  # of both starts
    seen.add(t.run(command=["sh", "-c", RANDOM]).out)
    t.equal("starts", 3, len(seen))
    for line in (0, 1):
        t.equal(f"different values of line {line}", 3, len({text.splitlines()[line] for text in seen}))
    t.note("up for " + ", ".join(text.splitlines()[2] for text in seen) + " s")
