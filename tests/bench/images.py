#!/usr/bin/python3
"""Times images against others' tools: into the store, and read in a container. Ratios are what to lean on.

    images.py [--build BUILD] [--rounds N] [--cold] [--json FILE]

Two images: 300 MB in 20 layers, and 100,000 small files in two. Each round does every command once, with an empty store of
its own, so that all see the same machine; a ratio is the median over the rounds of (the other's time / hybrid's time in
the same round). Memory is the peak of the sum of all processes' proportional set sizes, sampled. --cold empties the
machine's caches before each reading. No figure fails: the exit status is 1 only if a command does.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

PROJECT = os.path.realpath(os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", ".."))
sys.dont_write_bytecode = True
sys.path.insert(0, PROJECT + "/tests/behaviour")

import fixtures  # noqa: E402
import registries  # noqa: E402

SMALL_FILES, SMALL_LAYERS = 100_000, 2


def build_small(archive, probe):
    numbers = random.Random(5)
    for part in range(SMALL_LAYERS):
        layer = fixtures.test_layer(probe) if part == 0 else fixtures.Layer()
        layer.directory("files")
        for number in range(part, SMALL_FILES, SMALL_LAYERS):
            if number % 100 == part:
                if number % 10000 == part:
                    layer.directory(f"files/{number // 10000}")
                layer.directory(f"files/{number // 10000}/{number // 100}")
            layer.file(f"files/{number // 10000}/{number // 100}/f{number}",
                       numbers.randbytes(numbers.choice((0, 100, 700, 1500, 3000, 5000))))
        archive.layer(layer.bytes(), compressed=True)
    return {"Env": [fixtures.PATH], "Cmd": ["sleep", "1000"]}


BUILDERS = {"300-mb": fixtures.build_large(15_000_000), "small-files": build_small}


# --- measuring -------------------------------------------------------------------------------------


def children(pid):
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as file:
                for child in file.read().split():
                    yield int(child)
                    yield from children(int(child))


def memory(pids):
    """MiB of what the processes have in memory: what several share counts once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            total += next((int(line.split()[1]) for line in file if line.startswith("Pss:")), 0)
    return total / 1024


def measure(command, **options):
    """Seconds and peak MiB of a command, which must succeed."""
    start, peak = time.monotonic(), 0
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options) as process:
        while process.poll() is None:
            peak = max(peak, memory([process.pid, *children(process.pid)]))
            time.sleep(0.01)
        seconds = time.monotonic() - start
        said = process.stderr.read().decode(errors="replace")
    if process.returncode != 0:
        raise SystemExit(f"images.py: {' '.join(command)}: status {process.returncode}: {said[-300:]}")
    return seconds, peak


# --- the competitors ------------------------------------------------------------------------------


class Image:
    def __init__(self, name, hybrid):
        self.name, self.hybrid, self.archive = name, hybrid, fixtures.archive_of(name)
        self.reference = fixtures.reference(name)

    def hybrid_command(self, top, *arguments):
        return [self.hybrid, "--data", top + "/data", "--root", top + "/root", *arguments]

    @staticmethod
    def podman_command(top, *arguments):
        return ["podman", "--root", top + "/podman", "--runroot", top + "/podman-run", "--tmpdir", top + "/podman-tmp",
                "--storage-driver", "overlay", *arguments]

    def by_hybrid(self, top):
        return measure(self.hybrid_command(top, "load", "-q", self.archive))

    def by_podman(self, top):
        return measure(self.podman_command(top, "load", "-q", "-i", self.archive))

    def by_umoci(self, top):
        copied = measure(["skopeo", "--insecure-policy", "--tmpdir", top, "copy", "-q", "oci-archive:" + self.archive,
                          f"oci:{top}/layout:tag"])
        unpacked = measure(["umoci", "unpack", "--image", top + "/layout:tag", top + "/bundle"])
        return copied[0] + unpacked[0], max(copied[1], unpacked[1])

    def pull_by_hybrid(self, top, host):
        return measure(self.hybrid_command(top, "pull", "-q", "--plain-http", f"{host}/app:tag"))

    def pull_by_podman(self, top, host):
        return measure(self.podman_command(top, "pull", "-q", "--tls-verify=false", f"{host}/app:tag"))


@contextlib.contextmanager
def scratch():
    top = tempfile.mkdtemp(prefix="hybrid-bench-")
    try:
        yield top
    finally:
        subprocess.run(["umount", top + "/podman/overlay"], stderr=subprocess.DEVNULL, check=False)
        shutil.rmtree(top)


def settle():
    """What one wrote must not be another's to wait for."""
    os.sync()


def load_round(image, host):
    others = [("podman load", image.by_podman), ("skopeo copy, umoci unpack", image.by_umoci)]
    rows = {"hybrid load": image.by_hybrid, **dict(others)}
    if host:
        rows["hybrid pull"] = lambda top: image.pull_by_hybrid(top, host)
        rows["podman pull"] = lambda top: image.pull_by_podman(top, host)
    figures = {}
    for name, run in rows.items():
        with scratch() as top:
            settle()
            figures[name] = run(top)
    return figures


# --- reading --------------------------------------------------------------------------------------


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
        file.write("3")


READINGS = {"find": "find {} -xdev -ls | wc -l", "cat": "find {} -xdev -type f -print0 | xargs -0 cat | wc -c"}


def read_round(trees, cold):
    figures = {}
    for what, script in READINGS.items():
        for name, path in trees.items():
            if cold:
                drop_caches()
            figures[f"{what} in {name}"] = measure(["sh", "-c", script.format(path)])
    return figures


def read_rounds(image, rounds, cold):
    """Both trees through the same program on the host: the root that a container of hybrid's has, and podman's overlay."""
    with scratch() as top:
        for command in (image.hybrid_command(top, "load", "-q", image.archive),
                        image.hybrid_command(top, "run", "-d", "--name", "reader", image.reference, "sleep", "100000"),
                        image.podman_command(top, "load", "-q", "-i", image.archive)):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        try:
            told = json.loads(subprocess.check_output(image.hybrid_command(top, "inspect", "reader")))
            mounted = subprocess.check_output(image.podman_command(top, "image", "mount", image.reference)).decode().strip()
            pid = told[0]["pid"]
            part = "/data" if image.name == "300-mb" else "/files"
            trees = {"hybrid's container": f"/proc/{pid}/root{part}", "podman's overlay": mounted + part}
            read_round(trees, cold)  # what is read for the first time is in nobody's figures
            return [read_round(trees, cold) for _ in range(rounds)]
        finally:
            subprocess.run(image.podman_command(top, "image", "unmount", "--all", "--force"), check=False,
                           stdout=subprocess.DEVNULL)
            subprocess.run(image.hybrid_command(top, "rm", "-f", "reader"), check=False, stdout=subprocess.DEVNULL)


# --- telling ---------------------------------------------------------------------------------------


def ratio(rounds, ours, theirs):
    return statistics.median(figures[theirs][0] / figures[ours][0] for figures in rounds)


def tell(image, rounds, pairs):
    print(f"\n{image.name}: {len(rounds)} rounds")
    print(f"{'':28} {'seconds, median':>16} {'MiB, most':>10} {'ratio to hybrid':>16}")
    result = {}
    for name in rounds[0]:
        ours = next((ours for ours, theirs in pairs if name in theirs), name)
        result[name] = {"seconds": statistics.median(figures[name][0] for figures in rounds),
                        "mebibytes": max(figures[name][1] for figures in rounds), "ratio": ratio(rounds, ours, name)}
        print(f"{name:28} {result[name]['seconds']:16.2f} {result[name]['mebibytes']:10.1f} {result[name]['ratio']:16.2f}")
    return result


def offer(image, registry):
    """Puts the image into a registry."""
    with scratch() as top:
        subprocess.run(["skopeo", "--insecure-policy", "--tmpdir", top, "copy", "-q", "--dest-tls-verify=false",
                        "oci-archive:" + image.archive, f"docker://{registry.host}/app:tag"], check=True)


def bench(image, options):
    with registries.Distribution() as registry:
        offer(image, registry)
        loads = [load_round(image, registry.host) for _ in range(options.rounds)]
    load = tell(image, loads, (("hybrid load", ("podman load", "skopeo copy, umoci unpack")),
                               ("hybrid pull", ("podman pull",))))
    readings = read_rounds(image, options.rounds, options.cold)
    return {
        "load": load, "read": tell(image, readings, [(f"{what} in hybrid's container", (f"{what} in podman's overlay",))
                                       for what in READINGS]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--build", default=PROJECT + "/build", help="the directory of hybrid (default: build/)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image", choices=tuple(BUILDERS), action="append", help="only this one")
    parser.add_argument("--cold", action="store_true", help="empty the machine's caches before each reading")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # nothing is left behind
    missing = [name for name in ("podman", "skopeo", "umoci") if not shutil.which(name)]
    if missing:
        print(f"SKIP images: not installed: {', '.join(missing)}")
        return 0
    fixtures.BUILDERS.update(BUILDERS)
    hybrid = os.path.realpath(options.build + "/hybrid")
    result = {name: bench(Image(name, hybrid), options) for name in options.image or BUILDERS}
    if options.json:
        with open(options.json, "w", encoding="ascii") as file:
            json.dump(result, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
