"""How a command ends, and how its ending is reported."""

import re

from table import enter, look, row, test

for status in (0, 3, 125, 255):
    row(f"exit/{status}", f"exit {status}", exit=status)
for status in (1, 42, 126, 127, 137, 254):
    enter(f"exit/{status}", f"exit {status}", exit=status)
enter("exit/true", ["true"])
enter("exit/false", ["false"], exit=1)
enter("exit/without-cleanup", ["probe", "exit", "7"], exit=7)

# Signals. The first process of a PID namespace ignores signals that it sends to itself, so the signal comes
# to the command behind --init; a fault is the kernel's own and ends also the first process.
for name, number in (("HUP", 1), ("KILL", 9), ("XCPU", 24)):
    row(f"exit/signal-{name.lower()}", ["probe", "raise", str(number)], options=["--init"], exit=128 + number)
OTHERS = (("INT", 2), ("QUIT", 3), ("ABRT", 6), ("USR1", 10), ("PIPE", 13), ("TERM", 15))
for name, number in OTHERS:
    row(f"exit/signal-{name.lower()}", ["probe", "raise", str(number)], options=["--init"], exit=128 + number,
        isolations=("container",))


@test("exit/other-signals", isolations=("vm",), seconds=60)
def other_signals(t):
    """As above: in a VM a start for each costs much, and a second command of one is told of by the same frame."""
    name = t.detached("--init", command=["sleep", "100000"])
    for signal, number in OTHERS:
        t.equal(signal, 128 + number, t.hybrid("exec", name, "probe", "raise", str(number)).exit)
    t.verb("rm", "-f", name)


row("exit/fault-of-first-process", ["probe", "fault"], exit=139)
row("exit/kill-of-first-process-by-itself", "kill -9 $$; echo alive", stdout="alive\n")
look("exit/child-killed", "sh -c 'kill -9 $$'; echo $?", stdout="137\n", stderr=None)

# 125: hybrid's own failures. Each message names the object.
row("exit/125-no-such-image", image="no.such.registry/none:1", exit=125,
    stderr=re.compile(r"(?s)^hybrid: .*no\.such\.registry/none:1.*"))
row("exit/125-bad-reference", image="Bad//Reference", exit=125, stderr=re.compile("Bad//Reference"))


@test("exit/125-unknown-global-option", isolations=("container",), once=True)
def unknown_global_option(t):
    """What comes before a verb is no verb's: the remedy that the message names must be one."""
    t.equal("long", "hybrid: unknown option --no-such-option; `hybrid --help` lists them\n",
            t.hybrid("--no-such-option", "ps").err)
    t.equal("letter", "hybrid: unknown option -q; `hybrid --help` lists them\n", t.hybrid("-q", "ps").err)
    t.equal("nearly", "hybrid: unknown option --rot; did you mean --root?\n", t.hybrid("--rot", "/x", "ps").err)


row("exit/125-unknown-option", ["true"], options=["--no-such-option"], exit=125,
    stderr=re.compile("--no-such-option"))
row("exit/125-no-command", image="no-command", exit=125, stderr=re.compile("(?i)command"))

# 126 and 127: the command's.
row("exit/126-not-executable", ["/opt/not-executable"], exit=126,
    stderr=re.compile("(?i)/opt/not-executable.*permission denied"))
enter("exit/126-directory", ["/etc"], exit=126, stderr=re.compile("/etc"))
enter("exit/126-garbage", ["/opt/garbage"], exit=126, stderr=re.compile("(?i)/opt/garbage.*format"))
enter("exit/126-no-right", ["/opt/root-only"], options=["-u", "alice"], exit=126,
    stderr=re.compile("(?i)/opt/root-only.*permission denied"))
enter("exit/126-found-in-path", ["not-executable"], options=["-e", "PATH=/bin:/opt"], exit=126,
    stderr=re.compile("(?i)not-executable.*permission denied"))
enter("exit/127-absolute", ["/no/such/program"], exit=127, stderr=re.compile("/no/such/program"))
row("exit/127-in-path", ["no-such-program"], exit=127, stderr=re.compile("no-such-program"))
enter("exit/127-interpreter", ["/opt/no-interpreter"], exit=127, stderr=re.compile("/opt/no-interpreter"))
enter("exit/127-empty-command", [""], exit=127, stderr=None)
look("exit/script", ["/opt/script", "a", "b c"], stdout="script:/opt/script:2:a b c\n")
look("exit/symlink", ["/opt/applet"], stdout="through a link\n")
enter("exit/relative-to-directory", ["./script", "x"], options=["-w", "/opt"],
    stdout=re.compile(r"^script:(/opt/)?\./script:1:x\n$"))


@test("exit/out-of-memory", seconds=60)
def out_of_memory(t):
    result = t.run("-m", "48m", command=["probe", "eat", "400"], seconds=60)
    t.equal("exit status", 137, result.exit, result)
    t.match("stderr", r"(?i)out.of.memory", result.err)
    t.match("stderr names the remedy", r"-m|--memory", result.err)


@test("exit/out-of-memory-in-a-child", seconds=60)
def out_of_memory_child(t):
    """The shell survives and reports; the status is the shell's own."""
    result = t.run("-m", "48m", command=["sh", "-c", "probe eat 400 >/dev/null; echo $?"], seconds=60)
    t.equal("stdout", "137\n", result.out, result)
    t.equal("exit status", 0, result.exit, result)
