"""Options: refused by name with the nearest valid one, never ignored; the dry run; the global ones."""

import json
import re

from table import row, test

# What is mistyped, and what the message must name.
MISTYPED = (
    (["--memroy", "64m"], "--memory"), (["--enviroment", "A=1"], "--env"), (["--user-name", "x"], "--user"),
    (["--read-onyl"], "--read-only"), (["--hostnme=x"], "--hostname"), (["--cap-ad", "CHOWN"], "--cap-add"),
    (["--pids-limits=5"], "--pids-limit"), (["--isolatoin=vm"], "--isolation"), (["--security-op=x"], "--security-opt"),
)
for words, nearest in MISTYPED:
    row(f"option/mistyped-{words[0].strip('-').split('=')[0]}", ["true"], options=words, exit=125,
        stderr=re.compile(f"{re.escape(words[0].split('=')[0])}.*{nearest}"))

row("option/isolation-unknown", ["true"], options=["--isolation=vmm"], exit=125, stderr=re.compile("vmm.*\\bvm\\b"))
row("option/isolation-empty", ["true"], options=["--isolation="], exit=125, stderr=re.compile("isolation.*container.*vm"))
row("option/network-bridge-refused", ["true"], options=["--network=bridge"], exit=125, stderr=re.compile("bridge.*none"))
row("option/network-none", ["echo", "x"], options=["--network", "none"], stdout="x\n")
for word in ("--volumes-from", "-p", "--publish", "--privileged", "--device"):
    row(f"option/unsupported-{word.strip('-')}", ["true"], options=[word, "/a:/b"], exit=125,
        stderr=re.compile(re.escape(word) + ".*"))
row("option/value-missing", options=["-m"], image="--help-is-no-image", exit=125, stderr=re.compile("."))
row("option/bundled-short", "cat; echo", options=["-ie", "A=1"], stdin=b"x", stdout="x\n")
row("option/end-of-options", ["echo", "x"], options=["--"], stdout="x\n")
row("option/stop-signal-refused", ["true"], options=["--stop-signal=SIGTREM"], exit=125, stderr=re.compile("SIGTREM.*TERM"))
row("option/name-refused", ["true"], options=["--name=../escape"], exit=125, stderr=re.compile(r"\.\./escape"))
row("option/label-refused", ["true"], options=["--label", "=value"], exit=125, stderr=re.compile("=value"))
row("option/quiet", ["echo", "x"], options=["-q"], stdout="x\n")


@test("option/isolation-default-is-container", isolations=("container",))
def default_isolation(t):
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        result = t.hybrid("run", "--rm", t.host.image("test"), "cat", "/proc/sys/kernel/random/boot_id")
        t.equal("boot id", file.read(), result.out, result)


@test("option/name-twice")
def name_twice(t):
    name = t.detached(command=["sleep", "1000"])
    result = t.run("--name", name, command=["true"])
    t.equal("exit status", 125, result.exit, result)
    t.match("stderr", name, result.err)
    t.verb("rm", "-f", name)


@test("option/dry-run", alone=True)
def dry_run(t):
    """Prints the plan, and makes nothing."""
    result = t.run("--dry-run", "-w", "/opt", "-u", "alice", "--hostname", "box", command=["echo", "two words"])
    t.equal("result", (0, ""), (result.exit, result.err))
    for wanted in ("(?i)mount.*/proc", "(?i)hostname.*box", "(?i)alice", "/opt", "(?i)capabilit", "(?i)seccomp",
                   "echo.*two words"):
        t.match("the plan", wanted, result.out)
    t.equal("left behind", [], t.host.settled(2))
    rootless = ["unshare", "--user", "--map-root-user", "--mount",
                *t.command("run", "--dry-run", f"--isolation={t.isolation}", t.host.image("test"), "echo", "two words")]
    seen = t.finish(rootless, None, 20, None)
    t.equal("result as root of a user namespace", (0, ""), (seen.exit, seen.err))
    t.match("the plan as root of a user namespace", "echo.*two words", seen.out)


@test("option/dry-run-json")
def dry_run_json(t):
    result = t.run("--dry-run", "--format", "json", command=["true"])
    t.equal("exit status", 0, result.exit, result)
    t.check(isinstance(json.loads(result.out), (dict, list)), "no JSON document")


@test("option/root-and-data", isolations=("container",))
def directories(t):
    """--root and --data before the verb say the same as the environment."""
    env = {key: "" for key in ("HYBRID_ROOT", "HYBRID_DATA")}
    t.host.image("test")
    result = t.hybrid("--root", t.host.root, "--data", t.host.data, "run", "--rm", t.host.image("test"), "echo", "x",
                      env=env)
    t.equal("result", (0, "x\n"), (result.exit, result.out), result)


@test("option/verb-mistyped", isolations=("container",))
def verb_mistyped(t):
    for word, nearest in (("rnu", "run"), ("strat", "start"), ("imags", "images"), ("kil", "kill")):
        result = t.hybrid(word)
        t.equal(f"exit status of {word}", 125, result.exit, result)
        t.match("stderr", f"{word}.*{nearest}", result.err)


@test("option/help", isolations=("container",))
def help_texts(t):
    """Every verb in the list has a help text of its own, on stdout, status 0."""
    listing = t.verb("--help")
    verbs = re.findall(r"(?m)^  +(?:hybrid )?([a-z]+)\b", listing)
    for verb in ("run", "exec", "ps", "rm", "stop", "start", "wait", "kill", "logs", "load", "images", "inspect", "rmi"):
        t.check(verb in verbs, f"--help does not list {verb}")
        t.match(f"help of {verb}", rf"(?i)usage:.*hybrid.* {verb}", t.verb(verb, "--help"))


@test("option/version", isolations=("container",))
def version(t):
    t.match("version", r"hybrid version \d+\.\d+", t.verb("--version"))
