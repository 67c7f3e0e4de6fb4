#!/usr/bin/python3
"""What a running hybrid-vmm is in the eyes of the host's kernel: jail.py BUILD; needs root and a KVM.

Prints PASS or FAIL jail/NAME. The guest sleeps; all is read from /proc. In the emulated host, whose settings are nobody
else's, the same once more where the host allows no user namespaces: jail/without-user-namespaces/NAME.
"""

import contextlib
import ctypes
import fcntl
import os
import re
import signal
import sys
import time

sys.dont_write_bytecode = True

import monitor  # noqa: E402

NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user")
USER_NAMESPACES_MAX = "/proc/sys/user/max_user_namespaces"
OWN_MEMORY = 512  # KiB of its own beside the guest's RAM; it has some 190
NS_GET_USERNS = 0xb701
THREADS = ["disk", "disk", "hybrid-vmm", "vcpu0", "vcpu1"]
# 5 of the devices: interrupts of two disks, vsock, net and the serial port; doorbells 1 + 1 + 3 + 2; wake-ups of
# console, end and the disks' failures
EVENTFDS = 5 + 7 + 3


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def user_namespaces_allowed():
    return int(read(USER_NAMESPACES_MAX)) > 0


def start_asleep(build, disks):
    vmm = monitor.Monitor(f"{build}/hostile/launch", f"{build}/hybrid-vmm", f"{build}/hostile/guest.elf", disks,
                          "only=end.sleeps", environment={**os.environ, "HOSTILE_SECRET": "geheim"})
    deadline = time.monotonic() + 60
    while not any("SLEEPING" in line for line in vmm.pump(1)):
        if vmm.over() or time.monotonic() > deadline:
            raise monitor.Ended(f"the guest does not start: {vmm.ended}")
    return vmm


# --- the cases: each returns what is wrong, or "" -----------------------------------------------------


def identity(vmm):
    status = vmm.status()
    ids = "\t".join([str(monitor.UID)] * 4)
    wrong = [f"{key} is {status[key]}" for key, wanted in (("Uid", ids), ("Gid", ids), ("Groups", ""))
             if status[key].strip() != wanted]
    return ", ".join(wrong)


def capabilities(vmm):
    sets = {key: value for key, value in vmm.status().items() if key.startswith("Cap")}
    return "" if len(sets) == 5 and all(int(value, 16) == 0 for value in sets.values()) else str(sets)


def no_new_privileges(vmm):
    return "" if vmm.status()["NoNewPrivs"] == "1" else "NoNewPrivs is not set"


def filters(vmm):
    """Every thread: the filter of the process and its own."""
    names = []
    for task in os.listdir(f"/proc/{vmm.pid}/task"):
        status = dict(line.split(":\t", 1) for line in read(f"/proc/{vmm.pid}/task/{task}/status").splitlines()
                      if ":\t" in line)
        if status["Seccomp"] != "2" or status.get("Seccomp_filters", "2") != "2":
            return f"thread {status['Name']}: Seccomp {status['Seccomp']}, filters {status.get('Seccomp_filters')}"
        if not status["Name"].startswith("kvm-"):  # the kernel's own, which KVM adds
            names.append(status["Name"])
    return "" if sorted(names) == THREADS else f"threads: {names}"


def namespaces(vmm):
    shared = [name for name in NAMESPACES
              if os.readlink(f"/proc/{vmm.pid}/ns/{name}") == os.readlink(f"/proc/self/ns/{name}")]
    wanted = [] if user_namespaces_allowed() else ["user"]
    return f"shared with the host: {shared}" if shared != wanted else ""


def user_namespace(vmm):
    """Its ids are the only ones in its user namespace, so that it can become nobody else. Where there are none, hybrid
    is told so."""
    if not user_namespaces_allowed():
        return f"reported {vmm.jail:#x}" if vmm.jail & monitor.JAIL_USER_NAMESPACE else ""
    wanted = [str(monitor.UID), str(monitor.UID), "1"]
    found = {name: read(f"/proc/{vmm.pid}/{name}").split() for name in ("uid_map", "gid_map", "setgroups")}
    good = found == {"uid_map": wanted, "gid_map": wanted, "setgroups": ["deny"]}
    return "" if good and vmm.jail & monitor.JAIL_USER_NAMESPACE else f"{found}, reported {vmm.jail:#x}"


def other_namespaces_are_not_its_own(vmm):
    """They belong to the namespace outside: all capabilities inside would give it nothing over them."""
    owner, ours = (os.stat(f"/proc/{pid}/ns/user").st_ino for pid in (vmm.pid, "self"))
    for name in NAMESPACES[:-1]:
        with open(f"/proc/{vmm.pid}/ns/{name}", "rb") as namespace:
            user = fcntl.ioctl(namespace, NS_GET_USERNS)
        inode = os.fstat(user).st_ino
        os.close(user)
        if inode != ours or (inode == owner and user_namespaces_allowed()):
            return f"{name} belongs to user namespace {inode}"
    return ""


def landlock(vmm):
    """The kernel shows it nowhere: what is reported. That it refuses everything: test_vmm_landlock."""
    version = max(ctypes.CDLL(None).syscall(444, None, ctypes.c_size_t(0), 1), 0)
    reported = vmm.jail >> monitor.JAIL_LANDLOCK_SHIFT
    return "" if reported == min(version, 6) else f"version {reported}, the kernel has {version}"


def own_memory(vmm):
    """What one VM costs beside its guest's RAM. The program's pages are not counted: all VMs share them."""
    text = read(f"/proc/{vmm.pid}/smaps")
    sizes = [[int(number) for number in re.findall(rf"^{key}:\s+(\d+) kB", text, re.M)]
             for key in ("Size", "Anonymous")]
    own = sum(dirty for size, dirty in zip(*sizes) if size < monitor.MEMORY >> 10)
    return "" if own < OWN_MEMORY else f"{own} KiB"


def process_one(vmm):
    numbers = vmm.status()["NSpid"].split()
    return "" if numbers[-1] == "1" and len(numbers) >= 2 else f"NSpid {numbers}"


def empty_root(vmm):
    found = os.listdir(f"/proc/{vmm.pid}/root")
    return f"it sees {found}" if found else ""


def mounts(vmm):
    lines = read(f"/proc/{vmm.pid}/mountinfo").splitlines()
    if len(lines) != 1:
        return f"{len(lines)} mounts"
    fields = lines[0].split()
    options = set(fields[5].split(","))
    wanted = {"ro", "nosuid", "nodev", "noexec"}
    return "" if fields[4] == "/" and wanted <= options and "tmpfs" in fields else lines[0]


def root_is_read_only(vmm):
    try:
        os.mkdir(f"/proc/{vmm.pid}/root/new")
    except OSError as error:
        return "" if error.errno == 30 else f"mkdir: {error}"  # EROFS, also for root
    os.rmdir(f"/proc/{vmm.pid}/root/new")
    return "a directory could be made"


def network(vmm):
    interfaces = [line.split(":")[0].strip() for line in read(f"/proc/{vmm.pid}/net/dev").splitlines()[2:]]
    routes = read(f"/proc/{vmm.pid}/net/route").splitlines()[1:]
    return "" if interfaces in (["lo"], []) and not routes else f"{interfaces}, {routes}"


def descriptors(vmm):
    wanted = {"/null": 3, "socket": 2, "pipe": 1, "layers": 1, "scratch": 1, "anon_inode:[eventpoll]": 1,
              "anon_inode:kvm-vm": 1, "anon_inode:kvm-vcpu:0": 1, "anon_inode:kvm-vcpu:1": 1,
              "anon_inode:[eventfd]": EVENTFDS}
    found = {}
    for target in vmm.descriptors().values():
        name = re.sub(r"^(socket|pipe):.*", r"\1", target)
        name = "/null" if name in ("/dev/null", "/null") else name
        name = os.path.basename(name) if name.startswith("/dev/shm") else name
        found[name] = found.get(name, 0) + 1
    return "" if found == wanted else str({name: found.get(name, 0) for name in {*found, *wanted}
                                           if found.get(name) != wanted.get(name)})


def read_only_disk(vmm):
    for number, target in vmm.descriptors().items():
        if target.endswith("/layers"):
            flags = int(re.search(r"flags:\s+(\d+)", read(f"/proc/{vmm.pid}/fdinfo/{number}"))[1], 8)
            return "" if flags & os.O_ACCMODE == os.O_RDONLY else f"flags {flags:o}"
    return "it is not open"


def limits(vmm):
    text = read(f"/proc/{vmm.pid}/limits")
    values = {name: int(hard) for name, hard in
              re.findall(r"^Max (core file size|msgqueue size|open files)\s+\d+\s+(\d+)", text, re.M)}
    good = values.get("core file size") == 0 and values.get("msgqueue size") == 0
    return "" if good and values.get("open files", 1 << 30) <= 4096 else str(values)


def opaque(vmm):
    """Not dumpable: its own user may not look into it, nor trace it."""
    owner = os.stat(f"/proc/{vmm.pid}/environ").st_uid
    return "" if owner == 0 else f"/proc files belong to {owner}"


def no_environment(vmm):
    text = read(f"/proc/{vmm.pid}/environ")
    return f"{text!r}" if text else ""


def dies_with_parent(vmm):
    os.kill(vmm.launcher.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{vmm.pid}") and time.monotonic() < deadline:
        # Reaped by whoever is the parent now; a zombie is dead too.
        try:
            if read(f"/proc/{vmm.pid}/stat").rsplit(")", 1)[1].split()[0] == "Z":
                return ""
        except FileNotFoundError:
            return ""
        time.sleep(0.02)
    return "it lives on" if os.path.exists(f"/proc/{vmm.pid}") else ""


CASES = (identity, capabilities, no_new_privileges, filters, namespaces, user_namespace,
         other_namespaces_are_not_its_own, landlock, own_memory, process_one, empty_root, mounts,
         root_is_read_only, network, descriptors, read_only_disk, limits, opaque, no_environment, dies_with_parent)


def look(build, directory, prefix):
    """All cases, of one monitor. Returns the number of failed ones."""
    failed = 0
    vmm = start_asleep(build, monitor.Disks(directory))
    try:
        for case in CASES:
            try:
                wrong = case(vmm)
            except OSError as error:
                wrong = str(error)
            failed += bool(wrong)
            name = prefix + case.__name__.replace("_", "-")
            print(f"FAIL {name}: {wrong}" if wrong else f"PASS {name}", flush=True)
    finally:
        vmm.destroy()
    return failed


@contextlib.contextmanager
def no_user_namespaces():
    before = read(USER_NAMESPACES_MAX)
    try:
        write(USER_NAMESPACES_MAX, "0")
        yield
    finally:
        write(USER_NAMESPACES_MAX, before)


def main():
    build = os.path.abspath(sys.argv[1])
    with monitor.working_directory() as directory:
        failed = look(build, directory, "jail/")
    if not os.environ.get("TESTBED"):
        print("SKIP jail/without-user-namespaces: it is a setting of the whole host", flush=True)
        return 1 if failed else 0
    with monitor.working_directory() as directory, no_user_namespaces():
        failed += look(build, directory, "jail/without-user-namespaces/")
    return 1 if failed else 0


sys.exit(main())
