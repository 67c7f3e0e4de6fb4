"""Boots the emulated host with QEMU, relays the command's streams, and ends with its exit status."""

import ctypes
import fcntl
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import tty

FAILED = 125
TIMED_OUT = 124
CONSOLE_TAIL = 4096
PR_SET_PDEATHSIG = 1
TICK_SECONDS = 1.0
BOOTS = 3
libc = ctypes.CDLL(None, use_errno=True)


class Ended(Exception):
    """The run is over with the exit status `args[0]`."""


class ClockWrong(Exception):
    """The host's clock runs at another speed than it should: `args[0]` says how."""


def shell_word(path):
    """A path as one word of a list that the init script splits at blanks and reads with printf %b."""
    return "".join(f"\\0{byte:03o}" if byte in b" \t\n\\'\"*?[]$" else chr(byte)
                   for byte in os.fsencode(path))


def settings(options, built, project):
    rows, columns = terminal_size() if options.terminal else (24, 80)
    values = {
        "kvm": options.kvm,
        "init": options.init,
        "terminal": "on" if options.terminal else "off",
        "input": "on" if options.stdin else "off",
        "rows": rows,
        "columns": columns,
        "project": project,
        "directory": os.getcwd(),
        "cache": built["cache"],
        "kernel": built["kernel"],
        "shares": " ".join(shell_word(share) for share in options.share),
    }
    return "".join("{}='{}'\n".format(name, str(value).replace("'", "'\\''"))
                   for name, value in values.items())


def memory_file(content):
    """A descriptor of an unnamed file: nothing is left behind however this program ends."""
    file = tempfile.TemporaryFile()
    file.write(content.encode())
    file.flush()
    return file


def terminal_size():
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8))
    return (rows or 24, columns or 80)


def qemu_command(options, built, ports, files):
    """The command line; `ports` are sockets, `files` are descriptors of what fw_cfg offers."""
    svm = "+svm,+npt" if options.kvm == "on" else "-svm"
    command = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", f"EPYC-Rome,{svm}",
        "-smp", str(options.cpus), "-m", f"{options.memory}M",
        "-kernel", built["vmlinuz"], "-initrd", f"/proc/self/fd/{built['initramfs']}",
        "-append", "console=ttyS0 quiet loglevel=4 panic=-1 random.trust_cpu=1 tsc=reliable "
                   f"mitigations=off {options.append}",  # of a processor that executes nothing ahead of time
        "-device", "virtio-serial-pci,max_ports=8", "-device", "virtio-rng-pci",
    ]
    for name, port in ports.items():
        command += ["-chardev", f"socket,id={name},fd={port.fileno()}"]
        if name == "console":
            command += ["-serial", "chardev:console"]
        elif name == "terminal":
            command += ["-device", "virtconsole,nr=0,chardev=terminal"]
        else:
            command += ["-device", f"virtserialport,chardev={name},name=testbed.{name}"]
    for name, file in files.items():
        command += ["-fw_cfg", f"name=opt/org.hybrid.testbed/{name},file=/proc/self/fd/{file.fileno()}"]
    common = "local,security_model=none,multidevs=remap"
    command += ["-virtfs", f"{common},path=/,mount_tag=machine,readonly=on"]
    for number, share in enumerate(options.share):
        command += ["-virtfs", f"{common},path={share.replace(',', ',,')},mount_tag=share{number}"]
    return command


class Machine:
    """One boot: the QEMU process, its ports, and what is to be done when they speak."""

    def __init__(self, options, built, script, project):
        self.options = options
        self.started = False
        self.interrupts = 0
        self.next_tick = 0.0
        self.console = b""
        self.pending = b""
        self.selector = selectors.DefaultSelector()
        names = ["console", "control"]
        names += ["terminal"] if options.terminal else ["stdout", "stderr"]
        names += ["stdin"] if options.stdin and not options.terminal else []
        pairs = {name: socket.socketpair() for name in names}
        self.ports = {name: pair[0] for name, pair in pairs.items()}
        theirs = {name: pair[1] for name, pair in pairs.items()}
        files = {"settings": memory_file(settings(options, built, project)),
                 "command": memory_file(script)}
        self.complaints = tempfile.TemporaryFile()
        parent = os.getpid()

        def before_exec():
            # QEMU must not outlive this program, nor get the Ctrl-C that is meant for the command.
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(FAILED)
            os.setpgid(0, 0)

        handles = [port.fileno() for port in theirs.values()]
        handles += [file.fileno() for file in files.values()] + [built["initramfs"]]
        self.booted = time.monotonic()
        self.process = subprocess.Popen(
            qemu_command(options, built, theirs, files), stdin=subprocess.DEVNULL,
            stdout=self.complaints, stderr=self.complaints, pass_fds=handles, preexec_fn=before_exec)
        for port in theirs.values():
            port.close()

    def stop(self):
        self.process.kill()
        self.process.wait()

    def order(self, text):
        """Tell the agent inside; it is gone when the machine is, which the main loop will notice."""
        try:
            self.ports["control"].sendall(text.encode() + b"\n")
        except OSError:
            pass

    def tick(self):
        """An interrupt now and then, with which the host notices what QEMU lost before: see README.md."""
        if self.started and time.monotonic() >= self.next_tick:
            self.next_tick = time.monotonic() + TICK_SECONDS
            self.order("tick")

    def compare_clocks(self, uptime):
        """Where this machine was busy when the host's kernel measured its clock, that may run many times too fast."""
        elapsed = time.monotonic() - self.booted
        if uptime > 1.5 * elapsed:
            raise ClockWrong(f"{uptime:.0f} s passed in it in {elapsed:.0f} s")
        self.order("go")
        if self.options.terminal or self.options.stdin:
            self.watch_input()

    def watch_input(self):
        try:
            self.selector.register(0, selectors.EVENT_READ, None)
        except PermissionError:  # a regular file: epoll has no use for it, always readable
            self.feed_file()

    # --- what happens ---------------------------------------------------------------------------
    def on_console(self, data):
        self.console = (self.console + data)[-CONSOLE_TAIL:]
        if self.options.verbose:
            write_all(2, data)

    def on_control(self, data):
        self.pending += data
        while b"\n" in self.pending:
            line, _, self.pending = self.pending.partition(b"\n")
            verb, _, value = line.decode(errors="replace").partition(" ")
            if verb == "booted":
                self.compare_clocks(float(value))
            elif verb == "started":
                self.started = True
            elif verb == "exit":
                self.drain()
                raise Ended(int(value))

    def on_stdin(self):
        """Caller's input: to the terminal as it is typed, or to the stdin port with its end."""
        port = self.ports["terminal" if self.options.terminal else "stdin"]
        data = os.read(0, 65536)
        if data:
            port.sendall(data)
            return
        self.selector.unregister(0)
        if not self.options.terminal:
            port.shutdown(socket.SHUT_WR)

    def on_port(self, name):
        port = self.ports[name]
        try:
            data = port.recv(65536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.selector.unregister(port)
            if name == "control":
                raise Ended(self.died())
        elif name == "console":
            self.on_console(data)
        elif name == "control":
            self.on_control(data)
        else:
            write_all(2 if name == "stderr" else 1, data)

    def drain(self):
        """Write out what QEMU had put into the sockets before the agent reported the exit."""
        for name in ("stdout", "stderr", "terminal"):
            port = self.ports.get(name)
            if port is None:
                continue
            port.setblocking(False)
            try:
                while data := port.recv(65536):
                    write_all(2 if name == "stderr" else 1, data)
            except (BlockingIOError, ConnectionResetError):
                pass

    def died(self):
        """QEMU is gone, or its machine was reset, before the command's end was reported."""
        self.drain()
        self.process.wait()
        port = self.ports["console"]
        port.setblocking(False)
        try:
            while data := port.recv(65536):
                self.on_console(data)
        except (BlockingIOError, ConnectionResetError):
            pass
        self.complaints.seek(0)
        complaints = [line for line in self.complaints.read().decode(errors="replace").splitlines()
                      if "TCG doesn't support requested feature" not in line]
        when = "while the command ran" if self.started else "before the command started"
        print(f"testbed: the emulated host died {when} (QEMU exit status {self.process.returncode}); "
              "the end of its console:", file=sys.stderr)
        tail = self.console.decode(errors="replace").replace("\r", "")
        print("\n".join(complaints + [tail.strip() or "(silent)"]), file=sys.stderr)
        return FAILED

    # --- signals --------------------------------------------------------------------------------
    def on_signal(self, number, _frame):
        if number == signal.SIGWINCH:
            self.order("size {} {}".format(*terminal_size()))
        elif number == signal.SIGINT:
            self.interrupts += 1
            if self.interrupts > 1 or not self.started:
                raise Ended(128 + number)
            self.order("signal INT")
        else:
            raise Ended(128 + number)

    def loop(self):
        deadline = time.monotonic() + self.options.timeout if self.options.timeout else None
        for name, port in self.ports.items():
            if name != "stdin":
                self.selector.register(port, selectors.EVENT_READ, name)
        while True:
            left = TICK_SECONDS if deadline is None else max(0, min(TICK_SECONDS, deadline - time.monotonic()))
            events = self.selector.select(left)
            self.tick()
            if deadline is not None and time.monotonic() >= deadline:
                print(f"testbed: not done after {self.options.timeout:g} s, ended", file=sys.stderr)
                raise Ended(TIMED_OUT)
            for key, _ in events:
                if key.data is None:
                    self.on_stdin()
                else:
                    self.on_port(key.data)

    def feed_file(self):
        """A child writes a regular file into the stdin port, since the guest may read it slowly."""
        port = self.ports["stdin"]
        if os.fork() == 0:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            try:
                while data := os.read(0, 65536):
                    port.sendall(data)
            finally:
                port.shutdown(socket.SHUT_WR)
                os._exit(0)


def write_all(descriptor, data):
    """Write to the caller; a caller that went away ends the run as SIGPIPE would."""
    try:
        while data:
            data = data[os.write(descriptor, data):]
    except BrokenPipeError:
        raise Ended(128 + signal.SIGPIPE) from None


def boot(options, built, script, project):
    """One boot, and the run of the script. Returns the exit status for the caller."""
    machine = Machine(options, built, script, project)
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, machine.on_signal)
        if options.terminal:
            signal.signal(signal.SIGWINCH, machine.on_signal)
            tty.setraw(0)
        machine.loop()
    except Ended as end:
        return end.args[0]
    finally:
        machine.stop()


def run(options, built, script, project):
    """Boot, run `script`, return the exit status for the caller."""
    saved = termios.tcgetattr(0) if options.terminal else None
    try:
        for _ in range(BOOTS):
            try:
                return boot(options, built, script, project)
            except ClockWrong as wrong:
                print(f"testbed: the emulated host's clock is wrong: {wrong}\r", file=sys.stderr)
        return FAILED
    finally:
        os.close(built["initramfs"])
        if saved:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
