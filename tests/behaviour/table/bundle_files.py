"""What a bundle's files are to mounts, hooks and joined namespaces: as other runtimes have it, and engines and hooks expect."""

import glob
import os

from harness import Skip, descendants, process_stat
from table import test
from table.bundles import CONTAINERS, Bundle, cgroup_file, in_vm

CGROUPS = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}


def bind(source, destination, *options):
    return {"destination": destination, "type": "bind", "source": source, "options": ["bind", *options]}


def make_file(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


@test("bundle/mount-on-a-dangling-link", **CONTAINERS)
def dangling(t):
    """Such as /etc/resolv.conf often is in images: the file is made where it leads, in the root."""
    bundle = Bundle(t, "cat /etc/resolv.conf /run/systemd/resolv.conf /etc/up /out; cat /etc/d/x/y /made/x/y")
    root = bundle.path + "/rootfs"
    os.mkdir(root + "/etc")
    make_file(bundle.path + "/file", "it\n")
    for name, target in (("resolv.conf", "/run/systemd/resolv.conf"), ("up", "../../../../out"), ("d", "../made"), ("loop", "loop")):
        os.symlink(target, f"{root}/etc/{name}")
    bundle.config["mounts"] += [bind("file", "/etc/" + name) for name in ("resolv.conf", "up", "d/x/y")]
    t.equal("what is there", "it\n" * 6, bundle.run())
    t.equal("made in the root", ["made", "out", "run"], sorted({"made", "out", "run"} & set(os.listdir(root))))
    bundle.id = t.name()
    bundle.config["mounts"].append(bind("file", "/etc/loop"))
    bundle.write()
    t.match("a loop", "symbolic link", t.hybrid("run", "--bundle", bundle.path, bundle.id).err)
