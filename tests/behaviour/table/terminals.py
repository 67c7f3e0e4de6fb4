"""Terminals: the workload's own, in size, keys and job control; the caller's, restored whatever happens."""

import os
import signal
import termios
import time

import harness
from table import test

SLEEP = ["sh", "-c", "echo ready; exec sleep 1000"]


def shown(name, script, *wanted, option="-it"):
    """Adds a row: what a command that nobody types to shows on the terminal, which is as it was afterwards."""
    def run(t):
        term = t.terminal(option, command=["sh", "-c", script], rows=33, columns=101)
        for text in wanted:
            term.expect(text)
        t.equal("exit status", 0, term.wait())
        term.check_restored()
    test(f"terminal/{name}")(run)


def sleeping(t, *options):
    """A command that sleeps on a terminal that is raw by now."""
    term = t.terminal("-it", *options, command=SLEEP)
    term.expect("ready\r\n")
    term.await_raw()
    return term


def killed(t, term, pid, number, status):
    """Sends a signal and expects the end, with the terminal restored."""
    os.kill(pid, number)
    t.equal("exit status", status, term.wait())
    term.check_restored()


shown("is-one", "tty; test -t 0 && test -t 1 && test -t 2 && echo all three", r"/dev/(pts/\d+|console)\r\n",
      "all three\r\n")
shown("not-without-t", "test -t 0 || test -t 1 || test -t 2 || echo none", "none\r?\n", option="-i")
shown("size", "stty size", "33 101\r\n")
shown("line-ends-and-one-stream", "echo out; echo err >&2", "out\r\nerr\r\n")
shown("window-size-variables", 'echo "TERM=$TERM"', "TERM=xterm\r\n")


@test("terminal/resize")
def resize(t):
    term = t.terminal("-it", command=["sh", "-c", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.1; done"])
    term.expect("ready\r\n")
    term.resize(40, 132)
    term.expect("40 132\r\n")
    term.resize(10, 20)
    term.expect("10 20\r\n")
    os.kill(term.process.pid, signal.SIGKILL)
    term.wait()


@test("terminal/raw-keys")
def raw_keys(t):
    """Every key reaches the command unchanged: ^C, ^Z, ^D, ^\\, ^S, DEL, escape sequences, CR, UTF-8."""
    term = t.terminal("-it", command=["probe", "keys"])
    term.expect("ready\r\n")
    keys = b"\x03\x1a\x04\x1c\x13\x11\x7f\x1b[A\r\n\xc3\xa9"
    term.send(keys)
    term.expect("".join(f"<{key:02x}>" for key in keys))
    term.send("q")
    t.equal("exit status", 0, term.wait())
    term.check_restored()


@test("terminal/interrupt-reaches-the-command")
def interrupt(t):
    term = t.terminal("-it", command=["sh", "-c", "trap 'echo got INT; exit 7' INT; echo ready; while :; do sleep 0.1; done"])
    term.expect("ready\r\n")
    term.send("\x03")
    term.expect("got INT\r\n")
    t.equal("exit status", 7, term.wait())
    term.check_restored()


@test("terminal/end-of-file-key")
def end_of_file(t):
    term = t.terminal("-it", command=["sh", "-c", "cat; echo after"])
    term.await_raw()
    term.send("line\r")
    term.expect("line\r\nline\r\n")
    term.send("\x04")
    term.expect("after\r\n")
    t.equal("exit status", 0, term.wait())


@test("terminal/interactive-shell")
def shell(t):
    """A shell with job control: ^Z stops its job, fg continues it, exit ends."""
    term = t.terminal("-it", command=["sh"])
    term.expect(r"[#$] ")
    term.send("cat\r")
    term.expect("cat\r\n")
    time.sleep(0.3 * min(t.slow, 4))
    term.send("\x1a")
    term.expect("(?i)stopped")
    term.send("echo job $((6 * 7))\r")
    term.expect("job 42\r\n")
    term.send("kill -9 %1\r")
    term.send("wait; echo gone\r")
    term.expect("gone\r\n")
    term.send("exit 9\r")
    time.sleep(0.2 * t.slow)
    if term.process.poll() is None:
        term.send("exit 9\r")  # the shell warned first that it had stopped jobs
    t.equal("exit status", 9, term.wait())
    term.check_restored()


@test("terminal/restored-after-failure")
def failure(t):
    term = t.terminal("-it", command=["/no/such/program"])
    t.equal("exit status", 127, term.wait())
    term.check_restored()


@test("terminal/restored-after-terminate")
def terminated(t):
    term = sleeping(t, "--init")
    killed(t, term, term.process.pid, signal.SIGTERM, 143)


@test("terminal/restored-after-kill-of-hybrid")
def hybrid_killed(t):
    term = sleeping(t)
    killed(t, term, term.process.pid, signal.SIGKILL, -9)


@test("terminal/restored-after-death-of-monitor")
def monitor_killed(t):
    term = sleeping(t)
    killed(t, term, t.monitor_of(term.process.pid), signal.SIGKILL, 125)


@test("terminal/hang-up")
def hang_up(t):
    """The caller's terminal goes away: the command is told by SIGHUP, and nothing remains."""
    term = sleeping(t, "--init")
    term.close()
    t.eventually("hybrid ends", lambda: term.process.poll() is not None)


@test("terminal/job-control-from-outside")
def job_control(t):
    """SIGTSTP to `hybrid run -it` in a shell: cooked while stopped, raw and alive after fg."""
    name = t.name()
    line = t.run_arguments("-it", "--name", name, command=["sh", "-c", 'echo ready; read -r x; echo "<$x>"'])
    term = harness.Terminal(t, ["bash", "--norc", "--noprofile", "-i"],
                            env={**t.host.env, "TERM": "xterm", "PS1": "caller> "})
    term.expect("caller> ")
    term.send(" ".join(f"'{word}'" if "'" not in word else '"' + word.replace('"', '\\"').replace("$", "\\$") + '"'
                       for word in line) + "\r")
    term.expect("ready\r\n")
    term.await_raw()
    inside = [pid for pid in harness.descendants(term.process.pid)
              if harness.process_stat(pid)[2] == term.process.pid]
    os.kill(inside[0], signal.SIGTSTP)
    term.expect("Stopped")
    term.expect("caller> ")
    t.check(termios.tcgetattr(term.slave)[3] & termios.ISIG, "the terminal is raw while hybrid is stopped")
    term.send("fg\r")
    term.await_raw()
    term.send("again\r")
    term.expect("<again>\r\n")
    term.expect("caller> ")
    term.send("exit\r")
    term.wait()


@test("terminal/refused-without-one")
def refused(t):
    """-t with an input that is no terminal is an error, as in docker(1)."""
    result = t.run("-it", command=["true"])
    t.equal("exit status", 125, result.exit, result)
    t.match("stderr", "(?i)terminal|tty", result.err)


@test("terminal/no-input-injection")
def injection(t):
    """TIOCSTI from inside cannot reach the caller's terminal."""
    term = t.terminal("-it", command=["probe", "tiocsti"])
    term.wait()
    term.check_restored()
    os.set_blocking(term.slave, False)
    try:
        t.equal("pushed into the caller's terminal", b"", os.read(term.slave, 10))
    except BlockingIOError:
        pass
