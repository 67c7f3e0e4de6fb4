#!/usr/bin/python3
"""The image store under damage, faults and crowds: `hybrid system check` finds what is broken and mends it, and
is the judge of what failing disks, kills and many commands at once leave.

    store.py [BUILD]     BUILD: the directory of hybrid, by default build/

Prints PASS, FAIL or SKIP per case; exits 1 if a case failed.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile

import images
from images import Image, check, directory, encode, entry, equal, link, sha256, small, tar
from registries import Registry
from registry import Puller, layers, three, wait_for


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
    with open(store.part("layers", diff_id + ".erofs"), "r+b") as file:
        file.truncate(4096)
    said = store.run("system", "check", "--repair", status=1).stdout.decode()
    check("workload sleeper" in said, f"a layer was taken away from the workload, and that is not told: {said}")


def test_check_usage(store):
    said = store.run("system", "df", "--quick", status=125).stderr.decode()
    check("hybrid system check" in said, said)
    said = store.run("system", "chek", status=125).stderr.decode()
    check("hybrid system check" in said, said)


# --- removal costs what is removed --------------------------------------------------------------------


def older(store):
    """The store as a hybrid made it that knew no links: each blob and layer has one name, that by its digest."""
    shutil.rmtree(store.part("images"))
    os.unlink(store.part("lock"))


def add_many(store, base, count):
    """Adds many images with the layer of `base`, as that hybrid would have: by hand, which is faster."""
    older(store)
    layer = base.manifest["layers"]
    for number in range(count):
        config = encode({**base.config, "created": f"2024-01-02T03:04:05.{number:06}Z"})
        manifest = encode({**base.manifest, "layers": layer, "config": {
            **base.manifest["config"], "digest": "sha256:" + sha256(config), "size": len(config)}})
        name = f"docker.io/library/many{number}:1"
        document = {"reference": name, "manifest": sha256(manifest), "config": sha256(config), "size": 4096}
        for path, data in (("blobs/sha256/" + sha256(config), config), ("blobs/sha256/" + sha256(manifest), manifest),
                           ("index/" + name.replace("/", "%"), encode(document))):
            with open(store.part(path), "wb") as file:
                file.write(data)


def count_calls(store, *arguments, only=None):
    """How many system calls a command makes, apart from listing directories; only: of one kind."""
    if not shutil.which("strace"):
        raise images.Skip("strace is not installed")
    path = store.top + "/trace"
    made = subprocess.run(["strace", "-f", "-qq", "-o", path, *store.command(*arguments)], env=store.environment,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    equal(made.returncode, 0, f"{arguments}: {made.stderr!r}")
    with open(path, encoding="utf-8", errors="replace") as file:
        names = [match[1] for match in (re.match(r"\d+ +(\w+)\(", line) for line in file) if match]
    return sum(name == only if only else name != "getdents64" for name in names)


def test_removal_costs_what_it_removes(store):
    """rmi, prune, tag and load make as many calls beside 1,001 images that share the layer as beside one."""
    base, own = layers(1)[0], layers(3)[2]
    stays, shared = Image([base], "stays:1"), Image([base, own], "own:1")
    store.load(stays.archive())
    archive, digest = store.file(shared.archive(), "own.tar"), sha256(encode(shared.manifest))

    def costs():
        found = {"load": count_calls(store, "load", "-q", archive)}
        found["tag"] = count_calls(store, "tag", "own:1", "own:2")
        found["rmi of one of two names"] = count_calls(store, "rmi", "own:2")
        found["rmi by name"] = count_calls(store, "rmi", "own:1")
        for what, name in (("id prefix", shared.id()[:12]), ("id", shared.id()), ("digest", "own@sha256:" + digest)):
            store.run("load", "-q", archive)
            found["rmi by " + what] = count_calls(store, "rmi", name)
        store.load(Image([base, own]).archive(), "-q")  # without a name
        found["prune"] = count_calls(store, "image", "prune")
        check(os.path.exists(store.layer(base)) and not os.path.exists(store.layer(own)), "layers that are left")
        return found

    few = costs()
    add_many(store, stays, 1000)
    store.run("rmi", "absent", status=125)  # makes the links of all
    many = costs()
    equal(len(json.loads(store.run("images", "--format=json").stdout)), 1001, "images")
    print(f"     system calls beside 1 and 1,001 images: " +
          ", ".join(f"{what} {few[what]} and {many[what]}" for what in few), flush=True)
    for what, number in few.items():
        check(abs(many[what] - number) <= 10, f"{what}: {number} calls beside one image, {many[what]} beside 1,001")
    store.sound("with 1,001 images")
    check(os.stat(store.layer(base)).st_nlink == 1002, "not all images link their layer")


def test_store_of_earlier_version(store):
    """A store without links gets them by the first command that changes it, whichever that is."""
    shared, ours = two_images(store)
    image, other = ours["one"], store.file(small("other:1").archive(), "other.tar")
    for arguments in (("rmi", "one:1"), ("image", "prune"), ("tag", "one:1", "name:2"), ("load", other),
                      ("rmi", image.id()[:12])):
        older(store)
        orphan = store.part("blobs/sha256", "0" * 64)
        with open(orphan, "wb"):
            pass
        store.run("inspect", image.id()[:12])  # is found without links
        store.run(*arguments)
        store.run("image", "prune")
        store.sound(f"after {arguments}")
        check(not os.path.exists(orphan), f"{arguments}: what an earlier version left stays")
        store.load(image.archive(), "-q")
        store.run("rmi", "one:1")
        store.sound(f"after {arguments} and rmi")
        check(os.path.exists(store.part("layers", shared + ".erofs")), f"{arguments}: the layer of two:1 is gone")
        store.run("rmi", "name:2", "other:1", status=None)
        store.load(image.archive(), "-q")
    store.run("image", "prune", "--all")
    equal([path for path in store.snapshot() if os.path.isfile(path)], [], "what is left")


def test_copied_store(store):
    """A copy whose links are files of their own, with all times as they were: no image loses what others use."""
    shared, ours = two_images(store)
    os.rename(store.part(), store.part() + ".was")
    shutil.copytree(store.part() + ".was", store.part(), symlinks=True)
    shutil.rmtree(store.part() + ".was")
    equal(os.stat(store.part("layers", shared + ".erofs")).st_nlink, 1, "links of a layer in the copy")
    third = Image([layers(1, 20000)[0], tar([directory("three")])], "three:1")
    for name in ("three:1", "one:1"):
        store.load(third.archive(), "-q")
        store.run("rmi", name)
        store.sound(f"after rmi {name}")
        check(os.path.exists(store.part("layers", shared + ".erofs")), f"the layer of two:1 is gone with {name}")
    store.run("rmi", "three:1", "two:1")
    equal([path for path in store.snapshot() if os.path.isfile(path)], [], "what is left")


def added_without_links(store):
    """Two images, the second as one that knows of no links adds it; what two_images returns."""
    shared, ours = two_images(store)
    shutil.copytree(store.data, store.top + "/with-two")
    store.run("rmi", "two:1")
    for name in ("index", "blobs/sha256", "layers"):
        for file in os.listdir(f"{store.top}/with-two/store/{name}"):
            if not os.path.exists(store.part(name, file)):
                shutil.copy(f"{store.top}/with-two/store/{name}/{file}", store.part(name, file))
    return shared, ours


def test_earlier_version_beside(store):
    """An image that one without links has added since is seen: what it shares stays."""
    shared, ours = added_without_links(store)
    store.run("rmi", "one:1")
    store.sound("after rmi")
    check(os.path.exists(store.part("layers", shared + ".erofs")), "the layer of two:1 is gone")
    equal(store.run("rmi", ours["two"].id()[:8]).stdout.decode().splitlines()[0], "Untagged: two:1", "rmi by id")
    equal([path for path in store.snapshot() if os.path.isfile(path)], [], "what is left")


def test_layers_of_workloads(store):
    """What a workload uses stays when its image is removed by force, and goes with the next rmi or prune."""
    image = small()
    diff_id = image.config["rootfs"]["diff_ids"][0][7:]
    layer = store.part("layers", diff_id + ".erofs")
    os.mkdir(store.root + "/sleeper")
    for finish in (("image", "prune"), ("rmi", "other:1")):
        store.load(image.archive(), "-q")
        store.load(small("other:1", b"other").archive(), "-q")
        with open(store.root + "/sleeper/state.json", "w", encoding="utf-8") as file:
            json.dump({"image": "docker.io/library/small:1", "layers": [diff_id]}, file)
        check(b"used by workload sleeper" in store.run("rmi", "small:1", status=125).stderr, "rmi of a used image")
        store.run("rmi", "-f", "small:1")
        store.run("image", "prune")
        check(os.path.exists(layer), f"the layer of a workload is gone")
        store.sound("with a workload alone")
        store.load(image.archive(), "-q")
        store.run("rmi", "-f", "small:1")
        check(os.path.exists(layer), f"the layer of a workload is gone after a load")
        os.unlink(store.root + "/sleeper/state.json")
        said = store.run(*finish).stdout.decode()
        check(not os.path.exists(layer), f"the layer stays after {finish}")
        check(finish[0] == "rmi" or "space: 0.0 MB" in said, said)
        store.run("rmi", "other:1", status=None)
        equal([path for path in store.snapshot() if os.path.isfile(path)], [], "what is left")


def workload(store, name, image, *layers):
    """A workload that is stopped, as far as the store is concerned."""
    os.makedirs(f"{store.root}/{name}", exist_ok=True)
    with open(f"{store.root}/{name}/state.json", "w", encoding="utf-8") as file:
        json.dump({"image": image, "layers": layers}, file)


def test_layers_while_links_are_made(store):
    """Whichever command makes the links anew: what stopped workloads use stays, also if it is not told where these are,
    and many workloads of one image cost it no more than one."""
    image = small()
    diff_id = image.config["rootfs"]["diff_ids"][0][7:]
    store.load(image.archive())
    workload(store, "stopped", "docker.io/library/small:1", diff_id)
    store.run("rmi", "-f", "small:1")
    archive = store.file(small("other:1", b"other").archive(), "other.tar")
    helper = [os.path.dirname(store.hybrid) + "/hybrid-image", "--store", store.part()]
    for command in (store.command("history", "busybox"), [*helper, "load", "-q", archive], store.command("load", archive)):
        older(store)
        made = subprocess.run(command, capture_output=True, timeout=60, check=False)
        equal(made.returncode, 0, f"{command}: {made.stderr!r}")
        check(os.path.exists(store.part("layers", diff_id + ".erofs")), f"{command}: the layer of a workload is gone")
    for verb in (["prune"], ["rmi", "other:1"], ["check", "--repair"]):
        made = subprocess.run([*helper, *verb], capture_output=True, timeout=60, check=False)
        check(made.returncode == 125 and b"--root" in made.stderr, f"{verb} without a root: {made}")
    syncs = []
    for number in (0, 50):
        for name in range(number):
            workload(store, f"stopped{name}", "docker.io/library/small:1", diff_id)
        older(store)
        syncs.append(count_calls(store, "tag", "other:1", f"other:{number}", only="fsync") +
                     count_calls(store, "rmi", f"other:{number}", only="fsync"))
    check(syncs[1] <= syncs[0] + 2, f"{syncs} fsync calls with 1 and 51 workloads")
    store.sound("in the end")


def test_workload_begins_meanwhile(store):
    """A workload whose state is written while its image is being removed keeps its layers."""
    if not shutil.which("strace"):
        raise images.Skip("strace is not installed")
    image = small()
    diff_id = image.config["rootfs"]["diff_ids"][0][7:]
    for arguments in (("rmi", "small:1"), ("image", "prune", "--all")):
        store.load(image.archive())
        process = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e",
             "inject=fsync:delay_enter=2000000:when=1", *store.command(*arguments)],
            env=store.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_for(lambda: not os.listdir(store.part("index")), "the name to be gone")
        workload(store, "beginner", "docker.io/library/small:1", diff_id)
        _, said = process.communicate(timeout=60)
        equal(process.returncode, 0, f"status of {arguments}: {said!r}")
        check(os.path.exists(store.part("layers", diff_id + ".erofs")), f"{arguments}: the layer of a workload is gone")
        store.sound(f"after {arguments}")
        shutil.rmtree(store.root + "/beginner")
        store.run("image", "prune")


def test_workload_unreadable(store):
    """What a workload uses whose state cannot be read is not known, and nothing is removed that it might use."""
    image = small()
    store.load(image.archive())
    workload(store, "torn", "docker.io/library/small:1", image.config["rootfs"]["diff_ids"][0][7:])
    with open(store.root + "/torn/state.json", "r+b") as file:
        file.truncate(5)
    with open(store.root + "/file", "wb"):  # which is no workload
        pass
    before = store.snapshot()
    for arguments in (("rmi", "-f", "small:1"), ("image", "prune", "--all"), ("system", "check", "--repair")):
        said = store.run(*arguments, status=125).stderr.decode()
        check("workload torn" in said and "state.json" in said, f"{arguments}: {said}")
        images.same_files(store.snapshot(), before, f"{arguments} has changed the store")
    shutil.rmtree(store.root + "/torn")
    store.run("rmi", "small:1")


def test_times_made_alike(store):
    """Times that touch, tar or SOURCE_DATE_EPOCH made alike say nothing about the links: what was added meanwhile by one
    that knows of none is seen."""
    shared, ours = added_without_links(store)
    for path in (store.part("lock"), store.part("index")):
        os.utime(path, (0, 0))
    store.run("rmi", "one:1")
    store.sound("after rmi")
    check(os.path.exists(store.part("layers", shared + ".erofs")), "the layer of two:1 is gone")


def test_check_kept(store):
    """What is no layer among those kept for workloads is found, removed, and does not keep links from being made."""
    image = small()
    store.load(image.archive())
    os.makedirs(store.part("images/kept/directory/below"))
    equal(set(store.findings()), {"images/kept/directory"}, "found")
    older_lock = store.part("images/lock")
    os.unlink(older_lock)  # the links are to be made anew
    store.run("rmi", "absent", status=125)
    check(os.path.exists(older_lock), "a directory in images/kept keeps links from being made")
    check(not os.path.exists(store.part("images/kept/directory")), "it is still there")
    os.makedirs(store.part("images/kept/directory/below"))
    store.run("system", "check", "--repair")
    store.sound("after the repair")
    with open(store.part("images/kept"), "wb"):
        pass
    equal(set(store.findings()), {"images/kept"}, "found")
    store.run("system", "check", "--repair")
    store.sound("after the second repair")


def test_check_links_not_made(store):
    """Links that a repair cannot make are told of, with the cause."""
    if not shutil.which("strace"):
        raise images.Skip("strace is not installed")
    store.load(small().archive())
    older(store)
    store.sound("without links")
    command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=linkat", "-e", "inject=linkat:error=EIO:syscall=getpid",
               *store.command("system", "check", "--repair")]
    made = subprocess.run(command, env=store.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                          check=False)
    said = made.stdout.decode()
    check(made.returncode == 1 and "links of images: cannot keep" in said and "1 problems" in said, f"{made}")
    store.run("system", "check", "--repair")
    check(os.path.exists(store.part("images/lock")), "a repair without fault makes no links")
    store.sound("after the repair")


def test_name_missing_in_image(store):
    """rmi by a name that the image's directory has lost removes that name, not the others, and then the image."""
    image = small()
    store.load(image.archive())
    store.run("tag", "small:1", "small:2")
    os.unlink(store.part("images", image.id(), sha256(encode(image.manifest)), "docker.io%library%small:1"))
    equal(store.run("rmi", "small:1").stdout, b"Untagged: small:1\n", "rmi of the lost name")
    store.sound("after it")
    equal([item["Tag"] for item in json.loads(store.run("images", "--format=json").stdout)], ["2"], "names left")


def test_names_unreadable(store):
    """A directory of names that cannot be read is no directory without names."""
    if not shutil.which("strace"):
        raise images.Skip("strace is not installed")
    image = small()
    store.load(image.archive())
    store.run("tag", "small:1", "small:2")
    layer = store.part("layers", image.config["rootfs"]["diff_ids"][0][7:] + ".erofs")
    names = store.part("images", image.id(), sha256(encode(image.manifest)))
    # The directory of the manifest is opened below that of the image, which is opened first.
    for call, error, path in (("openat", "EMFILE:when=2", os.path.dirname(names)), ("getdents64", "EIO", names)):
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", "trace=" + call, "-e",
                   f"inject={call}:error={error}:syscall=getpid", *store.command("rmi", "small:1")]
        made = subprocess.run(command, env=store.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                              check=False)
        equal(made.returncode, 125, f"{error} at {call}: {made}")
        check("names of image" in made.stderr.decode(), f"{error} at {call}: {made.stderr}")
        check(os.path.exists(layer), f"{error} at {call}: the layer of small:2 is gone")
        store.sound(f"after {error} at {call}")


def test_index_unreadable(store):
    """An index that cannot be read to its end is not one that has no more entries."""
    if not shutil.which("strace"):
        raise images.Skip("strace is not installed")
    store.load(small().archive())
    older(store)
    for arguments in (("rmi", "absent"), ("image", "prune"), ("images",)):
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", store.part("index"), "-e", "trace=getdents64", "-e",
                   "inject=getdents64:error=EIO:syscall=getpid", *store.command(*arguments)]
        made = subprocess.run(command, env=store.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                              check=False)
        equal(made.returncode, 125, f"{arguments}: {made}")
        store.sound(f"after {arguments}")
    store.run("rmi", "small:1")


def test_digest_of_no_manifest(store):
    """A digest reference that is that of a layer or configuration is no image, and nothing else is wrong."""
    image = small()
    store.load(image.archive())
    for what, digest in (("layer", image.manifest["layers"][0]["digest"]), ("configuration", "sha256:" + image.id())):
        said = store.run("inspect", "small@" + digest, status=None).stderr.decode()
        check("no such" in said.lower() and "JSON" not in said, f"{what}: {said}")
        said = store.run("rmi", "small@" + digest, status=125).stderr.decode()
        check("no such image" in said, f"{what}: {said}")


def test_removed_while_held(store):
    """What a running command holds goes when it ends, and is not left to nobody."""
    image = Image(layers(2, 200000), "held:1")
    store.load(image.archive())
    process = store.start("save", "held:1")
    process.stdout.read(1)  # the pipe is full before all is written
    store.run("rmi", "held:1")
    process.communicate(timeout=60)
    equal(process.returncode, 0, "status of save")
    equal([path for path in store.snapshot() if os.path.isfile(path)], [], "what is left")


def test_too_many_links(store):
    """A file system that allows no more links to a file: that is told, with a remedy, and nothing changes."""
    if not shutil.which("strace"):
        raise images.Skip("strace is not installed")
    store.load(small().archive())
    again = store.file(small("again:1").archive(), "again.tar")
    before = store.snapshot()
    process = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=linkat", "-e",
                              "inject=linkat:error=EMLINK:syscall=getpid", *store.command("load", again)], env=store.environment,
                             stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    said = process.stderr.decode()
    check(process.returncode == 125 and "allows links to a file" in said and "hybrid rmi" in said, said)
    images.same_files(store.snapshot(), before, "the store has changed")
    store.sound("afterwards")


# Calls at which a command ends, or which fail, and the most of them that one of its processes makes.
STEPS = {("rmi", "victim:1"): (("unlinkat", 15), ("fsync", 1), ("utimensat", 2)),
         ("tag", "victim:1", "small:1"): (("renameat", 1), ("unlinkat", 2), ("utimensat", 2), ("fsync", 4)),
         ("load", "victim.tar"): (("linkat", 9), ("renameat", 5), ("unlinkat", 3), ("utimensat", 2), ("mkdirat", 4))}


def test_broken_off(store):
    """A change that ends, or fails, at any of its steps: no image lacks a part, and the next command mends the rest."""
    if not shutil.which("strace"):
        raise images.Skip("strace is not installed")
    base = layers(1)[0]
    victim, kept = Image([base, layers(2)[1]], "victim:1"), store.file(small().archive(), "small.tar")
    archive, ended = store.file(victim.archive(), "victim.tar"), {}
    store.load(Image([base], "stays:1").archive())
    store.load(small().archive())
    for arguments, call, number in [(arguments, call, number) for arguments, steps in STEPS.items()
                                    for call, most in steps for number in range(1, most + 1)]:
        how = "signal=KILL" if number % 2 else "error=EIO:syscall=getpid"
        store.run(*(("rmi", "victim:1") if arguments[0] == "load" else ("load", "-q", archive)), status=None)
        process = subprocess.run(["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=" + call,
                                  "-e", f"inject={call}:{how}:when={number}", *store.command(*arguments)],
                                 cwd=store.top, env=store.environment, stdin=subprocess.DEVNULL, capture_output=True,
                                 timeout=60, check=False)
        what = f"{how} at {call} {number} of {arguments}"
        ended[arguments[0], call] = ended.get((arguments[0], call), 0) + (process.returncode != 0)
        harm = {name: found for name, found in store.findings("--quick").items()
                if found[0] not in ("temporary", "orphan")}
        equal(harm, {}, what)
        check(os.path.exists(store.layer(base)), f"{what}: the layer of another image is gone")
        store.run("load", "-q", kept)
        store.sound(what)
    equal([step for step, count in ended.items() if count == 0], [], "calls at which nothing ended")
    store.run("image", "prune", "--all")
    equal([path for path in store.snapshot() if os.path.isfile(path)], [], "what is left")


# --- confinement --------------------------------------------------------------------------------------

HELPER = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "runtime", "image", "helper")
# The kinds of processes, as they call themselves; each list holds what those do that its processes start.
LISTS = {"NETWORK": {"network"}, "STORE": {"store", "layer", "tool"}, "LAYER": {"layer"}, "TOOL": {"tool"}}
GROUPS = {"ALL": set(LISTS), "FROM_TOOL": {"STORE", "TOOL"}, "FROM_LAYER": {"STORE", "LAYER"}}


def entries():
    """(list, call, argument that it must have or None) of confine_calls.c, without those that are rare."""
    with open(HELPER + "/confine_calls.c", encoding="utf-8") as file:
        text = file.read()
    pattern = r"(?m)^    CALL(?:_IF)?\(([A-Z_ |]+),\s*(\w+),\s*(?:CONFINE_EQUALS,\s*\d,\s*(\w+))?"
    for kinds, call, argument in re.findall(pattern, text):
        for kind in kinds.split(" | "):
            for name in GROUPS.get(kind, {kind}):
                yield name, call, argument or None


# In namespaces of its own, for there may be no network outside; its process ends with them.
WITH_NAME_SERVER = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-euc", """
    ip link set lo up
    echo nameserver 127.0.0.1 >"$1/resolv.conf"
    mount --bind "$1/resolv.conf" /etc/resolv.conf
    mkfifo "$1/ready"
    "$2" "$3" 127.0.0.1 53 127.0.0.1 >"$1/ready" &
    read -r _ <"$1/ready"
    shift 3
    "$@" """, "sh")


def with_name_server(store):
    """What to put before a command so that a name server answers it: whatever is asked for, it is 127.0.0.1."""
    return [*WITH_NAME_SERVER, store.top, sys.executable, os.path.join(os.path.dirname(__file__), "name_server.py")]


def traced(store, made, *arguments, before=()):
    """Runs hybrid under strace, which adds the calls of confined processes to made: {kind: {call: arguments}}."""
    path = store.top + "/trace"
    subprocess.run([*before, "strace", "-f", "-qq", "-s", "20", "--pidns-translation", "-o", path, *store.command(*arguments)],
                   env=store.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   timeout=120, check=False)
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [(pid, rest.strip()) for pid, _, rest in (line.partition(" ") for line in file)]
    # A child may be seen before the call that made it has returned.
    parents, kinds = {}, {}
    for pid, rest in lines:
        if child := re.match(r"(?:<\.\.\. )?clone\b.*= (\d+)(?: /\* (\d+) in strace's PID NS \*/)?$", rest):
            parents[child[2] or child[1]] = pid
    for pid, rest in lines:
        kinds.setdefault(pid, kinds.get(parents.get(pid)))
        named = re.match(r'prctl\(PR_SET_NAME, "image-(\w+)"', rest)
        call = re.match(r"(?:<\.\.\. )?(\w+)(?:\(| resumed)(.*)", rest)
        if call and kinds[pid]:
            made.setdefault(kinds[pid], {}).setdefault(call[1], []).append(call[2])
        if named:
            kinds[pid] = named[1]


def test_calls_are_needed(store):
    """No entry of the lists is needless: a tour through the verbs makes each call, as the kind that may."""
    if not shutil.which("strace"):
        raise images.Skip("strace is not installed")
    tree, made, image = store.top + "/tree", {}, three("+gzip")
    os.makedirs(tree + "/directory")
    os.mknod(tree + "/null", 0o600 | 0o020000, os.makedev(1, 3))
    os.symlink("nowhere", tree + "/link")
    os.setxattr(tree + "/directory", "user.test", b"x")
    with Registry() as registry:
        registry.add(image)
        host = registry.host.replace("127.0.0.1", "localhost")
        rich = tar([directory("a", xattrs={"trusted.x": b"1"}), entry("a/b"), link("a/c", "a/b", tarfile.LNKTYPE),
                    link("t", "a"), entry("n", tarfile.CHRTYPE), entry(".wh.w"),
                    directory("o"), entry("o/.wh..wh..opq"), entry("s", data=b"2")])
        for name, data in small().members().items():
            os.makedirs(os.path.dirname(f"{store.top}/layout/{name}"), exist_ok=True)
            store.file(data, "layout/" + name)
        broken = Image(layers(1) + [tar([directory("x")])])
        broken.config["rootfs"]["diff_ids"][0] = "sha256:" + "1" * 64
        older(store)  # whose links are made anew
        for arguments in (("load", store.file(Image([rich], "rich:1").archive())), ("import", tree, "tree:1"),
                          ("load", store.file(broken.archive(), "broken.tar")), ("load", store.top + "/layout"),
                          ("tag", "tree:1", registry.name + ":2"), ("push", registry.name + ":2"),
                          ("pull", host + "/app:1"), ("system", "check"),
                          ("save", "-o", store.top + "/saved.tar", "rich:1"), ("rmi", "rich:1"),
                          ("image", "prune", "--all")):
            traced(store, made, *arguments)
    traced(store, made, "pull", "registry.test/app", before=with_name_server(store))
    needless = []
    for name, call, argument in entries():
        seen = [text for kind in LISTS[name] for text in made.get(kind, {}).get(call, [])]
        if not any(argument is None or argument in text for text in seen):
            needless.append(f"{name}: {call} {argument or ''}".strip())
    equal(needless, [], "needless entries")


def test_forbidden_call(store):
    """A process that makes another call is ended, and that is told; the store is as before."""
    if not shutil.which("strace"):
        raise images.Skip("strace is not installed")
    store.load(small().archive())
    other = store.file(Image(layers(2), "other:1").archive(), "other.tar")
    with Registry() as registry:
        registry.add(three())
        for call, arguments in (("ftruncate", ("load", other)), ("pwrite64", ("load", other)),
                                ("renameat", ("load", other)), ("fsync", ("rmi", "small:1")),
                                ("getsockname", ("pull", registry.name + ":1"))):
            before = store.snapshot()
            process = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e",
                                      f"inject={call}:error=EIO:syscall=getgid", *store.command(*arguments)],
                                     env=store.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
                                     check=False)
            said = process.stderr.decode()
            equal(process.returncode, 125, f"{call} of {arguments}: status ({said!r})")
            check("SIGSYS" in said and "confinement" in said, f"{call} of {arguments}: {said!r}")
            if arguments[0] != "rmi":
                images.same_files(store.snapshot(), before, "the store has changed")
            store.run("load", store.file(small().archive()))
            store.sound(f"after a forbidden {call}")


# --- crowds -------------------------------------------------------------------------------------------

BUSYBOX = "/bin/busybox"


def test_crowd(store):
    """20 loads and pulls of images that overlap, while workloads of such images run and everything that nobody uses
    is removed again and again: all succeed, no workload loses a file, and the store is sound."""
    with open(BUSYBOX, "rb") as file:
        busybox = file.read()
    base = tar([directory("bin"), entry("bin/busybox", data=busybox, mode=0o755)])
    shared = layers(3, 3000)
    runs = [Image([base, *shared[:number], tar([entry("own", data=b"%d" % number)])], f"run{number}:1")
            for number in range(3)]
    for image in runs:
        store.load(image.archive())
    names = [f"crowd{os.getpid()}-{number}" for number in range(3)]
    sleep = ["/bin/busybox", "sh", "-c", "trap exit TERM; while true; do /bin/busybox sleep 0.1; done"]
    try:
        for number, name in enumerate(names):
            store.run("run", "-d", "--isolation=container", "--name", name, f"run{number}:1", *sleep)
        with Registry() as registry:
            processes = []
            for number in range(10):
                image = Image([base, *shared, tar([directory(f"own{number}")])])
                registry.add(image, f"c{number}")
                processes.append(store.start("pull", "-q", f"{registry.name}:c{number}"))
                processes.append(store.start("load", "-q", "--name", f"loaded:{number}",
                                             store.file(image.archive(), f"c{number}.tar")))
            rounds = 0
            while any(process.poll() is None for process in processes) or rounds < 5:
                store.run("image", "prune", "--all")
                store.run("rmi", "-f", f"run{rounds % 3}:1", status=None)  # their layers stay
                rounds += 1
            for process in processes:
                _, said = process.communicate(timeout=60)
                equal((process.returncode, said), (0, b""), f"status of {process.args[5:]}")
        store.sound("after the crowd")
        for number, name in enumerate(names):
            # Not only from the page cache: what is read has to be there.
            said = store.run("exec", name, "/bin/busybox", "sh", "-c", "/bin/busybox md5sum /bin/busybox; "
                             "/bin/busybox cat /own").stdout.decode().split()
            equal(said, [hashlib.md5(busybox).hexdigest(), "/bin/busybox", str(number)], f"what {name} sees")
    finally:
        for name in names:
            store.run("rm", "-f", name, status=None)
    store.run("image", "prune", "--all")
    store.sound("after the end")


# --- faults -------------------------------------------------------------------------------------------

# Each call that changes something, or may fail for want of it; the most of them that one process makes.
FAULTS = (("fsync", 8), ("renameat", 8), ("mkdirat", 4), ("linkat", 4), ("ftruncate", 4), ("flock", 3),
          ("unlinkat", 6), ("write", 8), ("pwrite64", 6), ("openat", 40), ("clone", 3), ("getdents64", 8),
          ("pipe2", 3))
OPENED_BEFORE = 14  # by the dynamic loader


def test_faults(store):
    """A disk that fails at one call: the command says so, or did all it was to do, and the store is sound."""
    if not shutil.which("strace"):
        raise images.Skip("strace is not installed")
    victim, other = Image(layers(2), "victim:1"), store.file(small("other:1").archive(), "other.tar")
    archive, failed = store.file(victim.archive(), "victim.tar"), {}
    store.load(small().archive())
    for call, most in FAULTS:
        for number in range(OPENED_BEFORE if call == "openat" else 1, most + 1, 3 if call == "openat" else 1):
            name = "EIO" if number % 2 else "ENOSPC"
            process = subprocess.run(
                ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=" + call, "-e",
                 f"inject={call}:error={name}:syscall=getpid:when={number}", *store.command("load", archive)],
                env=store.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
            what, said = f"{name} at {call} {number}", process.stderr.decode()
            check(process.returncode in (0, 125, 127), f"{what}: status {process.returncode} ({said!r})")
            check(process.returncode == 0 or "hybrid: " in said or "error while loading" in said, f"{what}: {said!r}")
            failed[call] = failed.get(call, 0) + (process.returncode != 0)
            listed = [item["Repository"] for item in json.loads(store.run("images", "--format=json").stdout)]
            check("small" in listed, f"{what}: {listed}")
            check(process.returncode != 0 or "victim" in listed, f"{what}: loaded, but not there: {listed} {process.stdout} {said!r}")
            store.run("load", other)
            store.sound(what)
            store.run("rmi", *(["victim:1"] if "victim" in listed else []), "other:1")
    lenient = {call for call, count in failed.items() if count == 0}
    equal(lenient, set(), "calls whose failure nobody noticed")


def test_order_of_writes(store):
    """What a power cut leaves: content is synced before it gets its name, names of content and links of the image
    before the index entry that leads to them, and that before the command ends; names are gone before what they led to,
    and before the links that keep it."""
    if not shutil.which("strace"):
        raise images.Skip("strace is not installed")
    trace, top = store.top + "/trace", store.data + "/store/"
    calls = "trace=fsync,renameat,linkat,unlinkat,flock"

    def record(*arguments):
        subprocess.run(["strace", "-f", "-y", "-qq", "-o", trace, "-e", calls, *store.command(*arguments)],
                       env=store.environment, capture_output=True, timeout=60, check=True)
        with open(trace, encoding="utf-8") as file:
            return [line.split(" ", 1)[1].strip() for line in file if "(" in line]

    def place(text):
        """The directory of a descriptor <path>, relative to the store, without the name of what is being made."""
        return re.sub(r"images/\w+/\w+", "images/*", re.sub(r"tmp/\w+", "tmp", text.replace(top, "")))

    synced, unsynced, entries_made = set(), set(), 0
    for line in record("load", store.file(Image(layers(3), "order:1").archive())):
        if found := re.match(r"fsync\(\d+<([^>]*)>\)", line):
            synced.add(place(found[1]))
            unsynced.discard(place(found[1]))
        elif found := re.match(r'renameat\(\d+<([^>]*)>, "([^"]*)", \d+<([^>]*)>, "([^"]*)"\)', line):
            source, target = place(found[1]), place(found[3])
            check(f"{source}/{found[2]}" in synced, f"{found[4]} gets its name before it is synced")
            check(target != "index" or not unsynced - {"index"}, f"a name leads to what is not synced: {unsynced}")
            entries_made += target == "index"
            unsynced.add(target)
        elif found := re.match(r'linkat\(\d+<[^>]*>, "[^"]*", \d+<([^>]*)>,', line):
            unsynced |= {place(found[1])} - {"tmp"}
    equal((entries_made, unsynced), (1, set()), "index entries, directories that are not synced at the end")
    gone = None
    for line in record("rmi", "order:1"):
        if found := re.match(r'unlinkat\(\d+<([^>]*)>', line):
            if place(found[1]) == "index":
                gone = False
            elif place(found[1]) in ("blobs/sha256", "layers") or place(found[1]).startswith("images/"):
                check(gone is True, "content goes before its name is surely gone")
        elif "fsync" in line and place(line).count("<index>"):
            gone = gone is not None
    check(gone is True, "nothing was removed")


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    tests = [(name.replace("test_", "store_"), test) for name, test in globals().items()
             if name.startswith("test_")]
    return images.run_tests(tests, os.path.realpath(build + "/hybrid"), Judged)


if __name__ == "__main__":
    sys.exit(main())
