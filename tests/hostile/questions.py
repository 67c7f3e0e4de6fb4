#!/usr/bin/python3
"""No entry of vmm/names/rules.c is redundant: questions.py BUILD; needs root, no KVM.

hybrid-names, jailed, asks a name server in a network namespace what a guest would ask, by UDP and by TCP. That succeeds
with the whole table. Then each entry is taken out, and the kernel must kill it: PASS names/without/ENTRY.
"""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True

NETWORK = f"questions-{os.getpid()}"
SERVER, ADDRESS = "127.0.0.11", "192.0.2.7"
UID = 58000
SECONDS = 20
HEAD = struct.Struct("<HHHH")
QUESTION = struct.pack(">HHHHHH", 0x4242, 0x100, 1, 0, 0, 0) + b"\4test\0" + struct.pack(">HH", 1, 1)
# Entry and why it cannot be shown here.
NOT_SHOWN = {"clock_gettime": "the kernel gives the time without a call here"}


class Wrong(Exception):
    """It does not answer as it should."""


@contextlib.contextmanager
def name_server():
    """Yields a descriptor of the network namespace that it answers in."""
    def ip(*arguments):
        subprocess.run(["ip", *arguments], check=True)

    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../behaviour/name_server.py")
    ip("netns", "add", NETWORK)
    try:
        ip("-n", NETWORK, "link", "set", "lo", "up")
        with subprocess.Popen(["ip", "netns", "exec", NETWORK, sys.executable, program, SERVER, "53", ADDRESS],
                              stdout=subprocess.PIPE) as server:
            try:
                if server.stdout.readline() != b"ready\n":
                    raise RuntimeError("the name server does not start")
                fd = os.open(f"/run/netns/{NETWORK}", os.O_RDONLY)
                yield fd
                os.close(fd)
            finally:
                server.kill()
    finally:
        subprocess.run(["ip", "netns", "del", NETWORK], check=False)


def ask(stream, slot, transport):
    stream.sendall(HEAD.pack(slot, transport, len(QUESTION), 0) + QUESTION)
    head = stream.recv(HEAD.size, socket.MSG_WAITALL)
    if len(head) < HEAD.size:
        raise Wrong("it hung up")
    number, _, length, _ = HEAD.unpack(head)
    answer = stream.recv(length, socket.MSG_WAITALL)
    if number != slot or not answer.endswith(socket.inet_aton(ADDRESS)):
        raise Wrong(f"slot {number}: {answer}")


def attempt(build, program, network):
    """How it ended, and what was wrong."""
    ours, theirs = socket.socketpair()
    ours.settimeout(SECONDS)
    said, fds = "", (theirs.fileno(), network)
    with ours, subprocess.Popen([f"{build}/hostile/launch", ",".join(map(str, fds)), program, "--stream-fd=3",
                                 "--network-fd=4", f"--address={SERVER}", f"--uid={UID}", f"--gid={UID}"], pass_fds=fds,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        theirs.close()
        try:
            for slot, transport in enumerate((1, 2)):
                ask(ours, slot, transport)
        except (Wrong, OSError) as error:
            said = str(error)
        ours.close()
        return process.stdout.read().splitlines()[-1], said


def main():
    build, failed = os.path.abspath(sys.argv[1]), 0
    with tempfile.TemporaryDirectory(prefix="questions-") as directory, name_server() as network:
        def named(name):
            os.symlink(f"{build}/hostile/names", f"{directory}/{name}")
            return f"{directory}/{name}"

        ended, said = attempt(build, named("whole"), network)
        if (ended, said) != ("exit 0", ""):
            print(f"FAIL names/whole-table: {ended}, {said}", flush=True)
            return 1
        print("PASS names/whole-table", flush=True)
        listed = subprocess.run([named("list"), "list"], stdout=subprocess.PIPE, check=True, text=True)
        for line in listed.stdout.splitlines():
            index, kinds, name = line.split(" ")[:3]
            ended, said = attempt(build, named(f"without-{index}-{kinds}"), network)
            if name in NOT_SHOWN:
                print(f"SKIP names/without/{name}: {NOT_SHOWN[name]}", flush=True)
            elif ended == f"signal {signal.SIGSYS.value}":
                print(f"PASS names/without/{name}", flush=True)
            else:
                failed += 1
                print(f"FAIL names/without/{name}: redundant: {ended}, {said}", flush=True)
    return 1 if failed else 0


sys.exit(main())
