#!/usr/bin/python3
"""Registries by their names, over TLS with the system's authorities: what the confined process that has the network must
be able to do beyond loopback. In a network and mount namespace of its own, with name servers, authorities and hosts of its
own, so that the real resolver of the C library and the real bundle of certificates are used, and no network is needed.

    names.py [BUILD]     BUILD: the directory of hybrid, by default build/

Prints PASS, FAIL or SKIP per case; exits 1 if a case failed.
"""

import json
import os
import shutil
import socket
import socketserver
import struct
import subprocess
import sys
import threading
import time

import images
from images import Skip, check, equal
from registries import Registry
from registry import Puller, Tokens, three

INSIDE = "HYBRID_NAMES_INSIDE"  # set where the namespaces are ours
SERVER = "127.0.0.153"          # the name server
ADDRESS = "127.0.0.2"           # of registries: not one that hybrid knows to be loopback by its name


# --- name servers (RFC 1035; the answers that the C library's resolver asks for) -----------------------

A, AAAA, TRUNCATED, REFUSED, UNKNOWN = 1, 28, 0x0200, 2, 3


class Zone:
    """names: {name: [addresses]}; cut: those whose answers do not fit into a datagram; silent: no answer at all;
    broken: those that the server fails for. What was asked is in asked: (name, protocol)."""

    def __init__(self, names):
        self.names, self.cut, self.silent, self.broken, self.asked = names, set(), False, set(), []

    def answer(self, question, protocol):
        number, = struct.unpack_from(">H", question)
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1:at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind, = struct.unpack_from(">H", question, at + 1)
        name, asked = ".".join(labels).lower(), question[12:at + 5]
        self.asked.append((name, protocol))
        if self.silent:
            return None
        if name in self.broken:
            return struct.pack(">6H", number, 0x8180 | REFUSED, 1, 0, 0, 0) + asked
        if name not in self.names:
            return struct.pack(">6H", number, 0x8180 | UNKNOWN, 1, 0, 0, 0) + asked
        if name in self.cut and protocol == "udp":
            return struct.pack(">6H", number, 0x8180 | TRUNCATED, 1, 0, 0, 0) + asked
        family = socket.AF_INET6 if kind == AAAA else socket.AF_INET
        found = [socket.inet_pton(family, address) for address in self.names[name]
                 if kind in (A, AAAA) and (":" in address) == (kind == AAAA)]
        return struct.pack(">6H", number, 0x8180, 1, len(found), 0, 0) + asked + b"".join(
            struct.pack(">HHHIH", 0xc00c, kind, 1, 60, len(address)) + address for address in found)


class Datagrams(socketserver.BaseRequestHandler):
    def handle(self):
        data, ours = self.request
        answer = self.server.zone.answer(data, "udp")
        if answer:
            ours.sendto(answer, self.client_address)


class Streams(socketserver.StreamRequestHandler):
    def handle(self):
        while head := self.rfile.read(2):
            answer = self.server.zone.answer(self.rfile.read(*struct.unpack(">H", head)), "tcp")
            if not answer:
                return
            self.wfile.write(struct.pack(">H", len(answer)) + answer)


class ThreadingDatagrams(socketserver.ThreadingMixIn, socketserver.UDPServer):
    daemon_threads = True


class ThreadingStreams(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = allow_reuse_address = True


class NameServer:
    def __init__(self, names):
        self.zone = Zone(names)
        self.servers = [ThreadingDatagrams((SERVER, 53), Datagrams), ThreadingStreams((SERVER, 53), Streams)]

    def __enter__(self):
        for server in self.servers:
            server.zone = self.zone
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self.zone

    def __exit__(self, *_):
        for server in self.servers:
            server.shutdown()
            server.server_close()


# --- authorities ---------------------------------------------------------------------------------------

OPENSSL = """
[ca]
default_ca = this
[this]
database = {top}/index
new_certs_dir = {top}
serial = {top}/serial
default_md = sha256
policy = any
email_in_dn = no
unique_subject = no
[any]
commonName = supplied
[signed]
subjectAltName = {names}
[authority]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign
"""


class Authority:
    """An authority that signs what it is asked to; its own certificate is self-signed."""

    def __init__(self, top, name):
        self.top = f"{top}/{name}"
        os.mkdir(self.top)
        self.write("index", "")
        self.write("serial", "1000")
        self.settings("DNS:unused")
        self.certificate, self.key = self.top + "/authority.pem", self.top + "/authority.key"
        self.openssl("req", "-x509", *self.new_key(self.key), "-days", "3", "-subj", "/CN=" + name, "-config", self.conf,
                     "-extensions", "authority", "-out", self.certificate)

    def write(self, name, text):
        with open(f"{self.top}/{name}", "w", encoding="ascii") as file:
            file.write(text)

    def settings(self, names):
        # `req` wants a section of its own, whose content -subj replaces.
        self.write("conf", OPENSSL.format(top=self.top, names=names) + "[req]\ndistinguished_name = any\n")
        self.conf = self.top + "/conf"

    @staticmethod
    def new_key(path):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]

    @staticmethod
    def openssl(*arguments):
        done = subprocess.run(["openssl", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        check(done.returncode == 0, f"openssl {' '.join(arguments)}: {done.stdout.decode()[-400:]}")

    def sign(self, *names, begin="20200101000000Z", end="20991231000000Z"):
        """A certificate for names, with attributes as Registry wants them."""
        base = f"{self.top}/{len(os.listdir(self.top))}"
        self.settings(",".join("DNS:" + name for name in names))
        self.openssl("req", "-new", *self.new_key(base + ".key"), "-subj", "/CN=" + names[0], "-config", self.conf,
                     "-out", base + ".csr")
        self.openssl("ca", "-batch", "-config", self.conf, "-cert", self.certificate, "-keyfile", self.key, "-startdate",
                     begin, "-enddate", end, "-extensions", "signed", "-in", base + ".csr", "-out", base + ".pem",
                     "-notext")
        return Signed(base + ".pem", base + ".key")


class Signed:
    def __init__(self, certificate, key):
        self.certificate, self.key = certificate, key


# --- the machine's files -------------------------------------------------------------------------------


def put(name, text, directory="/etc"):
    path = os.path.join(directory, name)
    if os.path.islink(path):
        os.unlink(path)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


class System(Puller):
    """A store, and a machine's /etc that is ours for as long: what is written there is in memory."""

    def __init__(self, hybrid):
        super().__init__(hybrid)
        self.mounted = []
        try:
            self.prepare()
        except BaseException:
            self.remove()
            raise

    def prepare(self):
        self.authority = Authority(self.top, "known")
        memory, certificates = self.top + "/memory", self.top + "/certificates"
        os.mkdir(memory)
        os.mkdir(certificates)
        shutil.copy(self.authority.certificate, certificates + "/ca-certificates.crt")
        self.mount("-t", "tmpfs", "names", memory)
        os.mkdir(memory + "/upper")
        os.mkdir(memory + "/work")
        self.mount("-t", "overlay", "names", "-o", f"lowerdir=/etc,upperdir={memory}/upper,workdir={memory}/work", "/etc")
        os.makedirs("/etc/ssl/certs", exist_ok=True)
        self.mount("--bind", certificates, "/etc/ssl/certs")
        put("hosts", "127.0.0.1 localhost\n127.0.0.2 in-hosts.test\n")
        put("nsswitch.conf", "hosts: files dns\n")
        put("resolv.conf", f"nameserver {SERVER}\noptions timeout:1 attempts:1\n")

    def mount(self, *arguments):
        done = subprocess.run(["mount", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            raise Skip(f"no /etc of its own: {done.stdout.decode(errors='replace').strip()}")
        self.mounted.append(arguments[-1])

    def remove(self):
        for target in reversed(self.mounted):
            subprocess.run(["umount", target], check=True)
        super().remove()


def serve(store, name, address=ADDRESS, **dates):
    """A registry at port 443 of address, with a certificate of the known authority."""
    return Registry(store.authority.sign(name, **dates), (address, 443))


# --- names -----------------------------------------------------------------------------------------------


def pull(store, registry, name):
    image = three()
    registry.add(image)
    store.run("pull", name + "/app:1")
    store.pulled(image, name + "/app:1")
    store.run("rmi", name + "/app:1")


def test_by_name(store):
    """Over IPv4; with addresses before it that nobody listens at; from /etc/hosts."""
    with NameServer({"registry.test": [ADDRESS], "both.test": ["::1", "127.0.0.9", ADDRESS]}) as zone:
        for name in ("registry.test", "both.test"):
            with serve(store, name) as registry:
                pull(store, registry, name)
                check((name, "udp") in zone.asked, f"{name} was not asked for: {zone.asked}")
        with serve(store, "in-hosts.test") as registry:
            pull(store, registry, "in-hosts.test")
        check(not [name for name, _ in zone.asked if name == "in-hosts.test"], "what /etc/hosts has was asked for")


def test_by_name_over_ipv6(store):
    """A name that has an address of IPv6 only."""
    if not has_ipv6():
        raise Skip("no ::1 here")
    with NameServer({"six.test": ["::1"]}) as zone, serve(store, "six.test", "::1") as registry:
        pull(store, registry, "six.test")
        check(("six.test", "udp") in zone.asked, f"six.test was not asked for: {zone.asked}")


def has_ipv6():
    try:
        with open("/proc/net/if_inet6", encoding="ascii") as file:
            return any(line.startswith("0" * 31 + "1 ") for line in file)
    except FileNotFoundError:
        return False


def test_by_name_other_port(store):
    with NameServer({"registry.test": [ADDRESS]}), Registry(store.authority.sign("registry.test"), (ADDRESS, 5000)) as registry:
        pull(store, registry, "registry.test:5000")


def test_truncated_answer(store):
    """An answer too long for a datagram is asked for again over TCP."""
    with NameServer({"registry.test": [ADDRESS]}) as zone, serve(store, "registry.test") as registry:
        zone.cut.add("registry.test")
        pull(store, registry, "registry.test")
        check(("registry.test", "tcp") in zone.asked, f"not over TCP: {zone.asked}")


def test_second_name_server(store):
    put("resolv.conf", f"nameserver 127.0.0.77\nnameserver {SERVER}\noptions timeout:1\n")
    with NameServer({"registry.test": [ADDRESS]}), serve(store, "registry.test") as registry:
        pull(store, registry, "registry.test")


def test_resolv_conf_elsewhere(store):
    """/etc/resolv.conf is a link to wherever a network manager has its own."""
    elsewhere = store.top + "/elsewhere"
    os.mkdir(elsewhere)
    os.chmod(store.top, 0o755)  # nobody must be able to read it
    put("resolv.conf", f"nameserver {SERVER}\noptions timeout:1 attempts:1\n", elsewhere)
    os.unlink("/etc/resolv.conf")
    os.symlink(elsewhere + "/resolv.conf", "/etc/resolv.conf")
    with NameServer({"registry.test": [ADDRESS]}), serve(store, "registry.test") as registry:
        pull(store, registry, "registry.test")


def test_unknown_name(store):
    """What does not exist, and what cannot be told: another cause, another remedy."""
    with NameServer({}) as zone:
        zone.broken.add("broken.test")
        store.refuse_pull("no-such.test/app:1", "no-such.test", "knows no such host", "check the name")
        store.refuse_pull("broken.test/app:1", "broken.test", "does not answer, or fails", "/etc/resolv.conf")
        store.load(images.small("no-such.test/app:1").archive())
        store.refuse_transfer("push", "no-such.test/app:1", "knows no such host", "check the name")
    for why in ("no server", "a silent server"):
        server = NameServer({}) if why == "a silent server" else None
        if server:
            server.__enter__().silent = True
        try:
            begun = time.monotonic()
            store.refuse_pull("registry.test/app:1", "registry.test", "does not answer", "/etc/resolv.conf")
            check(time.monotonic() - begun < 20, f"{why}: {time.monotonic() - begun:.1f} s")
        finally:
            if server:
                server.__exit__()


def test_interrupted_resolving(store):
    """Ctrl-C does not wait for a name server."""
    put("resolv.conf", f"nameserver {SERVER}\noptions timeout:10 attempts:3\n")
    with NameServer({}) as zone:
        zone.silent = True
        before = store.snapshot()
        process = store.start("pull", "registry.test/app:1")
        deadline = time.monotonic() + 20
        while not zone.asked and time.monotonic() < deadline:
            time.sleep(0.02)
        begun = time.monotonic()
        process.send_signal(2)
        process.communicate(timeout=40)
        equal(process.returncode, 130, "status")
        check(time.monotonic() - begun < 5, f"it took {time.monotonic() - begun:.1f} s to end")
        equal(images.processes_of(store), [], "processes")
        images.same_files(store.snapshot(), before, "the store has changed")


# --- certificates -----------------------------------------------------------------------------------------


def test_certificates(store):
    """Each way not to be trusted is told apart, with what may help."""
    stranger = Authority(store.top, "stranger")
    cases = (
        (stranger.sign("registry.test"), ("not to be trusted", "no known authority", "ca_file")),
        (store.authority.sign("registry.test", end="20210101000000Z"), ("has expired", "clock")),
        (store.authority.sign("registry.test", begin="20980101000000Z"), ("not valid yet", "clock")),
        (store.authority.sign("other.test"), ("another name", "check the name")),
    )
    with NameServer({"registry.test": [ADDRESS]}):
        for certificate, words in cases:
            with Registry(certificate, (ADDRESS, 443)) as registry:
                registry.add(three())
                store.refuse_pull("registry.test/app:1", "registry.test", *words)
                equal(registry.requests, [], f"requests over what is not trusted ({words[0]})")
        store.load(images.small("registry.test/app:1").archive())
        with Registry(cases[1][0], (ADDRESS, 443)):
            store.refuse_transfer("push", "registry.test/app:1", "registry.test", "has expired", "clock")
        store.settings(registries={"registry.test": {"ca_file": stranger.certificate}})
        with Registry(cases[0][0], (ADDRESS, 443)) as registry:
            pull(store, registry, "registry.test")


def test_redirect_to_untrusted(store):
    """It is the other host that cannot be trusted, and that is said."""
    image, stranger = three(), Authority(store.top, "stranger")
    with NameServer({"registry.test": [ADDRESS], "cdn.test": ["127.0.0.3"]}), serve(store, "registry.test") as registry, \
            Registry(stranger.sign("cdn.test"), ("127.0.0.3", 443)):
        registry.add(image)
        for target, words in (("cdn.test", ("not to be trusted",)), ("gone.test", ("knows no such host",))):
            registry.answers[:] = []
            registry.answer("blobs/", lambda handler, target=target: handler.reply(307, Location=f"https://{target}/x"))
            store.refuse_pull("registry.test/app:1", "redirects to " + target, *words)


# --- Docker Hub -------------------------------------------------------------------------------------------


def test_docker_hub(store):
    """`hybrid pull busybox` as the world types it: the short name, the hub's own host, a token of another host, and blobs
    from a third one, which sees no token."""
    image = three("+gzip")
    names = ("registry-1.docker.io", "auth.docker.io", "production.cloudflare.docker.com")
    with NameServer(dict(zip(names, ([ADDRESS], ["127.0.0.3"], ["127.0.0.4"])))) as zone, \
            serve(store, names[0]) as hub, serve(store, names[1], "127.0.0.3") as tokens, \
            serve(store, names[2], "127.0.0.4") as blobs:
        hub.add(image, "latest")
        blobs.add(image)
        handed = Tokens(hub, realm=f"https://{names[1]}/token")
        tokens.answer("/token", handed.hand_out)
        hub.answer("blobs/", lambda handler: handler.reply(307, Location=f"https://{names[2]}{handler.path}"))
        equal(store.run("pull", "busybox").stdout, b"Pulled image: busybox:latest\n", "output")
        listed = json.loads(store.run("images", "--format=json").stdout)
        equal([(item["Repository"], item["Tag"]) for item in listed], [("busybox", "latest")], "listed")
        check("repository%3Alibrary%2Fbusybox%3Apull" in tokens.paths("/token")[0], tokens.paths())
        check(all(path.startswith("/v2/library/busybox/") for path in hub.paths()), hub.paths())
        check(blobs.requests and not any("Authorization" in headers for _, headers in blobs.requests), "secrets elsewhere")
        asked = {name for name, _ in zone.asked if not name.endswith(".arpa")}  # which Python's servers ask for
        equal(asked, set(names), "names that were asked for")


# --- the run ----------------------------------------------------------------------------------------------


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    tests = [(name.replace("test_", "names_"), test) for name, test in globals().items() if name.startswith("test_")]
    if os.geteuid() == 0 and not os.environ.get(INSIDE):
        # What is mounted and who listens in there is nobody else's affair, and goes with the last process.
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])
    if os.geteuid() == 0:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    return images.run_tests(tests, os.path.realpath(build + "/hybrid"), System)


if __name__ == "__main__":
    sys.exit(main())
