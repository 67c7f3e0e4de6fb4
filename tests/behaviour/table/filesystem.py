"""The root and what is mounted in it: mounts, devices, masks, files made for the workload."""

import re

from table import look, row, same, test

# Docker's default mounts, in its order. What lies below /proc and /sys is looked at by what it hides.
MOUNTS = """\
/ overlay rw
/proc proc rw,nodev,noexec,nosuid
/dev tmpfs rw,nosuid mode=755,size=65536k
/dev/pts devpts rw,noexec,nosuid gid=5,mode=620,ptmxmode=666
/sys sysfs ro,nodev,noexec,nosuid
/sys/fs/cgroup cgroup ro,nodev,noexec,nosuid
/dev/mqueue mqueue rw,nodev,noexec,nosuid
/dev/shm tmpfs rw,nodev,noexec,nosuid size=65536k
"""
DEVICES = """\
/dev/core -> /proc/kcore
/dev/fd -> /proc/self/fd
/dev/full character special file 666 1:7 0:0
/dev/mqueue directory 1777 0:0 0:0
/dev/null character special file 666 1:3 0:0
/dev/ptmx -> pts/ptmx
/dev/pts directory 755 0:0 0:0
/dev/random character special file 666 1:8 0:0
/dev/shm directory 1777 0:0 0:0
/dev/stderr -> /proc/self/fd/2
/dev/stdin -> /proc/self/fd/0
/dev/stdout -> /proc/self/fd/1
/dev/tty character special file 666 5:0 0:0
/dev/urandom character special file 666 1:9 0:0
/dev/zero character special file 666 1:5 0:0
"""
LIST_DEVICES = """for f in /dev/*; do
    if [ -L $f ]; then echo "$f -> $(readlink $f)"; else stat -c '%n %F %a %t:%T %u:%g' $f; fi
done"""
SUPER_OPTIONS = ("gid=", "mode=", "size=", "ptmxmode=", "uid=")
MASKED = ("/proc/acpi /proc/asound /proc/interrupts /proc/kcore /proc/keys /proc/latency_stats /proc/sched_debug "
          "/proc/scsi /proc/timer_list /proc/timer_stats /sys/devices/virtual/powercap /sys/firmware").split()
READ_ONLY = "/proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger".split()


def mount_table(text):
    """/proc/self/mountinfo without what may differ: numbers, sources, atime policy, inner mounts."""
    lines = []
    for line in text.splitlines():
        left, right = line.split(" - ")
        target, options = left.split()[4:6]
        kind, _, super_options = right.split(" ", 2)
        if target.startswith(("/proc/", "/sys/")) and target != "/sys/fs/cgroup":
            continue
        if target.startswith("/etc/"):
            kind = "file"
        if target == "/sys/fs/cgroup":
            kind = "cgroup"
        options = ",".join(["ro" if "ro" in options.split(",") else "rw"]
                           + sorted({"nodev", "noexec", "nosuid"} & set(options.split(","))))
        shown = ",".join(sorted(option for option in super_options.split(",")
                                if option.startswith(SUPER_OPTIONS))) if kind in ("tmpfs", "devpts") else ""
        if target == "/sys/fs/cgroup":
            shown = ""
        lines.append(f"{target} {kind} {options} {shown}".rstrip())
    return "\n".join(lines) + "\n"


def mounts_as_docker(text):
    table = mount_table(text)
    missing = [line for line in MOUNTS.splitlines() if line not in table.splitlines()]
    return f"lacks {missing}; has {table}" if missing else ""


look("mounts/as-docker", ["cat", "/proc/self/mountinfo"], stdout=mounts_as_docker, compare=mount_table)
look("mounts/private", "grep -cE 'shared:|master:' /proc/self/mountinfo", stdout="0\n", exit=1)
look("mounts/no-host-paths", "grep -c -e hybrid-behaviour -e /var/lib/hybrid /proc/self/mounts /proc/self/mountinfo | cut -d: -f2 | sort -u",
    stdout="0\n")
look("mounts/root-is-root", "ls -di / /.. | cut -d/ -f1 | sort -u | wc -l; ls /../../.. | grep -c opt", stdout="1\n1\n")
look("devices/as-docker", LIST_DEVICES, stdout=DEVICES, compare=same)
look("devices/work", "head -c 8 /dev/zero | od -An -tx1; head -c 16 /dev/urandom | wc -c; echo x >/dev/null; "
    "echo x 2>/dev/null >/dev/full || echo full", stdout=" 00 00 00 00 00 00 00 00\n16\nfull\n")
look("devices/others-refused", "mknod /tmp/vda b 254 0 && cat /tmp/vda", exit=1, stderr=re.compile("not permitted"))
look("devices/kmsg-absent", "ls /dev/kmsg /dev/mem /dev/vda /dev/kvm /dev/vsock 2>/dev/null", exit=1)
look("devices/pts-of-its-own", "ls /dev/pts", stdout="ptmx\n")
look("devices/shm-writable", "echo x >/dev/shm/x && cat /dev/shm/x", stdout="x\n", options=["-u", "alice"])
look("masks/hidden", "; ".join(
        f"if [ -d {path} ]; then ls -A {path}; else cat {path} 2>/dev/null; fi | wc -c" for path in MASKED),
    stdout="0\n" * len(MASKED))
look("masks/cannot-be-removed", "for p in /proc/kcore /proc/keys /sys/firmware /proc /sys /dev; do "
    "umount $p 2>/dev/null && echo $p; done; true")
look("masks/read-only", "; ".join(
        f"if [ -d {path} ]; then touch {path}/x 2>/dev/null; else echo h 2>/dev/null >{path}; fi && echo {path}"
        for path in READ_ONLY) + "; true", stderr=None)
look("masks/sysctl-read-only", "echo 1 >/proc/sys/kernel/panic", exit=1, stderr=re.compile("(?i)read-only"))
look("masks/sysfs-read-only", "echo 1 >/sys/kernel/uevent_seqnum; mkdir /sys/fs/cgroup/x", exit=1,
    stderr=re.compile("(?is)read-only|permission.*read-only"))

row("hosts/hostname", "hostname; cat /etc/hostname; cat /proc/sys/kernel/hostname", options=["--hostname", "box.test"],
    stdout="box.test\n" * 3)
row("hosts/hosts", ["cat", "/etc/hosts"], options=["--hostname", "box"], compare=same,
    stdout=re.compile(r"(?s)^127\.0\.0\.1\s+localhost.*::1\s+localhost.*\bbox\n"))
look("hosts/resolv-conf", ["cat", "/etc/resolv.conf"], stdout=None, compare=same)
row("hosts/writable", "echo '10.0.0.1 other' >>/etc/hosts && tail -n 1 /etc/hosts", stdout="10.0.0.1 other\n")
look("hosts/modes", "stat -c '%n %a %u:%g' /etc/hosts /etc/hostname /etc/resolv.conf", compare=same,
    stdout="/etc/hosts 644 0:0\n/etc/hostname 644 0:0\n/etc/resolv.conf 644 0:0\n")
row("hosts/hostname-refused", ["true"], options=["--hostname", "bad name"], exit=125, stderr=re.compile("bad name"))

row("root/writable", "echo new >/new; rm /etc/passwd; cat /new; ls /etc/passwd 2>/dev/null", stdout="new\n", exit=1)
look("root/looks-like-the-image", "stat -c '%a %u:%g %Y' /", stdout="755 0:0 0\n")
row("root/rename-of-lower-directory", "mv /opt /moved && /moved/script 1", stdout="script:/moved/script:1:1\n")
row("root/hard-links", "ln /opt/script /opt/second && stat -c %h /opt/script && rm /opt/script && /opt/second a",
    stdout="2\nscript:/opt/second:1:a\n")
row("root/large-file", "dd if=/dev/zero of=/tmp/x bs=50k count=1000 2>/dev/null && stat -c %s /tmp/x", stdout="51200000\n", seconds=60)
look("root/read-only", "touch /x; touch /etc/x; echo x >/dev/shm/x && cat /dev/shm/x", options=["--read-only"],
    stdout="x\n", stderr=re.compile("(?is)read-only.*read-only"))
row("root/read-only-with-tmpfs", "touch /tmp/x && stat -c %a /tmp && touch /x", options=["--read-only", "--tmpfs", "/tmp"],
    stdout="1777\n", exit=1, stderr=re.compile("(?i)read-only"))
look("root/read-only-files-stay-readable", ["tail", "-n", "1", "/etc/hosts"], options=["--read-only"], stdout=re.compile("."))
row("root/read-only-working-directory-is-made", "pwd; touch x", options=["--read-only", "--workdir", "/missing/too"],
    stdout="/missing/too\n", exit=1, stderr=re.compile("(?i)read-only"))
row("tmpfs/default", "grep ' /mnt/t ' /proc/self/mounts | cut -d' ' -f3,4 | tr ',' '\\n' | grep -E 'tmpfs|nosuid|nodev|noexec' | sort",
    options=["--tmpfs", "/mnt/t"], stdout=re.compile("(?s)nodev.*noexec.*nosuid"), compare=same)
row("tmpfs/options", "df -k /mnt/t | awk 'NR==2{print $2}'; stat -c %a /mnt/t",
    options=["--tmpfs", "/mnt/t:size=4m,mode=700,exec"], stdout="4096\n700\n")
row("tmpfs/size-holds", "head -c 8000000 /dev/zero >/mnt/t/x; stat -c %s /mnt/t/x", options=["--tmpfs", "/mnt/t:size=4m"],
    stdout="4194304\n", stderr=re.compile("(?i)no space|I/O error"))
row("tmpfs/relative-refused", ["true"], options=["--tmpfs", "relative"], exit=125, stderr=re.compile("relative"))
row("tmpfs/bad-option-refused", ["true"], options=["--tmpfs", "/t:colour=red"], exit=125, stderr=re.compile("colour"))

look("network/only-loopback", "ls /sys/class/net; ip -o link | wc -l", stdout="lo\n1\n")
look("network/loopback-up", "ip -o addr show lo | grep -o 'inet 127.0.0.1/8'; ip link show lo | grep -o 'LOOPBACK,UP'",
    stdout="inet 127.0.0.1/8\nLOOPBACK,UP\n")
row("network/loopback-works", "echo pong | nc -l -p 4000 >/dev/null & sleep 0.5; "
    "nc -w 3 127.0.0.1 4000 </dev/null; wait", options=["--network=none"], stdout="pong\n")
look("network/nowhere-to-go", "ip route | wc -l; ping -c 1 -w 1 192.0.2.1 2>&1 | grep -ci unreachable", stdout="0\n1\n",
    exit=0)
look("network/name-of-itself", "ping -c 1 -w 2 localhost >/dev/null && echo found", stdout="found\n")


@test("hosts/hostname-of-id")
def hostname_of_id(t):
    name = t.name()
    t.equal("hostname", name + "\n", t.run("--name", name, command=["hostname"]).out)


@test("root/changes-are-not-shared")
def not_shared(t):
    """Two workloads of one image do not see each other's files, and the image stays as it was."""
    first = t.detached(command=["sh", "-c", "echo mine >/etc/mark; sleep 1000"])
    second = t.run(command=["sh", "-c", "ls /etc/mark"])
    t.equal("exit status", 1, second.exit)
    t.verb("rm", "-f", first)


@test("root/gone-with-rm")
def gone(t):
    name = t.name()
    for _ in range(2):
        result = t.run("--name", name, command=["sh", "-c", "ls /mark 2>/dev/null; echo x >/mark"])
        t.equal("result", (0, ""), (result.exit, result.out))
