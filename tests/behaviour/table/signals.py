"""Signals to `hybrid run` reach the command; the second Ctrl-C ends what ignores the first."""

import signal
import time

from table import look, row, test

WAIT = "echo ready; while :; do sleep 0.1; done"


def forwarded(name):
    def run(t):
        session = t.session(command=["sh", "-c", f"trap 'echo got {name}; exit 3' {name}; {WAIT}"])
        session.expect("ready\n")
        session.signal(getattr(signal, "SIG" + name))
        result = session.wait()
        t.equal("result", (3, f"ready\ngot {name}\n", ""), (result.exit, result.out, result.err))
    return run


for signal_name in ("INT", "TERM"):
    test(f"signal/{signal_name.lower()}")(forwarded(signal_name))


@test("signal/others")
def others(t):
    """One after the other to one command: none of these ends `hybrid run`, or is taken for another."""
    names = ("HUP", "QUIT", "USR1", "USR2", "WINCH")
    session = t.session(command=["sh", "-c", " ".join(f"trap 'echo got {name}' {name};" for name in names)
                                 + f" trap 'echo end; exit 3' TERM; {WAIT}"])
    session.expect("ready\n")
    for name in names:
        session.signal(getattr(signal, "SIG" + name))
        session.expect(f"got {name}\n")
    session.signal(signal.SIGTERM)
    result = session.wait()
    t.equal("result", (3, "ready\n" + "".join(f"got {name}\n" for name in names) + "end\n", ""),
            (result.exit, result.out, result.err))


@test("signal/default-action")
def default_action(t):
    session = t.session("--init", command=["sh", "-c", "echo ready; exec sleep 1000"])
    session.expect("ready\n")
    session.signal(signal.SIGTERM)
    t.equal("exit status", 143, session.wait().exit)


@test("signal/several-in-order")
def several(t):
    script = "trap 'echo usr1' USR1; trap 'echo usr2' USR2; trap 'echo term; exit 0' TERM; " + WAIT
    session = t.session(command=["sh", "-c", script])
    session.expect("ready\n")
    for name, number in (("usr1", signal.SIGUSR1), ("usr2", signal.SIGUSR2), ("term", signal.SIGTERM)):
        session.signal(number)
        session.expect(name + "\n")
    t.equal("exit status", 0, session.wait().exit)


@test("signal/second-interrupt-kills")
def second_interrupt(t):
    session = t.session(command=["sh", "-c", f"trap 'echo ignored' INT; trap '' TERM; {WAIT}"])
    session.expect("ready\n")
    session.signal(signal.SIGINT)
    session.expect("ignored\n")
    time.sleep(0.3)
    t.check(session.process.poll() is None, "the first interrupt ended it")
    session.signal(signal.SIGINT)
    t.equal("exit status", 137, session.wait().exit)


@test("signal/kill-of-hybrid-ends-the-workload")
def kill_cli(t):
    name = t.name()
    session = t.session("--name", name, command=["sh", "-c", WAIT])
    session.expect("ready\n")
    session.signal(signal.SIGKILL)
    session.wait()
    t.eventually("everything of the workload is gone", lambda: not t.host.traces(name))


@test("signal/stopped-and-continued")
def stopped(t):
    """SIGTSTP stops `hybrid run`, SIGCONT continues it; the command's output is not lost."""
    session = t.session(command=["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.2; done"])
    session.expect("1\n")
    session.signal(signal.SIGSTOP)
    time.sleep(0.5)
    session.signal(signal.SIGCONT)
    result = session.wait()
    t.equal("result", (0, "".join(f"{n}\n" for n in range(1, 9))), (result.exit, result.out))


look("signal/none-blocked-or-ignored", ["grep", "-E", "^(SigBlk|SigIgn|SigPnd|ShdPnd):", "/proc/self/status"],
    stdout="SigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\nSigBlk:\t0000000000000000\n"
           "SigIgn:\t0000000000000000\n")
