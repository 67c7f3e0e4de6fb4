#!/usr/bin/python3
"""Images end to end: load, images, inspect, rmi; what a layer holds must be in its EROFS file, and what
is hostile must be refused and leave the store as it was.

    images.py [BUILD]     BUILD: the directory of hybrid, by default build/

Prints PASS, FAIL or SKIP per case; exits 1 if a case failed.
"""

import contextlib
import gzip
import json
import os
import resource
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback

import scratch
from archives import ARCHITECTURE, COMPRESSIONS, OCI, Image, Skip, directory, encode, entry, link, sha256, tar, zstd

CAP_NET_RAW = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)  # struct vfs_cap_data, revision 2


# --- running hybrid ------------------------------------------------------------------------------


class Store:
    """A store of its own, with hybrid to use it."""

    def __init__(self, hybrid):
        self.hybrid = hybrid
        self.top = tempfile.mkdtemp(prefix="hybrid-images-")
        self.data, self.root = self.top + "/data", self.top + "/root"
        os.mkdir(self.root)

    def command(self, *arguments):
        return [self.hybrid, "--data", self.data, "--root", self.root, *arguments]

    def run(self, *arguments, stdin=b"", status=0):
        result = subprocess.run(self.command(*arguments), input=stdin, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, timeout=300)
        check(result.returncode == status,
              f"hybrid {' '.join(arguments)}: status {result.returncode}, not {status}: {result.stderr!r}")
        return result

    def file(self, data, name="archive.tar"):
        path = f"{self.top}/{name}"
        with open(path, "wb") as file:
            file.write(data)
        return path

    def load(self, data, *options):
        return self.run("load", *options, self.file(data)).stdout.decode()

    def refuse(self, data, *words):
        """Loading data fails, says words, and changes nothing."""
        before = self.snapshot()
        said = self.run("load", self.file(data), status=125).stderr.decode()
        for word in words:
            check(word in said, f"the error does not say {word!r}: {said!r}")
        check(said.startswith("hybrid: ") and said.count("\n") == 1, f"not one line: {said!r}")
        same_files(self.snapshot(), before, "the store has changed")

    def snapshot(self):
        found = []
        for top, directories, files in os.walk(self.data + "/store"):
            found += [os.path.join(top, name) for name in directories + files if name != "lock"]
        return sorted(found)

    def layer(self, data):
        return f"{self.data}/store/layers/{sha256(data)}.erofs"

    def remove(self):
        shutil.rmtree(self.top)


class Mounted:
    """A layer file, mounted."""

    def __init__(self, path):
        self.path, self.at = path, tempfile.mkdtemp(prefix="hybrid-layer-")

    def __enter__(self):
        plain = ["mount", "-t", "erofs", "-o", "ro", self.path, self.at]
        looped = ["mount", "-t", "erofs", "-o", "ro,loop", self.path, self.at]
        if subprocess.run(plain, stderr=subprocess.DEVNULL).returncode != 0:
            if subprocess.run(looped, stderr=subprocess.DEVNULL).returncode != 0:
                os.rmdir(self.at)
                raise Skip("EROFS cannot be mounted here")
        return self.at

    def __exit__(self, *_):
        subprocess.run(["umount", self.at], check=True)
        os.rmdir(self.at)


def same_files(got, expected, what):
    changed = sorted(set(got) ^ set(expected))
    check(not changed, f"{what}: {len(changed)} files differ: {changed[:3]}")


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def equal(got, expected, what):
    check(got == expected, f"{what}: {got!r}, not {expected!r}")


def small(name="small:1", content=b"hello"):
    return Image([tar([entry("hello", data=content)])], name)


# --- what a layer holds ---------------------------------------------------------------------------


def test_layer_attributes(store):
    layer = tar([
        directory("./", mode=0o711, mtime=1600000001, uid=5, gid=6),
        directory("dir", mode=0o1777, mtime=1600000002, uid=4000000000, gid=3000000000),
        entry("dir/file", data=b"content", mode=0o6755, mtime=1600000003.25, uid=1, gid=2),
        entry("caps", data=b"x", mode=0o755, uid=7,
              xattrs={"security.capability": CAP_NET_RAW, "user.mime": "text/ü".encode(), "user.empty": b""}),
        entry("fifo", tarfile.FIFOTYPE, mode=0o600),
        entry("block", tarfile.BLKTYPE, mode=0o660, devmajor=259, devminor=70000),
        entry("char", tarfile.CHRTYPE, mode=0o666, devmajor=1, devminor=3, gid=5),
        link("sym", "../../../nowhere"), link("abs", "/etc/passwd"),
        link("hard", "dir/file", tarfile.LNKTYPE),
        entry("old", mtime=0), entry("empty", mode=0),
    ])
    store.load(Image([layer], "attributes").archive())
    equal(os.stat(store.layer(layer)).st_size % 4096, 0, "size modulo 4096")
    with Mounted(store.layer(layer)) as root:
        def owner(name):
            got = os.lstat(f"{root}/{name}")
            return stat.S_IMODE(got.st_mode), got.st_uid, got.st_gid, got.st_mtime
        equal(owner(""), (0o711, 5, 6, 1600000001), "/")
        equal(owner("dir"), (0o1777, 4000000000, 3000000000, 1600000002), "dir")
        equal(owner("dir/file"), (0o6755, 1, 2, 1600000003.25), "dir/file")
        equal(owner("old")[3], 0, "time of old")
        equal(owner("empty")[0], 0, "mode of empty")
        equal(os.getxattr(f"{root}/caps", "security.capability"), CAP_NET_RAW, "capability")
        equal(os.getxattr(f"{root}/caps", "user.mime"), "text/ü".encode(), "user.mime")
        equal(os.getxattr(f"{root}/caps", "user.empty"), b"", "user.empty")
        equal(os.readlink(f"{root}/sym"), "../../../nowhere", "sym")
        equal(os.readlink(f"{root}/abs"), "/etc/passwd", "abs")
        check(os.path.samefile(f"{root}/hard", f"{root}/dir/file"), "hard is no hard link")
        equal(os.lstat(f"{root}/hard").st_nlink, 2, "links")
        for name, kind, device in (("fifo", stat.S_ISFIFO, 0), ("block", stat.S_ISBLK, os.makedev(259, 70000)),
                                   ("char", stat.S_ISCHR, os.makedev(1, 3))):
            got = os.lstat(f"{root}/{name}")
            check(kind(got.st_mode), f"{name} has the wrong type")
            equal(got.st_rdev, device, name)


def test_layer_names(store):
    decomposed, composed = "cafe\u0301", "caf\u00e9"  # the same to Unicode, different to the kernel
    deep = "/".join(["d" * 100] * 30) + "/file"
    names = ["n" * 254, decomposed, composed, "new\nline", " ", "-rf", "back\\slash", deep, "*", ".wh", "..."]
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        layer = tar([entry(name, data=name.encode()) for name in names] +
                    [entry("bytes\udcff", data=b"x"), link("to", "t" * 1500 + decomposed),
                     link("hard\u0301", decomposed, tarfile.LNKTYPE)], form)
        store.load(Image([layer], f"names:{form}").archive())
        with Mounted(store.layer(layer)) as root:
            for name in names:
                with open(f"{root}/{name}", "rb") as file:
                    equal(file.read(), name.encode(), name)
            check(os.path.exists(os.fsencode(root) + b"/bytes\xff"), "a name that is not UTF-8 is missing")
            equal(os.readlink(f"{root}/to"), "t" * 1500 + decomposed, "long link")
            check(os.path.samefile(f"{root}/hard\u0301", f"{root}/{decomposed}"), "hard link")
            equal(len(os.listdir(root)), len(names) + 3, "entries")


def test_layer_longest_name(store):
    names = ["n" * 253, "n" * 254, "n" * 255, "é" * 127 + "n", "dir/" + "m" * 255, "o" * 255 + "/" + "p" * 255]
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        layer = tar([entry(name, data=name.encode()) for name in names] + [link("l" * 255, "n" * 255)], form)
        store.load(Image([layer], "longest").archive())
        with Mounted(store.layer(layer)) as root:
            for name in names:
                with open(f"{root}/{name}", "rb") as file:
                    equal(file.read(), name.encode(), name)
            equal(os.readlink(root + "/" + "l" * 255), "n" * 255, "link")
    store.refuse(Image([tar([entry("n" * 256)])], "evil:1").archive(), "longer than 255")


def is_whiteout(path):
    got = os.lstat(path)
    return stat.S_ISCHR(got.st_mode) and got.st_rdev == 0


def is_opaque(path):
    try:
        return os.getxattr(path, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def test_layer_whiteouts(store):
    layer = tar([
        entry(".wh.gone"), directory("a"), entry("a/.wh.deep"),
        directory("opaque"), entry("opaque/.wh..wh..opq"), entry("opaque/new", data=b"1"),
        entry("late/x"), entry("late/.wh..wh..opq"),                     # the mark after the content
        entry(".wh.replaced"), entry("replaced", data=b"2"),              # both orders
        entry("again", data=b"3"), entry(".wh.again"),
        entry(".wh.dir"), directory("dir"), entry("dir/y"),              # nothing below shows through
        directory("dir2"), entry("dir2/z"), entry(".wh.dir2"),
        entry(".wh..wh.plnk"), entry(".wh..wh.aufs"),
        directory("foreign", xattrs={"trusted.overlay.redirect": b"/etc", "user.overlay.opaque": b"y"}),
    ])
    store.load(Image([tar([entry("base")]), layer], "whiteouts").archive())
    with Mounted(store.layer(layer)) as root:
        check(is_whiteout(f"{root}/gone") and is_whiteout(f"{root}/a/deep"), "whiteouts are missing")
        for name in ("opaque", "late", "dir", "dir2"):
            check(is_opaque(f"{root}/{name}"), f"{name} is not opaque")
        check(not is_opaque(f"{root}/a"), "a is opaque")
        equal(sorted(os.listdir(root)), sorted(["gone", "a", "opaque", "late", "replaced", "again", "dir", "dir2",
                                                "foreign"]), "names")
        equal(os.lstat(f"{root}/replaced").st_size, 1, "replaced")
        equal(os.lstat(f"{root}/again").st_size, 1, "again")
        equal(os.listxattr(f"{root}/foreign"), [], "attributes of another overlay")


def test_layer_replaced_entries(store):
    layer = tar([
        entry("x", data=b"one"), entry("x", data=b"second"),
        directory("d", mode=0o700), entry("d/keep"), directory("d", mode=0o750, mtime=1600000009),
        directory("tree"), entry("tree/a/b"), entry("tree", data=b"now a file"),
        link("l", "d"), directory("l"), entry("l/in"),
        link("usr-merge", "d"), entry("usr-merge/through"),
        link("again", "x", tarfile.LNKTYPE), link("again", "x", tarfile.LNKTYPE),
    ])
    store.load(Image([layer], "replaced").archive())
    with Mounted(store.layer(layer)) as root:
        equal(os.lstat(f"{root}/x").st_size, 6, "x")
        equal(stat.S_IMODE(os.lstat(f"{root}/d").st_mode), 0o750, "d")
        equal(os.lstat(f"{root}/d").st_mtime, 1600000009, "time of d")
        equal(sorted(os.listdir(f"{root}/d")), ["keep", "through"], "content of d")
        check(stat.S_ISREG(os.lstat(f"{root}/tree").st_mode), "tree")
        check(stat.S_ISDIR(os.lstat(f"{root}/l").st_mode), "l")
        check(os.path.samefile(f"{root}/again", f"{root}/x"), "again")
        equal(os.lstat(f"{root}/x").st_nlink, 2, "links of x")


def test_layer_sparse(store):
    if not shutil.which("tar"):
        raise Skip("tar is not installed")
    with open(store.top + "/sparse", "wb") as file:
        file.seek(50 << 20)
        file.write(b"end")
    for form in ("gnu", "pax"):
        layer = subprocess.run(["tar", "-C", store.top, f"--format={form}", "-S", "-c", "sparse"],
                               stdout=subprocess.PIPE, check=True).stdout
        check(len(layer) < 1 << 20, "tar did not make it sparse")
        store.load(Image([layer], f"sparse:{form}").archive())
        with Mounted(store.layer(layer)) as root, open(f"{root}/sparse", "rb") as file:
            equal(sha256(file.read()), sha256(bytes(50 << 20) + b"end"), "content")


def test_layer_is_reproducible(store):
    many = [entry(f"d{i % 7}/f{i}", data=b"%d" % i, xattrs={"user.n": b"same"}) for i in range(300)]
    layer = tar(many + [entry("implied/parent/file"), entry(".wh.gone")])
    sums = set()
    for mask in (0o022, 0o077):
        former = os.umask(mask)
        store.load(Image([layer], "same").archive())
        os.umask(former)
        with open(store.layer(layer), "rb") as file:
            sums.add(sha256(file.read()))
        store.run("rmi", "same")
        time.sleep(1.1)
    equal(len(sums), 1, "different files for one layer")
    store.load(Image([layer], "same").archive())
    with Mounted(store.layer(layer)) as root:
        got = os.lstat(f"{root}/implied/parent")
        equal((stat.S_IMODE(got.st_mode), got.st_uid, got.st_mtime), (0o755, 0, 0), "a directory left out")


# --- formats --------------------------------------------------------------------------------------


def test_compressions(store):
    for compression in COMPRESSIONS:
        layer = tar([entry("compressed", data=b"x" * 100000 + compression.encode())])
        said = store.load(Image([layer], "compressed:v1", compression=compression).archive())
        equal(said, "Loaded image: compressed:v1\n", compression)
        check(os.path.exists(store.layer(layer)), f"no layer for {compression}")


def test_formats(store):
    image = small("form:oci")
    members = image.members()
    os.makedirs(store.top + "/layout/blobs/sha256")
    for name, data in members.items():
        store.file(data, "layout/" + name)
    equal(store.run("load", store.top + "/layout").stdout, b"Loaded image: form:oci\n", "directory")
    equal(store.load(image.docker_archive(["form:docker", "other/name"])),
          "Loaded image: form:docker\nLoaded image: other/name:latest\n", "docker-archive")
    equal(store.load(gzip.compress(image.archive())), "Loaded image: form:oci\n", "compressed archive")
    equal(store.run("load", "-", stdin=image.archive()).stdout, b"Loaded image: form:oci\n", "stdin")
    listed = json.loads(store.run("images", "--format", "json").stdout)
    equal({x["Id"] for x in listed if "busybox" not in x["Repository"]}, {"sha256:" + image.id()}, "ids")


def test_docker_archive_links(store):
    """docker save links equal layers: a symbolic link in place of layer.tar."""
    layer = tar([entry("one")])
    image = Image([layer, layer], "links")
    config = encode(image.config)
    archive = tar([entry("c.json", data=config), entry("a/layer.tar", data=layer),
                   link("b/layer.tar", "../a/layer.tar"),
                   entry("manifest.json", data=encode([{"Config": "c.json", "RepoTags": ["links:1"],
                                                        "Layers": ["a/layer.tar", "b/layer.tar"]}]))])
    equal(store.load(archive), "Loaded image: links:1\n", "said")


def test_tools(store):
    """Archives by skopeo, from ours and back."""
    if not shutil.which("skopeo"):
        raise Skip("skopeo is not installed")
    source = store.file(small().archive(), "source.tar")
    for target, name in (("docker-archive:{}:tools/docker:1", "tools/docker:1"),
                         ("oci-archive:{}:tools/oci:1", "tools/oci:1"), ("oci:{}:tools/dir:1", "tools/dir:1")):
        path = store.top + "/copied"
        subprocess.run(["skopeo", "--insecure-policy", "--tmpdir", store.top, "copy", "-q",
                        "oci-archive:" + source, target.format(path)], check=True)
        equal(store.run("load", path).stdout.decode(), f"Loaded image: {name}\n", target)
        (shutil.rmtree if os.path.isdir(path) else os.unlink)(path)


def test_index_of_platforms(store):
    other, mine = small(content=b"other"), small(content=b"mine")
    members = {**other.members(), **mine.members()}
    descriptors = []
    for image, machine in ((other, "s390x"), (mine, ARCHITECTURE)):
        data = encode(image.manifest)
        descriptors.append({"mediaType": OCI + "manifest.v1+json", "digest": "sha256:" + sha256(data),
                            "size": len(data), "platform": {"os": "linux", "architecture": machine}})
    index = encode({"schemaVersion": 2, "manifests": descriptors})
    members["blobs/sha256/" + sha256(index)] = index
    members["index.json"] = encode({"schemaVersion": 2, "manifests": [
        {"mediaType": OCI + "index.v1+json", "digest": "sha256:" + sha256(index), "size": len(index),
         "annotations": {"io.containerd.image.name": "docker.io/library/multi:1"}}]})
    equal(store.load(tar([entry(n, data=d) for n, d in members.items()])), "Loaded image: multi:1\n", "said")
    equal(json.loads(store.run("inspect", "multi:1").stdout)[0]["Id"], "sha256:" + mine.id(), "image")


# --- names, listing, removal -----------------------------------------------------------------------


def test_names(store):
    image = small("latest")  # a mere tag: no name
    result = store.run("load", store.file(image.archive()))
    equal(result.stdout.decode(), f"Loaded image ID: sha256:{image.id()}\n", "said")
    check(b"--name" in result.stderr, "the remedy is not named")
    for name in (image.id(), image.id()[:12], image.id()[:4], "sha256:" + image.id()):
        equal(json.loads(store.run("inspect", name).stdout)[0]["Id"], "sha256:" + image.id(), name)
    store.load(image.archive(), "--name", "localhost/mine:2")
    equal(json.loads(store.run("inspect", "mine:2").stdout)[0]["RepoTags"], ["localhost/mine:2"], "localhost")
    digest = json.loads(store.run("inspect", "mine:2").stdout)[0]["RepoDigests"][0]
    store.run("inspect", digest)
    for bad in ("UPPER", "a b", "x:", "x:y:z/", "a//b", "-x", "x\x1b[31m", "a" * 300, "x@sha256:1", "../x", ""):
        said = store.run("load", "--name=" + bad, store.file(image.archive()), status=125).stderr
        check(b"\x1b" not in said, "a control character is printed")


def test_renamed_image_stays(store):
    first, second = small("same:1", b"first"), small("same:1", b"second")
    store.load(first.archive())
    store.load(second.archive())
    listed = json.loads(store.run("images", "--format=json").stdout)
    equal({(x["Repository"], x["Id"]) for x in listed if x["Repository"] != "busybox"},
          {("same", "sha256:" + second.id()), ("<none>", "sha256:" + first.id())}, "listing")
    store.run("rmi", first.id()[:12], "same:1")


def test_listing(store):
    first = store.run("images").stdout.decode().splitlines()
    equal(first[0].split(), ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"], "heading")
    check(len(first) == 2 and first[1].startswith("busybox"), f"the embedded image is not listed: {first}")
    store.load(small("registry.example:5000/team/app:v1").archive())
    line = store.run("images").stdout.decode().splitlines()[2].split()
    equal(line[:2], ["registry.example:5000/team/app", "v1"], "row")
    check("ago" in line, "age")
    ids = store.run("images", "-q").stdout.decode().split()
    check(len(ids) == 2 and all(len(x) == 12 for x in ids), f"-q: {ids}")
    store.run("images", "--format", "yaml", status=125)
    store.run("images", "--quite", status=125)


def test_layer_file_is_made_again(store):
    """A blob whose EROFS file was removed: uncompressed, it is called as the layer is."""
    data = tar([entry("f")])
    for compression in ("", "+gzip"):
        image = Image([data], "again:1", compression=compression)
        store.load(image.archive())
        os.unlink(store.layer(data))
        store.load(image.archive())
        check(os.path.exists(store.layer(data)), f"the layer{compression} is not made again")


def test_listing_is_fast(store):
    store.load(small("base:1").archive())
    index = store.data + "/store/index/"
    with open(index + "docker.io%library%base:1", encoding="ascii") as file:
        template = file.read()
    for i in range(1000):
        with open(f"{index}docker.io%library%n{i}:1", "w", encoding="ascii") as file:
            file.write(template.replace("library/base", f"library/n{i}"))
    def seconds(function):
        start = time.monotonic()
        function()
        return time.monotonic() - start

    equal(store.run("images").stdout.count(b"\n"), 1002, "lines")
    # Against the floor: a program that only reads the same files.
    files = [index + name for name in os.listdir(index)]
    pairs = [(seconds(lambda: store.run("images")),
              seconds(lambda: subprocess.run(["cat", *files], stdout=subprocess.PIPE, check=True))) for _ in range(7)]
    ratio = min(listing for listing, _ in pairs) / min(floor for _, floor in pairs)
    check(ratio < 3, f"listing 1,000 images takes {ratio:.1f} times as long as reading their files")


def test_inspect(store):
    config = {"Env": ["A=b"], "Cmd": ["x", "y"], "User": "1:2", "Labels": {"k": "v"}}
    image = Image([tar([entry("f")]), tar([entry("g")])], "look:1", config=config)
    store.load(image.archive())
    got = json.loads(store.run("inspect", "look:1").stdout)
    equal(len(got), 1, "array")
    for key, value in {"Id": "sha256:" + image.id(), "RepoTags": ["look:1"], "Config": config, "Os": "linux",
                       "Architecture": ARCHITECTURE, "Created": "2024-01-02T03:04:05Z",
                       "RootFS": {"Type": "layers", "Layers": image.config["rootfs"]["diff_ids"]}}.items():
        equal(got[0][key], value, key)
    check(got[0]["Size"] > 0, "Size")
    equal(json.loads(store.run("inspect", "look:1", "absent", status=125).stdout)[0]["Id"],
          "sha256:" + image.id(), "with a missing one")
    check(b"no such" in store.run("inspect", "UPPER", status=125).stderr, "error")


def test_remove(store):
    shared, one, two = (tar([entry(n, data=n.encode())]) for n in ("shared", "one", "two"))
    store.load(Image([shared, one], "one:1").archive())
    store.load(Image([shared, one], "one:1").archive(), "--name", "one:2")
    store.load(Image([shared, two], "two:1").archive())
    equal(store.run("rmi", "one:1").stdout, b"Untagged: one:1\n", "one of two names")
    check(os.path.exists(store.layer(one)), "the layer of one:2 is gone")
    check(b"Deleted: sha256:" in store.run("rmi", "one:2").stdout, "last name")
    check(not os.path.exists(store.layer(one)), "the layer of one stays")
    check(os.path.exists(store.layer(shared)), "the shared layer is gone")
    result = store.run("rmi", "absent", "two:1", status=125)
    check(b"no such image: absent" in result.stderr and b"Untagged: two:1" in result.stdout, "several")
    left = [x for x in store.snapshot() if os.path.isfile(x)]
    equal(left, [], "what is left")


def test_remove_used(store):
    layer = tar([entry("f")])
    store.load(Image([layer], "used:1").archive())
    os.makedirs(store.root + "/web")
    with open(store.root + "/web/state.json", "w", encoding="ascii") as file:
        json.dump({"id": "web", "image": "docker.io/library/used:1", "layers": [sha256(layer)]}, file)
    for name in ("used:1", Image([layer], "used:1").id()[:12]):
        said = store.run("rmi", name, status=125).stderr
        check(b"used by workload web" in said, f"the workload is not named: {said!r}")
    store.run("rmi", "-f", "used:1")
    check(os.path.exists(store.layer(layer)), "the workload could not start again")
    shutil.rmtree(store.root + "/web")
    store.load(small().archive())
    store.run("rmi", "small:1")
    check(not os.path.exists(store.layer(layer)), "the layer stays for nobody")


# --- hostile archives -------------------------------------------------------------------------------


def hostile_layers():
    yield "an absolute path", [entry("/etc/evil")], ("/etc/evil", "absolute")
    yield "..", [entry("a/../../evil")], ("a/../../evil", "..")
    yield ".. alone", [directory("..")], ("..",)
    yield "a link out, written through", [link("x", "../../../../../../tmp"), entry("x/evil")], ("x/evil", "leaves")
    yield "an absolute link, written through", [link("x", "/tmp"), entry("x/evil")], ("x/evil", "leaves")
    yield "a link loop", [link("x", "y"), link("y", "x"), entry("x/evil")], ("x/evil",)
    yield "a magic link", [link("x", "/proc/self/root"), entry("x/tmp/evil")], ("x/tmp/evil",)
    yield "a hard link out", [link("x", "../../../../etc/passwd", tarfile.LNKTYPE)], ("..",)
    yield "an absolute hard link", [link("x", "/etc/passwd", tarfile.LNKTYPE)], ("/etc/passwd",)
    yield "a hard link through a link", [link("l", "/etc"), link("x", "l/passwd", tarfile.LNKTYPE)], ("x", "leaves")
    yield "a hard link to nothing", [link("x", "absent", tarfile.LNKTYPE)], ("x", "does not hold")
    yield "a hard link to a directory", [directory("d"), link("x", "d", tarfile.LNKTYPE)], ("x", "directory")
    yield "a file as directory", [entry("f"), entry("f/x")], ("f/x",)
    yield "an owner of 33 bits", [entry("f", uid=1 << 32)], ("f", "owner")
    yield "a path too long", [entry("/".join(["x" * 200] * 21))], ("longer",)
    yield "a path too deep", [entry("/".join(["x"] * 300))], ("components",)
    yield "a whiteout of ..", [entry(".wh...")], (".wh...",)
    yield "a whiteout of nothing", [entry(".wh.")], (".wh.",)
    yield "control characters", [entry("/\x1b[31mred")], ("\\x1b",)
    yield "a root that is a file", [entry(".")], ("root",)


def test_hostile_layers(store):
    store.load(small().archive())
    outside = f"/tmp/evil", "/tmp/hybrid-evil"
    for what, entries, words in hostile_layers():
        try:
            store.refuse(Image([tar([entry("first")] + entries)], "evil:1").archive(), *words)
        except AssertionError as cause:
            raise AssertionError(f"{what}: {cause}") from cause
        check(not any(os.path.lexists(x) for x in outside), f"{what}: written outside")


def test_links_may_say_anything(store):
    """The content of a link is the image's own affair; only writing through it is not."""
    layer = tar([link("a", "/etc/shadow"), link("b", "../../../.."), link("c", "\x1b[31m"), link("a2", "a")])
    store.load(Image([layer], "free").archive())


def many_layers(count):
    """An image whose last layer holds a program of its own. A layer is known by its content: all differ."""
    with open("/bin/busybox", "rb") as file:
        first = tar([directory("bin"), entry("bin/busybox", data=file.read(), mode=0o755)])
    rest = [tar([entry(f"file{number}", data=b"%d" % number)]) for number in range(1, count)]
    return Image([first, *rest], f"many:{count}", {"Cmd": ["/bin/busybox", "cat", f"/file{count - 1}"]})


def test_many_layers(store):
    """As many layers as there may be run with the usual limit of open files; one more is refused at once."""
    def run(most_files):
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # noqa: E731
        return subprocess.run(store.command("run", "--rm", "many:254"), preexec_fn=limit, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)

    store.load(small().archive())
    for count in (255, 512):
        store.refuse(many_layers(count).archive(), f"has {count} layers", "at most 254", "squash")
    store.load(many_layers(254).archive(), "-q")
    result = run(1024)
    check((result.returncode, result.stdout) == (0, b"253"), f"with 1024 files: {result}")
    result = run(256)
    check(result.returncode == 125 and b"Too many open files; raise the limit with ulimit -n" in result.stderr,
          f"with 256 files: {result}")


def spoiled_images():
    def spoil(what, words, change):
        image = small("evil:1", content=os.urandom(8))
        members = image.members()
        return what, words, change(image, members) or members

    def blob_name(descriptor):
        return "blobs/sha256/" + descriptor["digest"][7:]

    def flip_layer(image, members):
        name = blob_name(image.manifest["layers"][0])
        members[name] = members[name][:-1] + b"\x01"

    def flip_config(image, members):
        members[blob_name(image.manifest["config"])] += b" "

    def drop_layer(image, members):
        del members[blob_name(image.manifest["layers"][0])]

    def change_manifest(change):
        def apply(image, _):
            change(image.manifest)
            return image.members()
        return apply

    def change_config(change):
        def apply(image, _):
            change(image.config)
            image.manifest["config"] = None
            return image.members()
        return apply

    def replace_config(data):
        def apply(image, _):
            image.manifest["config"] = image.blob(data, OCI + "config.v1+json")
            return image.members()
        return apply

    def replace(name, data):
        return lambda image, members: members.update({name: data})

    set_layer = lambda key, value: change_manifest(lambda m: m["layers"][0].update({key: value}))  # noqa: E731
    yield spoil("a layer's content", ("digest",), flip_layer)
    yield spoil("the configuration's content", ("digest",), flip_config)
    yield spoil("a missing layer", ("lacks",), drop_layer)
    yield spoil("a wrong size", ("bytes, not",), set_layer("size", 3))
    yield spoil("a negative size", ("size",), set_layer("size", -1))
    yield spoil("a size that is text", ("size",), set_layer("size", "3"))
    yield spoil("an unknown layer type", ("media type", "x-evil"), set_layer("mediaType", "application/x-evil"))
    yield spoil("an encrypted layer", ("media type",), set_layer("mediaType", OCI + "layer.v1.tar+encrypted"))
    yield spoil("a digest that is a path", ("digest",), set_layer("digest", "sha256:../../../etc/passwd"))
    yield spoil("another hash", ("digest",), set_layer("digest", "md5:" + "0" * 32))
    yield spoil("an unknown configuration type", ("media type",),
                change_manifest(lambda m: m["config"].update({"mediaType": "application/json"})))
    yield spoil("a wrong diff id", ("diff id",),
                change_config(lambda c: c["rootfs"].update({"diff_ids": ["sha256:" + "0" * 64]})))
    yield spoil("too few diff ids", ("layers",), change_config(lambda c: c["rootfs"].update({"diff_ids": []})))
    yield spoil("a diff id that is a path", ("diff id",),
                change_config(lambda c: c["rootfs"].update({"diff_ids": ["sha256:../x"]})))
    yield spoil("no layers", ("layers",), change_manifest(lambda m: m.update({"layers": []})))
    yield spoil("another architecture", ("s390x",), change_config(lambda c: c.update({"architecture": "s390x"})))
    yield spoil("another system", ("windows",), change_config(lambda c: c.update({"os": "windows"})))
    yield spoil("Env of the wrong type", ("Env",), change_config(lambda c: c["config"].update({"Env": [1]})))
    yield spoil("Cmd of the wrong type", ("Cmd",), change_config(lambda c: c["config"].update({"Cmd": "sh"})))
    yield spoil("duplicated keys", ("JSON", "duplicate"), replace_config(b'{"os": "linux", "os": "windows"}'))
    yield spoil("deep nesting", ("deeper",), replace_config(b"[" * 100000 + b"]" * 100000))
    yield spoil("a large configuration", ("larger",), replace_config(b'{"a": "' + b"x" * (5 << 20) + b'"}'))
    yield spoil("not JSON", ("JSON",), replace("index.json", b"{"))
    yield spoil("JSON of another kind", ("descriptor",), replace("index.json", b'{"manifests": [1]}'))
    yield spoil("an empty index", ("no image",), replace("index.json", b'{"manifests": []}'))
    yield spoil("another layout", ("imageLayoutVersion",), replace("oci-layout", b'{"imageLayoutVersion": "9"}'))
    bad_name = small("evil:1")
    bad_name.annotations = {"org.opencontainers.image.ref.name": "x:\x1b[31m"}
    yield "a name with control characters", ("reference", "\\x1b"), bad_name.members()


def test_hostile_images(store):
    store.load(small().archive())
    for what, words, members in spoiled_images():
        try:
            store.refuse(tar([entry(name, data=data) for name, data in members.items()]), *words)
        except AssertionError as cause:
            raise AssertionError(f"{what}: {cause}") from cause


def test_hostile_archives(store):
    store.load(small().archive())
    good = small("evil:1", content=b"evil").archive()
    cases = {
        "nothing": b"", "no tar": b"hello, world" * 1000, "a tar of nothing": tar([]),
        "cut short": good[:len(good) // 2], "a cut header": good[:100],
        "members out": tar([entry("../index.json")]), "absolute members": tar([entry("/oci-layout")]),
        "two of a name": tar([entry("oci-layout"), entry("./oci-layout")]),
        "a device": tar([entry("index.json", tarfile.CHRTYPE, devmajor=1, devminor=3)]),
        "links in a ring": tar([link("manifest.json", "manifest.json")]),
        "link out": tar([link("manifest.json", "/etc/passwd")]),
        "random": os.urandom(100000),
    }
    for what, data in cases.items():
        try:
            store.refuse(data)
        except AssertionError as cause:
            raise AssertionError(f"{what}: {cause}") from cause


def test_hostile_directory(store):
    store.load(small().archive())
    layout = store.top + "/layout"
    os.makedirs(layout + "/blobs/sha256")
    members = small("evil:1", content=b"evil").members()
    for name, data in members.items():
        store.file(data, "layout/" + name)
    outside = store.file(members["index.json"], "outside.json")
    os.unlink(layout + "/index.json")
    for target in (outside, "../outside.json"):
        os.symlink(target, layout + "/index.json")
        before = store.snapshot()
        store.run("load", layout, status=125)
        same_files(store.snapshot(), before, "store")
        os.unlink(layout + "/index.json")
    os.mkfifo(layout + "/index.json")
    store.run("load", layout, status=125)


def test_bombs(store):
    """Layers that unpack to far more than they are."""
    def header(size):
        info = tarfile.TarInfo("zeros")
        info.size = size
        return info.tobuf(tarfile.GNU_FORMAT)
    store.load(small().archive())
    store.refuse(Image([header(1 << 60) + bytes(1 << 20)], "bomb:1").archive(), "zeros", "GiB")
    if not shutil.which("zstd"):
        raise Skip("zstd is not installed")
    image = Image([tar([entry("f")])], "bomb:2")
    data = subprocess.run(["sh", "-c", "{ cat; head -c 2G /dev/zero; } | zstd -q -c"], input=header(8 << 30),
                          stdout=subprocess.PIPE, check=True).stdout
    image.manifest["layers"] = [image.blob(data, OCI + "layer.v1.tar+zstd")]
    store.refuse(image.archive(), "times its size")


# --- interruptions ------------------------------------------------------------------------------------


def slow_archive():
    """Of two layers: the second takes long enough to be found while it is converted."""
    entries = [entry(f"d{i % 100}/f{i}", data=os.urandom(2000)) for i in range(20000)]
    return Image([tar(entries[n::2]) for n in range(2)], "slow:1").archive()


def processes_of(store):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if os.fsencode(store.top) in file.read():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def converting(store):
    """Is a layer being converted? Its file grows in a directory of <store>/tmp."""
    return any(name.endswith(".erofs") for _, _, files in os.walk(store.data + "/store/tmp") for name in files)


def receiving(store):
    """Is an archive being read, and nothing converted yet?"""
    return any(files for _, _, files in os.walk(store.data + "/store/tmp")) and not converting(store)


def end_load(store, path, moment, number, **options):
    """Starts a load and ends it with a signal at a moment; its status. How long anything takes depends on the machine,
    so the moment is one of the store's states, and a load that was over all the same is made again. What a shell
    starts in the background ignores SIGINT, and would hand that on."""
    for _ in range(20):
        process = subprocess.Popen(store.command("load", path), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   start_new_session=True,
                                   preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        while process.poll() is None and moment and not moment(store):
            time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number) if options.get("group", True) else process.kill()
        status = process.wait(60)
        if status != 0:
            return status
        check("slow:1" in names_of(store), "status 0, and there is no image")
        store.run("rmi", "slow:1")
    raise AssertionError("every load was over before it could be ended")


def test_interrupted(store):
    store.load(small().archive())
    before = store.snapshot()
    path = store.file(slow_archive(), "slow.tar")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        for moment in (None, receiving, converting):
            status = end_load(store, path, moment, number)
            check(status in (128 + number, -number), f"status {status} after signal {number}")
            same_files(store.snapshot(), before, f"store after signal {number}, {moment}")
    equal(processes_of(store), [], "processes")


def test_killed(store):
    store.load(small().archive())
    before = store.snapshot()
    path = store.file(slow_archive(), "slow.tar")
    for moment in (None, receiving, converting):
        equal(end_load(store, path, moment, signal.SIGKILL, group=False), -signal.SIGKILL, "status")
        deadline = time.monotonic() + 10
        while processes_of(store) and time.monotonic() < deadline:
            time.sleep(0.05)
        equal(processes_of(store), [], "processes after kill -9")
        # The next load removes what was left; a process that is still exiting holds the lock a little longer.
        store.load(small().archive())
        while store.snapshot() != before and time.monotonic() < deadline:
            time.sleep(0.2)
            store.load(small().archive())
        same_files(store.snapshot(), before, f"store after kill -9, {moment}")


def test_concurrent(store):
    paths = [store.file(Image([tar([entry("common", data=b"c" * 1000)]), tar([entry(f"own{i}")])],
                              f"c:{i}").archive(), f"c{i}.tar") for i in range(8)]
    processes = [subprocess.Popen(store.command("load", "-q", path), stdout=subprocess.DEVNULL)
                 for path in paths]
    equal([process.wait(60) for process in processes], [0] * 8, "statuses")
    equal(len(json.loads(store.run("images", "--format=json").stdout)), 8, "images")
    equal(os.listdir(store.data + "/store/tmp"), [], "temporary files")


def test_output(store):
    archive = store.file(small().archive())
    result = store.run("load", archive)
    check(result.stderr.startswith(b"layer ") and b"\x1b" not in result.stderr, "progress in lines")
    store.run("rmi", "small:1")
    equal(store.run("load", "-q", archive).stderr, b"", "-q")
    store.run("load", status=125)
    store.run("load", "a", "b", status=125)
    check(b"--name" in store.run("load", "--nmae=x", archive, status=125).stderr, "the nearest option")
    check(b"absent.tar" in store.run("load", "absent.tar", status=125).stderr, "the file's name")
    for verb in ("load", "images", "inspect", "rmi"):
        check(store.run(verb, "--help").stdout.startswith(b"Usage: hybrid " + verb.encode()), verb)


# --- tag, history, save -------------------------------------------------------------------------------


def names_of(store):
    return {f"{item['Repository']}:{item['Tag']}": item["Id"][7:]
            for item in json.loads(store.run("images", "--format=json").stdout)}


def test_tag(store):
    first, second = small("first:1"), small("second:1", b"other")
    store.load(first.archive())
    store.load(second.archive())
    store.run("tag", "first:1", "registry.example:5000/team/app")
    store.run("tag", first.id()[:12], "third")
    equal(names_of(store), {"first:1": first.id(), "second:1": second.id(), "third:latest": first.id(),
                            "registry.example:5000/team/app:latest": first.id()}, "names")
    store.run("tag", "second:1", "third")
    store.run("tag", "first:1", "second:1")  # second:1 loses this name and keeps the other
    equal(names_of(store)["second:1"], first.id(), "second:1")
    store.run("tag", "first:1", "third")      # and now its last one
    equal(names_of(store)["<none>:<none>"], second.id(), "the image that lost its last name")
    store.run("tag", second.id(), "back")
    check("<none>:<none>" not in names_of(store), "an image with a name is listed without")
    before = store.snapshot()
    for arguments, word in ((("absent", "x"), b"no such image"), (("first:1", "UPPER"), b"upper-case"),
                            (("first:1", "x@sha256:" + "0" * 64), b"digest"), (("first:1",), b"too few"),
                            (("first:1", "a", "b"), b"too many")):
        check(word in store.run("tag", *arguments, status=125).stderr, f"{arguments}")
    same_files(store.snapshot(), before, "the store has changed")


def test_history(store):
    history = [{"created": "2020-01-01T00:00:00Z", "created_by": "ADD rootfs"},
               {"created": "2020-01-02T00:00:00Z", "created_by": "ENV A=1 \x1b[31m", "empty_layer": True},
               {"created_by": "RUN " + "x" * 100, "comment": "buildkit"}]
    layers = [tar([entry(f"f{number}", data=b"x" * 10000)]) for number in range(3)]
    store.load(Image(layers, "told", history=history).archive())
    steps = json.loads(store.run("history", "--format=json", "told").stdout)
    equal([step["CreatedBy"] for step in steps],
          [None, "RUN " + "x" * 100, "ENV A=1 \x1b[31m", "ADD rootfs"], "newest first")
    equal([bool(step["Size"]) for step in steps], [True, True, False, True], "sizes")
    table = store.run("history", "told").stdout.decode()
    check("xxx..." in table and "x" * 100 not in table and "\x1b" not in table and "buildkit" in table, table)
    check("x" * 100 in store.run("history", "--no-trunc", "told").stdout.decode(), "--no-trunc")
    check(b"no such image" in store.run("history", "absent", status=125).stderr, "absent")
    store.load(Image(layers, "wrong", history={"a": 1}).archive())
    check(b"array" in store.run("history", "wrong", status=125).stderr, "a history that is none")


def members_of(path):
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}


def test_save(store):
    one = Image([tar([entry("common")]), tar([entry("one", data=b"1" * 100000)])], "one:1", compression="+gzip")
    two = Image([tar([entry("common")]), tar([entry("two")])], "two:1", compression="+gzip")
    for image in (one, two):
        store.load(image.archive())
    path = store.top + "/saved.tar"
    equal(store.run("save", "one:1", "two:1", "-o", path).stdout, b"", "output")
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "mode")
    saved = members_of(path)
    blobs = {name: data for image in (one, two) for name, data in image.members().items() if name[:5] == "blobs"}
    equal({name: data for name, data in saved.items() if name.startswith("blobs/")}, blobs, "blobs")
    names = [item["annotations"]["org.opencontainers.image.ref.name"]
             for item in json.loads(saved["index.json"])["manifests"]]
    equal(names, ["docker.io/library/one:1", "docker.io/library/two:1"], "names")
    again = store.run("save", "one:1", "two:1")
    with open(path, "rb") as file:
        equal(file.read() == again.stdout, True, "the same bytes twice")
    store.run("rmi", "one:1", "two:1")
    check("one:1" in store.run("load", stdin=again.stdout).stdout.decode(), "load from standard input")
    equal(names_of(store), {"one:1": one.id(), "two:1": two.id()}, "names after loading")
    by_id = members_of(store.file(store.run("save", one.id()[:12]).stdout))
    check("annotations" not in by_id["index.json"].decode(), "an image saved by its id has a name")


def test_save_is_read_by_others(store):
    store.load(Image([tar([entry("x", data=b"1" * 1000)])], "one:1", compression="+gzip").archive())
    path = store.top + "/saved.tar"
    store.run("save", "one:1", "-o", path)
    read = []
    if shutil.which("skopeo"):
        said = subprocess.run(["skopeo", "inspect", "--config", "oci-archive:" + path], stdout=subprocess.PIPE,
                              check=True).stdout
        equal(json.loads(said)["rootfs"]["diff_ids"], [layer for layer in json.loads(
            store.run("inspect", "one:1").stdout)[0]["RootFS"]["Layers"]], "diff ids by skopeo")
        read.append("skopeo")
    if shutil.which("podman"):
        said = subprocess.run(["podman", "--root", store.top + "/podman", "--runroot", store.top + "/podman-run",
                               "--storage-driver", "vfs", "load", "-i", path], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT).stdout
        check(b"Loaded image: docker.io/library/one:1" in said, f"podman: {said!r}")
        read.append("podman")
    if not read:
        raise Skip("neither skopeo nor podman is installed")


def test_save_refused(store):
    image = Image([tar([entry("x", data=b"1" * 100000)])], "one:1")
    store.load(image.archive())
    path = store.top + "/saved.tar"
    check(b"no such image" in store.run("save", "absent", "-o", path, status=125).stderr, "absent")
    check(b"No such file" in store.run("save", "one:1", "-o", store.top + "/no/x.tar", status=125).stderr, "directory")
    blob = f"{store.data}/store/blobs/sha256/{image.manifest['layers'][0]['digest'][7:]}"
    os.chmod(blob, 0o600)
    with open(blob, "r+b") as file:
        file.write(b"spoilt")
    check(b"is damaged in the store" in store.run("save", "one:1", "-o", path, status=125).stderr, "damaged")
    equal([name for name in os.listdir(store.top) if "tar" in name or "hybrid" in name], ["archive.tar"], "files")
    equal(os.listdir(store.data + "/store/tmp"), [], "temporary files")
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(store.command("save", "one:1"), stdout=full, stderr=subprocess.PIPE)
    check(ended.returncode == 125 and b"No space left" in ended.stderr, f"a full disk: {ended.stderr!r}")


def test_prune(store):
    named, unnamed, used = small("named:1"), small(None, b"unnamed"), small(None, b"used")
    for image in (named, unnamed, used):
        store.load(image.archive())
    store.run("tag", "named:1", "named:2")
    os.mkdir(store.root + "/job")
    with open(store.root + "/job/state.json", "w", encoding="utf-8") as file:
        json.dump({"image": "sha256:" + used.id(), "layers": []}, file)
    said = store.run("image", "prune").stdout.decode()
    check(f"Deleted: sha256:{unnamed.id()}" in said and "Total reclaimed space: " in said, said)
    equal(sorted(names_of(store)), ["<none>:<none>", "named:1", "named:2"], "names")
    said = store.run("image", "prune", "--all").stdout.decode()
    equal(said.count("Untagged"), 2, "names of the named image")
    equal(said.count("Deleted: sha256:" + named.id()), 1, f"the named image ({said})")
    equal(names_of(store), {"<none>:<none>": used.id()}, "what is left")
    os.unlink(store.root + "/job/state.json")
    store.run("image", "prune", "-a", "-f")
    for kind in ("blobs/sha256", "layers", "index", "tmp"):
        equal(os.listdir(f"{store.data}/store/{kind}"), [], kind)
    check(b"hybrid images" in store.run("image", "ls", status=125).stderr, "image ls")
    check(b"image prune" in store.run("image", "x", status=125).stderr, "image x")


def test_disk_usage(store):
    def usage():
        return {row["Type"]: row for row in json.loads(store.run("system", "df", "--format=json").stdout)}
    equal(usage()["Images"], {"Type": "Images", "Total": 0, "Active": 0, "Size": 0, "Reclaimable": 0}, "nothing")
    store.load(Image([tar([entry("a", data=b"1" * 10000)]), tar([entry("b")])], "one:1").archive())
    store.load(Image([tar([entry("a", data=b"1" * 10000)]), tar([entry("c")])], "two:1").archive())
    store.run("tag", "two:1", "two:2")
    whole = sum(os.stat(path).st_size for path in store.snapshot()
                if "/blobs/sha256/" in path or "/layers/" in path)
    images = usage()["Images"]
    equal((images["Total"], images["Active"], images["Size"], images["Reclaimable"]), (2, 0, whole, whole), "unused")
    state = json.loads(store.run("run", "--dry-run", "--format=json", "two:2", "sh").stdout)
    check(state, "the image runs")
    reclaimed = store.run("image", "prune", "--all").stdout.decode()
    check(f"Total reclaimed space: {whole / 1e6:.1f} MB" in reclaimed, f"{reclaimed}, not {whole}")
    equal(usage()["Images"]["Size"], 0, "after prune")
    table = store.run("system", "df").stdout.decode().splitlines()
    check(table[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"] and len(table) == 3, table)
    check(b"system df" in store.run("system", "check-up", status=125).stderr, "another verb")


# --- import ------------------------------------------------------------------------------------------


def configuration(store, name):
    return json.loads(store.run("inspect", name).stdout)[0]["Config"]


def test_import_archive(store):
    layer = tar([directory("bin"), entry("bin/tool", data=b"x" * 5000, mode=0o4755, uid=7)])
    for number, data in enumerate((layer, gzip.compress(layer), zstd(layer))):
        name = f"tree:{number}"
        said = store.run("import", store.file(data), name)
        equal(said.stdout, f"Imported image: {name}\n".encode(), "output")
        with open(f"{store.data}/store/blobs/sha256/{sha256(data)}", "rb") as file:
            equal(file.read() == data, True, "the archive is kept as it was")
    check(os.path.exists(store.layer(layer)), "the layer")
    equal(len(os.listdir(store.data + "/store/layers")), 1, "layers of the same tree")
    equal(store.run("import", "-q", "-", "tree:stdin", stdin=layer).stdout, b"", "-q")
    archive = store.run("save", "tree:1").stdout
    store.run("rmi", "tree:1")
    store.run("load", stdin=archive)
    store.run("run", "--dry-run", "--pull=never", "tree:1", "sh")
    with Mounted(store.layer(layer)) as root:
        equal((os.stat(root + "/bin/tool").st_uid, os.stat(root + "/bin/tool").st_mode & 0o7777), (7, 0o4755), "tool")


def test_import_directory(store):
    top = store.top + "/tree"
    os.makedirs(top + "/sub/deep")
    for name, data in (("file", b"content"), ("sub/deep/other", b"1" * 300000), ("empty", b"")):
        with open(f"{top}/{name}", "wb") as file:
            file.write(data)
    os.chown(top + "/file", 4000000000, 3)
    os.chmod(top + "/file", 0o6750)
    os.utime(top + "/file", ns=(0, 1600000000250000000))
    os.setxattr(top + "/file", "user.mark", b"a\0b")
    os.setxattr(top + "/file", "security.capability", CAP_NET_RAW)
    os.link(top + "/file", top + "/hard")
    os.symlink("../../../etc/passwd", top + "/sub/link")
    os.mkfifo(top + "/fifo")
    os.mknod(top + "/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with open(os.fsencode(top) + b"/bytes\xff", "wb"):
        pass
    store.run("import", top + "/", "tree:1")
    store.run("import", top, "tree:2")
    layers = os.listdir(store.data + "/store/layers")
    equal(len(layers), 1, "layers of the same directory")
    with Mounted(f"{store.data}/store/layers/{layers[0]}") as root:
        got = os.lstat(root + "/file")
        equal((got.st_uid, got.st_gid, got.st_mode & 0o7777, got.st_mtime_ns, got.st_nlink),
              (4000000000, 3, 0o6750, 1600000000250000000, 2), "file")
        equal(os.getxattr(root + "/file", "user.mark"), b"a\0b", "user.mark")
        equal(os.getxattr(root + "/file", "security.capability"), CAP_NET_RAW, "capability")
        equal(os.readlink(root + "/sub/link"), "../../../etc/passwd", "link")
        equal(os.lstat(root + "/null").st_rdev, os.makedev(1, 3), "device")
        equal(os.lstat(root + "/sub/deep/other").st_size, 300000, "other")
        equal(sorted(os.listdir(os.fsencode(root))),
              sorted([b"file", b"hard", b"sub", b"fifo", b"null", b"empty", b"bytes\xff"]), "names")


def test_import_changes(store):
    layer = store.file(tar([entry("x")]))
    changes = ["CMD [\"sh\", \"-c\", \"true\"]", "entrypoint run it", "ENV A=1", "ENV B \"two words\"", "ENV A=2",
               "EXPOSE 80", "EXPOSE 53/udp", "LABEL k=v w", "STOPSIGNAL INT", "USER 5:6", "VOLUME /data",
               "VOLUME [\"/a\", \"/b\"]", "WORKDIR /work"]
    store.run("import", *[word for change in changes for word in ("-c", change)], "-m", "why", layer, "changed")
    equal(configuration(store, "changed"), {
        "Cmd": ["sh", "-c", "true"], "Entrypoint": ["/bin/sh", "-c", "run it"], "Env": ["B=two words", "A=2"],
        "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Labels": {"k": "v w"}, "StopSignal": "INT", "User": "5:6",
        "Volumes": {"/data": {}, "/a": {}, "/b": {}}, "WorkingDir": "/work"}, "configuration")
    equal(json.loads(store.run("history", "--format=json", "changed").stdout)[0]["Comment"], "why", "comment")
    before = store.snapshot()
    for arguments, word in ((("-c", "RUN x", layer, "x"), b"RUN"), (("-c", "WORKDIR rel", layer, "x"), b"absolute"),
                            (("-c", "CMD", layer, "x"), b"needs a value"), (("-c", "ENV X", layer, "x"), b"NAME=VALUE"),
                            (("-c", "EXPOSE 99999999", layer, "x"), b"PORT"), (("-c", "", layer, "x"), b"--change"),
                            (("-c", "USER \udcff", layer, "x"), b"UTF-8"), ((layer, "UPPER"), b"upper-case"),
                            ((layer, "x@sha256:" + "0" * 64), b"digest"), (("/etc/passwd", "x"), b"not a tar"),
                            ((store.top + "/absent", "x"), b"absent"), ((layer,), b"too few")):
        said = store.run("import", *arguments, status=125).stderr
        check(word in said and said.count(b"\n") == 1, f"{arguments}: {said!r}")
    check(b"is empty" in store.run("import", "-", "x", status=125).stderr, "an empty archive")
    same_files(store.snapshot(), before, "the store has changed")


# --- the run -------------------------------------------------------------------------------------------


def run_test(name, test, make_store):
    """make_store: without arguments; when it raises, it leaves nothing."""
    store = None
    try:
        store = make_store()
        test(store)
        print(f"PASS {name}", flush=True)
        return True
    except Skip as reason:
        print(f"SKIP {name}: {reason}", flush=True)
        return True
    except Exception as cause:  # whatever goes wrong is this case's failure
        print(f"FAIL {name}: {cause}", flush=True)
        if not isinstance(cause, AssertionError):
            traceback.print_exc()
        return False
    finally:
        if store:
            store.remove()


def run_tests(tests, hybrid, make_store):
    """Runs (name, function of a store) pairs, those that the variable ONLY is part of; the exit status."""
    if os.geteuid() != 0:
        for name, _ in tests:
            print(f"SKIP {name}: the image store needs root")
        return 0
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # and remove the store
    only = os.environ.get("ONLY", "")
    with scratch.with_attributes():
        results = [run_test(name, test, lambda: make_store(hybrid)) for name, test in tests if only in name]
    return 0 if all(results) else 1


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    tests = [(name.replace("test_", "images_"), test) for name, test in globals().items()
             if name.startswith("test_")]
    return run_tests(tests, os.path.realpath(build + "/hybrid"), Store)


if __name__ == "__main__":
    sys.exit(main())
