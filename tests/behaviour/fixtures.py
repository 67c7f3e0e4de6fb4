"""The images of the behaviour table: OCI archives, written here with nothing but the standard library.

They are made once and kept in the cache directory (HYBRID_CACHE, by default ~/.cache/hybrid), in a
directory named by the hash of everything they are made of.
"""

import gzip
import hashlib
import io
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
BUSYBOX = "/bin/busybox"
PREFIX = "localhost/behaviour/"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
MEDIA = "application/vnd.oci.image."
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
alice:x:1000:1000:Alice:/home/alice:/bin/sh
bob:x:1001:100:Bob:/home/bob:/bin/sh
4242:x:77:78:a name of digits:/:/bin/sh
"""
GROUP = """\
root:x:0:
daemon:x:1:
disk:x:6:alice
audio:x:29:alice,bob
users:x:100:
alice:x:1000:
staff:x:50:root,bob
"""
DEBIAN_SUITE = "bookworm"
DEBIAN_PACKAGES = "python3"
SOURCES = ("fixtures.py", "probe.c", "archives.py", "corpus.py", "listing.c")
LARGE_LAYERS = 20
LARGE_LAYER_BYTES = 5 * 1000 * 1000


class Missing(Exception):
    """A fixture that cannot be made here; the text says why and what to do."""


def cache_directory():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.realpath(os.environ.get("HYBRID_CACHE") or os.path.join(base, "hybrid"))


# --- archives -------------------------------------------------------------------------------------


class Layer:
    """One layer's tar archive, in memory; the same calls make the same bytes."""

    def __init__(self, compressed=False):
        self.compressed = compressed
        self.buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, path, kind, mode, data=b"", target="", uid=0, gid=0):
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.type, entry.mode, entry.linkname = kind, mode, target
        entry.uid, entry.gid, entry.size, entry.mtime = uid, gid, len(data), 1700000000
        self.tar.addfile(entry, io.BytesIO(data))
        return self

    def directory(self, path, mode=0o755, **owner):
        return self.add(path, tarfile.DIRTYPE, mode, **owner)

    def file(self, path, data, mode=0o644, **owner):
        return self.add(path, tarfile.REGTYPE, mode, data.encode() if isinstance(data, str) else data,
                        **owner)

    def symlink(self, path, target):
        return self.add(path, tarfile.SYMTYPE, 0o777, target=target)

    def remove(self, path):
        parent, _, name = path.rpartition("/")
        return self.file(f"{parent}/.wh.{name}", b"", 0o644)

    def bytes(self):
        self.tar.close()
        return self.buffer.getvalue()


class Archive:
    """An OCI image layout in one tar file, as `skopeo copy ... oci-archive:` writes it."""

    def __init__(self, path, reference):
        self.reference = reference
        self.tar = tarfile.open(path, mode="w", format=tarfile.PAX_FORMAT)
        self.diff_ids, self.layers, self.seen = [], [], set()

    def member(self, name, data):
        entry = tarfile.TarInfo(name)
        entry.size, entry.mtime, entry.mode = len(data), 1700000000, 0o644
        self.tar.addfile(entry, io.BytesIO(data))

    def blob(self, data, media):
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self.seen:
            self.member(f"blobs/sha256/{digest}", data)
            self.seen.add(digest)
        return {"mediaType": MEDIA + media, "digest": f"sha256:{digest}", "size": len(data)}

    def layer(self, data, compressed=False):
        self.diff_ids.append("sha256:" + hashlib.sha256(data).hexdigest())
        stored = gzip.compress(data, 1, mtime=0) if compressed else data
        self.layers.append(self.blob(stored, "layer.v1.tar" + ("+gzip" if compressed else "")))

    def finish(self, config):
        machine = ARCHITECTURES.get(platform.machine(), platform.machine())
        document = {"architecture": machine, "os": "linux", "config": config,
                    "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
                    "history": [{"created_by": "fixtures.py"} for _ in self.diff_ids]}
        encode = lambda value: json.dumps(value, sort_keys=True).encode()  # noqa: E731
        manifest = self.blob(encode({
            "schemaVersion": 2, "mediaType": MEDIA + "manifest.v1+json",
            "config": self.blob(encode(document), "config.v1+json"), "layers": self.layers,
        }), "manifest.v1+json")
        manifest["annotations"] = {"org.opencontainers.image.ref.name": self.reference}
        manifest["platform"] = {"architecture": machine, "os": "linux"}
        self.member("oci-layout", encode({"imageLayoutVersion": "1.0.0"}))
        self.member("index.json", encode({"schemaVersion": 2, "manifests": [manifest]}))
        self.tar.close()


# --- contents -------------------------------------------------------------------------------------


def read(path):
    with open(path, "rb") as file:
        return file.read()


def compiled_probe():
    """The static probe program, as bytes."""
    if not shutil.which("gcc"):
        raise Missing("gcc is not installed; run: make packages")
    with tempfile.TemporaryDirectory(prefix="hybrid-probe-") as directory:
        program = os.path.join(directory, "probe")
        subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-static", "-s", "-o", program,
                        os.path.join(HERE, "probe.c")], check=True)
        return read(program)


def test_layer(probe):
    """A small system: busybox, users, the probe, and files made to be found or refused."""
    if not os.path.exists(BUSYBOX):
        raise Missing("busybox-static is not installed; run: make packages")
    layer = Layer(compressed=True)
    for path, mode in (("bin", 0o755), ("etc", 0o755), ("home", 0o755), ("root", 0o700),
                       ("tmp", 0o1777), ("usr", 0o755), ("usr/bin", 0o755), ("var", 0o755),
                       ("opt", 0o755), ("dev", 0o755), ("proc", 0o555), ("sys", 0o555)):
        layer.directory(path, mode)
    layer.directory("home/alice", 0o755, uid=1000, gid=1000)
    layer.file("bin/busybox", read(BUSYBOX), 0o755)
    applets = subprocess.run([BUSYBOX, "--list"], check=True, stdout=subprocess.PIPE, text=True).stdout
    for applet in sorted(set(applets.split()) - {"busybox"}):
        layer.symlink(f"bin/{applet}", "busybox")
    layer.file("bin/probe", probe, 0o755)
    layer.file("etc/passwd", PASSWD).file("etc/group", GROUP)
    layer.file("opt/not-executable", "#!/bin/sh\n", 0o644)
    layer.file("opt/root-only", "#!/bin/sh\necho secret\n", 0o700)
    layer.file("opt/garbage", b"\x7fELF not really", 0o755)
    layer.file("opt/no-interpreter", "#!/nonexistent/interpreter\n", 0o755)
    layer.file("opt/script", '#!/bin/sh\necho "script:$0:$#:$*"\n', 0o755)
    layer.file("opt/setuid", probe, 0o4755)
    layer.symlink("opt/applet", "/opt/linked").file("opt/linked", "#!/bin/sh\necho through a link\n", 0o755)
    return layer


def build_test(archive, probe):
    archive.layer(test_layer(probe).bytes(), compressed=True)
    return {"Env": [PATH, "IMAGE_VARIABLE=from image", "EMPTY_VARIABLE="], "Cmd": ["sh", "-c", "echo default"]}


def build_static(archive, probe):
    archive.layer(Layer().file("probe", probe, 0o755).bytes())
    return {"Entrypoint": ["/probe"]}


def build_user(archive, probe):
    archive.layer(test_layer(probe).bytes(), compressed=True)
    return {"Env": [PATH], "User": "alice", "WorkingDir": "/home/alice", "Cmd": ["id"],
            "StopSignal": "SIGUSR1", "Labels": {"maker": "fixtures", "kind": "user"}}


def build_command(entrypoint, command):
    def build(archive, probe):
        archive.layer(test_layer(probe).bytes(), compressed=True)
        config = {"Env": [PATH]}
        if entrypoint:
            config["Entrypoint"] = entrypoint
        if command:
            config["Cmd"] = command
        return config
    return build


def build_large(layer_bytes):
    """20 layers of a size, each of which replaces and removes something of the layers below."""
    def build(archive, probe):
        sums = ""
        for index in range(1, LARGE_LAYERS + 1):
            layer = test_layer(probe) if index == 1 else Layer()
            data = random.Random(index).randbytes(layer_bytes)
            sums += f"{hashlib.sha256(data).hexdigest()}  /data/{index:02}\n"
            if index == 1:
                layer.directory("data")
            else:
                layer.remove(f"data/only-{index - 1}")
            layer.file(f"data/{index:02}", data).file("data/version", f"{index}\n")
            layer.file(f"data/only-{index}", "").file("data/SHA256SUMS", sums)
            layer.directory(f"data/opaque-{index % 2}").file(f"data/opaque-{index % 2}/of-{index}", "")
            if index > 2:
                layer.file(f"data/opaque-{index % 2}/.wh..wh..opq", "")
            archive.layer(layer.bytes(), compressed=False)
        return {"Env": [PATH], "Cmd": ["cat", "/data/version"]}
    return build


def build_debian(archive, _probe):
    archive.layer(read(debian_userland()))
    return {"Env": [PATH], "Cmd": ["python3", "-c", "print('hello from Debian')"]}


def debian_userland():
    """The path of a Debian userland with Python as a tar archive, made by mmdebstrap if need be."""
    if not shutil.which("mmdebstrap"):
        raise Missing("mmdebstrap is not installed; run: make packages")
    inputs = hashlib.sha256(f"{DEBIAN_SUITE} {DEBIAN_PACKAGES} minbase 1".encode()).hexdigest()[:16]
    path = os.path.join(cache_directory(), f"debian-{inputs}.tar")
    if not os.path.exists(path):
        print("fixtures: making a Debian userland with mmdebstrap (once)", file=sys.stderr)
        os.makedirs(cache_directory(), exist_ok=True)
        partial = f"{path}.{os.getpid()}.tar"
        made = subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={DEBIAN_PACKAGES}",
             "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
             "--dpkgopt=path-exclude=/usr/share/man/*", DEBIAN_SUITE, partial],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if made.returncode != 0:
            if os.path.exists(partial):
                os.unlink(partial)
            raise Missing("mmdebstrap failed: " + (made.stderr.strip().splitlines() or ["no message"])[-1])
        os.rename(partial, path)
    return path


ENTRYPOINT = ["/bin/probe", "arguments", "entry"]
BUILDERS = {
    "test": build_test,
    "static": build_static,
    "user": build_user,
    "no-command": build_command(None, None),
    "command": build_command(None, ["/bin/probe", "arguments", "cmd 1", "cmd 2"]),
    "entrypoint": build_command(ENTRYPOINT, None),
    "entrypoint-command": build_command(ENTRYPOINT, ["cmd 1", "cmd 2"]),
    "shell-form": build_command(["/bin/sh", "-c", 'echo "shell form: $0 $*"'], ["zero", "one"]),
    "large": build_large(LARGE_LAYER_BYTES),
    "debian": build_debian,
}


def reference(name):
    """The name to give `hybrid run` for one of our images; other names are returned as they are."""
    return f"{PREFIX}{name}:latest" if name in BUILDERS else name


def archive_of(name):
    """The path of the OCI archive of one image, made now if the cache lacks it. Raises Missing."""
    digest = hashlib.sha256()
    for path in (*(os.path.join(HERE, name) for name in SOURCES), BUSYBOX):
        digest.update(read(path))
    directory = os.path.join(cache_directory(), f"behaviour-{digest.hexdigest()[:16]}")
    path = os.path.join(directory, f"{name}.tar")
    if not os.path.exists(path):
        os.makedirs(directory, exist_ok=True)
        partial = f"{path}.{os.getpid()}"
        try:
            archive = Archive(partial, reference(name))
            archive.finish(BUILDERS[name](archive, compiled_probe()))
            os.rename(partial, path)
        finally:
            if os.path.exists(partial):
                os.unlink(partial)
    return path


def remove_stale():
    """Drops the caches of earlier versions of the fixtures."""
    current = os.path.dirname(archive_of("static"))
    for name in os.listdir(cache_directory()):
        path = os.path.join(cache_directory(), name)
        if name.startswith("behaviour-") and path != current:
            shutil.rmtree(path, ignore_errors=True)
