"""Capabilities, no_new_privs, seccomp, rlimits: the same defences, and the same holes, in both isolations."""

import ctypes
import os
import re

import harness
from table import look, row, same, test
from table.bundles import Bundle

PR_CAPBSET_DROP, CAP_MKNOD = 24, 27

CAPABILITIES = ["grep", "^Cap", "/proc/self/status"]
DOCKER = 0xa80425fb
NET_ADMIN, SYS_TIME, CHOWN, MKNOD, ALL = 1 << 12, 1 << 25, 1 << 0, 1 << 27, (1 << 41) - 1


def sets(bounding, effective=None, ambient=0):
    effective = bounding if effective is None else effective
    return (f"CapInh:\t{0:016x}\nCapPrm:\t{effective:016x}\nCapEff:\t{effective:016x}\n"
            f"CapBnd:\t{bounding:016x}\nCapAmb:\t{ambient:016x}\n")


def all_but(dropped):
    """Every capability, or every one that the caller of hybrid has: nobody can give more."""
    def judge(text):
        with open("/proc/self/status", encoding="ascii") as file:
            own = int(re.search(r"CapPrm:\s+(\S+)", file.read())[1], 16)
        wanted = {sets(ALL & ~dropped), sets(ALL & own & ~dropped)}
        return "" if text in wanted else f"expected one of {sorted(wanted)}, got {text!r}"
    return judge


look("capabilities/default", CAPABILITIES, stdout=sets(DOCKER), compare=same)
look("capabilities/of-a-user", CAPABILITIES, options=["-u", "alice"], stdout=sets(DOCKER, 0), compare=same)
row("capabilities/add", CAPABILITIES, options=["--cap-add", "NET_ADMIN"], stdout=sets(DOCKER | NET_ADMIN))
row("capabilities/add-spelled-out", CAPABILITIES, options=["--cap-add=cap_sys_time"], stdout=sets(DOCKER | SYS_TIME))
row("capabilities/add-all", CAPABILITIES, options=["--cap-add", "ALL"], stdout=all_but(0), compare=same)
row("capabilities/add-to-a-user", CAPABILITIES, options=["--cap-add", "NET_ADMIN", "-u", "1000"],
    stdout=sets(DOCKER | NET_ADMIN, 0))
row("capabilities/drop", CAPABILITIES, options=["--cap-drop", "MKNOD", "--cap-drop", "chown"],
    stdout=sets(DOCKER & ~MKNOD & ~CHOWN))
row("capabilities/drop-all", CAPABILITIES, options=["--cap-drop", "ALL"], stdout=sets(0), compare=same)
row("capabilities/drop-all-add-one", CAPABILITIES, options=["--cap-drop=ALL", "--cap-add=CHOWN"], stdout=sets(CHOWN))
row("capabilities/add-all-drop-one", CAPABILITIES, options=["--cap-add=ALL", "--cap-drop=NET_ADMIN"],
    stdout=all_but(NET_ADMIN))
row("capabilities/unknown-refused", ["true"], options=["--cap-add", "NET_ADMN"], exit=125,
    stderr=re.compile("NET_ADMN.*NET_ADMIN"))
row("capabilities/used-chown", "chown alice /tmp && stat -c %U /tmp", stdout="alice\n")
row("capabilities/dropped-chown", "chown alice /tmp", options=["--cap-drop", "CHOWN"], exit=1,
    stderr=re.compile("not permitted"))
row("capabilities/used-net-admin", "ip link set lo mtu 1400 && cat /sys/class/net/lo/mtu",
    options=["--cap-add", "NET_ADMIN"], stdout="1400\n")
look("capabilities/lacking-net-admin", "ip link set lo mtu 1400", exit=2, stderr=re.compile("(?i)not permitted"))
# Docker sets net.ipv4.ip_unprivileged_port_start=0: a user may listen on any port.
look("capabilities/low-port-of-a-user", "id -u; echo pong | nc -l -p 80 >/dev/null & sleep 0.5; nc -w 3 127.0.0.1 80 </dev/null; wait",
    options=["-u", "alice"], stdout="1000\npong\n")

STATUS = ["grep", "-E", "^(NoNewPrivs|Seccomp):", "/proc/self/status"]
look("seccomp/default", STATUS, stdout="NoNewPrivs:\t0\nSeccomp:\t2\n", compare=same)
row("seccomp/unconfined", STATUS, options=["--security-opt", "seccomp=unconfined"],
    stdout="NoNewPrivs:\t0\nSeccomp:\t0\n")
row("seccomp/no-new-privileges", STATUS, options=["--security-opt", "no-new-privileges"],
    stdout="NoNewPrivs:\t1\nSeccomp:\t2\n", compare=same)
row("seccomp/no-new-privileges-true", STATUS, options=["--security-opt=no-new-privileges=true"],
    stdout="NoNewPrivs:\t1\nSeccomp:\t2\n")
row("seccomp/no-new-privileges-false", STATUS, options=["--security-opt=no-new-privileges=false"],
    stdout="NoNewPrivs:\t0\nSeccomp:\t2\n")
look("seccomp/of-a-user", STATUS, options=["-u", "alice"], stdout="NoNewPrivs:\t0\nSeccomp:\t2\n")
row("seccomp/unknown-refused", ["true"], options=["--security-opt", "secomp=unconfined"], exit=125,
    stderr=re.compile("secomp.*seccomp"))
row("seccomp/file-missing", ["true"], options=["--security-opt", "seccomp=/no/such/profile.json"], exit=125,
    stderr=re.compile("/no/such/profile.json"))
row("seccomp/file-not-json", ["true"], options=["--security-opt", "seccomp={profile}"],
    files={"profile": "{not json"}, exit=125, stderr=re.compile("profile"))
PROFILE = ('{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir", "mkdirat"], '
           '"action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}')
# It takes the default's place: what that refuses with EPERM reaches the kernel, which misses the directory.
row("seccomp/file", "mkdir /tmp/x; mount -t tmpfs none /nonexistent", options=["--security-opt", "seccomp={profile}"],
    files={"profile": PROFILE}, exit=255, stderr=re.compile("^mkdir: .*No space left on device\nmount: .*No such file or directory\n$"))
row("seccomp/file-kills", "mkdir /tmp/x; echo $?", options=["--security-opt", "seccomp={profile}"],
    files={"profile": PROFILE.replace('"SCMP_ACT_ERRNO", "errnoRet": 28', '"SCMP_ACT_KILL_PROCESS"')},
    stdout="159\n", stderr=None)

# What the default profile and capabilities make of a fixed list of system calls (probe.c says how each is
# made). EPERM: refused by the profile. ENOSYS: unknown to it, so that programs fall back.
SYSTEM_CALLS = """\
acct EPERM
add_key EPERM
bpf EPERM
chroot ENOENT
clock_settime EPERM
clone-newuser EPERM
clone-newns EPERM
clone3 ENOSYS
delete_module EPERM
fanotify_init EPERM
finit_module EPERM
fsopen EPERM
get_mempolicy EPERM
init_module EPERM
io_uring_setup EPERM
ioperm EPERM
iopl EPERM
kexec_load EPERM
keyctl EPERM
lookup_dcookie EPERM
mbind EPERM
mount EPERM
mount_setattr EPERM
move_mount EPERM
nfsservctl EPERM
open_by_handle_at EPERM
open_tree EPERM
perf_event_open EPERM
personality-query ok
personality-svr4 EPERM
pivot_root EPERM
quotactl EPERM
reboot EPERM
request_key EPERM
set_mempolicy EPERM
setdomainname EPERM
sethostname EPERM
setns EPERM
settimeofday EPERM
socket-vsock EPERM
swapon EPERM
syslog EPERM
umount2 EPERM
unshare-newns EPERM
unshare-newuser EPERM
uselib EPERM
userfaultfd EPERM
ustat EPERM
vhangup EPERM
unknown-1000 ENOSYS
"""


def system_calls(text):
    seen = dict(line.split(" ", 1) for line in text.splitlines())
    wrong = [f"{name} {seen.get(name)} instead of {wanted}"
             for name, wanted in (line.split() for line in SYSTEM_CALLS.splitlines()) if seen.get(name) != wanted]
    return "; ".join(wrong)


look("seccomp/system-calls", ["probe", "syscalls"], stdout=system_calls, compare=same)
row("seccomp/system-calls-unconfined-all", ["probe", "syscalls"], stdout=re.compile(r"(?s)mount ENOENT\n.*unshare-newns ok\n"),
    options=["--security-opt=seccomp=unconfined", "--cap-add=ALL"])
row("seccomp/no-privileges-at-all", ["probe", "syscalls"], options=["--cap-drop=ALL", "-u", "alice"],
    stdout=re.compile(r"(?s)chroot EPERM\n.*mount EPERM\n"), compare=same)

look("setuid/works", ["/opt/setuid", "ids"], options=["-u", "alice"], stdout="1000 0 0 1000 1000 1000\n")
row("setuid/not-with-no-new-privileges", ["/opt/setuid", "ids"],
    options=["-u", "alice", "--security-opt=no-new-privileges"], stdout="1000 1000 1000 1000 1000 1000\n")
look("isolation/no-host-processes", "cat /proc/1/comm; ps -o comm | grep -c hybrid", stdout="sh\n0\n", exit=1)
look("isolation/kernel-keyring-unreachable", "cat /proc/keys | wc -c", stdout="0\n")
look("isolation/own-ipc", "cat /proc/sysvipc/msg /proc/sysvipc/shm | wc -l; ls /dev/mqueue | wc -l", stdout="2\n0\n")
look("isolation/cgroup-root", ["cut", "-d:", "-f3", "/proc/self/cgroup"], stdout=re.compile(r"^(/\n)+$"))
look("isolation/namespaces-complete", "for n in cgroup ipc mnt net pid uts; do readlink /proc/self/ns/$n; done | sort -u | wc -l",
    stdout="6\n")

look("rlimits/default", ["probe", "rlimits"], stdout=None, compare=same)
row("rlimits/nofile", "ulimit -Sn; ulimit -Hn", options=["--ulimit", "nofile=100:200"], stdout="100\n200\n")
row("rlimits/one-value", "ulimit -Sn; ulimit -Hn", options=["--ulimit=nofile=123"], stdout="123\n123\n")
row("rlimits/core-and-cpu", "ulimit -Sc; ulimit -St", options=["--ulimit", "core=0", "--ulimit", "cpu=7:9"],
    stdout="0\n7\n")
row("rlimits/cpu-acts", "while :; do :; done", options=["--ulimit=cpu=1:5", "--init"], exit=152, seconds=60)
row("rlimits/fsize-acts", "head -c 3000000 /dev/zero >/tmp/x; stat -c %s /tmp/x", options=["--ulimit=fsize=1000000"],
    stdout="1000000\n", stderr=None)
row("rlimits/unknown-refused", ["true"], options=["--ulimit", "nofiles=5"], exit=125,
    stderr=re.compile("nofiles.*nofile"))
row("rlimits/soft-above-hard-refused", ["true"], options=["--ulimit", "nofile=200:100"], exit=125,
    stderr=re.compile("nofile"))


USERNS = ["--userns=0:100000:65536"]
look("userns/map", "cat /proc/self/uid_map /proc/self/gid_map | tr -s ' '",
    options=USERNS, stdout=" 0 100000 65536\n 0 100000 65536\n")
look("userns/identity", "id -u; id -g; stat -c %u:%g /etc/passwd /home/alice", options=USERNS,
    stdout="0\n0\n0:0\n1000:1000\n")
look("userns/capabilities", CAPABILITIES, options=USERNS, stdout=sets(DOCKER))
look("userns/files-written", "echo x >/new && chown alice /new && stat -c %U /new && chown 70000 /new", options=USERNS,
    stdout="alice\n", exit=1, stderr=re.compile("(?i)invalid argument"))
look("userns/host-by-default", ["grep", "-c", "4294967295", "/proc/self/uid_map"], stdout="1\n")
for bad in ("yes", "0:0:65536", "1:100000:10", "0:100000:0", "0:100000"):
    row(f"userns/refused-{bad.replace(':', '-')}", ["true"], options=[f"--userns={bad}"], exit=125,
        stderr=re.compile(re.escape(bad)))


@test("userns/another-user-on-the-host", isolations=("container",))
def userns_on_host(t):
    session = t.session(*USERNS, command=["sh", "-c", "echo ready; exec sleep 1000"])
    session.expect("ready\n")

    def owners():
        return {os.stat(f"/proc/{pid}").st_uid for pid in harness.descendants(session.pid)
                if (harness.process_stat(pid) or ("",))[0] == "sleep"}

    t.eventually("the command runs", owners)
    seen = owners()
    session.signal(9)
    session.wait()
    t.equal("owner of the command on the host", {100000}, seen)


@test("isolation/descriptors-do-not-leak")
def descriptors(t):
    """Whatever the caller has open, the command has its three streams."""
    line = t.run_arguments("-i", command=["probe", "fds"])
    result = t.finish(["sh", "-c", 'exec 5</etc/passwd 7>/dev/null 9<>/dev/zero; exec "$@"', "sh", *line], b"",
                      20, None)
    t.equal("descriptors", "0 pipe\n1 pipe\n2 pipe\n", result.out, result)


@test("isolation/kernel")
def kernel(t):
    """A VM has a kernel of its own and a container has not."""
    result = t.run(command=["cat", "/proc/sys/kernel/random/boot_id"])
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        t.equal("boot id is the host's", t.isolation == "container", file.read() == result.out, result)


# Changes what leads to the host's null device, and tells what came of it.
CHANGE_NULL = """for f in /proc/self/fd/0 $(grep ' /null ' /proc/self/mountinfo | cut -d' ' -f5); do
    chmod 667 $f; chown 1 $f; touch $f; done 2>/dev/null; readlink /proc/self/fd/0; stat -c %a /dev/null; echo x >/dev/null && cat </dev/null"""


def node_of(path):
    status = os.stat(path)
    return status.st_mode, status.st_uid, status.st_gid


def keep_node(t, path):
    """What a row that fails has made of it would be everybody's."""
    before = node_of(path)

    def restore():
        os.chmod(path, before[0] & 0o7777)
        os.chown(path, *before[1:])
    t.closers.append(restore)
    return before


@test("security/null-device-of-the-host", isolations=("container",))
def null_of_the_host(t):
    """Root in a container cannot change its mode or owner: not by its standard input, nor by what hides files of /proc."""
    before = keep_node(t, "/dev/null")
    result = t.run(command=["sh", "-c", CHANGE_NULL])
    t.equal("what it sees", "/dev/null\n667\n", result.out, result)  # that is its own
    t.equal("the host's", before, node_of("/dev/null"))
    name = t.detached(command=["sleep", "1000"])
    t.equal("the same by exec", "/dev/null\n667\n", t.verb("exec", name, "sh", "-c", CHANGE_NULL))
    t.equal("the host's", before, node_of("/dev/null"))
    bundle = Bundle(t, CHANGE_NULL)  # created with it as its standard input, as by engines
    bundle.config["linux"]["maskedPaths"] = ["/proc/version"]
    bundle.config["process"]["args"] = ["busybox", *bundle.config["process"]["args"]]
    for applet in ("chmod", "chown", "cut"):
        os.symlink("busybox", f"{bundle.path}/rootfs/bin/{applet}")
    bundle.create()
    t.verb("start", bundle.id)
    bundle.await_status("stopped")
    t.equal("what an engine's container sees", "/dev/null\n667\n", bundle.output())
    t.equal("the host's", before, node_of("/dev/null"))


@test("security/device-node-of-the-host", isolations=("container",))
def node_of_the_host(t):
    """Where no node can be made the host's is bound: it can be used, and not changed."""
    before = keep_node(t, "/dev/full")
    bundle = Bundle(t, "chmod 667 /dev/full; chown 1 /dev/full; (echo x >/dev/full) 2>&1; head -c 3 /dev/zero | wc -c")
    for applet in ("chmod", "chown", "wc"):
        os.symlink("busybox", f"{bundle.path}/rootfs/bin/{applet}")
    bundle.write()
    drop = ctypes.CDLL(None, use_errno=True).prctl
    result = t.hybrid("run", "--bundle", bundle.path, bundle.id, preexec_fn=lambda: drop(PR_CAPBSET_DROP, CAP_MKNOD, 0, 0, 0))
    t.match("what it says", "Read-only file system", result.err)
    t.match("what becomes of its use", r"No space left on device[^\0]*3\n", result.out)
    t.equal("the host's", before, node_of("/dev/full"))
