#!/usr/bin/python3
"""Ways out of a container that other runtimes once left open, tried one by one through `hybrid run` and `hybrid exec`.

    escapes.py [BUILD]     BUILD: the directory of hybrid, by default $HYBRID_BUILD or build/

Each case is named after the CVE whose attack it repeats. Prints PASS, FAIL or SKIP per case; exits 1 if one failed.
"""

import contextlib
import hashlib
import io
import json
import os
import platform
import pty
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
BUSYBOX = "/bin/busybox"
APPLETS = ("sh", "cat", "echo", "ls", "id", "touch", "mkdir", "mknod", "mount", "sleep", "true", "grep", "wc", "dd", "pwd",
           "unshare", "chroot", "tty", "head")
SECONDS = 60


class Failure(Exception):
    """What a case saw that must not be."""



# --- images -----------------------------------------------------------------------------------------


def entry(name, kind=tarfile.REGTYPE, data=b"", mode=0o755, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode, info.linkname, info.mtime = kind, len(data), mode, link, 1700000000
    return info, data


def symlink(name, target):
    return entry(name, tarfile.SYMTYPE, link=target)


def script(name, text):
    return entry(name, data=text.encode())


def userland():
    """A layer with busybox under the names we call, and the files that users are looked up in."""
    with open(BUSYBOX, "rb") as file:
        entries = [entry("bin", tarfile.DIRTYPE), entry("bin/busybox", data=file.read())]
    entries += [symlink("bin/" + name, "busybox") for name in APPLETS]
    entries += [entry("etc", tarfile.DIRTYPE), entry("tmp", tarfile.DIRTYPE, mode=0o1777),
                entry("etc/passwd", data=b"root:x:0:0::/:/bin/sh\n", mode=0o644)]
    return entries


def pack(entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data) if data else None)
    return buffer.getvalue()


def write_archive(path, reference, layers):
    """An OCI archive of one image."""
    blobs = {}

    def add(data, media_type):
        digest = hashlib.sha256(data).hexdigest()
        blobs[digest] = data
        return {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}

    prefix = "application/vnd.oci.image."
    descriptors = [add(layer, prefix + "layer.v1.tar") for layer in layers]
    config = add(json.dumps({
        "architecture": ARCHITECTURE, "os": "linux", "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [d["digest"] for d in descriptors]}}).encode(),
        prefix + "config.v1+json")
    manifest = add(json.dumps({"schemaVersion": 2, "mediaType": prefix + "manifest.v1+json", "config": config,
                               "layers": descriptors}).encode(), prefix + "manifest.v1+json")
    manifest["annotations"] = {"org.opencontainers.image.ref.name": reference}
    index = json.dumps({"schemaVersion": 2, "manifests": [manifest]}).encode()
    entries = [entry("oci-layout", data=b'{"imageLayoutVersion":"1.0.0"}'), entry("index.json", data=index)]
    entries += [entry("blobs/sha256/" + digest, data=data) for digest, data in blobs.items()]
    with open(path, "wb") as file:
        file.write(pack(entries))


# --- running ----------------------------------------------------------------------------------------


class Place:
    """Directories of one run of this program, and hybrid."""

    def __init__(self, build):
        self.hybrid = os.path.join(build, "hybrid")
        self.top = tempfile.mkdtemp(prefix="hybrid-escapes-")
        self.outside = self.top + "/outside"
        os.mkdir(self.outside)
        self.base = pack(userland())
        self.images = 0
        self.env = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "HYBRID_ROOT": self.top + "/root",
                    "HYBRID_DATA": self.top + "/data"}

    def hash(self):
        with open(self.hybrid, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()

    def call(self, *arguments, **options):
        try:
            return subprocess.run([self.hybrid, *arguments], env=self.env, stdin=subprocess.DEVNULL, capture_output=True,
                                  timeout=SECONDS, check=False, text=True, **options)
        except subprocess.TimeoutExpired as expired:
            raise Failure(f"hybrid {' '.join(arguments)} did not end in {SECONDS} s") from expired

    def image(self, *entries):
        """Loads an image of the userland and, above it, these entries."""
        self.images += 1
        reference = f"escape{self.images}:latest"
        path = f"{self.top}/image{self.images}.tar"
        write_archive(path, reference, [self.base] + ([pack(entries)] if entries else []))
        loaded = self.call("load", "-q", path)
        os.unlink(path)
        if loaded.returncode != 0:
            raise Failure(f"cannot load an image: {loaded.stderr.strip()}")
        return reference

    def run(self, *arguments, **options):
        return self.call("run", "--rm", *arguments, **options)

    @contextlib.contextmanager
    def running(self, image, *arguments):
        """A detached workload, for exec; gives its name."""
        self.images += 1
        name = f"escape-{os.getpid()}-{self.images}"
        must_succeed(self.call("run", "-d", "--name", name, image, *arguments))
        try:
            yield name
        finally:
            self.call("kill", name)
            for _ in range(50):
                if self.call("rm", name).returncode == 0:
                    break
                time.sleep(0.1)

    def nothing_outside(self):
        found = os.listdir(self.outside)
        if found:
            raise Failure(f"on the host, outside of the root, appeared {found}")

    def way_out(self):
        """The host's directory `outside` as seen from any root, if links could leave it."""
        return "../" * 40 + self.outside.lstrip("/")


def must_succeed(ran):
    if ran.returncode != 0:
        raise Failure(f"status {ran.returncode}: {ran.stderr.strip() or ran.stdout.strip()}")
    return ran


def must_refuse(ran, word=""):
    """hybrid itself refuses: status 125, and says what."""
    if ran.returncode != 125 or word not in ran.stderr:
        raise Failure(f"expected a refusal naming {word!r}, got status {ran.returncode}: "
                      f"{ran.stderr.strip() or ran.stdout.strip()}")


def must_print(ran, expected):
    must_succeed(ran)
    if ran.stdout != expected:
        raise Failure(f"expected {expected!r}, got {ran.stdout!r}")


# --- the cases --------------------------------------------------------------------------------------

OVERWRITE = "for p in /proc/[0-9]*; do (echo broken >> $p/exe) 2>/dev/null && echo wrote $p; done; "


def cve_2019_5736_interpreter(place):
    """The command makes the kernel execute the runtime itself inside of the container."""
    before = place.hash()
    image = place.image(script("evil", "#!/proc/self/exe\n"))
    ran = place.run(image, "/evil")
    if ran.returncode == 0 or place.hash() != before:
        raise Failure(f"status {ran.returncode}, hybrid {'unchanged' if place.hash() == before else 'CHANGED'}")


def cve_2019_5736_init(place):
    """With --init, process 1 is a copy of the runtime: its binary cannot be opened for writing."""
    before = place.hash()
    ran = place.run("--init", place.image(), "sh", "-c", "(echo broken >> /proc/1/exe) 2>/dev/null && echo wrote; exit 0")
    must_print(ran, "")
    if place.hash() != before:
        raise Failure("hybrid was CHANGED")


def cve_2019_5736_exec(place):
    """A container that tries all the time to write to the binary of whatever enters it."""
    before = place.hash()
    loop = f"while true; do {OVERWRITE} done"
    with place.running(place.image(), "sh", "-c", loop) as name:
        for _ in range(20):
            must_succeed(place.call("exec", name, "true"))
        if "wrote" in place.call("logs", name).stdout or place.hash() != before:
            raise Failure("a process of the container wrote to the binary of hybrid")


def cve_2019_16884_proc(place):
    """/proc is a symbolic link of the image."""
    for name in ("proc", "sys", "dev"):
        image = place.image(entry("elsewhere", tarfile.DIRTYPE), symlink(name, "/elsewhere"))
        must_refuse(place.run(image, "true"), "/" + name)


def cve_2019_19921_file(place):
    """/proc is a file."""
    must_refuse(place.run(place.image(entry("proc", data=b"x")), "true"), "/proc")


def cve_2019_18837_mount(place):
    """The target of a mount is a symbolic link that leads out of the root."""
    image = place.image(symlink("x", place.way_out()))
    ran = place.run("--tmpfs", "/x/y", image, "sh", "-c", "echo escaped > /x/y/file")
    place.nothing_outside()
    if ran.returncode not in (0, 125):
        raise Failure(f"status {ran.returncode}: {ran.stderr}")


def cve_2019_18837_directory(place):
    """The working directory, made if absent, lies behind such a link."""
    place.run("-w", "/x/made", place.image(symlink("x", place.way_out())), "true")
    place.nothing_outside()


def cve_2025_24965_files(place):
    """The files the runtime provides are symbolic links to the host's."""
    names = ("hosts", "hostname", "resolv.conf")
    image = place.image(*[symlink("etc/" + name, place.way_out() + "/" + name) for name in names])
    place.run(image, "sh", "-c", "for f in hosts hostname resolv.conf; do echo escaped > /etc/$f; done")
    place.nothing_outside()


def cve_2022_29162_capabilities(place):
    """Inheritable capabilities are empty, for the command and under exec."""
    look = ("grep", "CapInh", "/proc/self/status")
    image = place.image()
    must_print(place.run(image, *look), "CapInh:\t0000000000000000\n")
    with place.running(image, "sleep", "60") as name:
        must_print(place.call("exec", name, *look), "CapInh:\t0000000000000000\n")


def cve_2023_25809_cgroup(place):
    """The cgroup tree cannot be written, and shows nobody else's."""
    attempts = ("find=$(ls -d /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs 2>/dev/null); "
                '[ -n "$find" ] || exit 9; '
                "for f in $find; do (echo 1 > $f) 2>/dev/null && echo wrote $f; "
                "mkdir ${f%/*}/own 2>/dev/null && echo made $f; "
                "mount -o remount,rw ${f%/*} 2>/dev/null && echo remounted $f; "
                "ls -d ${f%/*}/*/ 2>/dev/null; done; exit 0")
    must_print(place.run(place.image(), "sh", "-c", attempts), "")


DESCRIPTORS = "n=0; while [ $n -lt 64 ]; do [ -e /proc/self/fd/$n ] && echo $n; n=$((n+1)); done; exit 0"


def cve_2024_21626_descriptors(place):
    """Descriptors that the caller leaks do not reach the command."""
    leaks = [os.open("/", os.O_RDONLY) for _ in range(6)]
    try:
        must_print(place.run(place.image(), "sh", "-c", DESCRIPTORS, pass_fds=leaks), "0\n1\n2\n")
    finally:
        for fd in leaks:
            os.close(fd)


def cve_2024_21626_directory(place):
    """No working directory leads through a descriptor, not for run and not for exec."""
    image = place.image()
    leaks = [os.open("/", os.O_RDONLY) for _ in range(6)]
    try:
        for fd in range(3, 21):
            must_refuse(place.run("-w", f"/proc/self/fd/{fd}", image, "pwd", pass_fds=leaks), f"/proc/self/fd/{fd}")
        with place.running(image, "sleep", "60") as name:
            for fd in range(3, 21):
                must_refuse(place.call("exec", "-w", f"/proc/self/fd/{fd}", name, "pwd", pass_fds=leaks))
    finally:
        for fd in leaks:
            os.close(fd)


def cve_2025_31133_null(place):
    """The image's own /dev/null is a link to what shall be hidden."""
    image = place.image(entry("dev", tarfile.DIRTYPE), symlink("dev/null", "/proc/sys/kernel/core_pattern"))
    show = "for f in /proc/kcore /proc/keys /proc/timer_list; do [ -e $f ] && head -c 64 $f | wc -c; done; exit 0"
    ran = must_succeed(place.run(image, "sh", "-c", show))
    if set(ran.stdout.split()) - {"0"}:
        raise Failure(f"a hidden file has content: {ran.stdout.split()}")


def cve_2025_31133_directories(place):
    """Hidden directories are empty and stay so."""
    show = ("for d in /proc/acpi /proc/scsi /sys/firmware; do [ -d $d ] && ls -A $d; "
            "touch $d/x 2>/dev/null && echo wrote $d; done; exit 0")
    must_print(place.run(place.image(), "sh", "-c", show), "")


def in_terminal(place, arguments):
    """Runs hybrid on a terminal of its own. Returns what appeared there."""
    pid, master = pty.fork()
    if pid == 0:
        os.environ.update(place.env)
        os.execv(place.hybrid, [place.hybrid, *arguments])
    text, watchdog = b"", threading.Timer(SECONDS, os.kill, (pid, 9))
    watchdog.start()
    with contextlib.suppress(OSError):
        while data := os.read(master, 4096):
            text += data
    watchdog.cancel()
    os.waitpid(pid, 0)
    os.close(master)
    return text.decode(errors="replace")


def cve_2025_52565_console(place):
    """/dev/console and /dev/pts/0 of the image are links; the terminal is a real one all the same."""
    image = place.image(entry("dev", tarfile.DIRTYPE), entry("dev/pts", tarfile.DIRTYPE),
                        symlink("dev/console", place.way_out() + "/console"),
                        symlink("dev/pts/0", "/proc/sys/kernel/core_pattern"))
    text = in_terminal(place, ["run", "--rm", "-it", image, "sh", "-c", "tty; ls -l /dev/console; exit 0"])
    place.nothing_outside()
    if "/dev/pts/0" not in text or "136,   0" not in text:
        raise Failure(f"no terminal of its own: {text!r}")


def cve_2025_52881_proc_writes(place):
    """What reaches the kernel by procfs is out of reach."""
    tries = ("for f in /proc/sysrq-trigger /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches; do "
             "(echo h > $f) 2>/dev/null && echo wrote $f; done; exit 0")
    must_print(place.run(place.image(), "sh", "-c", tries), "")


def cve_2026_30892_users(place):
    """A user is a name or digits, nothing else."""
    image = place.image()
    for user in ("1000x", "-1", "+1", " 1", "1 ", "0x10", "1e3", "4294967295", "4294967296", "1:", ":", "1:2:3", "root:-1",
                 "root:1x", "1000\n", "18446744073709551616"):
        must_refuse(place.run(f"--user={user}", image, "id"))
    must_print(place.run("--user=1000:7", image, "sh", "-c", "id -u; id -g"), "1000\n7\n")


def cve_2017_5226_terminal(place):
    """Without -t, the caller's terminal is not the command's: nothing can be typed into it."""
    text = in_terminal(place, ["run", "--rm", "-i", place.image(), "sh", "-c",
                               "tty; (: < /dev/tty) 2>/dev/null && echo opened; exit 0"])
    if "not a tty" not in text or "opened" in text:
        raise Failure(f"the command has the caller's terminal: {text!r}")


def names(place):
    """A name cannot be a path."""
    image = place.image()
    for name in ("../x", "a/b", "..", ".hidden", "-x", "", "x" * 129, "a b", "a\nb"):
        must_refuse(place.run(f"--name={name}", image, "true"))


def devices(place):
    """Devices may be made (as in Docker), and only the allowed ones opened."""
    tries = ("mknod /mem c 1 1; mknod /disk b 8 0; mknod /kmsg c 1 11; mknod /null c 1 3; "
             "for d in mem disk kmsg; do (: < /$d) 2>/dev/null && echo opened $d; done; "
             "echo x > /null && echo null")
    must_print(place.run(place.image(), "sh", "-c", tries), "null\n")


def namespaces(place):
    """The means to leave by new namespaces and mounts are not there."""
    tries = ("unshare -m true 2>/dev/null && echo unshared; unshare -U true 2>/dev/null && echo user; "
             "mount -t proc proc /tmp 2>/dev/null && echo mounted; mount -o remount,rw /proc/sys 2>/dev/null && echo rw; "
             "chroot / true && echo chroot")
    must_print(place.run(place.image(), "sh", "-c", tries), "chroot\n")


def user_namespace(place):
    """With --userns, root of the container is nobody on the host, and its files are its own."""
    show = "id -u; cat /proc/self/uid_map; touch /made && ls -ln /made"
    ran = must_succeed(place.run("--userns=0:100000:65536", place.image(), "sh", "-c", show))
    lines = ran.stdout.splitlines()
    if lines[0] != "0" or lines[1].split() != ["0", "100000", "65536"] or lines[2].split()[2:4] != ["0", "0"]:
        raise Failure(f"not mapped as asked: {ran.stdout!r}")


CASES = (
    cve_2019_5736_interpreter, cve_2019_5736_init, cve_2019_5736_exec, cve_2019_16884_proc, cve_2019_19921_file,
    cve_2019_18837_mount, cve_2019_18837_directory, cve_2025_24965_files, cve_2022_29162_capabilities,
    cve_2023_25809_cgroup, cve_2024_21626_descriptors, cve_2024_21626_directory, cve_2025_31133_null,
    cve_2025_31133_directories, cve_2025_52565_console, cve_2025_52881_proc_writes, cve_2026_30892_users,
    cve_2017_5226_terminal, names, devices, namespaces, user_namespace,
)


def run_case(case, place):
    name = "escapes/" + case.__name__.replace("_", "-")
    try:
        case(place)
        print("PASS", name, flush=True)
        return True
    except Failure as failure:
        print(f"FAIL {name}: {failure}", flush=True)
    except Exception:  # a case that breaks is a failure of its own, and the next one is tried
        print(f"FAIL {name}: {traceback.format_exc().strip()}", flush=True)
    return False


def main():
    build = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("HYBRID_BUILD", "build"))
    if os.geteuid() != 0 or not os.path.exists(BUSYBOX):
        print(f"SKIP escapes: needs root and {BUSYBOX}")
        return 0
    place = Place(build)
    try:
        passed = [run_case(case, place) for case in CASES]
    finally:
        shutil.rmtree(place.top, ignore_errors=True)
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
