"""hybrid doctor: its verdict is what then happens; what is missing names the row, the cause and a remedy."""

import json
import os
import shutil
import sys

import fixtures
import harness
from table import test
from table.machines import HIDE_KVM
from table.networks import Network

# A node on a file system without devices cannot be opened by anybody.
FORBID_KVM = """mount -t tmpfs -o nodev tmpfs /mnt && mknod /mnt/kvm c 10 232 && mount --bind /mnt/kvm /dev/kvm &&
    exec "$@" """
STATUSES = {(True, True): 0, (True, False): 1, (False, True): 2, (False, False): 3}


def findings(t, result):
    report = json.loads(result.out)
    t.equal("exit status", STATUSES[report["container"], report["vm"]], result.exit)
    return report, {row["name"]: row for row in report["findings"]}


@test("doctor/verdict")
def verdict(t):
    """What doctor says of an isolation, a run in it proves."""
    report, rows = findings(t, t.hybrid("doctor", "--json", seconds=60))
    result = t.run(command=["true"], seconds=60)
    t.equal(f"doctor's word against a run's ({result.err})", report[t.isolation], result.exit == 0)
    t.check(rows["kernel"]["status"] == "good", "no word of the kernel")
    for row in rows.values():
        t.check(row["status"] != "missing" or row.get("remedy"), f"{row['name']}: no remedy")
        t.check(row["status"] in ("good", "note", "missing") and row["text"], f"{row['name']}: {row}")


@test("doctor/screen", isolations=("container",))
def screen(t):
    """As text, the same rows; one screen."""
    _, rows = findings(t, t.hybrid("doctor", "--json", seconds=60))
    seen = t.hybrid("doctor", seconds=60)
    t.equal("rows", list(rows), [line.split()[0] for line in seen.out.splitlines() if line[:1] not in (" ", "", "-")])
    t.check(len(seen.out.splitlines()) <= 50, "more than a screen")


@test("doctor/no-kvm", isolations=("container",))
def no_kvm(t):
    """Where there is no /dev/kvm, that is what it says, and containers still work."""
    line = ["unshare", "--mount", "--propagation=private", "sh", "-c", HIDE_KVM, "sh", *t.command("doctor", "--json")]
    report, rows = findings(t, t.finish(line, None, 60, None))
    t.equal("verdict", (True, False), (report["container"], report["vm"]))
    t.match("the cause", "No such file", rows["kvm"]["text"])
    t.match("the remedy", "modprobe", rows["kvm"]["remedy"])
    t.equal("the row", "missing", rows["kvm"]["status"])


@test("doctor/kvm-unreadable", isolations=("container",))
def unreadable_kvm(t):
    """A /dev/kvm that may not be opened, also by root: the row says so, and the error of a run points at it."""
    if not os.path.exists("/dev/kvm"):
        raise harness.Skip("this host has no /dev/kvm, and its /dev is not ours")
    line = ["unshare", "--mount", "--propagation=private", "sh", "-c", FORBID_KVM, "sh"]
    report, rows = findings(t, t.finish([*line, *t.command("doctor", "--json")], None, 60, None))
    t.equal("verdict", (True, False), (report["container"], report["vm"]))
    t.match("the cause", "/dev/kvm: Permission denied", rows["kvm"]["text"])
    t.match("the remedy", "allow the device", rows["kvm"]["remedy"])
    result = t.finish([*line, *t.command("run", "--rm", "--isolation=vm", t.host.image("test"), "true")], None, 60, None)
    t.equal("exit status", 125, result.exit, result)
    t.match("stderr", "/dev/kvm: Permission denied.*`hybrid doctor`", result.err)


@test("doctor/rows", isolations=("container",))
def all_rows(t):
    """Everything that a workload may lack has its row."""
    _, rows = findings(t, t.hybrid("doctor", "--json", seconds=60))
    t.equal("rows", ["kernel", "root", "capabilities", "namespaces", "cgroup", "filesystems", "seccomp", "limits", "kvm",
                     "guest", "disk", "images", "store", "policy", "shares", "network", "nftables", "cni", "passt"],
            list(rows))
    t.match("file systems", "overlay.*erofs", rows["filesystems"]["text"])
    t.match("cgroup", "v[12].*memory, cpu.*(cpuset|but not)", rows["cgroup"]["text"])


@test("doctor/damaged-store", isolations=("container",))
def damaged(t):
    """A store that lacks a layer still runs other images: a note, which says what and how to mend it."""
    data, archive = t.host.directory + "/damaged", t.file("image.tar", "")
    own = ("--data", data, "--root", data + "-root")  # workloads of other stores would be missed there
    os.unlink(archive)
    t.verb("save", "-o", archive, t.host.image("test"))
    try:
        t.verb(*own, "load", "-q", archive)
        _, rows = findings(t, t.hybrid(*own, "doctor", "--json", seconds=60))
        t.match("a sound one", r"1 images, nothing missing, \d+ MiB free", rows["store"]["text"])
        layers = data + "/store/layers"
        os.unlink(f"{layers}/{os.listdir(layers)[0]}")
        report, rows = findings(t, t.hybrid(*own, "doctor", "--json", seconds=60))
        t.equal("a damaged one", ("note", True), (rows["store"]["status"], report["container"]))
        t.match("what is damaged", "damaged: layer sha256:[0-9a-f]{64}: it is missing", rows["store"]["text"])
        t.match("the remedy", "system check", rows["store"]["remedy"])
    finally:
        for directory in own[1::2]:
            shutil.rmtree(directory, ignore_errors=True)


@test("doctor/ordinary-user", isolations=("container",))
def ordinary_user(t):
    if not shutil.which("setpriv"):
        raise harness.Skip("setpriv is not installed")
    directory = t.host.directory + "/ordinary"
    os.makedirs(directory, exist_ok=True)
    os.chmod(t.host.directory, 0o711)
    shutil.copy(t.host.hybrid, directory + "/hybrid")
    line = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", directory + "/hybrid", "doctor", "--json"]
    report, rows = findings(t, t.finish(line, None, 60, None))
    t.equal("verdict", (False, False), (report["container"], report["vm"]))
    t.equal("root", ("missing", "run hybrid as root"), (rows["root"]["status"], rows["root"]["remedy"]))
    t.equal("namespaces", "missing", rows["namespaces"]["status"])


@test("doctor/policy-and-store", isolations=("container",))
def broken(t):
    """What keeps every workload from running is found."""
    path = t.file("policy.json", "{")
    _, rows = findings(t, t.hybrid("--policy", path, "doctor", "--json", seconds=60))
    t.equal("policy", "missing", rows["policy"]["status"])
    t.match("policy", "not valid JSON", rows["policy"]["text"])
    report, rows = findings(t, t.hybrid("--data", t.file("data", "no directory"), "doctor", "--json", seconds=60))
    t.equal("store", ("missing", False), (rows["store"]["status"], report["container"]))


# A kernel, or a container around hybrid, that refuses clone3(2): a filter that is loaded before the command.
WITHOUT_CLONE3 = """import ctypes, os, struct, sys
load, equal, give = 0x20, 0x15, 0x06
filter = [(load, 0, 0, 0), (equal, 0, 1, 435), (give, 0, 0, 0x50000 | 38), (give, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in filter))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(filter), ctypes.addressof(code)))
libc = ctypes.CDLL(None)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, program, 0, 0):
    sys.exit("no filter")
os.execv(sys.argv[1], sys.argv[1:])"""
IN_MOUNTS = ["unshare", "--mount", "--propagation=private", "sh", "-c"]


def hidden(*paths):
    """Commands in whose mount namespace these cannot be executed, as far as they are there."""
    loop = f'for path in {" ".join(paths)}; do [ ! -e $path ] || mount --bind /dev/null $path || exit 99; done; exec "$@"'
    return [*IN_MOUNTS, loop, "sh"]


def point_at(t, row, lacking, arguments, status="missing", programs=None):
    """A run that lacks something names the row; there the row says so, and what to do, on the screen and as JSON."""
    def command(*more):
        return [*lacking, *t.command(*more)] if not programs else [*lacking, programs + "/hybrid", *more]
    result = t.finish(command(*arguments), None, 60, None)
    t.equal(f"exit status without {row}", 125, result.exit, result)
    t.match(f"stderr without {row}", rf"`hybrid doctor` \(row {row}\)", result.err)
    t.equal(f"rows named without {row}", 1, result.err.count("`hybrid doctor`"))
    where = arguments[:2] if arguments[0] == "--data" else ()
    report, rows = findings(t, t.finish(command(*where, "doctor", "--json"), None, 60, None))
    t.equal(f"the row {row}", status, rows[row]["status"])
    t.check(rows[row].get("remedy"), f"no remedy in the row {row}: {rows[row]}")
    t.check("hybrid doctor" not in rows[row]["text"], f"the row {row} points at itself: {rows[row]}")
    for isolation in rows[row]["neededBy"]:
        t.equal(f"doctor's word of {isolation} without {row}", status != "missing", report[isolation])
    return command


def programs_without(t, lacking):
    """A directory of hybrid's programs, and what they need, in which one file is missing; without images."""
    directory = t.file("programs", "") + ".d"
    os.mkdir(directory)
    t.closers.append(lambda: shutil.rmtree(directory))
    shutil.copy(t.host.hybrid, directory)
    for name in {"hybrid-image", "hybrid-vmm", "hybrid-names", "vmlinux", "guest-root.erofs"} - {lacking}:
        os.symlink(f"{os.path.dirname(t.host.hybrid)}/{name}", f"{directory}/{name}")
    return directory


@test("doctor/errors-point-at-it", isolations=("container",), alone=True, seconds=120)
def pointed_at(t):
    """What the machine lacks ends a run with an error that names the row, and the row says that it is missing."""
    image, directory = t.host.image("test"), programs_without(t, "hybrid-image")
    run, data = ("run", "--rm", "--isolation=container", image, "true"), directory + "/data"
    no_cgroup = ("--cgroup-manager=disabled", *run)
    os.mkdir(data)
    full = ["--data", data, "load", "-q", fixtures.archive_of("test")]
    store = [*IN_MOUNTS, f'mount -t tmpfs -o size=8k none {data} && exec "$@"', "sh"]
    hide_loops = [*IN_MOUNTS, HIDE_KVM.replace("rm -f /dev/kvm", "rm /dev/loop-control"), "sh"]
    needs_loops = tuple(map(int, os.uname().release.split("-")[0].split(".")[:2])) < (6, 12)
    for row, lacking, arguments in (
            *([("filesystems", hide_loops, run)] if needs_loops else []),
            ("kvm", [*IN_MOUNTS, HIDE_KVM, "sh"], ("run", "--rm", "--isolation=vm", image, "true")),
            ("cgroup", [*IN_MOUNTS, 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"', "sh"], run),
            ("root", ["unshare", "--user"], run),
            ("capabilities", ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all"], run),
            ("root", ["unshare", "--user", "--map-root-user"], run),  # a rootless engine's call
            ("filesystems", ["unshare", "--user", "--map-root-user", "--mount"], no_cgroup),
            ("namespaces", [sys.executable, "-c", WITHOUT_CLONE3], run),
            ("namespaces", ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
                            'echo 0 >/proc/sys/user/max_mnt_namespaces && exec "$@"', "sh"], no_cgroup),
            ("store", store, full)):
        command = point_at(t, row, lacking, arguments)
        if row == "store":
            seen = t.finish(command("--data", data, "doctor"), None, 60, None)
            t.match("the screen", r"(?m)^store +missing .*room for nothing.*\n +-> ", seen.out)
    command = point_at(t, "images", [], ("pull", "registry.example/x"), programs=directory)
    result = t.finish(command("--data", data, "run", "--rm", "busybox", "true"), None, 60, None)
    t.match("the image that comes along", r"`hybrid doctor` \(row images\)", result.err)
    seen = t.finish(command("doctor"), None, 60, None)
    t.equal("exit status of the screen", 3, seen.exit, seen)
    t.match("the screen", r"(?m)^images +missing .*hybrid-image: No such file.*\n +-> install", seen.out)


@test("doctor/library-missing", isolations=("container",))
def library(t):
    """hybrid-image is there, but not what it is linked with: nothing of that is good."""
    program = os.path.dirname(t.host.hybrid) + "/hybrid-image"
    needed = [line.split()[2] for line in t.finish(["ldd", program], None, 20, None).out.splitlines() if "libarchive" in line]
    report, rows = findings(t, t.finish([*hidden(*needed), *t.command("doctor", "--json")], None, 60, None))
    t.equal("the row", ("missing", False), (rows["images"]["status"], report["container"]))
    t.match("the cause", "hybrid-image failed .*libarchive", rows["images"]["text"])
    t.match("the remedy", "libraries", rows["images"]["remedy"])
    data = t.file("data", "") + ".d"
    t.closers.append(lambda: shutil.rmtree(data, ignore_errors=True))
    result = t.finish([*hidden(*needed), *t.command("--data", data, "run", "--rm", "busybox", "true")], None, 60, None)
    t.equal("exit status", 125, result.exit, result)
    t.match("stderr", "embedded image: .*libarchive", result.err)


@test("doctor/errors-of-vms-point-at-it", isolations=("vm",), alone=True, seconds=120)
def pointed_at_by_vms(t):
    """The same for what only a VM needs; what only some options of it need is a note."""
    image, directory = t.host.image("test"), programs_without(t, "vmlinux")
    network, run = Network(t), ("run", "--isolation=vm")
    point_at(t, "shares", hidden("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"),
             (*run, "--rm", "-v", "/etc/hostname:/x:ro", image, "true"), "note")
    point_at(t, "disk", hidden("/sbin/mke2fs", "/usr/sbin/mke2fs", "/usr/bin/mke2fs"),
             (*run, "--name", t.name(), image, "true"))
    point_at(t, "network", [*IN_MOUNTS, 'mount -t tmpfs none /dev/net && exec "$@"', "sh"],
             (*run, "--rm", f"--network=ns:{network.path}", image, "true"), "note")
    command = point_at(t, "guest", [], (*run, "--rm", image, "true"), programs=directory)
    seen = t.finish(command("doctor"), None, 60, None)
    t.match("the screen", r"(?m)^guest +missing .*vmlinux: No such file.*\n +-> install", seen.out)
