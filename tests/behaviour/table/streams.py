"""Standard streams: exact, apart from each other, to their ends, however much, however slow."""

import os
import signal
import subprocess
import threading
import time

import harness
from table import enter, look, row, same, test

OWN_MEMORY_LIMIT = 24 << 20  # for any one of our processes while a stream of any length passes

LINES = "".join(f"line {n}\n" for n in range(1000))
LOOP = 'i=0; while [ $i -lt 1000 ]; do echo "line $i"{to}; i=$((i+1)); done'

row("stream/stdout", ["echo", "hello"], stdout="hello\n", compare=same)
enter("stream/stderr", "echo problem >&2", stderr="problem\n")
look("stream/apart", "echo out; echo err >&2; echo out2; echo err2 >&2", stdout="out\nout2\n",
    stderr="err\nerr2\n")
enter("stream/no-newline-at-end", ["printf", "abc"], stdout="abc")
enter("stream/nothing", ["true"])
enter("stream/one-newline", ["echo"], stdout="\n")
look("stream/binary", r"printf '\000\001\377\r\n\033[0m\000'", stdout=b"\0\1\xff\r\n\33[0m\0")
look("stream/binary-both", r"printf '\000\377'; printf '\376\000' >&2", stdout=b"\0\xff", stderr=b"\xfe\0")
look("stream/thousand-lines", LOOP.format(to=""), stdout=LINES, seconds=30)
look("stream/thousand-lines-stderr", LOOP.format(to=" >&2"), stderr=LINES, seconds=30)
look("stream/thousand-writes-of-one-byte",
    "i=0; while [ $i -lt 1000 ]; do printf x; i=$((i+1)); done", stdout="x" * 1000, seconds=30)
row("stream/one-mib-each", "probe pump 1 1048576; probe pump 2 1048576",
    stdout=harness.pattern_block() * 16, stderr=harness.pattern_block() * 16)
enter("stream/odd-length", ["probe", "pump", "1", "3141593"],
    stdout=(harness.pattern_block() * 48)[:3141593])
look("stream/of-a-child-that-outlives-no-one", "(echo child) & wait; echo parent", stdout="child\nparent\n")

row("stdin/none", ["cat"], stdin=b"not passed on without -i")
enter("stdin/passed-on", ["cat"], options=["-i"], stdin=b"one\ntwo", stdout="one\ntwo")
enter("stdin/empty", ["cat"], options=["-i"], stdin=b"")
enter("stdin/binary", ["cat"], options=["-i"], stdin=bytes(range(256)) * 8, stdout=bytes(range(256)) * 8)
enter("stdin/to-its-end", "cat >/dev/null; echo end", options=["-i"], stdin=b"x" * 300000, stdout="end\n")
row("stdin/not-read", ["true"], options=["-i"], stdin=b"x" * 1000000)
enter("stdin/read-in-part", ["head", "-n", "1"], options=["-i"], stdin=b"first\n" + b"x" * 500000,
    stdout="first\n")
row("stdin/one-mib-echo", ["cat"], options=["-i"], stdin=harness.pattern_block() * 16,
    stdout=harness.pattern_block() * 16)
enter("stdin/closed-by-command", "exec <&-; sleep 0.2; echo still here", options=["-i"], stdin=b"x" * 200000,
    stdout="still here\n")
row("stream/kinds-of-descriptors", ["probe", "fds"], options=["-i"], stdin=b"",
    stdout="0 pipe\n1 pipe\n2 pipe\n", compare=same)
row("stream/half-closed-stdout", ["probe", "half-close", "1"], options=["-i"], stdin=b"later",
    stderr="closed 1\nlater")
row("stream/half-closed-stderr", ["probe", "half-close", "2"], options=["-i"], stdin=b"later",
    stdout="closed 2\nlater")
look("stream/dev-stdout", "echo a >/dev/stdout; echo b >/dev/stderr; echo c >/proc/self/fd/1",
    stdout="a\nc\n", stderr="b\n")
enter("stream/dev-stdin", "cat /dev/stdin", options=["-i"], stdin=b"by name", stdout="by name")


@test("stdin/open-while-stdout-flows")
def conversation(t):
    """Each line is answered before the next is sent: nothing waits for a full buffer or an end."""
    session = t.session("-i", command=["sh", "-c", 'while read -r x; do echo "got $x"; done; echo bye'])
    for n in range(20):
        session.send(f"line {n}\n".encode())
        session.expect(f"got line {n}\n")
    session.close_stdin()
    session.expect("bye\n")
    t.equal("exit status", 0, session.wait().exit)


@test("stdin/closed-descriptor")
def closed_stdin(t):
    result = t.finish(["sh", "-c", 'exec "$@" <&-', "sh"] + t.run_arguments("-i", command=["cat"]), None, 20, None)
    t.equal("result", (0, b"", b""), (result.exit, result.stdout, result.stderr))


@test("stream/closed-stdout")
def closed_stdout(t):
    """Nowhere to write to: the command still ends with its own status, stderr is delivered."""
    line = t.run_arguments(command=["sh", "-c", "echo lost; echo err >&2; exit 3"])
    result = t.finish(["sh", "-c", 'exec "$@" >&-', "sh"] + line, None, 20, None)
    t.equal("result", (3, b"", b"err\n"), (result.exit, result.stdout, result.stderr))


@test("stream/closed-all")
def closed_all(t):
    line = t.run_arguments("-i", command=["sh", "-c", "cat; exit 5"])
    result = t.finish(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"] + line, None, 20, None)
    t.equal("exit status", 5, result.exit)


@test("stream/to-full-device")
def full_device(t):
    with open("/dev/full", "wb") as full:
        result = t.run(command=["sh", "-c", "echo lost; exit 4"], stdout=full)
    t.check(result.exit != 0, "a failed write went unnoticed")


@test("stream/reader-goes-away")
def reader_goes_away(t):
    """As in `hybrid run ... yes | head -1`: the command is told and the pipeline ends."""
    session = t.spawn(t.run_arguments("--init", command=["probe", "pump", "1", str(1 << 40)]),
                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    session.stdout.read(100000)
    session.stdout.close()
    try:
        status = session.wait(20 * t.slow)
    except subprocess.TimeoutExpired:
        raise harness.Failure("still runs 20 s after its reader went away") from None
    t.equal("exit status", 128 + signal.SIGPIPE, status)


@test("stream/slow-reader")
def slow_reader(t):
    process = t.spawn(t.run_arguments(command=["probe", "pump", "1", str(16 << 20)]),
                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(1.5)
    seen = bytearray()
    while data := os.read(process.stdout.fileno(), 1 << 18):
        seen += data
        time.sleep(0.005)
    t.equal("bytes", 16 << 20, len(seen))
    t.check(bytes(seen) == harness.pattern_block() * 256, "the bytes differ from those written")
    t.equal("exit status", 0, process.wait(20 * t.slow))


@test("stream/stderr-while-stdout-is-stuck")
def one_stuck(t):
    """A reader that does not read stdout does not stop stderr."""
    process = t.spawn(t.run_arguments(command=["sh", "-c", "probe pump 1 4194304 & echo through >&2; wait"]),
                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    watchdog = threading.Timer(20 * t.slow, process.kill)
    watchdog.start()
    line = process.stderr.readline()
    length = len(process.stdout.read())
    watchdog.cancel()
    t.equal("stderr", b"through\n", line)
    t.equal("bytes of stdout", 4 << 20, length)
    process.wait(20 * t.slow)


def large_output(t, number):
    size = t.options.stream_bytes
    process = t.spawn(t.run_arguments(command=["probe", "pump", str(number), str(size)]),
                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    watch = harness.MemoryWatch(process.pid)
    watchdog = threading.Timer(300 * t.slow, process.kill)
    watchdog.start()
    expected, got, wrong = memoryview(harness.pattern_block() * 17), 0, False
    stream = (process.stdout if number == 1 else process.stderr).fileno()
    while data := os.read(stream, 1 << 20):
        at = got % harness.PATTERN_BLOCK
        wrong = wrong or data != expected[at:at + len(data)]
        got += len(data)
    watchdog.cancel()
    status, peak = process.wait(20 * t.slow), watch.stop()
    t.equal("bytes", size, got)
    t.check(not wrong, "the bytes differ from those written")
    t.equal("exit status", 0, status)
    t.check(peak <= OWN_MEMORY_LIMIT, f"{watch.who} grew to {peak >> 10} KiB")
    t.note(f"{size >> 20} MiB, peak {peak >> 10} KiB in {watch.who}")


@test("stream/large-stdout", alone=True, seconds=300)
def large_stdout(t):
    large_output(t, 1)


@test("stream/large-stderr", alone=True, seconds=300)
def large_stderr(t):
    large_output(t, 2)


@test("stdin/large", alone=True, seconds=300)
def large_stdin(t):
    size, block = t.options.stream_bytes, harness.pattern_block() * 16
    process = t.spawn(t.run_arguments("-i", command=["probe", "sink"]), stdin=subprocess.PIPE,
                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    watch = harness.MemoryWatch(process.pid)
    watchdog = threading.Timer(300 * t.slow, process.kill)
    watchdog.start()
    left = size
    try:
        while left > 0:
            left -= os.write(process.stdin.fileno(), block[:left])
            # Writes may end anywhere: the next one goes on in the pattern where this one stopped.
            at = (size - left) % harness.PATTERN_BLOCK
            if at:
                piece = block[at:harness.PATTERN_BLOCK][:left]
                while piece:
                    written = os.write(process.stdin.fileno(), piece)
                    left, piece = left - written, piece[written:]
    except BrokenPipeError:
        pass
    out, err = process.communicate()
    watchdog.cancel()
    peak = watch.stop()
    t.equal("what the command read", f"{size} same\n", out.decode())
    t.equal("stderr", b"", err)
    t.equal("exit status", 0, process.returncode)
    t.check(peak <= OWN_MEMORY_LIMIT, f"{watch.who} grew to {peak >> 10} KiB")
    t.note(f"{size >> 20} MiB, peak {peak >> 10} KiB in {watch.who}")
