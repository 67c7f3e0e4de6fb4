#!/usr/bin/python3
"""The tree that hybrid makes of an image, entry by entry, against those of umoci and podman.

    faithful.py [BUILD]     BUILD: the directory of hybrid, by default build/

Each image of the corpus is listed in a container, as `umoci unpack` makes it, and as `podman image mount` shows it. All
must be equal, but for what DIFFERENCES names: there the other tool is not what the specification says, or the
specification says nothing. Prints PASS, FAIL or SKIP per case; exits 1 if a case failed. Containers and VMs are compared
by the behaviour table (table/corpus.py).
"""

import collections
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

import corpus
import fixtures
from archives import Skip
from images import Store, check, run_tests

FIELDS = ("type", "mode", "owner", "size", "mtime", "device", "links", "content", "attributes")
MISSING = "entry"   # instead of a field: there in one of them only
REFUSED = "refused"  # the tool makes no tree of the image, and its message is in place of a path

# Patterns, each of the whole text. One that matches nothing is a failure as well, unless the tool makes no tree at all.
Difference = collections.namedtuple("Difference", "image tool path field why")
DIFFERENCES = [Difference(*row) for row in (
    (".*", "podman", "/", "mode|owner|mtime",
     "podman gives / 0555, user 0 and the time of the load; the topmost layer of the corpus has no entry for /"),
    ("hard-links", "umoci", "/(alone|fifo2|three|two|d/one)", "links",
     "overlayfs counts the names of a lower layer that upper layers hide, as podman's does; umoci unpacks all into one tree"),
    ("hard-links", "podman", "/(two|d/one)", "mode|owner",
     "podman gives the file what the entry of the last hard link says (0644, 0:0); here and to umoci a link is a name only"),
    ("attributes", "umoci|podman", "/nul", "attributes",
     "an empty pax value deletes to Go (user.empty is lost); GNU tar writes and reads it as an empty attribute"),
    ("times", "umoci", "/(last-of-ext4|later)", "mtime", "umoci sets times past 2262 wrongly: they are no int64 of nanoseconds"),
    ("times", "podman", "/(before|dir-before|fraction-before|long-before)", "mtime", "podman makes times before 1970 to be 1970"),
    ("times", "podman", "/(last-of-ext4|later)", "mtime", "podman makes times past 2262 to be 1970"),
    ("disorder", "umoci", "/was-link", "mtime", "no entry: umoci leaves the time of unpacking, hybrid says 1970"),
    ("disorder", "podman", ".*duplicates of file paths not supported.*", REFUSED, "podman takes no repeated entries"),
    ("old-gnu-sparse", "umoci", r".*unknown typeflag '\\x53'.*", REFUSED, "umoci knows only the sparse files of pax"),
    ("old-gnu-sparse", "podman", ".*unhandled tar header type 83.*", REFUSED, "podman knows only the sparse files of pax"),
    ("global-header", "umoci", r".*unknown typeflag '\\x67'.*", REFUSED, "umoci knows no global pax header"),
    ("long-paths", "umoci|podman", ".*file name too long.*", REFUSED, "they put the path of the unpacked tree, or /, in front"),
    ("left-out", "umoci", "/has", "mode|owner|mtime",
     "a directory that the upper layer leaves out: umoci and containerd keep what the lower one says, podman and hybrid "
     "cannot, as each layer is unpacked by itself; they give 0755, 0:0"),
    ("left-out", "umoci", "/|/new|/new/deep", "mtime", "no entry: umoci leaves the time of unpacking, hybrid says 1970"),
    ("left-out", "podman", "/has|/new|/new/deep", "mtime", "no entry: podman leaves the time of unpacking, hybrid says 1970"),
    ("left-out-and-deleted", "umoci", "/|/gone", "mtime", "no entry: umoci leaves the time of unpacking, hybrid says 1970"),
    ("left-out-and-deleted", "podman", ".*/gone/new: not a directory.*", REFUSED, "podman finds its own whiteout there"),
)]

# podman's turn is slow: a container storage of its own for each image. Not where umoci's tree is the same and tells as much.
UMOCI_ONLY = ("many-layers", "by-buildah", "by-umoci", "sizes", "owners", "repeated", "sparse", "names", "formats")


def parse(listing):
    return {line.split("\t")[0]: line.split("\t")[1:] for line in listing.decode("ascii").splitlines()}


def differences(ours, theirs):
    """(path, field, our value, their value) of all that differs."""
    for path in sorted(set(ours) | set(theirs)):
        if path not in ours or path not in theirs:
            yield path, MISSING, "\t".join(ours.get(path, ["absent"])), "\t".join(theirs.get(path, ["absent"]))
            continue
        for field, mine, other in zip(FIELDS, ours[path], theirs[path]):
            if mine != other:
                yield path, field, mine, other


class Trees:
    """One image of the corpus, and its tree by each tool."""

    def __init__(self, store, name):
        self.store, self.top = store, store.top
        try:
            self.archive = fixtures.archive_of(name)
        except fixtures.Missing as why:
            raise Skip(str(why)) from why
        self.lister = self.top + "/listing"

    def by_hybrid(self):
        self.store.run("load", "-q", self.archive)
        self.judge_layers()
        said = self.store.run("run", "--rm", "--cap-add=SYS_ADMIN", self.reference())
        self.lister_from_image()
        return parse(said.stdout)

    def judge_layers(self):
        """erofs-utils must find no fault in what hybrid wrote."""
        layers = self.store.data + "/store/layers"
        for name in os.listdir(layers) if shutil.which("fsck.erofs") else []:
            made = subprocess.run(["fsck.erofs", f"{layers}/{name}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            check(made.returncode == 0 and not made.stdout, f"fsck.erofs of {name}: {made.stdout!r}")

    def reference(self):
        return fixtures.reference(os.path.basename(self.archive)[:-len(".tar")])

    def lister_from_image(self):
        with open(self.lister, "wb") as file:
            with tarfile.open(fileobj=fixtures.io.BytesIO(corpus.listing_layer())) as layer:
                file.write(layer.extractfile(".listing").read())
        os.chmod(self.lister, 0o755)

    def listed(self, path):
        made = subprocess.run([self.lister, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        check(made.returncode == 0, f"listing {path}: {made.stderr!r}")
        return parse(made.stdout)

    def called(self, *command):
        made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
        if made.returncode != 0:
            raise Refusal(" ".join(made.stderr.decode(errors="replace").split()))
        return made.stdout.decode().strip()

    def by_umoci(self):
        layout, bundle = self.top + "/layout", self.top + "/bundle"
        with tarfile.open(self.archive) as archive:
            archive.extractall(layout)
        index = fixtures.json.loads(fixtures.read(layout + "/index.json"))
        index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = "tag"
        with open(layout + "/index.json", "w", encoding="ascii") as file:
            fixtures.json.dump(index, file)
        try:
            self.called("umoci", "unpack", "--image", layout + ":tag", bundle)
            return self.listed(bundle + "/rootfs")
        finally:
            shutil.rmtree(bundle, ignore_errors=True)

    def by_podman(self):
        podman = ["podman", "--root", self.top + "/podman", "--runroot", self.top + "/run",
                  "--storage-driver", "overlay"]
        try:
            self.called(*podman, "load", "-q", "-i", self.archive)
            return self.listed(self.called(*podman, "image", "mount", self.reference()))
        finally:
            subprocess.run([*podman, "image", "unmount", "--all", "--force"], stdout=subprocess.DEVNULL, check=False)
            subprocess.run(["umount", self.top + "/podman/overlay"], stderr=subprocess.DEVNULL, check=False)


def is_named(name, tool, path, field):
    return [item for item in DIFFERENCES if all(re.fullmatch(pattern, text) for pattern, text in
                                                zip(item, (name, tool, path, field)))]


class Refusal(Exception):
    """A tool's own message."""


def found_differences(ours, make):
    try:
        return list(differences(ours, make()))
    except Refusal as message:
        return [(str(message), REFUSED, "a tree", "none")]


def compare(name, tool, ours, make):
    """Complaints: differences that are not named, and named ones that are not there."""
    used, unnamed = [], []
    found = found_differences(ours, make)
    refused = any(field == REFUSED for _, field, _, _ in found)
    for path, field, mine, other in found:
        named = is_named(name, tool, path, field)
        used += named
        if not named:
            unnamed.append(f"{path[-150:]}: {field} is {mine[:150]}, by {tool} {other[:150]}")
    idle = [item for item in DIFFERENCES if re.fullmatch(item.image, name) and re.fullmatch(item.tool, tool)
            and item not in used and (item.field == REFUSED or not refused)]
    return unnamed + [f"named, but not there: {item}" for item in idle]


def test_image(name):
    def test(store):
        trees = Trees(store, corpus.PREFIX + name)
        ours = trees.by_hybrid()
        complaints, tools = [], (("umoci", trees.by_umoci), ("podman", trees.by_podman))
        for tool, make in tools[:1] if name in UMOCI_ONLY else tools:
            complaints += compare(name, tool, ours, make) if shutil.which(tool) else []
        check(not complaints, f"{len(complaints)} differences: " + "; ".join(complaints[:40]))
        if not any(shutil.which(tool) for tool, _ in tools):
            raise Skip("neither umoci nor podman is installed")
    return test


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    fixtures.BUILDERS.update(corpus.BUILDERS)
    tests = [(f"faithful_{name[len(corpus.PREFIX):]}", test_image(name[len(corpus.PREFIX):])) for name in corpus.BUILDERS]
    return run_tests(tests, os.path.realpath(build + "/hybrid"), Store)


if __name__ == "__main__":
    sys.exit(main())
