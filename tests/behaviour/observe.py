"""Looking at this machine: processes, their memory and time, mounts, cgroups, loop devices."""

import contextlib
import os
import threading

GUEST_MEMORY = 64 << 20  # a mapping of this size in hybrid-vmm is the guest's, not the monitor's


def process_stat(pid):
    """(comm, state, parent, fields after the parent) of a process, or None."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return None
    comm, rest = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
    return comm, rest[0], int(rest[1]), rest[2:]


def arguments_of(pid):
    """The command line of a process; empty if there is none."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def descendants(root):
    """Process ids below `root` (not itself), zombies excluded."""
    children = {}
    try:
        names = os.listdir("/proc")
    except OSError:  # a process that ended under the listing; ask once more
        names = os.listdir("/proc")
    for name in names:
        if name.isdigit():
            seen = process_stat(name)
            if seen and seen[1] not in "ZX":
                children.setdefault(seen[2], []).append(int(name))
    found, queue = [], [root]
    while queue:
        for pid in children.get(queue.pop(), []):
            found.append(pid)
            queue.append(pid)
    return found


def children_below(root):
    """The same by the kernel's lists of children: a few files instead of all of /proc.

    For those who look again and again until something is there. One that is handed to another parent meanwhile may be
    missing: that nothing is there, `descendants` tells.
    """
    found, queue = [], [root]
    while queue:
        of = f"/proc/{queue.pop()}/task"
        with contextlib.suppress(OSError):
            for thread in os.listdir(of):
                with open(f"{of}/{thread}/children", "rb", buffering=0) as file:
                    pids = [int(pid) for pid in file.read().split() if (process_stat(int(pid)) or "?Z")[1] not in "ZX"]
                found += pids
                queue += pids
    return found


def cpu_seconds(pids):
    """User and system time that these processes have used so far."""
    ticks = 0
    for pid in pids:
        seen = process_stat(pid)
        if seen:
            ticks += int(seen[3][9]) + int(seen[3][10])
    return ticks / os.sysconf("SC_CLK_TCK")


def own_memory(pid):
    """Bytes that this process alone holds (shared pages by share), without a guest's memory."""
    total, size, counted = 0, 0, True
    try:
        with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as file:
            for line in file:
                head = line.split()
                if head[0].endswith(":"):
                    if head[0] == "Size:":
                        size = int(head[1]) << 10
                        counted = size < GUEST_MEMORY
                    elif head[0] == "Pss:" and counted:
                        total += int(head[1]) << 10
    except OSError:
        return 0
    return total


def private_memory(pid):
    """Bytes in memory that no other process shares with this one, without a guest's memory."""
    total, counted = 0, True
    with open(f"/proc/{pid}/smaps", encoding="utf-8", errors="replace") as file:
        for line in file:
            head = line.split()
            if head[0] == "Size:":
                counted = int(head[1]) << 10 < GUEST_MEMORY
            elif head[0] in ("Private_Clean:", "Private_Dirty:") and counted:
                total += int(head[1]) << 10
    return total


class MemoryWatch:
    """The peak of own_memory over every hybrid process below one process, while it runs."""

    def __init__(self, root):
        self.root, self.peak, self.who = root, 0, ""
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        while not self.stopped.wait(0.1):
            for pid in [self.root] + children_below(self.root):
                seen = process_stat(pid)
                if seen and seen[0].startswith("hybrid"):
                    used = own_memory(pid)
                    if used > self.peak:
                        self.peak, self.who = used, seen[0]

    def stop(self):
        self.stopped.set()
        self.thread.join()
        return self.peak


def cgroup_directories():
    return {path for path, _, _ in os.walk("/sys/fs/cgroup")}


def mounts_below(directories):
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            left, right = line.split(" - ")
            target, source = left.split()[4], right.split()[1]
            if any(directory in target or directory in source for directory in directories):
                found.append(f"mount {target} ({right.split()[0]})")
    return found


def loop_devices_below(directory):
    found = []
    for name in os.listdir("/sys/block"):
        with contextlib.suppress(OSError):
            with open(f"/sys/block/{name}/loop/backing_file", encoding="utf-8") as file:
                if directory in file.read():
                    found.append(f"loop device {name}")
    return found
