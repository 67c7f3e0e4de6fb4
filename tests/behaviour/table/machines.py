"""The virtual machine itself: what it costs while idle, how its failures are told, that it is never faked."""

import json
import os
import time

import harness
from table import test

IDLE_MEMORY = 2 << 20   # private memory of hybrid-vmm, without the guest's
IDLE_SHARE = 0.005      # of one processor


def monitor(t, cli):
    """The process id of hybrid-vmm below a `hybrid run`."""
    found = [pid for pid in harness.descendants(cli)
             if (harness.process_stat(pid) or ("",))[0].startswith("hybrid-vmm")]
    t.check(found, "no hybrid-vmm is running")
    return found


@test("machine/never-a-container-instead", isolations=("container",))
def never_faked(t):
    """--isolation=vm is a VM with a kernel of its own, or an error that names cause and remedy."""
    result = t.hybrid("run", "--rm", "--isolation=vm", t.host.image("test"), "cat",
                      "/proc/sys/kernel/random/boot_id", seconds=60)
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        t.check(file.read() != result.out, "it ran on this machine's kernel")
    if result.exit == 0:
        t.note("KVM works here")
        return
    t.equal("exit status", 125, result.exit, result)
    t.equal("stdout", "", result.out)
    t.match("stderr names the cause", r"^hybrid: .*(?i:kvm)", result.err)
    t.match("stderr names a remedy", r"(?i)isolation=container|host|BIOS|module|group|modprobe", result.err)
    t.note(result.err.splitlines()[0])


@test("machine/idle-memory", isolations=("vm",), alone=True)
def idle_memory(t):
    session = t.session("-m", "128m", "--cpus", "1", command=["sh", "-c", "echo ready; exec sleep 1000"])
    session.expect("ready\n")
    time.sleep(2)
    used = sum(harness.private_memory(pid) for pid in monitor(t, session.pid))
    t.note(f"{used >> 10} KiB private to hybrid-vmm")
    session.signal(9)
    session.wait()
    t.check(used <= IDLE_MEMORY, f"hybrid-vmm alone holds {used >> 10} KiB, allowed are {IDLE_MEMORY >> 10}")


@test("machine/idle-processor", isolations=("vm",), alone=True, seconds=60)
def idle_processor(t):
    session = t.session("-m", "128m", "--cpus", "1", command=["sh", "-c", "echo ready; exec sleep 1000"])
    session.expect("ready\n")
    time.sleep(3)
    pids = [session.pid] + harness.descendants(session.pid)
    start, before = time.monotonic(), harness.cpu_seconds(pids)
    time.sleep(30)
    share = (harness.cpu_seconds(pids) - before) / (time.monotonic() - start)
    t.note(f"{share:.3%} of one processor")
    session.signal(9)
    session.wait()
    t.check(share < IDLE_SHARE, f"an idle VM used {share:.2%} of one processor")


@test("machine/processors", isolations=("vm",), processors=2)
def processors(t):
    for cpus, expected in (("1", "1\n"), ("1.5", "2\n"), ("2", "2\n")):
        t.equal(f"nproc with --cpus {cpus}", expected, t.run("--cpus", cpus, command=["nproc"]).out)


@test("machine/kernel-addresses-differ", isolations=("vm",))
def addresses(t):
    """Two machines of one image do not share the layout of their kernels' dynamic memory."""
    seen = [t.run("--cap-add", "ALL", command=["head", "-n1", "/proc/vmallocinfo"],
                  env={"HYBRID_VM_KERNEL_ARGUMENTS": "no_hash_pointers"}).out.split("-")[0] for _ in range(2)]
    t.match("an address", "^0xffff[0-9a-f]{12}$", seen[0])
    t.check(seen[0] != seen[1], f"vmalloc begins at {seen[0]} twice")


@test("machine/memory", isolations=("vm",))
def memory(t):
    """The machine is as large as -m asks, and what its kernel needs comes on top."""
    for size in (64, 512):
        result = t.run("-m", f"{size}m", command=["awk", "/MemTotal/ {print $2}", "/proc/meminfo"])
        seen = int(result.out) >> 10
        t.check(size <= seen <= size + 128, f"-m {size}m shows {seen} MiB")


@test("machine/without-user-namespaces", isolations=("vm",), alone=True, seconds=60)
def without_user_namespaces(t):
    """Where the host allows none, the rest of the jail is in force, and the report says what is missing."""
    if not os.environ.get("TESTBED"):
        raise harness.Skip("it is a setting of the whole host")
    setting = "/proc/sys/user/max_user_namespaces"
    with open(setting, encoding="ascii") as file:
        before = file.read()
    try:
        with open(setting, "w", encoding="ascii") as file:
            file.write("0")
        name = t.detached("-v", f"{t.host.files}:/files:ro", command=["sleep", "1000"])
        t.equal("a command in it", "0\n", t.verb("exec", name, "sh", "-c", "ls /files >/dev/null; id -u"))
        report = json.loads(t.verb("inspect", "--security", name))[0]
    finally:
        with open(setting, "w", encoding="ascii") as file:
            file.write(before)
    for process in (report["process"], *report["companions"]):
        t.check(process["namespaces"]["user"]["shared"], f"{process['name']} has a user namespace")
        t.equal("no new privileges", 1, process["noNewPrivs"])
        unfiltered = [thread["name"] for thread in process["threads"] if thread["seccomp"] != "filter"]
        t.equal(f"threads of {process['name']} without a filter", [], unfiltered)
    process = report["process"]
    shared = sorted(kind for kind, namespace in process["namespaces"].items() if namespace["shared"])
    t.equal("shared namespaces", ["time", "user"], shared)
    t.check(process["uid"][0] > 0 and not any(process["capabilities"].values()), f"{process['uid']}")
    t.equal("companions", {"virtiofsd"}, {companion["name"] for companion in report["companions"]})


# A /dev of this mount namespace alone, in which KVM is missing. The rest is there, also what was copied to /dev/shm.
HIDE_KVM = """cd /dev/shm && mount -t tmpfs none /mnt && mkdir /mnt/upper /mnt/work &&
    mount -t overlay -o lowerdir=/dev,upperdir=/mnt/upper,workdir=/mnt/work none /dev && rm -f /dev/kvm &&
    mount --no-canonicalize --bind . /dev/shm && exec "$@" """


@test("machine/without-kvm", isolations=("container",))
def without_kvm(t):
    """Where there is no /dev/kvm, a VM is an error that says so and what to do."""
    line = t.command("run", "--rm", "--isolation=vm", t.host.image("test"), "true")
    result = t.finish(["unshare", "--mount", "sh", "-c", HIDE_KVM, "sh", *line], None, 60, None)
    t.equal("exit status", 125, result.exit, result)
    t.equal("stdout", "", result.out)
    t.match("stderr", r"^hybrid: cannot start a VM: cannot open /dev/kvm: No such file or directory; "
            r".*modprobe kvm_intel or kvm_amd.*--isolation=container", result.err)


def lost_guest(t, arguments, *wanted, options=(), command=("true",), seconds=60):
    """Runs a VM whose guest fails, and judges how that is told: status 125, and each of `wanted`."""
    result = t.run(*options, command=command, env={"HYBRID_VM_KERNEL_ARGUMENTS": arguments}, seconds=seconds)
    t.equal("exit status", 125, result.exit, result)
    t.equal("stdout", "", result.out)
    for expression in (r"^hybrid: the VM of \S+ failed: ", "--isolation=container runs the same image", *wanted):
        t.match("stderr", expression, result.err)


@test("machine/panic-is-told", isolations=("vm",), seconds=60)
def panic(t):
    """A guest that dies before its init is ready: the stage, the console's end, a remedy."""
    lost_guest(t, "init=/nonexistent", "failed: the guest kernel panicked; ",
               "stage reached: the guest kernel ran, but hybrid-init did not get ready; ",
               r"the guest's console ended with:\n(.*\n)*.*Kernel panic - not syncing: Requested init /nonexistent failed")


@test("machine/hang-is-told", isolations=("vm",), seconds=240)
def hang(t):
    """A guest that gets nowhere, since its kernel waits for a root that never comes, is given up. What the host had no
    processor for is not counted."""
    lost_guest(t, "root=/dev/absent rootwait loglevel=7", r"failed: no progress for 60 seconds \([0-9]+ exits \(vCPU 0: rip 0x[0-9a-f]+ .*; blk: status 0xf .*"
               r"queue 0: offered ([0-9]+) taken \1 returned \1; vsock: status 0xf .*\)(, and in [0-9]+ more [^;]*)?; ",
               "stage reached: the guest kernel ran, but hybrid-init did not get ready; ",
               r"the guest's console ended with:\n(.*\n)*.*Waiting for root device /dev/absent", seconds=240)


@test("machine/panic-of-a-running-guest-is-told", isolations=("vm",), alone=True, seconds=60)
def late_panic(t):
    """A guest whose kernel panics under the workload: here at its first lack of memory, as it was told to.

    Alone for the reason of limit/memory-of-tmpfs.
    """
    lost_guest(t, "sysctl.vm.panic_on_oom=2", "failed: the guest kernel panicked; ",
               "stage reached: the workload was running; start it again",
               r"the guest's console ended with:\n(.*\n)*.*Kernel panic - not syncing: Out of memory",
               options=("-m", "48m"), command=("sh", "-c", "exec dd if=/dev/zero of=/dev/shm/x bs=64k count=900"))


@test("machine/lacking-parts-are-named", isolations=("vm",))
def lacking(t):
    """Without its kernel beside it, hybrid says which file it looked for and what to do."""
    directory = os.path.join(t.host.directory, f"partial-{t.name()}")
    os.mkdir(directory)
    source = os.path.dirname(t.host.hybrid)
    for name in ("hybrid", "hybrid-vmm", "hybrid-image", "guest-root.erofs"):
        with open(os.path.join(source, name), "rb") as program, open(os.path.join(directory, name), "wb") as copy:
            copy.write(program.read())
        os.chmod(os.path.join(directory, name), 0o755)
    line = t.run_arguments(command=["true"])
    result = t.finish([os.path.join(directory, "hybrid"), *line[1:]], None, 20, None)
    t.equal("exit status", 125, result.exit, result)
    t.match("stderr", "vmlinux.*(make|install)", result.err)
