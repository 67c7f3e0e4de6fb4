"""Files and directories of the host in a workload: -v and --mount, the same in both isolations."""

import json
import os
import re
import shutil
import signal
import subprocess

from harness import Skip, descendants, process_stat
from table import row, test

REFUSED = (
    ("no-host-path", ("-v", "/data"), "-v /data: .*HOST:TARGET"),
    ("name", ("-v", "data:/data"), "name of a volume.*./data"),
    ("missing", ("-v", "/no/such/place:/data"), "/no/such/place.*no such file.*make it first"),
    ("relative-target", ("-v", "/tmp:data"), "must be absolute"),
    ("dotdot", ("-v", "/tmp:/a/../b"), "must be absolute and without"),
    ("dot", ("-v", "/tmp:/./proc"), "must be absolute and without"),
    ("root", ("-v", "/tmp:/"), "would hide"),
    ("proc", ("-v", "/tmp:/proc/sys"), "kernel's"),
    ("option", ("-v", "/tmp:/data:row"), "\"row\" is not an option"),
    ("label", ("-v", "/tmp:/data:Z"), "SELinux"),
    ("propagation", ("-v", "/tmp:/data:rshared"), "do not propagate"),
    ("colons", ("-v", "/tmp:/data:ro:x"), "more colons"),
    ("twice", ("-v", "/tmp:/data", "--tmpfs", "/data"), "/data is mounted twice"),
    ("mount-type", ("--mount", "type=volume,target=/data"), "type=bind or type=tmpfs"),
    ("mount-key", ("--mount", "type=bind,sorce=/tmp,target=/data"), "\"sorce\" is not known"),
    ("mount-target", ("--mount", "type=bind,source=/tmp"), "target is missing"),
    ("mount-source", ("--mount", "type=bind,target=/data"), "needs a source"),
    ("mount-value", ("--mount", "type=bind,source=/tmp,target=/data,readonly=maybe"), "neither true nor false"),
    ("mount-recursive", ("--mount", "type=bind,source=/tmp,target=/data,bind-recursive=readonly"), "needs readonly"),
    ("mount-tmpfs-source", ("--mount", "type=tmpfs,source=/tmp,target=/data"), "no source"),
    ("mount-tmpfs-size", ("--mount", "type=tmpfs,target=/data,tmpfs-size=many"), "size=64m"),
)
for name, options, wanted in REFUSED:
    row(f"volume/refused-{name}", ["true"], options=list(options), exit=125, stderr=re.compile(wanted))

row("volume/mount-tmpfs", "mount | grep ' /data ' | cut -d' ' -f1-5; stat -c %a /data; touch /data/x",
    options=["--mount", "type=tmpfs,target=/data,tmpfs-size=1m,tmpfs-mode=1770"], stdout="tmpfs on /data type tmpfs\n1770\n")


def directory(t, **files):
    """A new directory of the host with these files."""
    path = f"{t.host.files}/{t.name()}.volume"
    os.makedirs(path)
    t.closers.append(lambda: shutil.rmtree(path, ignore_errors=True))
    for name, content in files.items():
        with open(f"{path}/{name}", "w", encoding="utf-8") as file:
            file.write(content)
    return path


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


@test("volume/shared")
def shared(t):
    """Content, owners, modes, links, times both ways; a single file; one mount below another, in either order."""
    outer, inner = directory(t, file="from the host\n", gone="x"), directory(t, deep="deep\n")
    single = t.file("single", "single\n")
    os.symlink("file", outer + "/link")
    os.chown(outer + "/file", 1234, 4321)
    os.chmod(outer + "/file", 0o640)
    os.utime(outer + "/file", (1000000000, 1000000000))
    command = """cat /data/link /data/a/b/deep /etc/hosts; stat -c '%n %a %u:%g %s %h %Y %F' /data/file /data/link
        ls /data /data/a/b; echo from the workload > /data/new; chown 7:8 /data/new; chmod 4755 /data/new; rm /data/gone
        mkdir /data/d; mv /data/d /data/e; ln /data/new /data/hard; ln -s /etc/nowhere /data/soft; mkfifo /data/fifo
        echo more >> /data/a/b/deep; echo changed > /etc/hosts; grep -c . /proc/self/mountinfo > /dev/null"""
    result = t.run("-v", f"{inner}:/data/a/b", "-v", f"{outer}:/data/", "--mount",
                   f"type=bind,src={single},dst=/etc/hosts", command=["sh", "-c", command])
    t.equal("exit status", 0, result.exit, result)
    t.equal("what the workload sees", "from the host\ndeep\nsingle\n"
            "/data/file 640 1234:4321 14 1 1000000000 regular file\n"
            f"/data/link 777 0:0 4 1 {int(os.lstat(outer + '/link').st_mtime)} symbolic link\n"
            "/data:\na\nfile\ngone\nlink\n\n/data/a/b:\ndeep\n", result.out)
    new = os.stat(outer + "/new")
    t.equal("the new file", ("from the workload\n", 0o104755, 7, 8, 2),
            (read(outer + "/new"), new.st_mode, new.st_uid, new.st_gid, new.st_nlink))
    t.equal("the directory", ["a", "e", "fifo", "file", "hard", "link", "new", "soft"], sorted(os.listdir(outer)))
    t.equal("the link", "/etc/nowhere", os.readlink(outer + "/soft"))
    t.equal("appended", "deep\nmore\n", read(inner + "/deep"))
    t.equal("the single file", "changed\n", read(single))


@test("volume/read-only", alone=True)
def read_only(t):
    """Neither the directory, nor what is mounted below it on the host, nor a single file can be changed."""
    path, single = directory(t, file="x\n"), t.file("single", "single\n")
    os.makedirs(path + "/below")
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", path + "/below"], check=False).returncode != 0:
        raise Skip("cannot mount a tmpfs here")
    t.closers.insert(0, lambda: subprocess.run(["umount", "-l", path + "/below"], check=False))
    with open(path + "/below/inside", "w", encoding="utf-8") as file:
        file.write("inside\n")
    command = """cat /data/file /data/below/inside /one
        for f in /data/new /data/file /data/below/new /data/below/inside /one; do (echo y > $f) 2> /dev/null && echo "wrote $f"; done
        for c in 'rm /data/file' 'mkdir /data/d' 'chmod 777 /data/file' 'touch /one' 'mv /data/file /data/g' \
            'mount -o remount,rw /data'; do $c 2> /dev/null && echo "did $c"; done; true"""
    result = t.run("-v", f"{path}:/data:ro", "-v", f"{single}:/one:ro", command=["sh", "-c", command])
    t.equal("result", (0, "x\ninside\nsingle\n"), (result.exit, result.out), result)
    result = t.run("--mount", f"type=bind,source={path},target=/data,bind-recursive=disabled", command=["ls", "/data/below"])
    t.equal("without what is below", (0, ""), (result.exit, result.out), result)


@test("volume/changes-are-seen")
def changes(t):
    """What the host writes while the workload runs; a workload that is started again has its mounts."""
    path = directory(t, word="one\n")
    name = t.detached("-v", f"{path}:/data", command=["sh", "-c", "trap 'exit 0' TERM; while sleep 0.1; do :; done"])
    t.equal("before", "one\n", t.verb("exec", name, "cat", "/data/word"))
    with open(path + "/word.new", "w", encoding="utf-8") as file:
        file.write("another\n")
    os.rename(path + "/word.new", path + "/word")
    t.equal("after", "another\n", t.verb("exec", name, "cat", "/data/word"))
    with open(path + "/word", "a", encoding="utf-8") as file:
        file.write("third\n")
    t.equal("appended", "another\nthird\n", t.verb("exec", name, "cat", "/data/word"))
    t.verb("stop", name)
    t.verb("start", name)
    t.equal("started again", "another\nthird\n", t.verb("exec", name, "cat", "/data/word"))
    t.verb("rm", "-f", name)
    t.equal("what is left of it", [], t.host.traces(name))


@test("volume/relative")
def relative(t):
    path = directory(t, file="here\n")
    result = t.run("-v", "./:/data", command=["cat", "/data/file"], cwd=path)
    t.equal("result", (0, "here\n"), (result.exit, result.out), result)


@test("volume/policy")
def policy(t):
    """The policy sees what -v asks for, also by another name."""
    path = directory(t)
    os.symlink("/etc", path + "/elsewhere")
    rule = {"name": "no-etc", "match": {"mounts": ["/etc"]}, "isolation": "deny"}
    file = t.file("policy.json", json.dumps({"version": 1, "default": "container", "rules": [rule]}))
    os.chmod(file, 0o644)
    for source, status in (("/etc", 125), (path + "/elsewhere", 125), (path, 0)):
        result = t.hybrid("--policy", file, "run", "--rm", "--dry-run", "-v", f"{source}:/data", t.host.image("test"), "true")
        t.equal(f"exit status with {source}", status, result.exit, result)
        if status:
            t.match("stderr", "refused by the policy.*no-etc", result.err)


def servers(t, session):
    return [pid for pid in descendants(session.pid) if (process_stat(pid) or [""])[0] == "virtiofsd"]


# CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID, SETUID, SETFCAP; of a thread that its libraries start, also what took it
# into its jail: SETPCAP, SYS_CHROOT
SERVING = sum(1 << bit for bit in (0, 1, 3, 4, 6, 7, 31))
STARTING = SERVING | 1 << 8 | 1 << 18


def thread_states(pid):
    """(seccomp mode, number of filters, no_new_privs, capability sets) of each thread, its first one first."""
    for task in sorted(os.listdir(f"/proc/{pid}/task"), key=int):
        status = dict(line.split(":\t", 1) for line in read(f"/proc/{pid}/task/{task}/status").splitlines() if ":\t" in line)
        yield status["Seccomp"], int(status["Seccomp_filters"]), status["NoNewPrivs"], \
            {key: int(value, 16) for key, value in status.items() if key.startswith("Cap")}


@test("volume/server-is-jailed", isolations=("vm",))
def jailed(t):
    """Every thread of the file server has what it needs and no more, as the kernel and `inspect` tell; it sees the shares
    and nothing else."""
    path, name = directory(t, file="x"), t.name()
    session = t.session("--name", name, "-v", f"{path}:/data:ro", command=["sh", "-c", "cat /data/file; echo ready; sleep 1000"])
    session.expect("ready\n")
    companions = json.loads(t.verb("inspect", "--security", name))[0]["companions"]
    t.equal("processes", ["virtiofsd"], [each["name"] for each in companions])
    server = companions[0]["pid"]
    t.match("cgroup", name, companions[0]["cgroup"])
    own = [kind for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup")
           if os.readlink(f"/proc/{server}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")]
    t.equal("namespaces of its own", ["mnt", "pid", "net", "ipc", "uts", "cgroup"], own)
    early = [i for i, (mode, filters, locked, caps) in enumerate(thread_states(server)) if filters == 1]
    for number, (mode, filters, locked, caps) in enumerate(thread_states(server)):
        t.equal("seccomp mode, no_new_privs", ("2", "1"), (mode, locked))
        most = STARTING if number in early else SERVING
        beyond = {key: f"{value & ~most:#x}" for key, value in caps.items() if value & ~most}
        t.equal(f"capabilities of thread {number} beyond a file server's", {}, beyond)
        t.check(filters >= 1 and not caps["CapInh"] and not caps["CapAmb"], f"thread {number}: {filters} filters, {caps}")
    qemu = "qemu" in os.readlink(f"/proc/{server}/exe")
    t.check(len(early) <= 1 and 0 not in early or not qemu, f"threads with our filter only: {early}")
    shown = sorted(thread["seccompFilters"] for thread in companions[0]["threads"])
    t.equal("filters of its threads, shown", sorted(filters for _, filters, _, _ in thread_states(server)), shown)
    t.equal("its root directory", ["0"], os.listdir(f"/proc/{server}/root"))
    t.equal("the share", ["file"], os.listdir(f"/proc/{server}/root/0"))
    t.match("its mounts", r" /0 ro,\S*nosuid,nodev,noexec", read(f"/proc/{server}/mountinfo"))
    targets = [os.readlink(f"/proc/{server}/fd/{fd}") for fd in os.listdir(f"/proc/{server}/fd")]
    # Its own /proc, the shares, where the C one has them, and the null device without a /dev around it.
    own = r"(/dev)?/null$|(pipe|socket|anon_inode):|/memfd:|/proc/|/share(/|$)|/$|/0(/|$)|" + re.escape(path)
    t.equal("descriptors of something else", [], [target for target in targets if not re.match(own, target)])
    t.match("limits", r"core file size +[01] +[01] ", read(f"/proc/{server}/limits"))
    t.equal("environment", "", read(f"/proc/{server}/environ"))
    os.kill(server, signal.SIGTERM) # as systemd does, for the workload to end; it needs its files for that
    blocked = int(re.search(r"SigBlk:\s*(\w+)", read(f"/proc/{server}/status"))[1], 16)
    t.check(blocked >> (signal.SIGTERM - 1) & 1, f"it has not blocked SIGTERM: {blocked:#x}")  # of one with a handler
    t.equal("after SIGTERM", "x", t.verb("exec", name, "cat", "/data/file"))
    t.check(os.path.exists(f"/proc/{server}/exe"), "the server has ended")
    t.verb("rm", "-f", name)
    session.wait()


@test("volume/server-killed", isolations=("vm",))
def killed(t):
    """kill -9 of the file server ends the VM with a message that says so, and leaves nothing."""
    path, name = directory(t), t.name()
    session = t.session("--name", name, "-v", f"{path}:/data", command=["sh", "-c", "echo ready; sleep 1000"])
    session.expect("ready\n")
    os.kill(servers(t, session)[0], signal.SIGKILL)
    result = session.wait()
    t.equal("exit status", 125, result.exit, result)
    t.match("stderr", "virtiofsd, which serves its shared files, was ended by signal 9", result.err)
    t.eventually("nothing is left of it", lambda: not t.host.traces(name))


@test("volume/socket-refused", isolations=("vm",))
def sockets(t):
    path = directory(t)
    os.mkfifo(path + "/pipe")
    result = t.run("-v", f"{path}/pipe:/pipe", command=["true"])
    t.equal("exit status", 125, result.exit, result)
    t.match("stderr", "/pipe.*is a pipe of the host, which a VM cannot use", result.err)
