"""How rows run hybrid and judge it: one host of a run, one test of a row in one isolation."""

import contextlib
import ctypes
import functools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import fixtures
from observe import (MemoryWatch, arguments_of, cgroup_directories, children_below, cpu_seconds, descendants,
                     loop_devices_below, mounts_below, private_memory, process_stat)
from sessions import Failure, Result, Session, Skip, Terminal, Unended, brief

__all__ = ["Failure", "Host", "MemoryWatch", "Result", "Session", "Skip", "Terminal", "Test", "arguments_of", "children_below",
           "cpu_seconds", "descendants", "pattern_block", "private_memory", "process_stat"]

PR_SET_CHILD_SUBREAPER = 36
PATTERN_BLOCK = 65536


@functools.cache
def pattern_block():
    """The block that `probe pump` repeats (see probe.c)."""
    return bytes((i * 7 + (i >> 8)) & 255 for i in range(PATTERN_BLOCK))


class Reaper:
    """Adopts what our children leave behind, so that nothing can hide, and reaps it when it ends.

    Woken by each SIGCHLD, and looks only at what the kernel lists for this process's main thread, which is the one that
    adopts: looking 20 times a second took much of an emulated processor. To be made by the main thread.

    What this program started itself is not the reaper's: whoever waits for a child that is gone is told that it ended
    with 0. So subprocess.Popen is, from now on, one whose children are known before they can end, also those of
    subprocess.run and its kin. Nothing else may start processes here (tests/style).
    """

    def __init__(self):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
        self.children = open(f"/proc/self/task/{os.getpid()}/children", "rb", buffering=0)
        self.lock = threading.Lock()
        self.ours = {}
        self.woken, waker = os.pipe()
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only signals with a handler wake
        subprocess.Popen = self.kind_of_child()
        threading.Thread(target=self.work, daemon=True).start()

    def kind_of_child(self):
        reaper = self

        class Child(subprocess.Popen):
            def __init__(self, *arguments, **options):
                with reaper.lock:
                    super().__init__(*arguments, **options)
                    reaper.ours[self.pid] = self
        return Child

    def work(self):
        while True:
            os.read(self.woken, 4096)
            with self.lock:
                self.ours = {pid: process for pid, process in self.ours.items()
                             if process.returncode is None}
                self.reap()

    def reap(self):
        self.children.seek(0)
        for pid in map(int, self.children.read().split()):
            if pid not in self.ours and (process_stat(pid) or "?Z")[1] == "Z":
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)


class Host:
    """One run of the table: directories of its own, the programs, and the machine as it was before."""

    def __init__(self, hybrid, slow):
        self.hybrid, self.slow = os.path.realpath(hybrid), slow
        self.directory = tempfile.mkdtemp(prefix="hybrid-behaviour-")
        self.root, self.data = self.directory + "/root", self.directory + "/data"
        self.files = self.directory + "/files"
        for path in (self.root, self.data, self.files):
            os.mkdir(path, 0o700)
        self.cgroups = cgroup_directories()
        Reaper()
        self.loading, self.loaded = threading.Lock(), {}
        self.env = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "LANG": "C.UTF-8",
                    "HOME": self.directory, "HYBRID_ROOT": self.root, "HYBRID_DATA": self.data}

    def image(self, name):
        """Loads one of our images when it is first needed; returns its reference."""
        if name not in fixtures.BUILDERS:
            return name
        with self.loading:
            if name not in self.loaded:
                try:
                    self.loaded[name] = self.load(name)
                except fixtures.Missing as error:
                    self.loaded[name] = Skip(str(error))
                except Failure as error:
                    self.loaded[name] = error
            if isinstance(self.loaded[name], Exception):
                raise self.loaded[name]
        return fixtures.reference(name)

    def load(self, name):
        process = subprocess.Popen([self.hybrid, "load", "-q", fixtures.archive_of(name)], env=self.env,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        try:
            _, errors = process.communicate(timeout=120 * self.slow)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise Failure(f"loading the image {name} did not end") from None
        if process.returncode != 0:
            raise Failure(f"loading the image {name} failed: {brief(errors)}")
        return True

    def foreign(self, path):
        """A cgroup that is not ours by name, or in which processes live that do not descend from us."""
        if os.environ.get("TESTBED"):  # nobody else is there
            return False
        if not re.search(rf"/hybrid-(row-{os.getpid()}-[0-9-]+|[0-9a-f]{{12}})(-vm)?(/|$)", path):
            return True
        try:
            with open(path + "/cgroup.procs", encoding="ascii") as file:
                members = {int(pid) for pid in file.read().split()}
        except (OSError, ValueError):
            return False
        return bool(members - set(descendants(os.getpid())))

    def left_behind(self):
        """What exists now of our making and should not: processes, mounts, cgroups, files."""
        found = [f"process {pid} ({(process_stat(pid) or '?')[0]})" for pid in descendants(os.getpid())]
        found += mounts_below([self.directory])
        found += loop_devices_below(self.directory)
        found += [f"cgroup {path}" for path in sorted(cgroup_directories() - self.cgroups)
                  if not self.foreign(path)]
        found += [f"state {name}" for name in sorted(os.listdir(self.root))
                  if name not in ("layers", "cache")]
        for directory, what in ((self.data + "/workloads", "data of"), (self.root + "/layers", "layer")):
            if os.path.isdir(directory):
                found += [f"{what} {name}" for name in sorted(os.listdir(directory))
                          if not (what == "layer" and os.path.isfile(f"{directory}/{name}"))]
        return found

    def traces(self, name, files=True):
        """What exists of one workload: its files; without any, its mounts, its cgroups, its processes. It is asked again and
        again until nothing does, and in an emulated host all of them take a tenth of a second: the dear ones come last.
        """
        directories = (self.root, self.data + "/workloads") if files else ()
        return ([f"{directory}/{entry}" for directory in directories if os.path.isdir(directory)
                 for entry in os.listdir(directory) if re.search(rf"(^|\.){re.escape(name)}(\.|$)", entry)]
                or mounts_below([f"{self.root}/{name}", f"{self.data}/workloads/{name}"])
                or [f"cgroup {path}" for path in cgroup_directories() if path.endswith((name, name + "-vm"))]
                or [f"process {pid}" for pid in descendants(os.getpid()) if name.encode() in arguments_of(pid)])

    def settled(self, seconds):
        """left_behind, once what is on its way out had `seconds` to go."""
        deadline = time.monotonic() + seconds * self.slow
        while (found := self.left_behind()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def end(self):
        """Removes everything of this run, by force; called when the last row has been judged."""
        for _ in range(50):
            pids = descendants(os.getpid())
            if not pids:
                break
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            targets = [line.split()[4] for line in file if self.directory in line.split()[4]]
        for target in reversed(targets):
            subprocess.run(["umount", "-l", target], stderr=subprocess.DEVNULL, check=False)
        for path in sorted(cgroup_directories() - self.cgroups, key=len, reverse=True):
            if not self.foreign(path):
                with contextlib.suppress(OSError):
                    os.rmdir(path)
        shutil.rmtree(self.directory, ignore_errors=True)


class Test:
    """What a row's function is given: the means to run hybrid in one isolation, and to judge it."""

    counter = 0
    counter_lock = threading.Lock()

    def __init__(self, host, isolation, options):
        self.host, self.isolation, self.options = host, isolation, options
        self.slow = host.slow
        self.processes, self.closers, self.names, self.notes = [], [], [], []

    # Running.

    def spawn(self, arguments, **settings):
        settings["env"] = settings.get("env") or self.host.env
        process = subprocess.Popen(arguments, **settings)
        self.processes.append(process)
        return process

    def command(self, *arguments):
        return [self.host.hybrid, *arguments]

    def run_arguments(self, *arguments, image="test", command=(), keep=False):
        return self.command("run", f"--isolation={self.isolation}", *([] if keep else ["--rm"]), *arguments,
                            self.host.image(image), *command)

    def hybrid(self, *arguments, stdin=None, seconds=20, env=None, **settings):
        """Runs `hybrid ARGUMENTS` to its end and returns a Result."""
        return self.finish(self.command(*arguments), stdin, seconds, env, **settings)

    def run(self, *arguments, image="test", command=(), stdin=None, seconds=20, env=None, keep=False, **settings):
        """Runs a workload to its end and returns a Result. keep: without --rm."""
        return self.finish(self.run_arguments(*arguments, image=image, command=command, keep=keep), stdin, seconds,
                           env, **settings)

    def finish(self, arguments, stdin, seconds, env, **settings):
        settings.setdefault("stdin", subprocess.DEVNULL if stdin is None else subprocess.PIPE)
        settings.setdefault("stdout", subprocess.PIPE)
        settings.setdefault("stderr", subprocess.PIPE)
        start = time.monotonic()
        process = self.spawn(arguments, env={**self.host.env, **(env or {})}, **settings)
        try:
            out, err = process.communicate(stdin, timeout=seconds * self.slow)
        except subprocess.TimeoutExpired:
            process.kill()
            try:
                out, err = process.communicate(timeout=10 * self.slow)
            except subprocess.TimeoutExpired:
                out, err = b"", b"(its output did not end either)"
            raise Unended(f"did not end within {seconds * self.slow:.0f} s; stdout {brief(out)!r}, "
                          f"stderr {brief(err)!r}", out or b"", err or b"") from None
        return Result(process.returncode, out or b"", err or b"", time.monotonic() - start)

    def session(self, *arguments, image="test", command=(), verb=None, **settings):
        """Starts a workload (or another verb) and returns it as a Session."""
        settings.setdefault("stdin", subprocess.PIPE)
        line = self.command(*verb) if verb else self.run_arguments(*arguments, image=image, command=command)
        return Session(self, self.spawn(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings))

    def terminal(self, *arguments, image="test", command=(), verb=None, rows=24, columns=80):
        line = self.command(*verb) if verb else self.run_arguments(*arguments, image=image, command=command)
        return Terminal(self, line, rows, columns, env={**self.host.env, "TERM": "xterm"})

    def name(self):
        """A new workload name, removed when the row ends."""
        with Test.counter_lock:
            Test.counter += 1
            name = f"row-{os.getpid()}-{Test.counter}"
        self.names.append(name)
        return name

    def detached(self, *arguments, image="test", command=(), keep=True):
        """Starts a detached workload and returns its name."""
        name = self.name()
        result = self.run("-d", "--name", name, *arguments, image=image, command=command, keep=keep)
        self.equal("exit status of run -d", 0, result.exit, result)
        self.equal("what run -d prints", name + "\n", result.out)
        return name

    def verb(self, *arguments, status=0, **settings):
        """Runs a verb that must end with `status`, and returns what it printed."""
        result = self.hybrid(*arguments, **settings)
        self.equal(f"exit status of {' '.join(arguments)}", status, result.exit, result)
        return result.out

    def exit_of(self, name):
        """The exit status of a workload, by `hybrid wait`."""
        return int(self.verb("wait", name).split()[-1])

    def file(self, name, content):
        """The path of a file with this content."""
        with tempfile.NamedTemporaryFile(dir=self.host.files, suffix="-" + name, delete=False) as file:
            file.write(content.encode() if isinstance(content, str) else content)
        return file.name

    # Judging.

    def equal(self, what, expected, seen, result=None):
        if expected != seen:
            more = f"; stderr {brief(result.stderr)!r}" if result else ""
            raise Failure(f"{what}: expected {brief(repr(expected))}, got {brief(repr(seen))}{more}")

    def check(self, condition, message):
        if not condition:
            raise Failure(message)

    def within(self, what, expected, seen, share=0.1):
        self.check(abs(seen - expected) <= expected * share,
                   f"{what}: expected {expected} within {share:.0%}, got {seen}")

    def match(self, what, expression, seen):
        self.check(re.search(expression, seen), f"{what}: expected /{expression}/, got {brief(repr(seen))}")

    def eventually(self, what, condition, seconds=10):
        deadline = time.monotonic() + seconds * self.slow
        while not condition():
            self.check(time.monotonic() < deadline, f"did not happen: {what}")
            time.sleep(0.05)

    def note(self, text):
        """Something measured, shown beside PASS."""
        self.notes.append(text)

    def monitor_of(self, pid):
        """The monitor of a `hybrid run` in the foreground: its child of the same program."""
        for below in children_below(pid):
            seen = process_stat(below)
            if seen and seen[2] == pid and seen[0].startswith("hybrid"):
                return below
        raise Failure(f"no monitor below process {pid}")

    def end(self):
        """Ends what the row started and did not end itself."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10 * self.slow)
        for name in self.names:
            if os.path.isdir(f"{self.host.root}/{name}") or os.path.isdir(f"{self.host.data}/workloads/{name}"):
                subprocess.run(self.command("rm", "-f", name), env=self.host.env, check=False,
                               stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, timeout=30 * self.slow)
        for closer in self.closers:
            closer()
