#!/usr/bin/python3
"""The image store under damage, faults and crowds: `hybrid system check` finds what is broken and mends it, and
is the judge of what failing disks, kills and many commands at once leave.

    store.py [BUILD]     BUILD: the directory of hybrid, by default build/

Prints PASS, FAIL or SKIP per case; exits 1 if a case failed.
"""

import json
import os
import shutil
import subprocess
import sys

import images
from images import Image, check, directory, encode, entry, equal, sha256, small, tar
from registry import Puller, layers, wait_for


class Judged(Puller):
    """A store, with the judge."""

    def findings(self, *options):
        """{object: (kind, cause, images)} of what is wrong."""
        result = self.run("system", "check", "--format=json", *options, status=None)
        document = json.loads(result.stdout)
        equal(result.returncode, 0 if document["Sound"] else 1, "status of system check")
        return {item["Object"]: (item["Kind"], item["Cause"], item["Images"]) for item in document["Problems"]}

    def sound(self, what):
        result = self.run("system", "check", status=None)
        equal((result.returncode, result.stderr), (0, b""), f"{what}: {result.stdout.decode()}")

    def part(self, *names):
        return os.path.join(self.data, "store", *names)


def write(path, data, offset=0):
    os.chmod(path, 0o600)
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


# --- hybrid system check ------------------------------------------------------------------------------


def test_check_nothing(store):
    """A check does not make a store where there is none."""
    shutil.rmtree(store.data)
    equal(store.run("system", "check").stdout, b"0 images, 0 blobs, 0 layers: sound\n", "without a store")
    check(not os.path.exists(store.data), "the check made a store")


def two_images(store):
    """Two images that share their lowest layer; (shared diff id, manifests by name)."""
    shared = layers(1, 20000)[0]
    ours = {name: Image([shared, tar([directory(name)])], name + ":1") for name in ("one", "two")}
    for image in ours.values():
        store.load(image.archive())
    return sha256(shared), ours


def blob_of(image, number):
    return image.manifest["layers"][number]["digest"][7:]


def damages(store, shared, ours):
    """(what is done, object that is found, word of its cause, images that need it)"""
    one, both = ["one:1"], ["one:1", "two:1"]
    manifest, blob = sha256(encode(ours["one"].manifest)), blob_of(ours["one"], 1)
    layer, index = store.part("layers", shared + ".erofs"), store.part("index", "docker.io%library%one:1")
    blobs = store.part("blobs/sha256") + "/"
    size = os.path.getsize(layer)
    return (
        (lambda: write(blobs + blob, b"X", 600), "blob sha256:" + blob, "has the digest sha256:", one),
        (lambda: os.truncate(blobs + blob, 5), "blob sha256:" + blob, "5 bytes, not 10240", one),
        (lambda: os.unlink(blobs + blob), "blob sha256:" + blob, "missing", one),
        (lambda: write(blobs + manifest, b"?"), "image one:1", "not valid JSON", one),
        (lambda: os.unlink(blobs + ours["one"].id()), "blob sha256:" + ours["one"].id(), "missing", one),
        (lambda: write(layer, b"\0", 1024), "layer sha256:" + shared, "no EROFS", both),
        (lambda: write(layer, b"\x55", 1024 + 20), "layer sha256:" + shared, "checksum", both),
        (lambda: os.truncate(layer, size - 4096), "layer sha256:" + shared, "shorter", both),
        (lambda: os.truncate(layer, size - 1), "layer sha256:" + shared, "whole blocks", both),
        (lambda: os.unlink(layer), "layer sha256:" + shared, "missing", both),
        (lambda: write(index, b"{}"), "index entry docker.io%library%one:1", "", one),
        (lambda: os.rename(index, index + "0"), "index entry docker.io%library%one:10", "called otherwise", one),
    )


def test_check_damage(store):
    """Each kind of damage is found and named with the images it spoils, and --repair leaves a store that is sound,
    has the other images, and takes those that were spoilt again."""
    shared, ours = two_images(store)
    store.sound("before")
    for number in range(len(damages(store, shared, ours))):
        damage, wanted, word, needed = damages(store, shared, ours)[number]
        damage()
        found = store.findings()
        check(wanted in found and word in found[wanted][1] and found[wanted][2] == needed, f"{number}: {found}")
        said = store.run("system", "check", "--repair").stdout.decode()
        check(f"{wanted}: " in said and ("anew: " + ", ".join(needed) in said) and "sound now" in said, said)
        store.sound(f"{wanted} after the repair")
        listed = {item["Repository"] for item in json.loads(store.run("images", "--format=json").stdout)}
        equal(listed, {"one", "two"} - {name[:-2] for name in needed}, f"{number}: images left")
        for image in ours.values():
            store.load(image.archive())
        store.sound(f"{wanted} after loading again")


def test_check_content(store):
    """What the superblock's checksum does not cover, fsck.erofs sees; --quick looks at neither."""
    if not shutil.which("fsck.erofs"):
        raise images.Skip("fsck.erofs is not installed")
    layer = tar([directory("d")] + [entry(f"d/{number}", data=b"x") for number in range(300)])
    store.load(Image([layer], "many:1").archive())
    path = store.layer(layer)
    for offset in range(4096, os.path.getsize(path), 4096):
        write(path, b"\xff" * 64, offset)
    equal(store.findings("--quick"), {}, "with --quick")
    found = store.findings()
    check("fsck.erofs failed" in found["layer sha256:" + sha256(layer)][1], found)


def test_check_leftovers(store):
    """Orphans, strays and what killed commands left; what a running command makes is none of these."""
    store.load(small().archive())
    files = {"blobs/sha256/" + "0" * 64: "blob sha256:" + "0" * 64, "layers/" + "1" * 64 + ".erofs": "layer sha256:" +
             "1" * 64, "blobs/sha256/junk": None, "layers/" + "2" * 64: None, "index/.new": None, "tmp/file": None}
    before = store.snapshot()
    for name in files:
        with open(store.part(name), "wb"):
            pass
    os.makedirs(store.part("tmp/dead/tree"))
    wanted = {shown or name for name, shown in files.items()} | {"tmp/dead"}
    equal(set(store.findings()), wanted, "found")
    store.run("system", "check", "--repair")
    equal(store.snapshot(), before, "after the repair")
    process = store.start("import", "-", "live:1", stdin=subprocess.PIPE)
    try:
        wait_for(lambda: os.listdir(store.part("tmp")), "a staging directory")
        store.sound("while an import runs")
        store.run("system", "check", "--repair")
        process.stdin.write(tar([entry("file")]))
    finally:
        process.stdin.close()
        said = process.stderr.read()
        equal(process.wait(60), 0, f"status of the import: {said!r}")
    store.sound("after the import")


def test_check_workloads(store):
    """Layers that a workload uses are no orphans when their image is gone; without them, it is told."""
    image = small()
    store.load(image.archive())
    diff_id = image.config["rootfs"]["diff_ids"][0][7:]
    os.mkdir(store.root + "/sleeper")
    with open(store.root + "/sleeper/state.json", "w", encoding="utf-8") as file:
        json.dump({"image": "docker.io/library/small:1", "layers": [diff_id]}, file)
    store.run("rmi", "-f", "small:1")
    store.sound("with the layer of a workload")
    os.unlink(store.part("layers", diff_id + ".erofs"))
    equal(store.findings(), {"workload sleeper": ("workload", "a layer that it uses is missing", ["small:1"])}, "found")
    store.run("system", "check", "--repair", status=1)
    store.load(image.archive())
    store.sound("with the image again")


def test_check_usage(store):
    said = store.run("system", "df", "--quick", status=125).stderr.decode()
    check("hybrid system check" in said, said)
    said = store.run("system", "chek", status=125).stderr.decode()
    check("hybrid system check" in said, said)


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    tests = [(name.replace("test_", "store_"), test) for name, test in globals().items()
             if name.startswith("test_")]
    return images.run_tests(tests, os.path.realpath(build + "/hybrid"), Judged)


if __name__ == "__main__":
    sys.exit(main())
