"""Images of everything that a layer may hold, for comparing the trees that hybrid, umoci and podman make of them.

Each is a function that adds layers to a fixtures.Archive and returns the image's configuration; `BUILDERS` has them by
name. On top of each comes a layer with the program that lists the tree (listing.c), and with what runtimes mount upon.
"""

import base64
import io
import os
import random
import re
import shutil
import struct
import subprocess
import tarfile
import tempfile

import fixtures
from archives import directory, encode, entry, link, tar

HERE = os.path.dirname(os.path.realpath(__file__))
PREFIX = "corpus-"
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)     # struct vfs_cap_data, revision 2
ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *item) for item in (  # user::rw- user:7:r-- group::r-- ...
    (1, 6, 0xffffffff), (2, 4, 7), (4, 4, 0xffffffff), (16, 4, 0xffffffff), (32, 4, 0xffffffff)))
HARD, FIFO, CHARACTER, BLOCK = tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE
ROOT = directory("./", mode=0o751, mtime=1600000000, uid=3, gid=4)
DEEP = "/".join(["d" * 127] * 31) + "/" + "f" * 127                     # 4,095 bytes


def whiteouts():
    base = [ROOT, directory("a", mode=0o750, uid=9), entry("a/x", data=b"lower"), entry("a/y"), directory("a/sub"),
            entry("a/sub/z"), entry("file"), link("sym", "file"), directory("gone"), entry("gone/deep"),
            directory("again"), entry("again/old"), entry("turns"), directory("folds"), entry("folds/in")]
    yield tar(base)
    yield tar([ROOT, entry(".wh.file"), entry(".wh.sym"), entry(".wh.gone"), directory("a", mode=0o700), entry("a/.wh.y"),
               entry("a/.wh.absent"), entry(".wh.again"), entry(".wh.turns"), entry(".wh.folds")])
    yield tar([ROOT, directory("again", mode=0o711, uid=5), entry("again/new"), directory("turns"), entry("turns/now"),
               entry("folds", data=b"a file now")])


def opaque():
    yield tar([ROOT, directory("dir"), entry("dir/old"), directory("dir/sub"), entry("dir/sub/old"), entry("file"),
               directory("late"), entry("late/old"), directory("empty"), entry("empty/old")])
    yield tar([ROOT, directory("dir", mode=0o700), entry("dir/.wh..wh..opq"), entry("dir/new"), directory("late"),
               entry("late/new"), entry("late/.wh..wh..opq"), directory("empty"), entry("empty/.wh..wh..opq"),
               entry(".wh.file"), directory("file"), entry("file/.wh..wh..opq"), entry("file/new")])
    yield tar([ROOT, directory("dir", mode=0o700), entry("dir/newer")])


def hard_links():
    yield tar([ROOT, directory("d"), entry("d/one", data=b"shared", mode=0o640, uid=7), link("two", "d/one", HARD),
               link("three", "two", HARD), link("sym", "d/one"), link("sym2", "sym", HARD), entry("fifo", FIFO),
               link("fifo2", "fifo", HARD), entry("alone", data=b"x"), link("pair", "alone", HARD)])
    # The group again, changed in an upper layer; and one that loses a name there.
    yield tar([ROOT, entry("three", data=b"changed"), link("four", "three", HARD), entry(".wh.pair")])
    yield tar([ROOT, entry("four", data=b"apart"), entry(".wh.fifo")])


def attributes():
    raw = entry("nul", data=b"x", xattrs={"user.nul": b"a\0b\0", "user.text": b"plain", "user.empty": b""})
    coded = entry("coded")
    coded[0].pax_headers["LIBARCHIVE.xattr.user.coded"] = base64.b64encode(bytes(range(256))).decode()
    yield tar([ROOT, raw, entry("capable", data=b"x", mode=0o755, xattrs={"security.capability": CAPABILITY}),
               directory("dir", xattrs={"user.dir": b"1", "trusted.dir": b"2"}),
               entry("acl", mode=0o644, xattrs={"system.posix_acl_access": ACL}),
               entry("many", xattrs={f"user.n{number}": b"%d" % number for number in range(60)}),
               entry("long", xattrs={"user." + "n" * 200: b"v" * 2000})])
    yield tar([ROOT, entry("capable", data=b"x", mode=0o755), directory("dir", xattrs={"user.other": b"3"})])


def sparse_layer(form):
    with tempfile.TemporaryDirectory(prefix="hybrid-corpus-") as top:
        for name, size, pieces in (("end", 50 << 20, ()), ("start", 0, ((5 << 20, b"end"),)), ("tail", 4 << 20, ((100, b"x"),)),
                                   ("holes", (3 << 20) + 5, ((0, b"a" * 5000), (1 << 20, b"b" * 4096), (2 << 20, b"c")))):
            with open(f"{top}/{name}", "wb") as file:
                for offset, data in pieces:
                    file.seek(offset)
                    file.write(data)
                file.truncate(max(size, file.tell()))
        return subprocess.run(["tar", "-C", top, f"--format={form}", "-S", "--mtime=@1600000000", "--owner=0", "--group=0",
                               "--mode=0644", "-c", "end", "start", "tail", "holes"], stdout=subprocess.PIPE, check=True).stdout


def sparse():
    yield tar([ROOT, entry("zeros", data=bytes(1 << 20))])
    yield sparse_layer("pax")


def old_gnu_sparse():
    yield tar([ROOT])
    yield sparse_layer("gnu")


def special_files():
    """But sockets: no form of tar has a type for them."""
    yield tar([ROOT, entry("fifo", FIFO, mode=0o600, uid=7), entry("null", CHARACTER, devmajor=1, devminor=3, mode=0o666),
               entry("disk", BLOCK, devmajor=259, devminor=70000, mode=0o660, gid=6),
               entry("most", CHARACTER, devmajor=4095, devminor=1048575), entry("setuid", data=b"x", mode=0o4711),
               entry("setgid", data=b"x", mode=0o2755, gid=50), directory("sticky", mode=0o1777), directory("sgid", mode=0o2770),
               entry("none", mode=0), directory("closed", mode=0), entry("closed/in")])


def names():
    odd = ["n" * 255, "cafe\u0301", "caf\u00e9", "new\nline", "tab\tin", " ", "-rf", "back\\slash", "*", "...", ".whale",
           "a" * 254 + "b", "bytes\udcff\udcfe", "\udc80", "~", "!", "$(id)", "\u202e"]
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        top = "pax" if form == tarfile.PAX_FORMAT else "gnu"
        yield tar([ROOT, directory(top)] + [entry(f"{top}/{name}", data=b"x") for name in odd] +
                  [link(f"{top}/to", "t" * 4000), link(f"{top}/odd", "bytes\udcff")], form)


def long_paths():
    """Paths of 4,095 bytes, which is as long as a path in a system call may be."""
    parents = [DEEP[:at] for at in range(len(DEEP)) if DEEP[at] == "/"]
    yield tar([ROOT] + [directory(parent) for parent in parents] + [entry(DEEP, data=b"x")])


def times():
    files = {"zero": 0, "before": -1, "long-before": -86400 * 365 * 30, "fraction-before": -1.5, "fraction": 1600000000.125,
             "nanoseconds": 1600000000.000000001, "last-of-31-bits": (1 << 31) - 1, "after-2038": 1 << 31, "2100": 4102444800,
             "last-of-ext4": 15032385535, "later": 1 << 36}
    yield tar([ROOT] + [entry(name, mtime=when) for name, when in files.items()] +
              [directory("dir-before", mtime=-5), directory("dir-after", mtime=1 << 33)])


def owners():
    yield tar([ROOT] + [entry(f"u{number}", uid=number, gid=number - 1) for number in
                        (1, 65534, 65535, 65536, (1 << 31) - 1, 1 << 31, 4000000000, (1 << 32) - 2)] +
              [directory("dir", uid=3000000000, gid=5)])


def disorder():
    """Entries out of order, repeated, and replaced by others within one layer."""
    yield tar([ROOT, entry("deep/in/it", data=b"before its directories"), directory("deep/in", mode=0o750, mtime=5),
               directory("deep", mode=0o700, uid=8), entry("twice", data=b"first"), entry("twice", data=b"second one"),
               directory("d", mode=0o700), entry("d/keep"), directory("d", mode=0o755, mtime=7), entry("was-file"),
               directory("was-dir"), entry("was-link/x"), link("usr", "deep"), entry("usr/through", data=b"by a link"),
               link("up", "deep/in"), entry("up/more"), link("late", "not-yet"), entry("not-yet"), ROOT])


def formats():
    for number, form in enumerate((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        top = f"f{number}"
        long = f"{top}/{'p' * 90}/{'q' * 60}"
        yield tar([ROOT, directory(top), directory(f"{top}/{'p' * 90}"), entry(long, data=b"x" * 513),
                   link(f"{top}/to", "t" * 99), entry(f"{top}/owner", uid=2000000), entry(f"{top}/empty"),
                   entry(f"./{top}//dotted", data=b"y"), directory(f"{top}/slash/")], form)
    old = tarfile.TarInfo("v7")                                           # no magic: the format of 1979
    old.size, old.mtime, old.mode = 3, 1500000000, 0o600
    block = bytearray(old.tobuf(tarfile.USTAR_FORMAT))
    block[257:345] = bytes(88)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    yield bytes(block) + b"old".ljust(512, b"\0") + bytes(1024)


def global_header():
    header = tarfile.TarInfo.create_pax_global_header({"comment": "of all"})
    yield header + tar([ROOT, entry("after-global-header", data=b"z")])


def repeated():
    """Layers of nothing, and the same layer again above one that changes its files."""
    first = tar([ROOT, entry("f", data=b"first"), directory("d"), entry("d/g", data=b"first")])
    yield first
    yield tar([])
    yield tar([ROOT, entry("f", data=b"other"), entry(".wh.d")])
    yield tar([])
    yield first


def many_layers():
    for number in range(119):
        yield tar([ROOT, entry(f"f{number}", data=b"%d" % number), entry("last", data=b"%d" % number)] +
                  ([entry(f".wh.f{number - 3}")] if number % 5 == 4 else []))


def left_out():
    """Directories that a layer has things in, but no entry for."""
    yield tar([ROOT, directory("has", mode=0o1777, uid=5, gid=6, mtime=1500000000), entry("has/below")])
    yield tar([entry("has/above"), entry("new/deep/file")])


def left_out_and_deleted():
    """The same of a directory that the layer deletes first: nothing of the lower one may show."""
    yield tar([ROOT, directory("gone", mode=0o700), entry("gone/old")])
    yield tar([ROOT, entry(".wh.gone"), entry("gone/new")])


def sizes():
    """Content around the borders of blocks, and directories of all lengths."""
    numbers, files = random.Random(7), []
    for size in [0, 1, 4031, 4032, 4033, 4095, 4096, 4097, 8191, 8192, 8193, 65536, 1000003]:
        files.append(entry(f"size{size}", data=numbers.randbytes(size), xattrs={"user.n": b"x" * (size % 100 + 1)}))
    for length in (10, 100, 255):
        files.append(directory(f"dir{length}"))
        files += [entry(f"dir{length}/" + f"{number:04}".rjust(length, "n"), data=b"%d" % number) for number in range(300)]
    files += [link(f"link{length}", "t" * length) for length in (1, 63, 4000, 4032, 4033, 4094)]
    yield tar([ROOT] + files)


# --- by tools -------------------------------------------------------------------------------------


def require(*programs):
    for program in programs:
        if not shutil.which(program):
            raise fixtures.Missing(f"{program} is not installed")


def layers_of(layout):
    """The layers of the one image of an OCI layout, decompressed."""
    def blob(descriptor):
        return fixtures.read(f"{layout}/blobs/sha256/{descriptor['digest'][7:]}")
    index = fixtures.json.loads(fixtures.read(f"{layout}/index.json"))
    for descriptor in fixtures.json.loads(blob(index["manifests"][0]))["layers"]:
        data = blob(descriptor)
        yield fixtures.gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def call(*command, **options):
    made = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          **options)
    if made.returncode != 0:
        raise fixtures.Missing(f"{command[0]} failed: {made.stdout.decode(errors='replace').strip()[-300:]}")


def by_buildah():
    """By buildah as a part of `podman build`: three layers of COPY."""
    require("podman", "skopeo")
    with tempfile.TemporaryDirectory(prefix="hybrid-corpus-") as top:
        os.makedirs(top + "/context/tree/sub")
        for name in ("one", "sub/two"):
            with open(f"{top}/context/tree/{name}", "w", encoding="ascii") as file:
                file.write(name)
        os.chmod(top + "/context/tree/one", 0o4755)
        os.symlink("one", top + "/context/tree/link")
        os.setxattr(top + "/context/tree/sub/two", "user.mark", b"yes")
        for path, _, files in os.walk(top + "/context", topdown=False):
            for name in files + ["."]:
                os.utime(f"{path}/{name}", (1600000000, 1600000000), follow_symlinks=False)
        with open(top + "/Containerfile", "w", encoding="ascii") as file:
            file.write("FROM scratch\nCOPY tree /tree\nCOPY --chown=5:6 tree/one /tree/sub/\nCOPY tree /again/deep\n")
        podman = ["podman", "--root", top + "/root", "--runroot", top + "/run", "--storage-driver", "vfs"]
        call(*podman, "build", "--layers", "--timestamp", "1600000000", "-t", "made", "-f", top + "/Containerfile", top + "/context")
        call(*podman, "push", "made", f"oci:{top}/layout")
        yield from list(layers_of(top + "/layout"))


def by_umoci():
    """By umoci: a layer of a tree, and one of the changes made to it."""
    require("umoci")
    with tempfile.TemporaryDirectory(prefix="hybrid-corpus-") as top:
        umoci, bundle = ["umoci"], top + "/bundle"
        call(*umoci, "init", "--layout", top + "/layout")
        call(*umoci, "new", "--image", top + "/layout:made")
        call(*umoci, "unpack", "--image", top + "/layout:made", bundle)
        tree = bundle + "/rootfs"
        os.makedirs(tree + "/dir/sub")
        for name in ("dir/file", "dir/sub/other", "both"):
            with open(f"{tree}/{name}", "w", encoding="ascii") as file:
                file.write(name)
        os.link(tree + "/both", tree + "/dir/hard")
        os.mkfifo(tree + "/fifo")
        os.setxattr(tree + "/both", "user.mark", b"a\0b")
        call(*umoci, "repack", "--image", top + "/layout:made", "--refresh-bundle", bundle)
        shutil.rmtree(tree + "/dir/sub")
        os.unlink(tree + "/fifo")
        os.chmod(tree + "/both", 0o600)
        call(*umoci, "repack", "--image", top + "/layout:made", bundle)
        index = fixtures.json.loads(fixtures.read(top + "/layout/index.json"))
        index["manifests"] = index["manifests"][-1:]
        with open(top + "/layout/index.json", "wb") as file:
            file.write(encode(index))
        yield from list(layers_of(top + "/layout"))


# More of the same: half of the bytes, which emulated processors would read four times.
LEFT_OUT = re.compile(r"\./usr/(lib/python3|share/perl/|lib/[^/]+/(perl/|libperl|gconv/))")


def debian():
    """What mmdebstrap makes, but for the modules of Python and Perl."""
    made = io.BytesIO()
    with tarfile.open(fixtures.debian_userland()) as whole, tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as part:
        for member in whole:
            if not LEFT_OUT.match(member.name):
                part.addfile(member, whole.extractfile(member) if member.isreg() else None)
    yield made.getvalue()


# --- the list --------------------------------------------------------------------------------------


def listing_layer():
    require("gcc")
    with tempfile.TemporaryDirectory(prefix="hybrid-listing-") as top:
        call("gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-static", "-s", "-o", top + "/listing", HERE + "/listing.c", "-lcrypto")
        program = fixtures.read(top + "/listing")
    return tar([entry(".listing", data=program, mode=0o755), directory("etc"), entry("etc/hosts"), entry("etc/hostname"),
                entry("etc/resolv.conf"), directory("dev"), directory("proc"), directory("sys")])


def builder(layers):
    def build(archive, _probe):
        for data in layers():
            archive.layer(data)
        archive.layer(listing_layer())
        return {"Cmd": ["/.listing", "/"]}
    return build


BUILDERS = {PREFIX + function.__name__.replace("_", "-"): builder(function) for function in (
    whiteouts, opaque, hard_links, attributes, sparse, special_files, names, times, owners, disorder, formats, old_gnu_sparse, global_header,
    repeated, many_layers, long_paths, left_out, left_out_and_deleted,
    sizes, by_buildah, by_umoci, debian)}
