#!/usr/bin/python3
"""Run the hostile guest: run.py BUILD [--only NAME] [--from N]; needs root and a KVM that runs guests.

Prints PASS or FAIL hostile/NAME for each case of guest/. After each: hybrid-vmm lives, both disks and a stream
work, its memory and descriptors are what they were. A monitor that dies fails the case, and another one goes on
with the next. The cases of ENDS end the machine, and how is compared.
"""

import argparse
import contextlib
import os
import re
import sys
import time

sys.dont_write_bytecode = True

import monitor  # noqa: E402

PORT_CHECK, PORT_ECHO, PORT_SINK, PORT_SOURCE = 100000, 200000, 300000, 500000  # guest/cases.h
MEMORY_MARGIN = 256      # KiB that the monitor may grow, in all
CASE_SECONDS = float(os.environ.get("HOSTILE_CASE_SECONDS", "90"))
STUCK_SECONDS = 10       # until a guest that tells nothing counts as stuck
LARGE_MEMORY = (3 << 30) + (32 << 20)  # reaches beyond 4 GiB; the guest touches a few MiB of it
LARGE_MARGIN = 16 << 10  # KiB: the kernel makes huge pages of what is touched there, at any time
SETTLE_SECONDS = 10      # for descriptors to be closed
BACKLOG = 3 * 65536      # bytes of end.with-backlog

LINE = re.compile(r"(BEGIN|END) (\d+) (\S+) ?(.*)|DONE")

# name: kind of end, what its text says, exit status
ENDS = {
    "end.reset": ("reset", "the guest asked for a reset", 0),
    "end.reset-by-second": ("reset", "the guest asked for a reset", 0),
    "end.triple-fault": ("shutdown", r"triple fault \(vCPU 0: rip 0x", 1),
    "end.triple-fault-of-second": ("shutdown", r"triple fault \(vCPU 1: rip 0x", 1),
    "end.both-at-once": ("reset|shutdown", "", 0 | 1),
    "end.runs-registers": ("kvm", "internal error|cannot emulate", 1),
    "end.runs-nothing": ("kvm", "internal error|cannot emulate", 1),
    # Some processors and KVMs tell, others walk such tables for ever: then the owner must be able to end it.
    "end.tables-nowhere": ("shutdown|kvm|owner", "triple fault|internal error", 1),
    "end.sleeps": ("owner", "", 1),
    "end.spins": ("owner", "", 1),
    "end.with-backlog": ("reset", "the guest asked for a reset", 0),
    "end.while-disk-feeds-itself": ("reset", "the guest asked for a reset", 0),
}


class Run:
    def __init__(self, build, disks):
        self.programs = (f"{build}/hostile/launch", f"{build}/hybrid-vmm", f"{build}/hostile/guest.elf")
        self.disks = disks
        self.failed = self.count = 0
        self.growth = 0
        self.margin = MEMORY_MARGIN

    def report(self, name, failure):
        self.count += 1
        self.failed += bool(failure)
        print(f"FAIL hostile/{name}: {failure}" if failure else f"PASS hostile/{name}", flush=True)

    def start(self, command_line, **options):
        return monitor.Monitor(*self.programs, self.disks, command_line, **options)

    # --- the cases that the machine survives -------------------------------------------------------

    def offer(self, vmm, number):
        vmm.offer_echo(PORT_CHECK + number)
        vmm.offer_echo(PORT_ECHO + number)
        vmm.offer_source(PORT_SOURCE + number)
        return vmm.offer_sink(PORT_SINK + number)

    def settle(self, vmm, number, sink, baseline):
        """Take back what is left of a case; what is not as it was, or ""."""
        vmm.ask(monitor.WITHDRAW, [port + number for port in (PORT_CHECK, PORT_ECHO, PORT_SOURCE, PORT_SINK)])
        vmm.close_echoes()
        os.close(sink)
        deadline = time.monotonic() + SETTLE_SECONDS
        while baseline and len(vmm.descriptors()) != baseline["descriptors"]:
            if time.monotonic() > deadline:
                return f"{len(vmm.descriptors())} descriptors are open, {baseline['descriptors']} were"
            vmm.pump(0.01)
        if not baseline:
            baseline.update(descriptors=len(vmm.descriptors()), resident=vmm.resident())
        growth = vmm.resident() - baseline["resident"]
        if self.margin == MEMORY_MARGIN:
            self.growth = max(self.growth, growth)
        if growth > self.margin:
            return f"the monitor grew by {growth} KiB"
        if not self.disks.layers_unchanged():
            return "the read-only disk was changed"
        if not self.disks.scratch_size_unchanged():
            return "the scratch file's size was changed"
        return ""

    def boot(self, command_line, case, **options):
        """One machine, case after case. The next case's number, or None when all are done."""
        self.disks.set_mailbox(0)
        vmm = self.start(command_line, **options)
        name, sink, baseline = None, None, {}
        deadline = time.monotonic() + CASE_SECONDS
        try:
            while True:
                if vmm.over() or vmm.ended:
                    raise monitor.Ended(f"the machine ended: {vmm.ended or ''} {vmm.wait(2) or ''}")
                if time.monotonic() > deadline:
                    raise monitor.Ended(f"nothing for {CASE_SECONDS:.0f} s")
                for line in vmm.pump(1):
                    found = LINE.search(line)
                    if not found:
                        if "EXCEPTION" in line:
                            raise monitor.Ended(line)
                        continue
                    if found[0] == "DONE":
                        return None
                    number = int(found[2])
                    deadline = time.monotonic() + CASE_SECONDS
                    if found[1] == "BEGIN":
                        case, name = number, found[3]
                        sink = self.offer(vmm, number)
                    elif name and number == case:
                        failure = found[4] if found[3] != "PASS" else ""
                        left = self.settle(vmm, number, sink, baseline)
                        self.report(name, failure or left)
                        name = None
                        self.disks.set_mailbox(number + 1)
        except monitor.Ended as ended:
            self.report(name or f"case {case}", str(ended))
            return case + 1
        finally:
            vmm.destroy()

    def survive(self, first, only, **options):
        case = first
        while case is not None:
            case = self.boot(f"only={only}" if only else f"from={case}", case, **options)
            if only:
                return

    # --- the cases that it does not ------------------------------------------------------------------

    def end(self, name):
        kinds, text, status = ENDS[name]
        vmm = self.start(f"only={name}")
        sink, received, asleep = None, b"", False
        deadline = time.monotonic() + CASE_SECONDS
        patience = time.monotonic() + STUCK_SECONDS
        try:
            while not vmm.ended and not vmm.over() and time.monotonic() < deadline and not asleep:
                if kinds.endswith("|owner") and time.monotonic() > patience:
                    asleep = True
                for line in vmm.pump(0.2):
                    found = LINE.search(line)
                    if found and found[1] == "BEGIN":
                        with contextlib.suppress(monitor.Ended):  # it may be over already
                            sink = self.offer(vmm, int(found[2]))
                    asleep |= "SLEEPING" in line
                    if found and found[1] == "END":
                        return f"it goes on: {line}"
                if name == "end.with-backlog" and sink is not None:
                    received += self.drain(sink)
            if asleep and "owner" in kinds:
                vmm.control.close()
                vmm.control = None
            elif not vmm.ended:
                return "it did not say how it ended"
            elif not re.fullmatch(kinds, vmm.ended[0]) or not re.search(text, vmm.ended[1]):
                return f"it ended otherwise: {vmm.ended}"
            ended = vmm.wait()
            if ended is None or ended[0] != "exit" or (ended[1] != status and name != "end.both-at-once"):
                return f"its process ended otherwise: {ended}"
            if name == "end.with-backlog" and len(received) != BACKLOG:
                return f"{len(received)} of the guest's {BACKLOG} last bytes were delivered"
            return ""
        finally:
            if sink is not None:
                os.close(sink)
            vmm.destroy()

    @staticmethod
    def drain(sink):
        try:
            return os.read(sink, 65536)
        except BlockingIOError:
            return b""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("build")
    parser.add_argument("--only", metavar="NAME", help="one case, without the device's name")
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="N", help="begin with case N")
    options = parser.parse_args()
    with monitor.working_directory() as directory:
        run = Run(os.path.abspath(options.build), monitor.Disks(directory))
        if not options.only or not (options.only in ENDS or options.only.startswith("regions.")):
            run.survive(options.first, options.only)
        if options.only is None or options.only.startswith("regions."):
            run.margin = LARGE_MARGIN
            run.survive(0, options.only, memory=LARGE_MEMORY)
        for name in ENDS:
            if options.only in (None, name) and options.first == 0:
                run.report(name, run.end(name))
        print(f"NOTE {run.count} cases; the monitor grew by at most {run.growth} KiB")
    return 1 if run.failed or not run.count else 0


sys.exit(main())
