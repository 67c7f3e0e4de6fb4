#!/usr/bin/python3
"""Each system call of hybrid-vmm's start fails once: faults.py BUILD; needs root, strace and a KVM.

strace makes the Nth call of a kind fail, N from 1 until there is no such call any more. Whatever fails, the machine
must not come to life half made: the monitor ends with status 125 and says which step failed, or goes on where that
step is a convenience. Nothing of it may remain. Prints PASS or FAIL faults/CALL.
"""

import os
import re
import sys
import time

sys.dont_write_bytecode = True

import monitor  # noqa: E402

SECONDS = 60
MOST = 60  # failing calls of one kind; if there are more, the count never ends

# Call -> the error that it gives, what its failure is allowed to do beside an end with status 125, and how many of
# these calls are tried:
#   "goes on"  a convenience: the guest runs all the same
#   "kvm"      the machine has started, and ends as one whose KVM failed
#   "unheard"  before the program is there to say a word
CALLS = {
    "ioctl": ("ENOMEM", {"kvm", "goes on"}, MOST),  # the last two: a vCPU that ends, and the diagnosis
    "eventfd2": ("EMFILE", set(), MOST),
    "epoll_create1": ("EMFILE", set(), MOST),
    "epoll_ctl": ("ENOSPC", set(), MOST),
    "mmap": ("ENOMEM", {"goes on"}, MOST),         # guest RAM, a vCPU's page, stacks; large blocks can come by brk
    "clone3": ("EAGAIN", {"unheard"}, MOST),       # the launcher's, then the threads
    "pread64": ("EIO", set(), MOST),               # the guest's kernel
    "lseek": ("EIO", set(), MOST),                 # sizes of disks
    "getrandom": ("EIO", {"goes on"}, MOST),       # the C library's, then the guest's seed
    "unshare": ("EPERM", {"goes on"}, MOST),       # the user namespace, which not every host offers
    "mount": ("EPERM", set(), MOST),
    "pivot_root": ("EINVAL", set(), MOST),
    "umount2": ("EBUSY", set(), MOST),
    "setgroups": ("EPERM", set(), MOST),
    "setresgid": ("EPERM", set(), MOST),
    "setresuid": ("EPERM", set(), MOST),
    "capset": ("EPERM", set(), MOST),
    "prctl": ("EPERM", {"unheard"}, 6),            # then one for each capability
    "landlock_create_ruleset": ("ENOSYS", {"goes on"}, MOST),
    "landlock_restrict_self": ("EPERM", set(), MOST),
}


class Faults:
    def __init__(self, build, directory):
        self.build, self.disks = build, monitor.Disks(directory)
        self.trace = os.path.join(directory, "trace")

    def start(self, call, error, number):
        """How a machine ends whose Nth such call fails: (outcome, text), or None if there was none."""
        before = ["strace", "-D", "-f", "-qq", "-o", self.trace, "-e", f"trace={call}",
                  "-e", f"inject={call}:error={error}:when={number}"]
        try:
            vmm = monitor.Monitor(f"{self.build}/hostile/launch", f"{self.build}/hostile/unfiltered",
                                  f"{self.build}/hostile/guest.elf", self.disks, "only=end.sleeps", cpus=1,
                                  before=before)
        except monitor.Ended as ended:
            return ("unheard", str(ended)) if self.injected() else None
        try:
            return self.watch(vmm)
        finally:
            vmm.destroy()
            self.check_gone(vmm)

    def watch(self, vmm):
        said, deadline = [], time.monotonic() + SECONDS
        while not vmm.over() and not any("SLEEPING" in line for line in said):
            if time.monotonic() > deadline:
                return "hangs", " ".join(said)
            said += vmm.pump(1)
        if not vmm.over():
            return ("goes on", "") if self.injected() else None
        ended = vmm.wait(20)
        if not self.injected():
            return "broken", f"nothing was injected, yet: {ended} {vmm.ended} {said}"
        kind, text = vmm.ended or ("silence", " ".join(said))
        if kind == "setup" and ended == ("exit", 125):
            return "125", text
        if kind == "kvm":
            return "kvm", text
        return f"{kind} {ended}", text

    def injected(self):
        with open(self.trace, encoding="utf-8", errors="replace") as file:
            return "(INJECTED)" in file.read()

    @staticmethod
    def check_gone(vmm):
        deadline = time.monotonic() + 20
        while os.path.exists(f"/proc/{vmm.pid}"):
            if time.monotonic() > deadline:
                raise monitor.Ended(f"process {vmm.pid} remains")
            time.sleep(0.01)


def judge(outcome, text, allowed):
    """What is wrong with the outcome of one call, or ""."""
    if outcome == "125":
        # a step in words, with the kernel's reason: "KVM refuses ...: Cannot allocate memory"
        return "" if re.search(r"[a-z]+ [a-zA-Z]+", text) else f"status 125, but it says only {text!r}"
    return "" if outcome in allowed else f"{outcome}: {text}"


def main():
    failed = 0
    monitor.end_on_sigterm()
    with monitor.working_directory() as directory:
        faults = Faults(os.path.abspath(sys.argv[1]), directory)
        for call, (error, allowed, most) in CALLS.items():
            wrong, count = [], 0
            try:
                while count < most and (result := faults.start(call, error, count + 1)):
                    count += 1
                    if os.environ.get("FAULTS_SHOW"):
                        print(f"     {call} {count}: {result[0]}: {result[1]}")
                    if said := judge(*result, allowed):
                        wrong.append(f"call {count}: {said}")
            except monitor.Ended as ended:
                wrong.append(f"call {count + 1}: {ended}")
            if not wrong and not count:
                wrong = ["there is no such call"]
            if count == MOST:
                wrong.append(f"still failing after {MOST}")
            failed += bool(wrong)
            print(f"FAIL faults/{call}: " + "; ".join(wrong) if wrong else f"PASS faults/{call}", flush=True)
    return 1 if failed else 0


sys.exit(main())
