#!/usr/bin/python3
"""The jail of QEMU's virtiofsd, and that no entry of runtime/vm/share_rules.c is redundant: files.py BUILD; needs root.

It is started as the VM back end starts it, and asked for everything that it does for a guest, by a driver without a
guest. That succeeds with the whole table. Then each entry is taken out, and the kernel must kill the virtiofsd: PASS
files/without/ENTRY. An entry that answers ENOSYS is needed as well: the call would kill it.
"""

import contextlib
import concurrent.futures
import errno
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True

import fuse  # noqa: E402

PROGRAM = "/usr/lib/qemu/virtiofsd"
JOBS = 2
USER = 4242
# What this driver cannot have it call: entry and why.
NOT_SHOWN = {
    "mremap": "only if it knows more files at once than can be opened here, by its table of 16 bytes each above 1 MiB",
    "restart_syscall": "only if a signal stops it within the 10 ms in which a thread sleeps",
    "clock_gettime": "the kernel gives the time without a call here",
}


def requests(server):
    """Every request that a guest's kernel makes, in one directory."""
    share = server.lookup(1, "0")
    node, handle = server.create(share, "file", 0o4755, user=USER)
    server.request(16, node, struct.pack("<QQIIQII", handle, 0, 5, 0, 0, 0, 0), b"hello", answer=8)
    if server.request(15, node, struct.pack("<QQIIQII", handle, 0, 5, 0, 0, 0, 0), answer=5) != b"hello":
        raise fuse.Lost("it reads something else than was written")
    server.request(3, node, struct.pack("<IIQ", 0, 0, 0), answer=104)
    # A write of somebody else takes set-user-id away (FUSE_WRITE_KILL_SUIDGID).
    server.request(16, node, struct.pack("<QQIIQII", handle, 0, 1, 4, 0, 0, 0), b"H", answer=8, user=USER)
    for valid in (1, 1 | 64, 2 | 4, 8, 8 | 64, 32):
        server.set_attributes(node, valid, handle, size=4096, mode=0o640, user=USER, group=USER)
    server.request(43, node, struct.pack("<QQQII", handle, 0, 8192, 0, 0))
    server.request(46, node, struct.pack("<QQII", handle, 0, os.SEEK_END, 0), answer=8)
    other, other_handle = server.create(share, "other", 0o600)
    server.request(47, node, struct.pack("<QQQQQQQ", handle, 0, other, other_handle, 0, 4096, 0), answer=8)
    for data_only in (0, 1):
        server.request(20, node, struct.pack("<QII", handle, data_only, 0))
    server.request(25, node, struct.pack("<QIIQ", handle, 0, 0, 0))
    server.request(17, node, answer=80)
    server.request(50, share, struct.pack("<Q", 0))
    server.release(other, other_handle)
    server.release(node, handle)
    names(server, share, node)
    attributes(server, share, node)
    directory(server, share)


def names(server, share, node):
    server.request(9, share, struct.pack("<II", 0o755, 0), server.name("directory"), answer=128)
    server.request(8, share, struct.pack("<IIII", stat.S_IFIFO | 0o600, 0, 0, 0), server.name("pipe"), answer=128)
    server.request(8, share, struct.pack("<IIII", stat.S_IFCHR | 0o600, 0x103, 0, 0), server.name("null"), answer=128,
                   wanted=errno.EPERM)
    server.request(6, share, server.name("link"), server.name("file"), answer=128)
    if server.request(5, server.lookup(share, "link"), answer=4096) != b"file":
        raise fuse.Lost("the link leads elsewhere")
    server.request(13, share, struct.pack("<Q", node), server.name("hard"), answer=128)
    server.request(12, share, struct.pack("<Q", share), server.name("hard"), server.name("moved"))
    # The same between directories, which a version of Landlock refuses.
    server.request(12, share, struct.pack("<Q", server.lookup(share, "directory")), server.name("moved"),
                   server.name("below"))
    server.request(45, share, struct.pack("<QII", share, 2, 0), server.name("file"), server.name("other"))  # exchange
    # What has no name any more is opened once more, which Landlock could see as outside.
    below = server.lookup(share, "directory")
    gone, handle = server.create(below, "gone", 0o600)
    server.request(10, below, server.name("gone"))
    server.request(10, below, server.name("below"))
    server.request(11, share, server.name("directory"))
    server.set_attributes(gone, 8, size=1)
    server.release(gone, server.open(gone, os.O_RDWR))
    server.release(gone, handle)


def attributes(server, share, node):
    """Of a file, which it opens for that, and of a link, which it cannot open."""
    with open(f"{server.path}/attribute", "w", encoding="utf-8"):
        pass
    for each, wanted in ((node, 0), (server.lookup(share, "pipe"), errno.EPERM)):
        server.request(21, each, struct.pack("<II", 5, 0), server.name("user.test") + b"value", wanted=wanted)
        server.request(22, each, struct.pack("<II", 64, 0), server.name("user.test"), answer=64,
                       wanted=wanted and errno.ENODATA)
        server.request(23, each, struct.pack("<II", 256, 0), answer=256)
        server.request(24, each, server.name("user.test"), wanted=wanted)


def directory(server, share):
    handle = server.open(share, os.O_RDONLY, directory=True)
    entries = server.request(28, share, struct.pack("<QQIIQII", handle, 0, 4096, 0, 0, 0, 0), answer=4096)
    offset = struct.unpack_from("<QQ", entries)[1]
    if b"file" not in entries:
        raise fuse.Lost(f"the directory has {entries}")
    server.request(28, share, struct.pack("<QQIIQII", handle, offset, 4096, 0, 0, 0, 0), answer=4096)
    server.release(share, handle, directory=True)


class Tour:
    def __init__(self, build, directory, entry):
        self.serve, self.name = f"{build}/hostile/serve", entry
        self.directory = tempfile.mkdtemp(dir=directory)
        self.place, self.share = self.directory + "/place", self.directory + "/share"
        for path in (self.place, self.share):
            os.mkdir(path)
        os.chmod(self.share, 0o777)

    @contextlib.contextmanager
    def server(self):
        """Yields (connection, the process of `serve`, pid of virtiofsd)"""
        program = f"{self.directory}/{self.name}"
        os.symlink(self.serve, program)
        ours, theirs = socket.socketpair()
        with ours, theirs, subprocess.Popen([program, self.place, self.share], stdin=theirs, stdout=subprocess.PIPE,
                                            stderr=subprocess.PIPE, text=True) as process:
            theirs.close()
            try:
                line = process.stdout.readline()
                if not line.startswith("pid "):
                    raise fuse.Lost(f"{line}{process.stderr.read()}")
                _, fds, _, _ = socket.recv_fds(ours, 1, 1)
                yield socket.socket(fileno=fds[0]), process, int(line[4:])
            finally:
                process.kill()

    def run(self):
        """How virtiofsd ended, and what the driver says."""
        said = ""
        try:
            with self.server() as (connection, process, _):
                server = None
                try:
                    server = fuse.Server(connection)
                    server.path = self.share
                    server.initialize()
                    requests(server)
                    server.stop_queues()
                except (fuse.Lost, OSError) as error:
                    said = str(error)
                finally:
                    if server:
                        server.close()
                    connection.close()
                return process.stdout.readline().strip(), said
        except fuse.Lost as lost:
            return str(lost).strip(), said


def entries(build, directory):
    program = f"{directory}/list"
    os.symlink(f"{build}/hostile/serve", program)
    listed = subprocess.run([program, "list"], stdout=subprocess.PIPE, check=True, text=True)
    for line in listed.stdout.splitlines():
        index, threads, name, condition, reason = line.split(" ", 4)
        yield f"without-{index}-{threads}", name, name + (f" ({reason})" if condition != "0" else "")


def main():
    build = os.path.abspath(sys.argv[1])
    failed = 0
    if not os.access(PROGRAM, os.X_OK):
        print(f"SKIP files: {PROGRAM} is not there", flush=True)
        return 0
    with tempfile.TemporaryDirectory(prefix="files-") as directory:
        ended, said = Tour(build, directory, "whole").run()
        if (ended, said) != ("exit 0", ""):
            print(f"FAIL files/whole-table: {ended}, {said}", flush=True)
            return 1
        print("PASS files/whole-table", flush=True)
        programs, calls, cases = zip(*entries(build, directory))
        with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
            results = pool.map(lambda program: Tour(build, directory, program).run(), programs)
            for call, case, (ended, said) in zip(calls, cases, results):
                if call in NOT_SHOWN:
                    print(f"SKIP files/without/{case}: {NOT_SHOWN[call]}", flush=True)
                elif f"signal {signal.SIGSYS.value}" in ended or "Bad system call" in ended:
                    print(f"PASS files/without/{case}", flush=True)
                else:
                    failed += 1
                    print(f"FAIL files/without/{case}: redundant: {ended}, {said}", flush=True)
    return 1 if failed else 0


sys.exit(main())
