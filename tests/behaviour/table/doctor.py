"""hybrid doctor: its verdict is what then happens; what is missing names the row, the cause and a remedy."""

import json
import os
import shutil

import harness
from table import test
from table.machines import HIDE_KVM

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
    report, _ = findings(t, t.hybrid("doctor", "--json", seconds=60))
    if report["vm"]:
        raise harness.Skip("VMs work here")
    t.match("stderr", "hybrid doctor", t.hybrid("run", "--rm", "--isolation=vm", t.host.image("test"), "true").err)
