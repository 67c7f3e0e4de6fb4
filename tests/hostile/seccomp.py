#!/usr/bin/python3
"""No entry of vmm/seccomp_rules.c is redundant: seccomp.py BUILD; needs root and a KVM that runs guests.

The tour of guest/cases_end.c has a monitor do all that it does for a good guest, and the host pauses it, stops it and
offers more streams than fit into its heap, and hangs up on its share. That succeeds with the whole table. Then each entry is taken out of each
list it is in (vmm/seccomp.h, enum seccomp_thread), and the kernel must kill the monitor: PASS seccomp/KIND/ENTRY.
"""

import concurrent.futures
import os
import queue
import re
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True

import monitor  # noqa: E402

PORT_CHECK, PORT_ECHO, PORT_SINK, PORT_BLOCKING_SINK = 100000, 200000, 300000, 400000
STREAMS = 1000     # offered at the end: their blocks make the heap grow
BACKLOG = 3 * 65536
SECONDS = 90
JOBS = 2           # tours at a time
KINDS = {1: "startup", 2: "vcpu", 4: "disk", 8: "loop", 16: "share"}


class Tour:
    def __init__(self, build, directory, number):
        self.build, self.directory = build, os.path.join(directory, str(number))
        os.mkdir(self.directory)
        self.disks = monitor.Disks(self.directory)

    def run(self, program):
        """The way it ended, as Monitor.wait tells, and what the guest reports."""
        path = os.path.join(self.directory, program)
        if not os.path.islink(path):
            os.symlink(f"{self.build}/hostile/without", path)
        self.disks.set_mailbox(0)
        server = monitor.Server()
        try:
            vmm = monitor.Monitor(f"{self.build}/hostile/launch", path, f"{self.build}/hostile/guest.elf", self.disks,
                                  "only=end.tour", share=server.other.detach(),
                                  options=["--disk-read-iops=5", "--net-send-pps=10000"])
        except monitor.Ended as ended:
            server.close()
            return ("nothing", str(ended)), ""
        said = ""
        try:
            said = self.lead(vmm, server)
        except monitor.Ended as ended:
            said = str(ended)
        finally:
            ended = vmm.wait(20)
            vmm.destroy()
            server.close()
        return ended, said

    def lead(self, vmm, server):
        number, sinks, received, toured = None, [], 0, False
        deadline = time.monotonic() + SECONDS
        while not vmm.over() and time.monotonic() < deadline:
            for line in vmm.pump(0.05):
                if found := re.search(r"BEGIN (\d+)", line):
                    number = int(found[1])
                    sinks = self.offer(vmm, number)
                elif "END" in line or "EXCEPTION" in line:
                    return line
                elif "TOUR" in line:
                    toured = True
                    self.disturb(vmm)
                    server.hang_up()
                    self.disks.set_mailbox(1)
            for sink in sinks if toured else []:  # until then the monitor keeps what the pipes do not take
                try:
                    received += len(os.read(sink, 65536))
                except BlockingIOError:
                    pass
        for sink in sinks:
            os.close(sink)
        if vmm.ended and received == 2 * BACKLOG:
            return vmm.ended[0]
        return f"ended {vmm.ended}, {received} bytes received"

    @staticmethod
    def offer(vmm, number):
        vmm.offer_echo(PORT_CHECK + number)
        vmm.offer_echo(PORT_ECHO + number)
        return [vmm.offer_sink(PORT_SINK + number), vmm.offer_sink(PORT_BLOCKING_SINK + number, blocking=True)]

    @staticmethod
    def disturb(vmm):
        """Pause and stop, in every combination; streams that come and go."""
        for _ in range(3):
            vmm.ask(monitor.PAUSE)
            vmm.signal(signal.SIGSTOP)
            time.sleep(0.02)
            vmm.signal(signal.SIGCONT)
            vmm.ask(monitor.RESUME)
            vmm.signal(signal.SIGSTOP)
            time.sleep(0.02)
            vmm.signal(signal.SIGCONT)
        sinks = []
        for i in range(STREAMS):
            sinks.append(vmm.offer_sink(600000 + i))
            if i % 50 == 49:
                vmm.ask(monitor.RESUME)
                for sink in sinks:
                    os.close(sink)
                sinks = []


def entries(build):
    """(program's name, case) for each entry of each list."""
    listed = subprocess.run([f"{build}/hostile/without", "list"], stdout=subprocess.PIPE, check=True, text=True)
    for line in listed.stdout.splitlines():
        index, threads, name, condition, reason = line.split(" ", 4)
        for bit, kind in KINDS.items():
            if int(threads) & bit:
                yield f"without-{index}-{bit}", f"seccomp/{kind}/{name}" + (f" ({reason})" if condition != "0" else "")


def main():
    build = os.path.abspath(sys.argv[1])
    failed = 0
    monitor.end_on_sigterm()
    with monitor.working_directory() as directory, concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        idle = queue.Queue()
        for number in range(JOBS):
            idle.put(Tour(build, directory, number))

        def tour(program):
            one = idle.get()
            try:
                return one.run(program)
            finally:
                idle.put(one)

        ended, said = tour("whole")
        if ended != ("exit", 1) or said != "shutdown":
            print(f"FAIL seccomp/whole-table: {ended}, {said}", flush=True)
            return 1
        print("PASS seccomp/whole-table", flush=True)
        programs, cases = zip(*entries(build))
        for case, (ended, said) in zip(cases, pool.map(tour, programs)):
            if ended == ("signal", signal.SIGSYS):
                print(f"PASS {case}", flush=True)
            else:
                failed += 1
                print(f"FAIL {case}: redundant: {ended}, {said}", flush=True)
    return 1 if failed else 0


sys.exit(main())
