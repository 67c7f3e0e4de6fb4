"""The kernel and the initramfs of the emulated host, made once and cached outside the tree."""

import contextlib
import fcntl
import glob
import hashlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile

# Loaded before the root is mounted, and the first ones because the rest of the boot needs them.
MODULES = (
    "virtio_pci", "virtio_console", "qemu_fw_cfg", "virtio_rng", "9pnet_virtio", "9p", "overlay",
    "loop", "erofs", "ext4", "fuse", "tun", "veth", "bridge", "vhost", "vhost_vsock", "vhost_net",
)
# Loaded unless --kvm=off.
KVM_MODULES = ("kvm-amd",)
BUSYBOX = "/bin/busybox"
SCRIPTS = ("init", "agent", "become-systemd")
PACKAGES = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "modprobe": "kmod",
    "depmod": "kmod",
    "dpkg-deb": "dpkg",
}


class Missing(Exception):
    """Something that the emulated host is made of cannot be had; the text says what to do."""


def cache_directory():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.realpath(os.environ.get("HYBRID_CACHE") or os.path.join(base, "hybrid"))


def check_packages():
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = {package for tool, package in PACKAGES.items() if not shutil.which(tool, path=path)}
    if missing:
        raise Missing(f"{', '.join(sorted(missing))} not installed; run: make packages, or "
                      f"apt-get install --no-install-recommends {' '.join(sorted(missing))}")


@contextlib.contextmanager
def locked(directory):
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, "testbed.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def output_of(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def kernel_package():
    """The name of the package that linux-image-amd64 stands for, as the package lists have it."""
    listing = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], check=False,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    names = re.findall(r"Depends: (linux-image-\d\S+-amd64)", listing)
    if not names:
        raise Missing("the package lists do not know linux-image-amd64, the kernel of the emulated host; "
                      "run apt-get update (only Debian has it)")
    return names[0]


def fetch_kernel(cache):
    """Directory with boot/vmlinuz-* and lib/modules/* of Debian's kernel; unpacked, never installed: an
    installation would run boot loader hooks on the caller's machine."""
    unpacked = sorted(glob.glob(os.path.join(cache, "testbed-kernel-*")))
    if unpacked:
        return unpacked[-1]
    name = kernel_package()
    print(f"testbed: fetching {name}, the kernel of the emulated host", file=sys.stderr)
    work = tempfile.mkdtemp(prefix="fetch-", dir=cache)
    try:
        # APT::Sandbox::User: the directory is not apt's own, which it would warn of.
        got = subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name],
                             cwd=work, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True)
        archives = glob.glob(os.path.join(work, "*.deb"))
        if got.returncode or not archives:
            raise Missing(f"cannot download {name}; run apt-get update, or put its unpacked files into "
                          f"{cache}/testbed-kernel-VERSION\n{got.stdout.strip()}")
        tree = os.path.join(work, "tree")
        subprocess.run(["dpkg-deb", "-x", archives[0], tree], check=True)
        if os.path.isdir(os.path.join(tree, "usr", "lib", "modules")):
            os.symlink("usr/lib", os.path.join(tree, "lib"))
        release = os.listdir(os.path.join(tree, "lib", "modules"))[0]
        subprocess.run(["/sbin/depmod", "-b", tree, release], check=True)
        os.chmod(tree, 0o755)
        final = os.path.join(cache, "testbed-kernel-" + release)
        os.rename(tree, final)
        return final
    finally:
        shutil.rmtree(work)


def module_files(kernel, release, names):
    """Paths of the modules and of what they depend on, in the order to load them."""
    ordered = []
    for name in names:
        shown = output_of("/sbin/modprobe", "--show-depends", "-d", kernel, "-S", release, name,
                          env={"MODPROBE_OPTIONS": "-C /dev/null", "PATH": os.environ["PATH"]})
        for line in shown.splitlines():
            verb, _, path = line.partition(" ")
            path = path.split(" ")[0]
            if verb == "insmod" and path not in ordered:
                ordered.append(path)
    return ordered


def module_bytes(path):
    decompressors = {".xz": "xz", ".zst": "zstd", ".gz": "gzip"}
    tool = decompressors.get(os.path.splitext(path)[1])
    if tool:
        return subprocess.run([tool, "-dc", path], check=True, stdout=subprocess.PIPE).stdout
    with open(path, "rb") as file:
        return file.read()


def archive_entry(number, name, mode, content=b"", device=(0, 0)):
    """One file of an initramfs: cpio, format newc (Documentation/driver-api/early-userspace)."""
    encoded = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    return header + b"\0" * (-len(header) % 4) + content + b"\0" * (-len(content) % 4)


def initramfs(here, kernel, release):
    def text(name):
        with open(os.path.join(here, name), "rb") as file:
            return file.read()

    regular, directory = stat.S_IFREG, stat.S_IFDIR
    entries = [("bin", directory | 0o755, b""), ("modules", directory | 0o755, b""),
               ("dev", directory | 0o755, b""),
               ("bin/busybox", regular | 0o755, text(BUSYBOX)),
               *((name, regular | 0o755, text(name)) for name in SCRIPTS)]
    loaded = []
    for order, names in (("order", MODULES), ("order.kvm", KVM_MODULES)):
        files = [path for path in module_files(kernel, release, names) if path not in loaded]
        loaded += files
        plain = [re.sub(r"\.(xz|zst|gz)$", "", os.path.basename(path)) for path in files]
        entries += [("modules/" + name, regular | 0o644, module_bytes(path))
                    for name, path in zip(plain, files)]
        entries.append(("modules/" + order, regular | 0o644, "".join(n + "\n" for n in plain).encode()))
    parts = [archive_entry(number, *entry) for number, entry in enumerate(entries, 1)]
    parts.append(archive_entry(len(entries) + 1, "dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    parts.append(archive_entry(0, "TRAILER!!!", 0))
    return b"".join(parts)


def inputs_hash(here, kernel):
    digest = hashlib.sha256(os.path.basename(kernel).encode())
    for path in (*(os.path.join(here, name) for name in SCRIPTS), __file__, BUSYBOX):
        with open(path, "rb") as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return digest.hexdigest()[:16]


def prepare(here):
    """Make what is not in the cache yet. Returns the paths of `vmlinuz`, `initramfs`, `kernel`, `cache`."""
    check_packages()
    cache = cache_directory()
    with locked(cache):
        kernel = fetch_kernel(cache)
        release = os.listdir(os.path.join(kernel, "lib", "modules"))[0]
        path = os.path.join(cache, f"testbed-initramfs-{inputs_hash(here, kernel)}.cpio")
        if not os.path.exists(path):
            content = initramfs(here, kernel, release)
            for old in glob.glob(os.path.join(cache, "testbed-initramfs-*")):
                os.unlink(old)
            with open(path + ".new", "wb") as file:
                file.write(content)
            os.rename(path + ".new", path)
        # Opened while locked: another run with other inputs may remove the file.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    return {"vmlinuz": os.path.join(kernel, "boot", "vmlinuz-" + release), "initramfs": handle,
            "kernel": kernel, "cache": cache}
