"""What the command is given: arguments, environment, directory, identity."""

import re

from table import enter, look, row, same, test


def counted(*words):
    return "".join(f"{len(word.encode())}:{word}\n" for word in words)


ODD = ["two words", "line\nbreak", "tab\there", "", "ünïcödé ☃ 漢字", "$HOME `id` $(id)", "'single' \"double\"",
       "back\\slash", "-n", "--name=x", "*", "~", "\x7f\x01", " "]

row("arguments/odd", ["probe", "arguments", *ODD], stdout=counted(*ODD), compare=same)
enter("arguments/empty-strings", ["probe", "arguments", "", "", ""], stdout=counted("", "", ""))
enter("arguments/none", ["probe", "arguments"])
enter("arguments/options-of-the-command", ["probe", "arguments", "--rm", "-it", "--", "-e", "A=1"],
    stdout=counted("--rm", "-it", "--", "-e", "A=1"))
enter("arguments/thousand", ["probe", "arguments", *map(str, range(1000))], stdout=counted(*map(str, range(1000))))



def checksum(*texts):
    total, length = 5381, 0
    for text in texts:
        for byte in text.encode():
            total, length = (total * 33 + byte) & 0xffffffff, length + 1
    return f"{length} {total}\n"


LONG = "x" * 100000
MANY = [f"{n:04}" * 7 for n in range(1000)]
row("arguments/128-kib", ["probe", "length", LONG, *MANY], stdout=checksum(LONG, *MANY))
BIG = "BIG=" + "é" * 32766
enter("environment/64-kib-variable", ["probe", "length"], options=["-e", BIG], stdout=checksum(BIG))
enter("environment/128-kib-in-all", ["probe", "length"],
    options=[word for n in range(1024) for word in ("-e", f"BIG{n:04}={'v' * 120}")],
    stdout=checksum(*[f"BIG{n:04}={'v' * 120}" for n in range(1024)]))

look("environment/of-the-image", 'echo "$IMAGE_VARIABLE|${EMPTY_VARIABLE-unset}|$PATH"',
    stdout="from image||/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n")
row("environment/whole", "env | sort", options=["--hostname", "box"], compare=same,
    stdout="EMPTY_VARIABLE=\nHOME=/root\nHOSTNAME=box\nIMAGE_VARIABLE=from image\n"
           "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nPWD=/\nSHLVL=1\n")
enter("environment/set", 'echo "$A|$B|$C"', options=["-e", "A=1", "--env=B=two words", "-e", "C="],
    stdout="1|two words|\n")
enter("environment/overrides-image", 'echo "$IMAGE_VARIABLE"', options=["-e", "IMAGE_VARIABLE=mine"], stdout="mine\n")
enter("environment/last-wins", 'echo "$A"', options=["-e", "A=1", "-e", "A=2"], stdout="2\n")
enter("environment/odd-values", ["sh", "-c", 'printf "%s|" "$A" "$B" "$C"'],
    options=["-e", "A=line\nbreak", "-e", "B=ünïcödé ☃", "-e", "C=a=b=c"], stdout="line\nbreak|ünïcödé ☃|a=b=c|")
enter("environment/from-the-caller", 'echo "$PASSED|${ABSENT-unset}"', options=["-e", "PASSED", "-e", "ABSENT"],
    env={"PASSED": "caller's"}, stdout="caller's|unset\n")
row("environment/caller-does-not-leak", 'echo "${SECRET-unset}"', env={"SECRET": "leaked"}, stdout="unset\n")
enter("environment/file", 'echo "$A|$B|$PASSED|$C"', options=["--env-file", "{list}", "-e", "C=option"],
    files={"list": "# comment\nA=1 2\n\nB=\"quoted\"\nPASSED\nC=file\n"}, env={"PASSED": "caller's"},
    stdout='1 2|"quoted"|caller\'s|option\n')
row("environment/file-missing", ["true"], options=["--env-file", "/no/such/file"], exit=125,
    stderr=re.compile("/no/such/file.*No such file"))
row("environment/name-empty", ["true"], options=["-e", "=value"], exit=125, stderr=re.compile("=value"))
look("environment/home-of-user", 'echo "$HOME"', options=["-u", "alice"], stdout="/home/alice\n")
enter("environment/home-given", 'echo "$HOME"', options=["-e", "HOME=/mine"], stdout="/mine\n")
enter("environment/home-without-entry", 'echo "$HOME"', options=["-u", "54321"], stdout="/\n")

row("directory/default", ["pwd"], stdout="/\n")
enter("directory/given", ["pwd"], options=["-w", "/opt"], stdout="/opt\n")
row("directory/made-if-absent", "pwd; stat -c '%a %u:%g' . ..", options=["-w", "/new/deep/place"],
    stdout="/new/deep/place\n755 0:0\n755 0:0\n")
row("directory/of-the-image", ["pwd"], image="user", stdout="/home/alice\n")
row("directory/relative-refused", ["true"], options=["-w", "relative"], exit=125, stderr=re.compile("relative"))
enter("directory/is-a-file", ["true"], options=["-w", "/etc/passwd"], exit=125,
    stderr=re.compile("/etc/passwd"))
# As runc does it: the directory is entered before root's capabilities are given up. They do not come back by that.
enter("directory/of-a-user-unreadable", "pwd; ls", options=["-w", "/root", "-u", "alice"], stdout="/root\n", exit=1, stderr=re.compile("^ls: .*Permission denied\n$"))

IDS = "id -u; id -g; grep ^Groups: /proc/self/status"


def ids(uid, gid, *groups):
    return f"{uid}\n{gid}\nGroups:\t{' '.join(map(str, groups))} \n"


look("user/default", IDS, stdout=ids(0, 0, 0, 50), compare=same)
look("user/name", IDS, options=["-u", "alice"], stdout=ids(1000, 1000, 6, 29, 1000), compare=same)
enter("user/number", IDS, options=["-u", "1000"], stdout=ids(1000, 1000, 6, 29, 1000))
enter("user/number-without-entry", IDS, options=["-u", "12345"], stdout=ids(12345, 0, 0))
enter("user/name-and-group", IDS, options=["-u", "alice:staff"], stdout=ids(1000, 50, 50))
enter("user/name-and-group-number", IDS, options=["-u", "alice:777"], stdout=ids(1000, 777, 777))
enter("user/numbers", IDS, options=["-u", "12:34"], stdout=ids(12, 34, 34))
enter("user/other-primary-group", IDS, options=["--user=bob"], stdout=ids(1001, 100, 29, 50, 100))
enter("user/name-of-digits", IDS, options=["-u", "4242"], stdout=ids(77, 78, 78))
row("user/of-the-image", IDS, image="user", stdout=ids(1000, 1000, 6, 29, 1000), compare=same)
row("user/image-overridden", IDS, image="user", options=["-u", "root"], stdout=ids(0, 0, 0, 50))
look("user/real-effective-saved", ["probe", "ids"], options=["-u", "alice"], stdout="1000 1000 1000 1000 1000 1000\n")
for add, refused in ((row, ("no-such-user", "alice:no-such-group", ":", "alice:", "")),
                     (enter, ("1000x", "-1", "4294967296", "1000:100x"))):
    for bad in refused:
        add(f"user/refused-{bad or 'empty'}", ["true"], options=["-u", bad], exit=125,
            stderr=re.compile("(?i)" + re.escape(bad.split(":")[-1] or "user")))
enter("user/owns-streams", "echo x >/dev/stdout; cat /dev/stdin", options=["-u", "alice", "-i"], stdin=b"in",
    stdout="x\nin")

row("process/first", ["sh", "-c", "echo $$"], stdout="1\n")
row("process/parent-unseen", ["grep", "-E", "^(Pid|PPid|NSpid|Tgid|TracerPid|Threads):", "/proc/self/status"],
    stdout="Tgid:\t1\nPid:\t1\nPPid:\t0\nTracerPid:\t0\nNSpid:\t1\nThreads:\t1\n", compare=same)
row("process/others-unseen", "set -- /proc/[0-9]*; echo $*", stdout="/proc/1\n")
row("process/session-of-its-own", ["cut", "-d", " ", "-f", "4-6", "/proc/self/stat"], stdout="0 1 1\n", compare=same)
look("process/nice-and-policy", ["cut", "-d", " ", "-f", "18,19,41", "/proc/self/stat"], stdout="20 0 0\n",
    compare=same)
look("process/umask", "umask", stdout="0022\n")
look("process/oom-score", ["cat", "/proc/self/oom_score_adj"], stdout="0\n", compare=same)
look("process/not-dumpable-is-over", "ls -l /proc/self/exe >/dev/null && echo readable", options=["-u", "alice"],
    stdout="readable\n")
row("process/orphans-reaped-with-init", ["probe", "orphans", "20"], options=["--init"], stdout="0\n")
row("process/init-is-first", "set -- /proc/[0-9]*; echo $$ $*", options=["--init"],
    stdout=re.compile(r"^([2-9]) /proc/1 /proc/\1\n$"))
row("process/init-passes-status", "exit 9", options=["--init"], exit=9)

row("command/default-of-image", image="test", stdout="default\n")
row("command/given", ["echo", "other"], stdout="other\n")
row("command/cmd-only", image="command", stdout=counted("cmd 1", "cmd 2"))
row("command/cmd-replaced", ["probe", "arguments", "x"], image="command", stdout=counted("x"))
row("command/entrypoint-only", image="entrypoint", stdout=counted("entry"))
row("command/entrypoint-with-arguments", ["a", "b"], image="entrypoint", stdout=counted("entry", "a", "b"))
row("command/both", image="entrypoint-command", stdout=counted("entry", "cmd 1", "cmd 2"))
row("command/both-cmd-replaced", ["mine"], image="entrypoint-command", stdout=counted("entry", "mine"))
row("command/entrypoint-replaced", ["probe", "arguments", "z"], options=["--entrypoint", "busybox"],
    image="entrypoint-command", exit=127, stderr=None)
row("command/entrypoint-replaced-drops-cmd", ["arguments", "z"], options=["--entrypoint", "/bin/probe"],
    image="entrypoint-command", stdout=counted("z"))
row("command/entrypoint-replaced-alone", options=["--entrypoint", "/bin/pwd"], image="entrypoint-command",
    stdout="/\n")
row("command/entrypoint-emptied", ["echo", "plain"], options=["--entrypoint="], image="entrypoint-command",
    stdout="plain\n")
row("command/shell-form", image="shell-form", stdout="shell form: zero one\n")


@test("arguments/bytes-that-are-no-utf-8")
def raw_bytes(t):
    """A command line is bytes; JSON is not. What cannot be carried exactly must be refused, not changed."""
    result = t.run(command=["sh", "-c", 'printf %s "$1" | od -An -tx1', "sh", b"a\xffb"])
    exact = (result.exit, result.out) == (0, " 61 ff 62\n")
    refused = result.exit == 125 and "UTF-8" in result.err
    t.check(exact or refused, f"neither exact nor refused: status {result.exit}, {result.out!r}, {result.err!r}")
