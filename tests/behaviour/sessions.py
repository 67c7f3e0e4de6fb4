"""Commands that a row talks to while they run: over pipes, or on a terminal of their own."""

import errno
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import threading
import time


class Failure(Exception):
    """What a row expected did not happen."""


class Unended(Failure):
    """A command did not end in its time; what it had printed until then."""

    def __init__(self, message, stdout, stderr):
        super().__init__(message)
        self.stdout, self.stderr = stdout, stderr


class Skip(Exception):
    """A row cannot run here; the text says why."""


def brief(data, limit=600):
    text = data.decode("utf-8", "backslashreplace") if isinstance(data, bytes) else str(data)
    return text if len(text) <= limit else f"{text[:limit // 2]} ...({len(text)})... {text[-limit // 2:]}"


class Result:
    def __init__(self, status, stdout, stderr, seconds=0.0):
        self.exit, self.stdout, self.stderr, self.seconds = status, stdout, stderr, seconds

    @property
    def out(self):
        return self.stdout.decode("utf-8", "surrogateescape")

    @property
    def err(self):
        return self.stderr.decode("utf-8", "surrogateescape")


class Session:
    """One hybrid command that a row talks to while it runs."""

    def __init__(self, test, process):
        self.test, self.process = test, process
        self.seen = {1: bytearray(), 2: bytearray()}
        self.changed = threading.Condition()
        self.readers = [threading.Thread(target=self.read, args=(n, stream), daemon=True)
                        for n, stream in ((1, process.stdout), (2, process.stderr)) if stream]
        for reader in self.readers:
            reader.start()

    @property
    def pid(self):
        return self.process.pid

    def read(self, number, stream):
        while data := os.read(stream.fileno(), 65536):
            with self.changed:
                self.seen[number] += data
                self.changed.notify_all()

    def expect(self, text, stream=1, seconds=20):
        """Waits until `text` was printed."""
        wanted = text.encode() if isinstance(text, str) else text
        deadline = time.monotonic() + seconds * self.test.slow
        with self.changed:
            while wanted not in self.seen[stream]:
                left = deadline - time.monotonic()
                alive = any(reader.is_alive() for reader in self.readers)
                if left <= 0 or not alive:
                    raise Failure(f"waited for {text!r}; stdout {brief(bytes(self.seen[1]))!r}, "
                                  f"stderr {brief(bytes(self.seen[2]))!r}, "
                                  f"{'timed out' if alive else 'ended'}")
                self.changed.wait(min(left, 0.2))

    def send(self, data):
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def close_stdin(self):
        self.process.stdin.close()

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, seconds=20):
        """Waits for the end and returns a Result."""
        try:
            status = self.process.wait(seconds * self.test.slow)
        except subprocess.TimeoutExpired:
            raise Failure(f"still runs after {seconds * self.test.slow:.0f} s; stdout "
                          f"{brief(bytes(self.seen[1]))!r}, stderr {brief(bytes(self.seen[2]))!r}") from None
        for reader in self.readers:
            reader.join(5 * self.test.slow)
        return Result(status, bytes(self.seen[1]), bytes(self.seen[2]))


class Terminal:
    """A command on a pseudo terminal of its own, in a session of its own."""

    def __init__(self, test, arguments, rows=24, columns=80, env=None):
        self.test, self.output = test, bytearray()
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        slave = self.slave

        def controlling():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        self.process = test.spawn(arguments, stdin=slave, stdout=slave, stderr=slave, env=env,
                                  preexec_fn=controlling)
        test.closers.append(self.close)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self.master, text.encode() if isinstance(text, str) else text)

    def pump(self, seconds):
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError as error:
            if error.errno == errno.EIO:
                return False
            raise
        self.output += data
        return True

    def expect(self, wanted, seconds=20):
        """Waits until the regular expression was printed; consumes the output up to there."""
        expression = re.compile(wanted.encode() if isinstance(wanted, str) else wanted)
        deadline = time.monotonic() + seconds * self.test.slow
        while not (found := expression.search(self.output)):
            if time.monotonic() > deadline:
                raise Failure(f"waited for {wanted!r} on the terminal; it shows {brief(bytes(self.output))!r}")
            self.pump(0.1)
        del self.output[:found.end()]
        return found

    def wait(self, seconds=20):
        deadline = time.monotonic() + seconds * self.test.slow
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                raise Failure(f"still runs; the terminal shows {brief(bytes(self.output))!r}")
            self.pump(0.05)
        while self.pump(0.05):
            pass
        return self.process.returncode

    def is_raw(self):
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ECHO)

    def await_raw(self, seconds=20):
        deadline = time.monotonic() + seconds * self.test.slow
        while not self.is_raw():
            if time.monotonic() > deadline:
                raise Failure("the terminal was not put into raw mode; it shows "
                              f"{brief(bytes(self.output))!r}")
            self.pump(0.02)

    def check_restored(self, seconds=5):
        deadline = time.monotonic() + seconds * self.test.slow
        while termios.tcgetattr(self.slave) != self.before:
            if time.monotonic() > deadline:
                raise Failure(f"terminal settings were not restored: {self.before[:4]} before, "
                              f"{termios.tcgetattr(self.slave)[:4]} after")
            time.sleep(0.05)

    def close(self):
        """Once only: a number that was closed may belong to another row by now."""
        descriptors, self.master, self.slave = (self.master, self.slave), -1, -1
        for descriptor in descriptors:
            if descriptor >= 0:
                os.close(descriptor)
