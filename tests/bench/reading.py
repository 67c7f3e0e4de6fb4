#!/usr/bin/python3
"""Reads an image's tree in a VM of hybrid, and in QEMU's microvm from one virtio disk with the very same layers.

    reading.py [--build BUILD] [--rounds N] [--image NAME] [--json FILE]

Same guest kernel, same layer files, same memory, one processor each, same commands of the same busybox: `find` of the
tree, which looks at each entry, then `cat` of all files to /dev/null, from a disk that the guest has not read yet: its
count of what was read from the disk says so. Nothing looks at the bytes (`wc` of busybox takes longer for it than the disk
takes to read them, and that is the same in both). Each round boots both, the other one first each time; times are the
guest's own monotonic clock, before and after, so that boots are in none. A ratio is (QEMU's time / hybrid's time in the
same round), of which the median and the range over the rounds are told. No figure fails: the exit status is 1 only if a
command does. Where KVM runs no Linux guest: tests/testbed/run --memory 5G -- tests/bench/reading.py.
"""

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
PROJECT = os.path.realpath(os.path.join(HERE, "..", ".."))
sys.dont_write_bytecode = True
sys.path.insert(0, PROJECT + "/tests/behaviour")

import fixtures  # noqa: E402
import microvm  # noqa: E402


def beside(name):
    """A module of this directory whose name one of tests/behaviour has, too."""
    spec = importlib.util.spec_from_file_location("bench_" + name, os.path.join(HERE, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


images = beside("images")

MEMORY = 1 << 30
STEPS = ("find", "cat")
SECTOR = 512
# Prints for each point of time: nanoseconds, requests of the disk until then, their sectors. And what was found.
SCRIPT = """
now() {{ time=$({clock}); set -- $(grep " vda " /proc/diskstats); echo "at $time $4 $6"; }}
now; find {tree} -xdev | wc -l; now; find {tree} -xdev -type f -print0 | xargs -0 cat > /dev/null; now
find {tree} -xdev -type f -print0 | xargs -0 stat -c %s | (sum=0; while read size; do sum=$((sum + size)); done; echo $sum)
"""
CLOCK = """
#include <stdio.h>
#include <time.h>
int main(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    printf("%lld\\n", now.tv_sec * 1000000000LL + now.tv_nsec);
    return 0;
}
"""
INIT = """#!/bin/busybox sh
PATH=/bin
busybox mount -t devtmpfs none /dev
busybox mount -t tmpfs none /disk
lower=
for number in {numbers}; do
    busybox mkdir -p /disk/$number
    busybox mount -t erofs -o ro,noatime /dev/vda$number /disk/$number || busybox echo "no layer $number"
    lower=/disk/$number${{lower:+:$lower}}
done
busybox mkdir /disk/upper /disk/upper/proc /disk/scratch /disk/root
busybox mount -t overlay -o lowerdir=$lower,upperdir=/disk/upper,workdir=/disk/scratch none /disk/root || busybox echo "no overlay"
busybox cp /bin/clock /disk/root/clock
busybox mount -t proc none /disk/root/proc
busybox chroot /disk/root /bin/sh -c '{script}'
busybox reboot -f
"""


class Subject:
    """An image in a store of hybrid's, and the disks of QEMU's that hold the same."""

    def __init__(self, top, name, build):
        self.top, self.name = top, name
        self.image = images.Image(name, os.path.realpath(build + "/hybrid"))
        self.tree = "/data" if name == "300-mb" else "/files"
        subprocess.run(self.image.hybrid_command(top, "load", "-q", self.image.archive), check=True)
        self.compile_clock()
        self.make_disks(build)

    def compile_clock(self):
        with open(self.top + "/clock.c", "w", encoding="ascii") as file:
            file.write(CLOCK)
        subprocess.run(["gcc", "-O2", "-static", "-s", "-o", self.top + "/clock", self.top + "/clock.c"], check=True)

    def layers(self):
        told = json.loads(subprocess.check_output(self.image.hybrid_command(self.top, "inspect", self.image.reference)))
        return [f"{self.top}/data/store/layers/{name[len('sha256:'):]}.erofs" for name in told[0]["RootFS"]["Layers"]]

    def make_disks(self, build):
        layers = self.layers()
        self.disk, self.root, self.kernel = (f"{self.top}/{name}" for name in ("disk", "root.erofs", "kernel"))
        with open(self.disk, "wb") as disk:
            for layer in layers:
                with open(layer, "rb") as file:
                    shutil.copyfileobj(file, disk)
        tree = self.top + "/guest"
        for name in ("bin", "dev", "disk"):
            os.makedirs(f"{tree}/{name}")
        shutil.copy(fixtures.BUSYBOX, tree + "/bin/busybox")
        shutil.copy(self.top + "/clock", tree + "/bin/clock")
        numbers = " ".join(str(number) for number in range(1, len(layers) + 1))
        with open(tree + "/init", "w", encoding="ascii") as file:
            file.write(INIT.format(numbers=numbers, script=SCRIPT.format(clock="/clock", tree=self.tree)))
        os.chmod(tree + "/init", 0o755)
        subprocess.run(["mkfs.erofs", "--quiet", self.root, tree], check=True)
        parts = ",".join(f"{os.path.getsize(layer) // 1024}k" for layer in layers)
        microvm.make_kernel(build + "/vmlinux", self.kernel, MEMORY,
                            "quiet console=ttyS0 panic=-1 reboot=t random.trust_cpu=1 tsc=reliable swiotlb=noforce root=/dev/vdb "
                            f"rootfstype=erofs ro init=/init blkdevparts=vda:{parts}", 2)

    def in_hybrid(self):
        script = "cat > /tmp/clock; chmod 755 /tmp/clock; " + SCRIPT.format(clock="/tmp/clock", tree=self.tree)
        with open(self.top + "/clock", "rb") as clock:
            return subprocess.run(self.image.hybrid_command(
                self.top, "run", "--rm", "-i", "--isolation=vm", "-m", str(MEMORY), "--cpus", "1", self.image.reference,
                "sh", "-c", script), stdin=clock, stdout=subprocess.PIPE, check=True).stdout.decode()

    def in_qemu(self):
        return microvm.run(self.kernel, MEMORY, [self.disk, self.root])


def parse(said):
    """({step: (seconds, requests, MiB)}, (entries, bytes of all files))"""
    lines = [line for line in said.split("\n") if line]
    points = [[int(number) for number in line.split()[1:]] for line in lines if line.startswith("at ")]
    counts = tuple(int(line) for line in lines if line.strip().isdigit())
    if len(points) != len(STEPS) + 1 or len(counts) != 2 or {len(point) for point in points} != {3}:
        raise SystemExit(f"reading.py: a guest said {said[-500:]!r}")
    between = [[end - start for start, end in zip(*pair)] for pair in zip(points, points[1:])]
    if sum(sectors for _, _, sectors in between) * SECTOR < 0.9 * counts[1]:  # mounting has read a little already
        raise SystemExit(f"reading.py: a guest read only {between} of {counts[1]} bytes from its disk")
    return {step: (nanoseconds / 1e9, requests, sectors * SECTOR / (1 << 20))
            for step, (nanoseconds, requests, sectors) in zip(STEPS, between)}, counts


def one_round(subject, turn=0):
    """{"STEP in WHO": (seconds, requests, MiB)}"""
    figures, seen = {}, set()
    monitors = (("hybrid", subject.in_hybrid), ("QEMU microvm", subject.in_qemu))
    for name, read in monitors if turn % 2 == 0 else monitors[::-1]:
        steps, counts = parse(read())
        seen.add(counts)
        figures.update({f"{step} in {name}": told for step, told in steps.items()})
        print(f"  {name}: " + ", ".join(f"{step} {seconds:.3f} s" for step, (seconds, _, _) in steps.items()), file=sys.stderr)
    if len(seen) != 1:
        raise SystemExit(f"reading.py: the guests saw different trees: {sorted(seen)}")
    return figures


def tell(name, rounds):
    print(f"\n{name}: {len(rounds)} rounds")
    print(f"{'':20} {'seconds, median':>16} {'requests':>9} {'MiB':>7} {'QEMU / hybrid: median, range':>29}")
    result = {}
    for step in STEPS:
        ratios = [figures[f"{step} in QEMU microvm"][0] / figures[f"{step} in hybrid"][0] for figures in rounds]
        spread = f"{statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}"
        for who in ("hybrid", "QEMU microvm"):
            seconds, requests, mebibytes = (statistics.median(column) for column in zip(*(
                figures[f"{step} in {who}"] for figures in rounds)))
            print(f"{step + ' in ' + who:20} {seconds:16.3f} {requests:9.0f} {mebibytes:7.1f} "
                  f"{spread if who == 'hybrid' else '':>29}")
            result[f"{step} in {who}"] = {"seconds": seconds, "requests": requests, "mebibytes": mebibytes}
        result[step] = {"ratios": ratios}
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--build", default=PROJECT + "/build", help="the directory of hybrid (default: build/)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image", choices=tuple(images.BUILDERS), default="300-mb")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE")
    options = parser.parse_args()
    missing = [name for name in ("qemu-system-x86_64", "mkfs.erofs", "gcc") if not shutil.which(name)]
    if missing:
        print(f"SKIP reading: not installed: {', '.join(missing)}")
        return 0
    fixtures.BUILDERS.update(images.BUILDERS)
    with tempfile.TemporaryDirectory(prefix="hybrid-bench-", dir="/dev/shm") as top:
        subject = Subject(top, options.image, options.build)
        one_round(subject)  # what the host reads for the first time is in nobody's figures
        rounds = [one_round(subject, turn) for turn in range(options.rounds)]
    result = tell(subject.image.name, rounds)
    if options.json:
        with open(options.json, "w", encoding="ascii") as file:
            json.dump(result, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
