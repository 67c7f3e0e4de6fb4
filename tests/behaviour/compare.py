#!/usr/bin/python3
"""`hybrid compare` measures here, and what it says can be true: structure, sums, and what must differ.

    compare.py BUILD      prints PASS, FAIL or SKIP lines; exit status 1 if anything failed
"""

import html.parser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

STAGES = ("cli", "image", "namespaces", "monitor", "kernel", "init", "command", "run", "reaped")
CONTAINER, UNFILTERED, VM = "container", "container-without-seccomp", "vm"
EMULATED = os.environ.get("TESTBED") == "1"
# A start of a VM takes seconds there: fewer of them, and only what needs one.
TOPICS = "start,reach" if EMULATED else "start,stop,memory,cost,reach,host"
RUNS = 1 if EMULATED else 5
ISOLATIONS = (CONTAINER, VM) if EMULATED else (CONTAINER, UNFILTERED, VM)
failures = 0


def case(check):
    """Runs a check and prints what became of it."""
    global failures
    name = check.__name__.replace("_", "-")
    try:
        why = check()
        print(f"SKIP compare/{name}: {why}" if why else f"PASS compare/{name}", flush=True)
    except AssertionError as error:
        failures += 1
        print(f"FAIL compare/{name}: {error}", flush=True)


class Place:
    """Directories of our own for hybrid."""

    def __init__(self, build):
        self.top = tempfile.mkdtemp(prefix="compare-")
        self.hybrid = os.path.join(build, "hybrid")
        self.environment = {**os.environ, "HYBRID_ROOT": self.top + "/run", "HYBRID_DATA": self.top + "/data"}

    def start(self, *arguments):
        """What a shell starts in the background ignores SIGINT, and would hand that on."""
        return subprocess.Popen([self.hybrid, *arguments], env=self.environment, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    def run(self, *arguments, status=0):
        process = self.start(*arguments)
        out, error = process.communicate(timeout=900)
        assert process.returncode == status, f"{arguments}: status {process.returncode}, {error[-600:]}"
        return out if status == 0 else error

    def leftovers(self):
        """Workloads, processes and mounts that are still there."""
        found = self.run("ps", "-a", "-q").split()
        found += os.listdir(self.top + "/data/workloads") if os.path.isdir(self.top + "/data/workloads") else []
        with open("/proc/self/mounts", encoding="utf-8") as mounts:
            found += [line.split()[1] for line in mounts if self.top in line]
        return found + [f"process {pid} ({name})" for pid, name in self.processes()]

    def processes(self):
        """Those that have our directories in their environment, or a VM's monitor of theirs."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
                    name = file.read().strip()
                with open(f"/proc/{pid}/environ", encoding="utf-8", errors="replace") as file:
                    ours = self.top in file.read()
            except OSError:
                continue
            # hybrid-vmm has an empty environment: another test's may run on this machine, not in the emulated host.
            if ours or EMULATED and name.startswith("hybrid-vmm"):
                yield pid, name

    def interrupt(self, topic, isolation):
        """Ends a comparison by SIGINT while workloads of this topic run."""
        process = self.start("compare", "-n", "500", "--only", topic, "--isolation", isolation, "busybox")
        for line in process.stderr:
            if f"{topic}, {isolation}" in line:
                break
        deadline = time.monotonic() + 60
        while isolation == VM and EMULATED and not any(name.startswith("hybrid-vmm") for _, name in self.processes()):
            assert time.monotonic() < deadline, "no VM was started"
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGINT, process.returncode
        assert not self.leftovers(), self.leftovers()


class Document:
    def __init__(self, text):
        self.json = json.loads(text)
        self.rows = {f"{topic['name']}.{row['name']}": row for topic in self.json["topics"] for row in topic["rows"]}
        self.there = [i["name"] for i in self.json["isolations"] if i["available"]]

    def value(self, row, isolation):
        return self.rows[row]["values"][isolation]

    def number(self, row, isolation):
        value = self.value(row, isolation)
        assert "value" in value, f"{row} in {isolation}: {value}"
        return value["value"]

    def text(self, row, isolation):
        return self.value(row, isolation).get("text", "")


class Balance(html.parser.HTMLParser):
    """Whether every element is closed where it should be."""

    VOID = {"meta", "rect", "path", "br"}

    def __init__(self, text):
        super().__init__()
        self.open, self.links = [], []
        self.feed(text)
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open and self.open[-1] == tag, f"</{tag}> within {self.open[-3:]}"
            self.open.pop()


def check_value(row, where, value):
    """A value is of one of the four forms, and a distribution is in order."""
    forms = [form for form in ("p50", "value", "text", "missing") if form in value]
    assert len(forms) == 1, f"{row} in {where}: {value}"
    if forms == ["p50"]:
        order = [value[key] for key in ("min", "p50", "p90", "p99", "max")]
        assert order == sorted(order) and value["n"] > 0 and order[0] >= 0, f"{row} in {where}: {order}"
        assert value["samples"] == sorted(value["samples"]) and 0 < len(value["samples"]) <= 100, row
        assert all(order[0] <= sample <= order[-1] for sample in value["samples"]), row
    if forms == ["missing"]:
        assert value["missing"], f"{row} in {where}: no reason"


def main():
    place = Place(os.path.abspath(sys.argv[1]))
    page = place.top + "/page.html"
    try:
        document = Document(place.run("compare", "-q", "--json", "-n", str(RUNS), "--only", TOPICS, "--html", page,
                                      *(f"--isolation={name}" for name in ISOLATIONS), "busybox"))
        check_all(place, document, page)
    except AssertionError as error:
        print(f"FAIL compare/runs: {error}")
        return 1
    finally:
        shutil.rmtree(place.top)
    return 1 if failures else 0


def check_all(place, document, page):
    no_vm = None if VM in document.there else next(
        i["reason"] for i in document.json["isolations"] if i["name"] == VM)

    @case
    def structure():
        assert document.json["format"] == "hybrid-compare" and document.json["version"] == 1
        assert [topic["name"] for topic in document.json["topics"]] == TOPICS.split(",")
        assert set(ISOLATIONS) - {VM} <= set(document.there), document.there
        for name, row in document.rows.items():
            assert set(row["values"]) == {CONTAINER, UNFILTERED, VM}, name
            assert row["title"] and row["text"] and row["unit"] in ("ns", "bytes", "count", "text"), name
            for where, value in row["values"].items():
                check_value(name, where, value)

    @case
    def missing_says_why():
        if not no_vm:
            return "VMs run here"
        assert "KVM" in no_vm or "kvm" in no_vm, no_vm
        reasons = {row["values"][VM].get("missing") for row in document.rows.values()}
        assert reasons == {no_vm}, reasons

    @case
    def not_all_zero():
        for where in document.there:
            for name in ("start.total", "start.first_byte", "start.cli", "start.command", "start.reaped"):
                value = document.value(name, where)
                assert value["min"] > 0, f"{name} in {where}: {value}"
                assert value["n"] == RUNS, f"{name} in {where}: {value}"
            if "memory.ours" in document.rows:
                assert document.number("memory.ours", where) > 100 << 10
                assert document.number("memory.workload", where) > 100 << 10

    @case
    def stages_add_up():
        """With samples sorted apart, the sums of all stages over all runs are what can be compared."""
        for where in document.there:
            stages = [document.value(f"start.{stage}", where) for stage in STAGES]
            parts = sum(sum(value["samples"]) for value in stages if "samples" in value)
            total = sum(document.value("start.total", where)["samples"])
            assert parts == total, f"{where}: stages take {parts} ns, all of it {total} ns"
            wanted = {"kernel", "monitor", "init"} if where == VM else {"namespaces"}
            absent = {"namespaces"} if where == VM else {"kernel", "monitor", "init"}
            for stage in wanted:
                assert document.value(f"start.{stage}", where).get("min", 0) > 0, f"{stage} in {where}"
            for stage in absent:
                assert "missing" in document.value(f"start.{stage}", where), f"{stage} in {where}"

    @case
    def kernel_reached():
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            boot_id = file.read().strip()
        for where in document.there:
            own = where == VM
            identity = document.value("reach.kernel_is", where)
            assert (identity["note"] == boot_id) != own, f"{where}: {identity}, host {boot_id}"
            assert identity["text"] == ("its own" if own else "the host's"), f"{where}: {identity}"
            assert (document.text("reach.release", where) == os.uname().release) != own, where
            for row in ("cpuinfo", "uptime"):
                assert document.text(f"reach.{row}", where) == identity["text"], f"{row} in {where}"

    @case
    def seccomp_closes_calls():
        for where in document.there:
            kinds = [document.number(f"reach.{kind}", where) for kind in ("calls", "refused", "absent", "killed")]
            assert sum(kinds) == 471, f"{where}: {kinds}"
        if UNFILTERED not in document.there:
            return "only a filtered container was asked for"
        counts = {where: document.number("reach.calls", where) for where in document.there}
        assert 200 < counts[CONTAINER] < counts[UNFILTERED] - 20, counts
        assert document.text("reach.door.keyctl", CONTAINER) == "closed"
        assert document.text("reach.door.keyctl", UNFILTERED) == "open"
        return None

    @case
    def host_is_asked_less():
        if "host.calls" not in document.rows:
            return "not measured in the emulated host: tracing is slow there"
        if "missing" in document.value("host.calls", CONTAINER):
            return document.value("host.calls", CONTAINER)["missing"]
        calls = document.number("host.calls", CONTAINER)
        assert 10 < document.number("host.calls_ours", CONTAINER) + 10 < calls, calls
        if not no_vm:
            assert 1 < document.number("host.calls", VM) <= document.number("host.allowed", VM) + 40
            assert 20 < document.number("host.allowed", VM) < 60
        return None

    @case
    def costs_are_plausible():
        if "cost.syscall" not in document.rows:
            return "not measured in the emulated host: its times say nothing"
        for where in document.there:
            p50 = {kind: document.value(f"cost.{kind}", where)["p50"]
                   for kind in ("syscall", "fault", "fork_exec", "fsync", "stat", "tcp")}
            assert 0 < p50["syscall"] < p50["stat"] < p50["fork_exec"], f"{where}: {p50}"
            assert p50["syscall"] < p50["tcp"] < p50["fork_exec"], f"{where}: {p50}"
        return None

    @case
    def page_is_whole():
        with open(page, encoding="utf-8") as file:
            text = file.read()
        assert not Balance(text).links and "http" not in text and "@import" not in text
        assert text.count("<svg") > 10 and len(set(re.findall(r"<h2>([^<]+)", text))) == TOPICS.count(",") + 2

    @case
    def interrupted():
        place.interrupt("start", CONTAINER)
        place.interrupt("neighbours", CONTAINER)

    @case
    def interrupted_vm():
        if no_vm:
            return no_vm
        place.interrupt("start", VM)
        return None

    if not EMULATED:
        check_command(place)

    @case
    def nothing_is_left():
        assert not place.leftovers(), place.leftovers()


def check_command(place):
    """What needs no VM, and a processor that is not emulated."""

    @case
    def table_fits():
        out = place.run("compare", "-q", "-n", "1", "--only", "start,memory", "--isolation", CONTAINER, "busybox",
                        "echo", "hello")
        assert max(map(len, out.splitlines())) < 80, out
        assert re.search(r"(?m)^busybox echo hello$", out) and "START" in out and "not asked for" in out, out

    @case
    def command_is_whole():
        out = place.run("compare", "-q", "-n", "1", "--only", "start", "--isolation", CONTAINER, "busybox",
                        "sh", "-c", "test $# = 100 && echo all", "sh", *map(str, range(100)))
        assert "the command wrote nothing" not in out, out

    @case
    def probe_is_hidden():
        assert ".hybrid" not in place.run("run", "--rm", "busybox", "ls", "-a", "/")
        assert "/.hybrid" in place.run("run", "--rm", "busybox", "/.hybrid/probe", "hello", status=127)

    @case
    def explain():
        topics = [line.split()[0] for line in place.run("explain").splitlines()]
        assert set(TOPICS.split(",")) <= set(topics), topics
        for topic in topics:
            text = place.run("explain", topic)
            assert "misleads" in text and max(map(len, text.splitlines())) < 80, text
        assert 'did you mean "reach"' in place.run("explain", "raech", status=125)

    @case
    def slips():
        assert 'did you mean "memory"' in place.run("compare", "--only", "start,memroy", "busybox", status=125)
        assert "no-such-image" in place.run("compare", "-q", "--only", "start", "localhost:1/no-such-image", status=125)
        text = place.run("compare", "-q", "-n", "1", "--only", "start", "--isolation", CONTAINER, "busybox", "nonesuch")
        assert "nonesuch" in text, text


sys.exit(main())
