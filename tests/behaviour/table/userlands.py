"""Real images: Debian with Python, a static binary on nothing, many layers, the embedded one."""

import hashlib
import re

import fixtures
from table import row, same, test

row("image/embedded-busybox", ["uname"], image="busybox", stdout="Linux\n", seconds=60)
row("image/embedded-busybox-shell", "echo a b c | tr ' ' '\\n' | sort -r | head -n 1", image="busybox", stdout="c\n")
row("image/embedded-by-full-name", ["true"], image="docker.io/library/busybox:latest")

row("image/static-on-empty-root", ["arguments", "a b"], image="static", stdout="3:a b\n", compare=same)
row("image/static-has-no-shell", ["sh"], options=["--entrypoint="], image="static", exit=127, stderr=re.compile("sh"))
row("image/static-user-by-number", ["ids"], options=["-u", "7:8"], image="static", stdout="7 7 7 8 8 8\n")
row("image/static-user-by-name-refused", ["ids"], options=["-u", "alice"], image="static", exit=125,
    stderr=re.compile("alice"))
row("image/static-streams", ["sink"], options=["-i"], image="static", stdin=b"", stdout="0 same\n")

row("image/debian-python", image="debian", stdout="hello from Debian\n", seconds=180)
row("image/debian-release", "grep -E '^(ID|VERSION_CODENAME)=' /etc/os-release | sort", image="debian",
    stdout="ID=debian\nVERSION_CODENAME=bookworm\n", seconds=180)
PYTHON = """
import hashlib, json, os, subprocess, sys, threading
total = []
threads = [threading.Thread(target=lambda: total.append(1)) for _ in range(20)]
for t in threads: t.start()
for t in threads: t.join()
child = subprocess.run(['sh', '-c', 'exit 7']).returncode
print(json.dumps([len(total), child, hashlib.sha256(b'x' * 1000000).hexdigest()[:8], os.getuid(), sys.argv[1:]]))
"""
row("image/debian-python-program", ["python3", "-c", PYTHON, "ä", ""], image="debian", seconds=180, compare=same,
    stdout='[20, 7, "%s", 0, ["\\u00e4", ""]]\n' % hashlib.sha256(b"x" * 1000000).hexdigest()[:8])
row("image/debian-setuid-and-capabilities", "stat -c '%a %U:%G' /usr/bin/passwd /usr/bin/chage /var/mail", image="debian",
    stdout="4755 root:root\n2755 root:shadow\n2775 root:mail\n", compare=same, seconds=180)
row("image/debian-dpkg", "dpkg -l | grep -c ^ii; dpkg --verify bash coreutils dpkg libc6 python3.11-minimal 2>&1 |"
    " grep -v -e /usr/share/ | head -n 3", image="debian", stdout=re.compile(r"^\d{2,3}\n$"), compare=same, seconds=240)
row("image/debian-user-added", "useradd -m tester && su tester -c id", image="debian",
    stdout="uid=1000(tester) gid=1000(tester) groups=1000(tester)\n", seconds=180, compare=same)

LAST = fixtures.LARGE_LAYERS
row("image/large-version-of-top-layer", image="large", stdout=f"{LAST}\n", seconds=240)
row("image/large-content", "cd /data && ls ?? | wc -l && sha256sum -c SHA256SUMS 2>&1 | grep -c ': OK'", image="large",
    stdout=f"{LAST}\n{LAST}\n", seconds=240)
row("image/large-whiteouts", "ls -d /data/only-* /data/opaque-*/*", image="large", compare=same, seconds=240,
    stdout=f"/data/only-{LAST}\n/data/opaque-0/of-{LAST}\n/data/opaque-1/of-{LAST - 1}\n")
row("image/large-read-by-large-requests",
    "before=$(grep ' vda ' /proc/diskstats); cat /data/07 >/dev/null; set -- $before $(grep ' vda ' /proc/diskstats); "
    "bytes=$((512 * (${26} - $6))); requests=$((${24} - $4)); "
    f"[ $((bytes >> 20)) -ge {(fixtures.LARGE_LAYER_BYTES >> 20) - 1} ] && [ $((bytes / requests)) -ge $((256 << 10)) ] || echo \"$bytes bytes, $requests requests\"",
    image="large", isolations=("vm",), seconds=240)
row("image/large-write-to-lower-file", "echo x >>/data/01 && stat -c %s /data/01", image="large", seconds=240,
    stdout=f"{fixtures.LARGE_LAYER_BYTES + 2}\n")


@test("image/list", isolations=("container",))
def listed(t):
    for name in ("test", "static"):
        t.host.image(name)
        t.match("images", re.escape(fixtures.PREFIX + name), t.verb("images"))


@test("image/config-and-labels-of-image")
def labels(t):
    result = t.run("--dry-run", "--format", "json", "--label", "mine=1", "--annotation", "org.test.a=b c", image="user",
                   command=["true"])
    t.equal("exit status", 0, result.exit, result)
    for wanted in ('"maker": ?"fixtures"', '"mine": ?"1"', '"org.test.a": ?"b c"'):
        t.match("the configuration", wanted, result.out)
