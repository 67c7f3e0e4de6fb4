#!/usr/bin/python3
"""Limits of the network hold against a driver that floods it: rates.py BUILD; needs root and a KVM.

What arrives at the host is counted, without limits and with them. Prints PASS or FAIL rates/NAME, and the rates asked for and
seen. The loop that holds frames back must sleep meanwhile, not look again and again.
"""

import os
import select
import sys
import time

sys.dont_write_bytecode = True

import monitor  # noqa: E402

SECONDS = 2
BURST = 0.1        # seconds' worth that may go at once (vmm/virtio/rate.h)
BUSY = 0.5         # processors that the loop's thread may use
FRAME = 100        # bytes, without their header: of the guest's case net.flood
HEADER = 12
LIMITS = {"send-pps": ("--net-send-pps", 500, 1), "send-bps": ("--net-send-bps", 64 << 10, FRAME)}


def receive(vmm):
    size = len(vmm.net.recv(1 << 17)) - HEADER
    if size != FRAME:
        raise monitor.Ended(f"a frame of {size} bytes")


def discard_waiting(vmm):
    """Takes away the frames that came before now: no more than the queue of the socket holds."""
    with open("/proc/sys/net/unix/max_dgram_qlen", encoding="ascii") as file:
        longest = int(file.read()) + 1
    try:
        for _ in range(longest):
            receive(vmm)
    except BlockingIOError:
        pass


def take(vmm, seconds):
    """(frames, the seconds in which they came). Nobody knows how long the first ones have waited: they are not counted."""
    start, frames = None, 0
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not vmm.over():
        if not select.select([vmm.net], [], [], 0.01)[0]:
            vmm.pump(0)
        elif start is None:
            start = time.monotonic()
            deadline = start + seconds
            discard_waiting(vmm)
        else:
            receive(vmm)
            frames += 1
    if start is None:
        raise monitor.Ended(f"no frame came: {vmm.ended}")
    return frames, time.monotonic() - start


def loop_seconds(vmm):
    """Processor time of the monitor's first thread."""
    with open(f"/proc/{vmm.pid}/task/{vmm.pid}/stat", encoding="ascii", errors="replace") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(build, directory, options):
    """(frames, the seconds that they took, processors that the loop used)"""
    vmm = monitor.Monitor(f"{build}/hostile/launch", f"{build}/hybrid-vmm", f"{build}/hostile/guest.elf",
                          monitor.Disks(directory), "only=net.flood", options=options)
    try:
        before = loop_seconds(vmm)
        frames, seconds = take(vmm, SECONDS)
        return frames, seconds, (loop_seconds(vmm) - before) / seconds
    finally:
        vmm.destroy()


def judge(frames, seconds, used, most, possible):
    """What is wrong, or "". most: frames a second that were asked for; possible: without limits."""
    seen = (frames - 1 - most * BURST) / seconds
    if seen > most * 1.01:
        return f"{seen:.0f} frames a second"
    if seen < most / 2 and possible > 2 * most:
        return f"only {seen:.0f} frames a second"
    return f"the loop used {used:.2f} processors" if used > BUSY else ""


def main():
    failed = 0
    build = os.path.abspath(sys.argv[1])
    monitor.end_on_sigterm()
    with monitor.working_directory() as directory:
        frames, seconds, _ = measure(build, directory, [])
        possible = frames / seconds
        print(f"     without limits {possible:.0f} frames a second", flush=True)
        for name, (option, rate, unit) in LIMITS.items():
            frames, seconds, used = measure(build, directory, [f"{option}={rate}"])
            wrong = judge(frames, seconds, used, rate / unit, possible)
            failed += bool(wrong)
            print(f"FAIL rates/{name}: {wrong}, {rate / unit:.0f} were asked for" if wrong else f"PASS rates/{name}")
            print(f"     {rate / unit:.0f} frames a second asked for, {(frames - 1) / seconds:.0f} seen with the burst, "
                  f"{used:.2f} processors", flush=True)
    return 1 if failed else 0


sys.exit(main())
