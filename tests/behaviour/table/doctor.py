"""hybrid doctor: its verdict is what then happens; what is missing names the row, the cause and a remedy."""

import json
import os
import shutil

import harness
from table import test
from table.machines import HIDE_KVM

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


@test("doctor/errors-point-at-it", isolations=("container",))
def pointed_at(t):
    """What the machine lacks ends a run with an error that names the row, and the row says that it is missing."""
    for row, lacking in (("kvm", HIDE_KVM), ("cgroup", 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"'),
                         ("root", 'exec unshare --user "$@"'),
                         ("capabilities", 'exec setpriv --bounding-set=-sys_admin --inh-caps=-all "$@"')):
        line = ["unshare", "--mount", "--propagation=private", "sh", "-c", lacking, "sh"]
        isolation = "--isolation=vm" if row == "kvm" else "--isolation=container"
        result = t.finish([*line, *t.command("run", "--rm", isolation, t.host.image("test"), "true")], None, 60, None)
        t.equal(f"exit status without {row}", 125, result.exit, result)
        t.match(f"stderr without {row}", rf"`hybrid doctor` \(row {row}\)", result.err)
        _, rows = findings(t, t.finish([*line, *t.command("doctor", "--json")], None, 60, None))
        t.equal(f"the row {row}", "missing", rows[row]["status"])
