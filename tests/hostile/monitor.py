"""A hybrid-vmm under test: started as the VM back end starts it, watched from outside.

What is known of its command line and messages is include/machine.h.
"""

import array
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

SECTOR = 512
LAYERS_SECTORS = 2048
PROGRAM_START, PROGRAM_SECTORS = 1024, 65536  # guest/cases_disk.c, feeds_itself
SCRATCH_SECTORS = PROGRAM_START + PROGRAM_SECTORS + 64
MEMORY = 32 << 20

OFFER, WITHDRAW, PAUSE, RESUME, RUNNING, DONE, ENDED, FAILED = 1, 2, 3, 4, 16, 17, 18, 19
NO_INPUT, NO_OUTPUT = 1, 2
END_KINDS = {1: "reset", 2: "shutdown", 3: "kvm", 4: "monitor", 5: "setup"}
JAIL_USER_NAMESPACE, JAIL_LANDLOCK_SHIFT = 1, 8
MESSAGE = struct.Struct("<IIIIQ")
UID = 2000000000 + os.getpid()


class Ended(Exception):
    """The machine is gone; the text says how."""


def labelled_sectors(label, count):
    return b"".join(f"{label} {number}".encode().ljust(SECTOR, b"\0") for number in range(count))


def self_feeding_program():
    """Sectors that make each other available: ring flags and index, and at byte 32 the next header."""
    sectors = []
    for k in range(PROGRAM_SECTORS):
        ring = struct.pack("<HH", 0, (k + 2) & 0xffff).ljust(32, b"\0")
        header = struct.pack("<IIQ", 0, 0, PROGRAM_START + (k + 1) % PROGRAM_SECTORS)
        sectors.append((ring + header).ljust(SECTOR, b"\0"))
    return b"".join(sectors)


class Disks:
    """The files of a machine's two disks."""

    def __init__(self, directory):
        self.layers = os.path.join(directory, "layers")
        self.scratch = os.path.join(directory, "scratch")
        with open(self.layers, "wb") as file:
            file.write(labelled_sectors("layers", LAYERS_SECTORS))
        with open(self.scratch, "wb") as file:
            file.write(labelled_sectors("scratch", PROGRAM_START) + self_feeding_program())
            file.truncate(SCRATCH_SECTORS * SECTOR)

    def set_mailbox(self, number):
        """What the guest waits for in the last sector of the first disk."""
        with open(self.layers, "r+b") as file:
            file.seek((LAYERS_SECTORS - 1) * SECTOR)
            file.write(struct.pack("<I", number))

    def layers_unchanged(self):
        with open(self.layers, "rb") as file:
            return file.read()[:-SECTOR] == labelled_sectors("layers", LAYERS_SECTORS - 1)

    def scratch_size_unchanged(self):
        return os.path.getsize(self.scratch) == SCRATCH_SECTORS * SECTOR


class Server:
    """What a virtiofsd says of itself, and nothing more: the far end of a share."""

    FEATURES = 1 << 32 | 1 << 30 | 1 << 29  # VIRTIO_F_VERSION_1, VHOST_USER_F_PROTOCOL_FEATURES, EVENT_IDX
    ACKNOWLEDGES = 1 << 3                   # VHOST_USER_PROTOCOL_F_REPLY_ACK
    HEAD = struct.Struct("<III")

    def __init__(self):
        self.end, self.other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def receive(self, length):
        data, _, _, _ = self.end.recvmsg(length, socket.CMSG_SPACE(64), socket.MSG_CMSG_CLOEXEC | socket.MSG_WAITALL)
        if len(data) != length:
            raise ConnectionError
        return data

    def serve(self):
        answers = {1: self.FEATURES, 15: self.ACKNOWLEDGES, 11: None}
        try:
            while True:
                request, flags, size = self.HEAD.unpack(self.receive(self.HEAD.size))
                body = self.receive(size) if size else b""
                if request in answers or flags & 8:
                    value = answers.get(request, 0)
                    answer = body if value is None else struct.pack("<Q", value)
                    self.end.sendall(self.HEAD.pack(request, 5, len(answer)) + answer)
        except OSError:
            pass

    def hang_up(self):
        self.end.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.hang_up()
        self.thread.join()
        self.end.close()


class Monitor:
    """One machine. launcher and vmm are programs; kernel is the guest's ELF file.

    before: a command that executes the launcher with its arguments.
    share: a descriptor of a file system's server.
    """

    def __init__(self, launcher, vmm, kernel, disks, command_line, memory=MEMORY, cpus=2, environment=None, before=(),
                 options=(), share=None):
        self.control, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.console, console = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.net, net = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # stands for a tap
        self.net.setblocking(False)
        net.setblocking(False)
        fds = [control.fileno(), console, os.open("/dev/kvm", os.O_RDWR), os.open(kernel, os.O_RDONLY),
               os.open(disks.layers, os.O_RDONLY), os.open(disks.scratch, os.O_RDWR), net.fileno()]
        arguments = ["--control-fd=3", "--console-fd=4", "--kvm-fd=5", "--kernel-fd=6", "--disk-fds=7",
                     "--scratch-fd=8", "--net=9,1500,02:00:00:00:00:01", f"--memory={memory}", f"--cpus={cpus}",
                     f"--command-line={command_line}", f"--uid={UID}", f"--gid={UID}", *options]
        if share is not None:
            fds.append(share)
            arguments += ["--share-fd=10", "--share-tag=test"]
        self.launcher = subprocess.Popen([*before, launcher, ",".join(map(str, fds)), vmm, *arguments], pass_fds=fds,
                                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, env=environment)
        control.close()
        net.detach()
        for fd in fds[1:]:
            os.close(fd)
        first = self.launcher.stdout.readline().decode(errors="replace").split()
        if len(first) != 2 or first[0] != "pid":
            raise Ended("it could not be started: " + " ".join(first))
        self.pid = int(first[1])
        self.pidfd = self._open_process()
        self.pending = b""
        self.ended = None      # (kind, text) of MACHINE_ENDED
        self.answers = []      # DONE and FAILED
        self.running = False
        self.jail = 0          # flags of MACHINE_RUNNING
        self.echoes = {}       # our ends of sockets that echo, by descriptor

    def _open_process(self):
        """A pidfd, or None if it has ended already and its number may be somebody else's."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        try:
            if int(self.status()["PPid"]) == self.launcher.pid:
                return pidfd
        except (OSError, KeyError):
            pass
        os.close(pidfd)
        return None

    # --- what it says ---------------------------------------------------------------------------

    def pump(self, seconds):
        """Wait for something, take it in; the complete lines of the console. Echo what streams say."""
        watched = [self.console, self.control, self.net, *self.echoes.values()]
        for ready in select.select([one for one in watched if one is not None], [], [], seconds)[0]:
            if ready is self.control:
                self._take_message()
            elif ready == self.console:
                self._take_console()
            elif ready is self.net:
                self._echo_frame()
            else:
                self._echo(ready)
        *lines, self.pending = self.pending.split(b"\n")
        return [line.decode("latin-1") for line in lines]

    def _take_message(self):
        try:
            packet = self.control.recv(4096)
        except ConnectionError:
            packet = b""
        if not packet:
            self.control.close()
            self.control = None
            return
        kind, port, flags, end, _ = MESSAGE.unpack(packet[:MESSAGE.size])
        text = packet[MESSAGE.size:].decode(errors="replace")
        if kind == RUNNING:
            self.running, self.jail = True, flags
        elif kind == ENDED:
            self.ended = (END_KINDS.get(end, str(end)), text)
        else:
            self.answers.append((kind, port, text))

    def _take_console(self):
        data = os.read(self.console, 65536)
        if data:
            self.pending += data
        else:
            os.close(self.console)
            self.console = None

    def _echo_frame(self):
        """Back to the guest, unless it does not take what came before."""
        try:
            self.net.send(self.net.recv(1 << 17))
        except OSError:
            pass

    def _echo(self, end):
        try:
            data = end.recv(65536)
            if data:
                end.sendall(data)
                return
        except OSError:
            pass
        del self.echoes[end.fileno()]
        end.close()

    def over(self):
        return self.control is None

    # --- what it is told ------------------------------------------------------------------------

    def send(self, kind, port=0, flags=0, fds=()):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self.control.sendmsg([MESSAGE.pack(kind, port, flags, 0, 0)], rights)
        except (BrokenPipeError, ConnectionError, AttributeError) as error:
            raise Ended(f"it does not take messages: {error}") from error

    def offer_echo(self, port):
        ours, theirs = socket.socketpair()
        self.send(OFFER, port, 0, [theirs.fileno()])
        theirs.close()
        self.echoes[ours.fileno()] = ours

    def offer_sink(self, port, blocking=False):
        """Returns the end that can be read."""
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        os.set_blocking(theirs, blocking)
        self.send(OFFER, port, NO_INPUT, [theirs])
        os.close(theirs)
        return ours

    def offer_source(self, port):
        fd = os.open("/dev/zero", os.O_RDONLY)
        self.send(OFFER, port, NO_OUTPUT, [fd])
        os.close(fd)

    def ask(self, kind, ports=(0,), seconds=60):
        """Send one request for each port and wait for as many answers; their types."""
        self.answers = []
        for port in ports:
            self.send(kind, port)
        deadline = time.monotonic() + seconds
        while len(self.answers) < len(ports):
            if self.over() or time.monotonic() > deadline:
                raise Ended(f"no answer to request {kind}")
            self.pump(1)
        return [answer[0] for answer in self.answers]

    def close_echoes(self):
        for end in self.echoes.values():
            end.close()
        self.echoes = {}

    # --- what it is, from outside -----------------------------------------------------------------

    def signal(self, number):
        if self.pidfd is None:
            raise Ended("it is gone")
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError as error:
            raise Ended("it is gone") from error

    def status(self):
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)

    def resident(self):
        """KiB."""
        return int(self.status()["VmRSS"].split()[0])

    def descriptors(self):
        """What is open, by number."""
        directory = f"/proc/{self.pid}/fd"
        found = {}
        for name in os.listdir(directory):
            try:
                found[int(name)] = os.readlink(f"{directory}/{name}")
            except FileNotFoundError:
                pass
        return found

    # --- the end --------------------------------------------------------------------------------

    def wait(self, seconds=30):
        """("exit", status) or ("signal", number); None if it lives on."""
        deadline = time.monotonic() + seconds
        while self.launcher.poll() is None:
            if time.monotonic() > deadline:
                return None
            if self.console is not None or not self.over():
                self.pump(0.05)
            else:
                time.sleep(0.02)
        said = self.launcher.stdout.read().decode(errors="replace")
        found = re.search(r"^(exit|signal) (\d+)$", said, re.M)
        return (found[1], int(found[2])) if found else ("nothing", said)

    def destroy(self):
        if self.launcher.poll() is None:
            self.launcher.kill()  # its child dies with it
        self.launcher.wait()
        self.launcher.stdout.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
        self.close_echoes()
        if self.console is not None:
            os.close(self.console)
        if self.control is not None:
            self.control.close()
        self.net.close()


def working_directory():
    """On memory: the disks are read and written while time counts."""
    return tempfile.TemporaryDirectory(prefix="hostile-", dir="/dev/shm")


def end_on_sigterm():
    """So that what is being done is cleaned up."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
