"""Starts of bundles in VMs that do not go as they should: each ends in a state from which an engine goes on."""

import os
import subprocess

from harness import children_below, process_stat
from table import test
from table.bundles import in_vm

NOWHERE = "root=/dev/absent rootwait"  # a guest that boots for ever


def create(t, bundle, arguments=""):
    """Returns the process that stands for it."""
    bundle.create(env={**t.host.env, "HYBRID_VM_KERNEL_ARGUMENTS": arguments})
    return bundle.state()["pid"]


def start_to_boot(t, bundle, pid):
    """A `hybrid start` that waits for the guest."""
    start = t.spawn(t.command("start", bundle.id), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    t.eventually("the VM is there", lambda: any((process_stat(each) or ("",))[0] == "hybrid-vmm" for each in children_below(pid)))
    return start


@test("bundle/vm-start-that-fails", isolations=("vm",), seconds=60)
def fails(t):
    """The guest refuses it before it takes up the streams: nobody is left who would hold them, and it has stopped."""
    bundle = in_vm(t, ["true"])
    create(t, bundle, "cgroup_disable=memory")
    failed = t.hybrid("start", bundle.id, seconds=60)
    t.equal("exit status of start", 125, failed.exit, failed)
    t.match("its message", "memory", failed.err)
    bundle.await_status("stopped")
    t.verb("delete", bundle.id)
    t.equal("what is left of it", [], t.host.traces(bundle.id))


@test("bundle/vm-start-that-is-killed", isolations=("vm",), seconds=60)
def killed(t):
    """As by an engine that has waited long enough: the VM goes on, and the next start finds it running."""
    bundle = in_vm(t, "echo up; exec sleep 1000")
    start = start_to_boot(t, bundle, create(t, bundle))
    start.kill()
    start.communicate()
    bundle.await_output("up\n")
    t.equal("status", "created", bundle.status())
    t.verb("start", bundle.id)
    t.equal("status", "running", bundle.status())
    t.match("start again", "is running", t.hybrid("start", bundle.id).err)
    t.verb("delete", "--force", bundle.id)
    t.equal("what is left of it", [], t.host.traces(bundle.id))


@test("bundle/vm-deleted-at-its-start", isolations=("vm",), seconds=60)
def deleted(t):
    """By force, whoever waits for its guest; until then its process shows nothing of the host's files."""
    bundle = in_vm(t, ["true"])
    pid = create(t, bundle, NOWHERE)
    start = start_to_boot(t, bundle, pid)
    t.eventually("the root directory of its process",
                 lambda: sorted(os.listdir(f"/proc/{pid}/root")) == sorted(os.listdir(bundle.path + "/rootfs")))
    t.verb("delete", "--force", bundle.id)
    t.match("stderr of start", "the monitor of .* has ended", start.communicate(timeout=20 * t.slow)[1].decode())
    t.equal("exit status of start", 125, start.returncode)
    t.equal("what is left of it", [], t.host.traces(bundle.id))


@test("bundle/vm-created-in-a-chroot", isolations=("vm",), seconds=60)
def in_chroot(t):
    """Its process shows the workload's root directory before and after the boot, not that of its mount namespace."""
    bundle = in_vm(t, "echo up; exec sleep 1000")
    root = bundle.path + "/host"
    os.mkdir(root)
    bundle.create(program="unshare", before=("--mount", "sh", "-c", 'mount --rbind / "$0" && exec chroot "$0" "$@"', root,
                                             t.host.hybrid))
    process = f"/proc/{bundle.state()['pid']}/root"
    t.equal("its root directory", sorted(os.listdir(bundle.path + "/rootfs")), sorted(os.listdir(process)))
    t.verb("start", bundle.id)
    bundle.await_output("up\n")
    t.equal("its root directory, started", sorted(os.listdir(bundle.path + "/rootfs")), sorted(os.listdir(process)))
    t.verb("delete", "--force", bundle.id)
    t.equal("what is left of it", [], t.host.traces(bundle.id))
