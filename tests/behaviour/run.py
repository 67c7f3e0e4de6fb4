#!/usr/bin/python3
"""Runs the behaviour table: one table of commands and expected results, against every isolation.

    run.py --isolation container             on this machine
    run.py --isolation both --filter '^exit' a part of the table in both isolations, compared
    run.py --list                            the names of the rows

Every run has a runtime and a data directory of its own and removes them, whatever happens. The last row
is the machine itself: no process, mount, cgroup, loop device or file may be left.
"""

import argparse
import concurrent.futures
import contextlib
import functools
import os
import re
import signal
import sys
import threading
import time
import traceback
import urllib.parse

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import fixtures  # noqa: E402
import harness  # noqa: E402
import table  # noqa: E402
import together  # noqa: E402

PROJECT = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
EMULATED_SLOWNESS = 8  # how much longer than here anything may take in the emulated host
ORDINARY_IMAGE = table.Row.image  # of most rows


class Queue:
    """Which of several machines that share a directory runs what: the first that takes it, by a symbolic link there.

    It is made in one step with its content, the name of who took it: a machine that is booted again takes its own again.
    """

    def __init__(self, place):
        self.directory, self.machine = os.path.split(place) if place else (None, None)

    def take(self, work):
        if not self.directory:
            return True
        claim = os.path.join(self.directory, urllib.parse.quote(work, safe=""))
        try:
            os.symlink(self.machine, claim)
            return True
        except FileExistsError:
            return os.readlink(claim) == self.machine


def parse_arguments():
    parser = argparse.ArgumentParser(prog="run.py", description=__doc__.split("\n\n", maxsplit=1)[0],
                                     epilog="Exit status: 0 if no row failed, else 1.")
    parser.add_argument("--hybrid", metavar="PATH",
                        default=os.path.join(os.environ.get("HYBRID_BUILD") or PROJECT + "/build", "hybrid"),
                        help="the program to test (default: hybrid in $HYBRID_BUILD, or in build/)")
    parser.add_argument("--isolation", choices=("container", "vm", "both"), default="container")
    parser.add_argument("--filter", metavar="REGEX", type=re.compile, default=re.compile(""),
                        help="only rows whose name matches")
    parser.add_argument("--exclude", metavar="REGEX", type=re.compile, help="without rows whose name matches")
    parser.add_argument("--queue", metavar="DIR/NAME", type=Queue, default=Queue(None),
                        help="share the rows with other machines that use DIR: run what none of another NAME has taken")
    parser.add_argument("--needs", type=int, metavar="N", help="only rows that need exactly N processors")
    parser.add_argument("--alone", choices=("no", "only"), help="without rows that nothing may run beside, or only those")
    parser.add_argument("--together", choices=("vm", "both"), default="both" if os.environ.get("TESTBED") else "vm",
                        help="where rows that only look share a start (default: where starts are dear)")
    parser.add_argument("--list", action="store_true", help="print the names of the rows and end")
    parser.add_argument("--prepare", action="store_true", help="only make the images, into the cache")
    parser.add_argument("--results", metavar="FILE", help="append one tab-separated line a row to FILE")
    parser.add_argument("--resume", action="store_true", help="leave out rows that have a line in the --results file")
    parser.add_argument("--compare", metavar="DIR",
                        help="keep what must be equal in both isolations in DIR, to compare runs with each other")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="rows at a time (default 1)")
    parser.add_argument("--slow", type=float, metavar="FACTOR",
                        default=float(os.environ.get("HYBRID_TEST_SLOW")
                                      or (EMULATED_SLOWNESS if os.environ.get("TESTBED") else 1)),
                        help="give everything FACTOR times as long (or HYBRID_TEST_SLOW)")
    parser.add_argument("--stream-mib", type=int, metavar="N",
                        default=int(os.environ.get("HYBRID_TEST_STREAM_MIB") or 1024),
                        help="MiB through each stream in the rows about large streams (default 1024)")
    parser.add_argument("--quiet", action="store_true", help="print only rows that did not pass, and the counts")
    options = parser.parse_args()
    options.stream_bytes = options.stream_mib << 20
    return options


def one_line(text):
    return "".join(c if c.isprintable() else " " for c in text)


class Report:
    """Prints verdicts as they come and counts them."""

    def __init__(self, options):
        self.counts = {"PASS": 0, "FAIL": 0, "SKIP": 0}
        self.quiet, self.results, self.lock = options.quiet, options.results, threading.Lock()

    def verdict(self, kind, isolation, name, message="", seconds=0.0):
        flat = one_line(message)
        with self.lock:
            self.counts[kind] += 1
            if kind != "PASS" or not self.quiet:
                print(f"{kind} {isolation} {name}" + (f": {flat}" if flat else ""), flush=True)
            if self.results:
                with open(self.results, "a", encoding="utf-8") as file:
                    print(kind, isolation, name, f"{seconds:.3f}", flat, sep="\t", file=file)

    def summary(self):
        print(f"{self.counts['PASS']} passed, {self.counts['FAIL']} failed, {self.counts['SKIP']} skipped",
              flush=True)


class Comparison:
    """What a row printed in one isolation, kept until the other one has run it."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)

    def check(self, name, isolation, text):
        base = os.path.join(self.directory, name.replace("/", "."))
        # Another machine may look for it at the same time.
        with open(f"{base}.{isolation}.partial", "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        os.rename(f"{base}.{isolation}.partial", f"{base}.{isolation}")
        for other in table.ISOLATIONS:
            if other == isolation or not os.path.exists(f"{base}.{other}"):
                continue
            with open(f"{base}.{other}", encoding="utf-8", errors="surrogateescape") as file:
                expected = file.read()
            if expected != text:
                raise harness.Failure(f"differs from {other}: {difference(expected, text)}")


def difference(expected, seen):
    ours, theirs = seen.splitlines(), expected.splitlines()
    lines = [f"-{line}" for line in theirs if line not in ours] + [f"+{line}" for line in ours if line not in theirs]
    return harness.brief(" ".join(lines or ["(the order of lines, or their number)"]), 1000)


EMULATOR_FAULTS = 3  # that one run may forgive: more are not the emulator's


class Runner:
    def __init__(self, options, host, report):
        self.options, self.host, self.report = options, host, report
        self.comparison = Comparison(options.compare or os.path.join(host.directory, "compare"))
        self.known_leaks = set()
        self.emulator_faults, self.lock = 0, threading.Lock()

    def emulator_may_fault(self):
        """Counts a fault of the emulator. Returns whether it is still to be forgiven."""
        with self.lock:
            self.emulator_faults += 1
            return self.emulator_faults <= EMULATOR_FAULTS

    def run(self, isolation, entries):
        """Runs rows, all of them in one start where there is more than one."""
        verdicts = self.attempt_all(isolation, entries)
        failed = [(entry, message) for entry, (kind, message, _) in zip(entries, verdicts) if kind == "FAIL"]
        # In an emulated host QEMU now and then stalls or crashes a guest, or one of its processes (see
        # tests/testbed/README.md). Only there, only for VMs, and not for ever, there is a second try.
        if failed and isolation == "vm" and os.environ.get("TESTBED") and self.emulator_may_fault():
            for entry, message in failed:
                print(f"NOTE vm {entry.name}: the emulated processor's fault? second try: {one_line(message)}", flush=True)
            verdicts = self.attempt_all(isolation, entries)
        for entry, (kind, message, seconds) in zip(entries, verdicts):
            self.report.verdict(kind, isolation, entry.name, message, seconds)

    def attempt_all(self, isolation, entries):
        """Run rows once: of each its verdict, its text, seconds."""
        if len(entries) == 1:
            return [self.attempt(isolation, entries[0], entries[0].run)]
        seen = together.Start(entries) if entries[0].looks else together.Entered(entries)
        start = self.attempt(isolation, seen, seen.run)
        if start[0] != "PASS":
            return [start] * len(entries)
        return [self.attempt(isolation, entry, functools.partial(seen.judge, entry)) for entry in entries]

    def attempt(self, isolation, entry, run):
        """Run one thing once: verdict, its text, seconds."""
        test, start = harness.Test(self.host, isolation, self.options), time.monotonic()
        kind, message = "PASS", ""
        try:
            if entry.processors > os.cpu_count():
                raise harness.Skip(f"needs {entry.processors} processors, this machine has {os.cpu_count()}")
            try:
                outcome = run(test)
            finally:
                test.end()
                left = self.leaks(entry)
            if left:
                raise harness.Failure("left behind: " + ", ".join(left))
            if outcome is not None:
                self.comparison.check(entry.name, isolation, outcome)
            message = "; ".join(test.notes)
        except harness.Skip as reason:
            kind, message = "SKIP", str(reason)
        except harness.Failure as reason:
            kind, message = "FAIL", str(reason)
        except Exception as error:  # pylint: disable=broad-except  # a broken row must not end the run
            where = traceback.extract_tb(error.__traceback__)[-1]
            kind, message = "FAIL", f"{type(error).__name__}: {error} ({os.path.basename(where.filename)}:{where.lineno})"
        return kind, message, time.monotonic() - start

    def leaks(self, entry):
        """After each row when rows run one at a time: what this row left behind."""
        if self.options.jobs > 1 and not entry.alone:
            return []
        left = [item for item in self.host.left_behind() if item not in self.known_leaks]
        if left:
            left = [item for item in self.host.settled(3) if item not in self.known_leaks]
        self.known_leaks.update(left)
        return left

    def run_taken(self, work):
        name, starts = work
        if self.options.queue.take(name):
            for isolation, entries in starts:
                self.run(isolation, entries)

    def run_all(self, entries):
        beside = units((pair for pair in entries if not pair[1].alone), self.options.together)
        if self.options.jobs > 1:
            with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
                try:
                    list(pool.map(self.run_taken, beside))
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        else:
            for work in beside:
                self.run_taken(work)
        for isolation, entry in entries:
            if entry.alone:
                self.run_taken((f"{isolation} {entry.name}", [(isolation, [entry])]))

    def check_machine(self):
        left = self.host.settled(10)
        self.report.verdict("FAIL" if left else "PASS", "host", "nothing-left-behind", ", ".join(left))


def already_run(options):
    if not options.resume or not os.path.exists(options.results or ""):
        return set()
    with open(options.results, encoding="utf-8") as file:
        return {tuple(line.split("\t")[1:3]) for line in file}


def units(pairs, together_in):
    """What one machine is to do of it, as starts: the rows of an image, which has to be loaded for them, rows that share a
    start, or else a single row. Rows that need another number of processors are another machine's.

    The longest come first, so that machines which share them end together: images, rows of VMs, then the others.
    """
    of_images, of_starts = {}, {}
    for isolation, entry in pairs:
        if entry.image != ORDINARY_IMAGE:
            of_images.setdefault(f"image {entry.image} {entry.processors}", []).append((isolation, [entry]))
        else:
            apart = together_in not in ("both", isolation)
            kind = (entry.name if apart else f"look {' '.join(entry.options)}" if entry.looks else "enter" if entry.enters
                    else entry.name)
            name = f"{isolation} {kind}"
            of_starts.setdefault(name, (isolation, []))[1].append(entry)
    single = [(name, [start]) for name, start in of_starts.items()]
    single.sort(key=lambda work: work[1][0][0] != "vm")
    return [*of_images.items(), *single]


def selected(options):
    done = already_run(options)
    isolations = table.ISOLATIONS if options.isolation == "both" else (options.isolation,)
    return [(isolation, entry) for isolation in isolations for entry in table.load()
            if isolation in entry.isolations and options.filter.search(entry.name)
            and options.needs in (None, entry.processors)
            and not (entry.once and isolation == "container" and os.environ.get("TESTBED"))
            and options.alone in (None, "only" if entry.alone else "no")
            and (isolation, entry.name) not in done
            and not (options.exclude and options.exclude.search(entry.name))]


def interrupted(number, _frame):
    raise KeyboardInterrupt(signal.Signals(number).name)


def main():
    options = parse_arguments()
    if options.list:
        for entry in table.load():
            print(entry.name + ("" if entry.isolations == table.ISOLATIONS else f" ({entry.isolations[0]})"))
        return 0
    if options.prepare:
        table.load()  # which adds images of its own
        for name in fixtures.BUILDERS:
            with contextlib.suppress(fixtures.Missing):
                fixtures.archive_of(name)
        fixtures.remove_stale()
        return 0
    if not os.access(options.hybrid, os.X_OK):
        print(f"run.py: {options.hybrid} does not exist; run: make", file=sys.stderr)
        return 1
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupted)
    report, host = Report(options), harness.Host(options.hybrid, options.slow)
    try:
        runner = Runner(options, host, report)
        runner.run_all(selected(options))
        runner.check_machine()
    except KeyboardInterrupt as reason:
        print(f"run.py: ended by {reason.args[0] if reason.args else 'Ctrl-C'}", file=sys.stderr)
        return 130
    finally:
        host.end()
    report.summary()
    return 1 if report.counts["FAIL"] else 0


sys.exit(main())
