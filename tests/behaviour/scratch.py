"""A directory for temporary files whose file system takes every kind of attribute."""

import contextlib
import errno
import os
import subprocess
import tempfile

SIZE = 8 << 30  # sparse: what is not written takes no room


def takes_attributes(directory):
    """Whether files there have user.* attributes, which tmpfs has from Linux 6.6 on."""
    with tempfile.NamedTemporaryFile(prefix="hybrid-scratch-", dir=directory) as file:
        try:
            os.setxattr(file.name, "user.hybrid", b"x")
        except OSError as cause:
            if cause.errno != errno.ENOTSUP:
                raise
            return False
    return True


def point_to(directory):
    """Where temporary files of this process and its children are made from now on; None: where it is usual."""
    os.environ.pop("TMPDIR", None)
    if directory:
        os.environ["TMPDIR"] = directory
    tempfile.tempdir = None  # is looked up again


@contextlib.contextmanager
def with_attributes():
    """
    Where TMPDIR's files have no attributes, it is an ext4 of its own, meanwhile. Raises subprocess.CalledProcessError
    where that cannot be had.
    """
    if takes_attributes(tempfile.gettempdir()):
        yield
        return
    # podman takes no directory of more than 50 characters for what runs: nothing is put below another.
    with contextlib.ExitStack() as undo:
        image = undo.enter_context(tempfile.NamedTemporaryFile(prefix="hybrid-scratch-"))
        image.truncate(SIZE)
        subprocess.run(["/sbin/mke2fs", "-q", "-t", "ext4", image.name], check=True)
        mounted = tempfile.mkdtemp(prefix="hybrid-")
        undo.callback(os.rmdir, mounted)
        subprocess.run(["mount", "-o", "loop,noatime", image.name, mounted], check=True)
        undo.callback(subprocess.run, ["umount", mounted], check=True)
        undo.callback(point_to, os.environ.get("TMPDIR"))
        point_to(mounted)
        yield
