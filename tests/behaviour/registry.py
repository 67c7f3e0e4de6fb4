#!/usr/bin/python3
"""Registries end to end: pull from Debian's docker-registry, and from one of our own that lies; what lies is
refused with the cause, and leaves the store as it was.

    registry.py [BUILD [I/N]]     BUILD: the directory of hybrid, by default build/; I/N: one of N shares of the cases

Prints PASS, FAIL or SKIP per case; exits 1 if a case failed.
"""

import contextlib
import fcntl
import json
import os
import pty
import random
import re
import signal
import stat
import struct
import subprocess
import sys
import termios
import threading
import time

import images
from images import Image, Skip, Store, check, directory, encode, entry, equal, same_files, sha256, small, tar
from registries import INDEX, MANIFEST, Certificate, Distribution, Registry, basic, digest, write_json

MEBI = 1 << 20
DAC_OVERRIDE_AND_FOWNER = 1 << 1 | 1 << 3  # capabilities(7)
MEMORY_LIMIT = 64 * MEBI
# Runs a command and prints the largest memory of any of its processes. A process of its own, because a
# child's peak begins with that of who started it.
MEASURE = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


class Puller(Store):
    """A store of its own, with settings and credentials of its own."""

    def __init__(self, hybrid):
        super().__init__(hybrid)
        self.environment = {**os.environ, "HYBRID_REGISTRIES": self.top + "/registries.json",
                            "DOCKER_CONFIG": self.top + "/docker"}
        self.settings(stall_seconds=2)
        self.run("rmi", "absent", status=125)  # makes the store

    def settings(self, **settings):
        write_json(self.environment["HYBRID_REGISTRIES"], settings)

    def credentials(self, **config):
        write_json(self.environment["DOCKER_CONFIG"] + "/config.json", config)

    def login(self, host, user, password):
        self.credentials(auths={host: {"auth": basic(user, password).split()[1]}})

    def start(self, *arguments, stdin=subprocess.DEVNULL, **options):
        return subprocess.Popen(self.command(*arguments), env=self.environment, stdin=stdin,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def run(self, *arguments, stdin=b"", status=0):
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        check(status is None or process.returncode == status,
              f"hybrid {' '.join(arguments)}: status {process.returncode}, not {status}: {err!r}")
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def refuse_pull(self, name, *words, options=()):
        return self.refuse_transfer("pull", name, *words, options=options)

    def refuse_transfer(self, verb, name, *words, options=()):
        """It fails with one line that says words, within the memory there is, and changes nothing."""
        before = self.snapshot()
        measured = subprocess.run([sys.executable, "-S", "-c", MEASURE,
                                   *self.command(verb, "-q", *options, name)], env=self.environment,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  timeout=120, check=False)
        out, _, kibibytes = measured.stdout.decode().rpartition("peak ")
        said = measured.stderr.decode()
        equal(measured.returncode, 125, f"status ({said!r})")
        for word in words:
            check(word in said, f"the error does not say {word!r}: {said!r}")
        check(said.startswith("hybrid: ") and said.count("\n") == 1 and not out, f"not one line: {said!r}")
        check(int(kibibytes) * 1024 < MEMORY_LIMIT, f"{kibibytes} KiB of memory")
        same_files(self.snapshot(), before, "the store has changed")
        return said

    def pulled(self, image, name):
        """Is all of image in the store, byte for byte, under this name?"""
        listed = {f"{item['Repository']}:{item['Tag']}": item
                  for item in json.loads(self.run("images", "--format=json").stdout)}
        check(name in listed, f"{name} is not listed: {sorted(listed)}")
        equal(listed[name]["Id"], "sha256:" + image.id(), "id")
        for path, data in image.members().items():
            if path.startswith("blobs/"):
                with open(f"{self.data}/store/{path}", "rb") as file:
                    equal(file.read() == data, True, f"content of {path}")
        equal(os.listdir(self.data + "/store/tmp"), [], "temporary files")


def layers(count, size=1000):
    return [tar([entry(f"file{number}", data=bytes([number]) * size)]) for number in range(count)]


def three(compression=""):
    return Image(layers(3), compression=compression)


def large(size=6 * MEBI):
    """One layer that does not compress."""
    return Image([tar([entry("data", data=os.urandom(size))])])


def layer_digest(image, number=0):
    return image.manifest["layers"][number]["digest"]


# --- Debian's docker-registry ------------------------------------------------------------------------


def test_real_registry(store):
    image, other = three("+gzip"), Image(layers(4), compression="+gzip")
    with Distribution() as registry:
        name = f"{registry.host}/team/app"
        by_digest = registry.push(image, "team/app", "1")
        registry.push(other, "team/app", "2")
        equal(store.run("pull", f"{name}:1").stdout, f"Pulled image: {name}:1\n".encode(), "output")
        store.pulled(image, f"{name}:1")
        again = store.run("pull", f"{name}:1")
        equal(again.stdout, f"Image is up to date: {name}:1\n".encode(), "output of the second")
        said = store.run("pull", f"{name}:2").stderr.decode()
        check("4 layers, 1 of them to fetch" in said, f"shared layers are fetched again: {said}")
        store.pulled(other, f"{name}:2")
        store.run("rmi", f"{name}:1")
        store.run("pull", f"{name}@{by_digest}")
        check(b"Linux" not in store.run("inspect", f"{name}@{by_digest}").stderr, "by digest")
        store.refuse_pull(f"{name}:3", "does not have team/app:3", "404", "MANIFEST_UNKNOWN", "check the name")
        store.refuse_pull(f"{registry.host}/none:1", "404", "check the name")
        store.refuse_pull(f"{name}@sha256:" + "0" * 64, "404")


def test_real_tls_and_passwords(store):
    certificate = Certificate(store.top)
    image = three("+gzip")
    with Distribution({"eve": "pass:word"}, certificate) as registry:
        name = f"{registry.host}/app:1"
        registry.push(image)
        store.refuse_pull(name, "certificate", "ca_file")
        trust = {registry.host: {"ca_file": certificate.certificate}}
        store.settings(registries=trust)
        store.refuse_pull(name, "asks for a user and a password", f"docker login {registry.host}")
        store.login(registry.host, "eve", "wrong")
        store.refuse_pull(name, "refuses access to eve", "401")
        store.login("https://" + registry.host, "eve", "pass:word")
        store.run("pull", name)
        store.pulled(image, name)
        store.run("rmi", name)
        store.settings(registries={registry.host: {"skip_verify": True}})
        store.run("pull", name)


def write_helper(store, name, script):
    path = f"{store.top}/bin/docker-credential-{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\n" + script)
    os.chmod(path, 0o755)
    store.environment["PATH"] = store.top + "/bin:" + os.environ["PATH"]


def demand_password(handler):
    if handler.headers.get("Authorization") == basic("eve", "secret"):
        return False
    return handler.reply(401, WWW_Authenticate='Basic realm="test"')


def test_credential_helpers(store):
    image = three()
    with Registry() as registry:
        registry.add(image)
        registry.answer("/v2/", demand_password)
        helper = ("read server\n[ $1 = get ] && [ \"$server\" = " + registry.host + " ] || exit 1\n"
                  "echo '{\"ServerURL\": \"x\", \"Username\": \"eve\", \"Secret\": \"secret\"}'\n")
        store.credentials(credsStore="absent")
        store.refuse_pull(registry.name + ":1", "docker-credential-absent", "not installed")
        write_helper(store, "broken", "echo no keyring; exit 1\n")
        store.credentials(credHelpers={registry.host: "broken"})
        store.refuse_pull(registry.name + ":1", "docker-credential-broken", "no keyring")
        write_helper(store, "empty", "echo credentials not found in native keychain; exit 1\n")
        store.credentials(credsStore="empty")
        store.refuse_pull(registry.name + ":1", "asks for a user", "docker login")
        store.credentials(credsStore="../../bin/sh")
        store.refuse_pull(registry.name + ":1", "not the name of a credential helper")
        write_helper(store, "test", helper)
        for config in ({"credsStore": "test"}, {"credHelpers": {registry.host: "test"}, "credsStore": "broken"}):
            store.credentials(**config)
            store.run("pull", registry.name + ":1")
        store.credentials(auths={registry.host: {"auth": "%%%"}})
        store.refuse_pull(registry.name + ":1", "config.json", "not base64")


# --- tokens --------------------------------------------------------------------------------------------


class Tokens:
    """Makes a registry ask for tokens that it hands out itself."""

    def __init__(self, registry, user=None, realm=None):
        self.registry, self.user, self.valid, self.count = registry, user, set(), 0
        self.realm = realm or f"http://{registry.host}/token"
        registry.answer("/token", self.hand_out)
        registry.answer("/v2/", self.demand)

    def hand_out(self, handler):
        if self.user and handler.headers.get("Authorization") != basic(*self.user):
            return handler.reply(401, encode({"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}))
        self.count += 1
        self.valid.add(f"token{self.count}")
        return handler.reply(200, encode({"token": f"token{self.count}", "expires_in": 60}))

    def demand(self, handler):
        if handler.headers.get("Authorization", "").replace("Bearer ", "") in self.valid:
            return False
        return handler.reply(401, WWW_Authenticate=f'Bearer realm="{self.realm}",service="test",'
                                                   'scope="repository:other:push,pull,delete"')


def test_token(store):
    image = three()
    with Registry() as registry:
        registry.add(image)
        tokens = Tokens(registry)
        store.run("pull", registry.name + ":1")
        store.pulled(image, registry.name + ":1")
        equal(tokens.count, 1, "tokens")
        asked = registry.paths("/token")[0]
        check("service=test" in asked and "scope=repository%3Aapp%3Apull" in asked and "push" not in asked,
              f"asked for {asked}")


def test_token_with_password(store):
    with Registry() as registry:
        registry.add(three())
        Tokens(registry, ("eve", "secret"))
        store.refuse_pull(registry.name + ":1", "authorization service", "401", "who are you", "docker login")
        store.login(registry.host, "eve", "secret")
        store.run("pull", registry.name + ":1")
        check("account=eve" in registry.paths("/token")[-1], "account")


def test_token_expires(store):
    image = three()
    with Registry() as registry:
        registry.add(image)
        tokens = Tokens(registry)

        def expire(_):
            tokens.valid.clear()
            return False
        registry.once("blobs/" + layer_digest(image), expire)
        registry.answers.insert(0, registry.answers.pop())
        store.run("pull", registry.name + ":1")
        store.pulled(image, registry.name + ":1")
        check(tokens.count > 1, "no second token")


def test_identity_token(store):
    with Registry() as registry:
        registry.add(three())

        def hand_out(handler):
            form = handler.content.decode()
            check(handler.command == "POST", "a refresh token in a URL")
            return handler.reply(200 if "refresh_token=refresh" in form and "grant_type=refresh_token" in form
                                 else 400, encode({"access_token": "token0"}))
        registry.answer("/token", hand_out)
        Tokens(registry).valid.add("token0")
        store.credentials(auths={registry.host: {"identitytoken": "refresh"}})
        store.run("pull", registry.name + ":1")
    with Registry() as registry, Registry() as thief:
        registry.add(three())
        registry.answer("/token", lambda handler: handler.reply(307, Location=f"http://{thief.host}/token"))
        Tokens(registry)
        store.credentials(auths={registry.host: {"identitytoken": "refresh"}})
        store.refuse_pull(registry.name + ":2", "authorization service", "307")
        equal(thief.requests, [], "requests to the thief")


def test_token_lies(store):
    cases = ((encode({"token": "a\r\nX-Evil: 1"}), "a character"), (encode({}), "no token"),
             (b"[" * 100000, "nests deeper"), (b"x" * 10 * MEBI, "authorization service"), (b"", "not valid JSON"))
    for body, word in cases:
        with Registry() as registry:
            registry.add(three())
            registry.answer("/token", lambda handler, body=body: handler.reply(200, body))
            Tokens(registry)
            store.refuse_pull(registry.name + ":1", word)
    for realm, word in (("file:///etc/passwd", "file:"), ("ftp://127.0.0.1/", "ftp:"), ("", "")):
        with Registry() as registry:
            registry.add(three())
            if realm:
                Tokens(registry, realm=realm)
            else:
                registry.answer("/v2/", lambda handler: handler.reply(401))
            store.refuse_pull(registry.name + ":1", word)


def test_token_never_by_plain_http(store):
    """A registry with TLS that sends to a service without is not told the password there."""
    certificate = Certificate(store.top)
    with Registry(certificate) as registry, Registry() as thief:
        registry.add(three())
        Tokens(registry, realm=f"http://{thief.host}/token")
        store.settings(registries={registry.host: {"ca_file": certificate.certificate}})
        store.login(registry.host, "eve", "secret")
        store.refuse_pull(registry.name + ":1", "plain HTTP")
        equal(thief.requests, [], "requests to the thief")


# --- choice of platform, mirrors, settings -------------------------------------------------------------


def test_index(store):
    mine, theirs = three(), Image(layers(2), architecture="riscv64")
    with Registry() as registry:
        attestation = {"os": "unknown", "architecture": "unknown"}
        first, second = registry.add(theirs, "t"), registry.add(mine, "m")
        whole = registry.add_index([(first, {"os": "linux", "architecture": "riscv64"}), (first, attestation),
                                    (second, {"os": "linux", "architecture": images.ARCHITECTURE})])
        store.run("pull", registry.name + ":1")
        store.pulled(mine, registry.name + ":1")
        store.run("pull", f"{registry.name}@{whole}")
        store.run("run", "--dry-run", "--pull=never", f"{registry.name}@{whole}")
        store.run("pull", "--platform", "linux/riscv64", registry.name + ":1")
        store.pulled(theirs, registry.name + ":1")
        said = store.run("run", "--dry-run", registry.name + ":1", status=125).stderr.decode()
        check("the image is for linux/riscv64; this machine runs" in said, said)
        alone = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
            {"mediaType": MANIFEST, "digest": second, "size": len(registry.manifests[second][0])}]})
        registry.add_manifest(alone, "alone", INDEX)
        store.run("pull", registry.name + ":alone")
        names = json.loads(store.run("inspect", f"{registry.name}@{whole}").stdout)[0]
        check(registry.name + ":alone" in names["RepoTags"] and f"{registry.name}@{whole}" in names["RepoDigests"] and
              not any("@" in name for name in names["RepoTags"]), names)
        store.refuse_pull(registry.name + ":1", "not there for linux/s390x", options=("--platform=linux/s390x",))
        store.refuse_pull(registry.name + ":1", "is not a platform", options=("--platform=linux",))
        store.refuse_pull(registry.name + ":t", "the image is for linux/riscv64")


def test_mirrors(store):
    image, mirrored = three(), three()
    with Registry() as registry, Registry() as mirror:
        mirrored.config["author"] = "mirror"  # so that one can tell which of them has answered
        registry.add(image)
        store.settings(stall_seconds=1, registries={registry.host: {"mirrors": ["127.0.0.1:1", mirror.host]}})
        store.run("pull", registry.name + ":1")
        store.pulled(image, registry.name + ":1")
        equal(len(mirror.paths("/manifests/1")), 1, "requests for the manifest at the mirror")
        registry.requests.clear()
        mirror.add(mirrored)
        store.run("pull", registry.name + ":1")
        store.pulled(mirrored, registry.name + ":1")
        equal(registry.requests, [], "requests to the registry behind the mirror")
        store.run("rmi", registry.name + ":1")
        mirror.answer("/blobs/", lambda handler: handler.reply(200, b"x" * 2048))
        registry.blobs.update(mirror.blobs)
        store.run("pull", registry.name + ":1")  # blobs that the mirror spoils come from the registry
        store.pulled(mirrored, registry.name + ":1")
        store.run("rmi", registry.name + ":1")
        registry.answer("/v2/", lambda handler: handler.reply(404))
        mirror.answers.insert(0, ("/v2/", lambda handler: handler.reply(404)))
        store.refuse_pull(registry.name + ":1", registry.host, mirror.host, "127.0.0.1:1", "404")


def test_settings(store):
    cases = (({"registrys": {}}, "did you mean \"registries\""),
             ({"registries": {"x.y": {"mirors": []}}}, "did you mean \"mirrors\""),
             ({"registries": {"x.y": {"mirrors": ["http://a"]}}}, "HOST[:PORT]"),
             ({"registries": {"x.y": {"mirrors": "a"}}}, "not an array"),
             ({"registries": {"x.y": {"plain_http": 1}}}, "neither true nor false"),
             ({"registries": {"x.y": {"ca_file": "here"}}}, "not an absolute path"),
             ({"registries": {"127.0.0.1:1": {"ca_file": "/absent"}}}, "/absent"),
             ({"registries": {"a/b": {}}}, "HOST[:PORT]"), ({"registries": []}, "not an object"),
             ({"stall_seconds": 0}, "stall_seconds"), ({"parallel": 17}, "parallel"), ([], "not a JSON object"))
    for settings, word in cases:
        write_json(store.environment["HYBRID_REGISTRIES"], settings)
        store.refuse_pull("127.0.0.1:1/app", word, *(["registries.json"] if word != "/absent" else []))
    store.settings(registries={"127.0.0.1:1": {"plain_http": False}})
    store.refuse_pull("127.0.0.1:1/app", "127.0.0.1:1", "cannot be reached", "check the network")
    store.refuse_pull("no-such-host.invalid/app", "no-such-host.invalid", "cannot be reached")


# --- lies -----------------------------------------------------------------------------------------------


def test_wrong_digest(store):
    image = three()
    with Registry() as registry:
        by_digest = registry.add(image)
        spoilt = image.members()["blobs/sha256/" + layer_digest(image, 1)[7:]].replace(b"\1", b"\2")
        registry.blobs[layer_digest(image, 1)] = spoilt
        store.refuse_pull(registry.name + ":1", "layer sha256:", "digest", sha256(spoilt), registry.host)
        registry.answer("/manifests/", lambda handler: handler.reply(200, b"{}", Content_Type=MANIFEST))
        store.refuse_pull(f"{registry.name}@{by_digest}", "has the digest sha256:" + sha256(b"{}"))
        registry.answers.clear()
        registry.answer("/manifests/", lambda handler: handler.reply(
            200, b"{}", Content_Type=MANIFEST, Docker_Content_Digest=by_digest))
        store.refuse_pull(registry.name + ":1", "as it says itself")


def test_wrong_configuration(store):
    image = three()
    image.config["rootfs"]["diff_ids"][1] = "sha256:" + "1" * 64
    with Registry() as registry:
        registry.add(image)
        store.refuse_pull(registry.name + ":1", "diff id", "layer sha256:111111111111")


def test_wrong_length(store):
    image = three()
    size = image.manifest["layers"][0]["size"]
    for lie in (b"x" * (size - 1), b"x" * (size + 1), b"x" * 50 * MEBI, b""):
        with Registry() as registry:
            registry.add(image)
            registry.answer(layer_digest(image), lambda handler, lie=lie: handler.reply(200, lie))
            store.refuse_pull(registry.name + ":1", f"announces {len(lie)} bytes" if lie else "ended early",
                              *([f"promises {size}"] if lie else []))


def endless(handler, status=200):
    """Chunks, for ever."""
    handler.reply(status, Content_Length=None, Transfer_Encoding="chunked", Content_Type=MANIFEST)
    block = b"%x\r\n%s\r\n" % (MEBI, b" " * MEBI)
    try:
        while True:
            handler.wfile.write(block)
    finally:
        handler.close_connection = True


def endless_headers(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"X-Filler: " + b"y" * 1000 + b"\r\n")


def test_endless_bodies(store):
    image = three()
    with Registry() as registry:
        registry.add(image)
        registry.answer("/blobs/" + layer_digest(image), endless)
        store.refuse_pull(registry.name + ":1", "sends at least", "promises", "layer sha256:")
        registry.answers.clear()
        registry.answer("/manifests/", endless)
        store.refuse_pull(registry.name + ":1", "4194304 bytes", "manifest")

        registry.answers.clear()
        store.settings(stall_seconds=1, registries={registry.host: {"plain_http": True}})
        registry.answer("/manifests/", lambda handler: endless(handler, 400))
        store.refuse_pull(registry.name + ":1", "400")

        registry.answers.clear()
        registry.answer("/manifests/", endless_headers)
        store.refuse_pull(registry.name + ":1", "headers")


def test_large_manifest(store):
    with Registry() as registry:
        registry.add_manifest(b" " * 100 * MEBI + b"{}")
        store.refuse_pull(registry.name + ":1", "4194304 bytes")
        image = three()
        registry.add(image)
        descriptor = image.manifest["config"]
        registry.add_manifest(encode({**image.manifest, "config": {**descriptor, "size": 1 << 40}}), "c")
        store.refuse_pull(registry.name + ":c", "image configuration", "4194304 bytes")
        huge = [{**image.manifest["layers"][0], "size": 1 << 60}]
        registry.add_manifest(encode({**image.manifest, "layers": huge + image.manifest["layers"][1:]}), "l")
        store.refuse_pull(registry.name + ":l", "GiB")


def test_strange_manifests(store):
    image = three()
    with Registry() as registry:
        registry.add(image)
        index = {"schemaVersion": 2, "mediaType": INDEX}
        platform = {"os": "linux", "architecture": images.ARCHITECTURE}
        cases = ((b"[" * 100000, "nests deeper"), (b'{"a":' * 50000 + b"1" + b"}" * 50000, "nests deeper"),
                 (b"[" + b"[]," * 1300000 + b"1]", "more than"), (b"[" + b"{}," * 1300000 + b"1]", "more than"),
                 (b"[" + b"0," * 2000000 + b"1]", "more than"),
                 (b"not json", "not valid JSON"), (b"\xff\xfe", "not valid JSON"), (b"", "not valid JSON"),
                 (b"[]", "descriptor"), (encode({**image.manifest, "layers": {}}), "array"),
                 (encode({**image.manifest, "layers": []}), "layers"),
                 (encode({**image.manifest, "config": None}), "descriptor"),
                 (encode({**image.manifest, "layers": image.manifest["layers"] * 90}), "layers"),
                 (encode({**index, "manifests": []}), "not there for"),
                 (encode({**index, "manifests": [{"digest": "md5:1", "size": 1, "mediaType": MANIFEST,
                                                  "platform": platform}]}), "sha256"),
                 (encode({"schemaVersion": 1, "mediaType": "application/vnd.docker.distribution.manifest.v1+json"}),
                  "manifest.v1+json"))
        for number, (data, word) in enumerate(cases):
            registry.add_manifest(data, f"m{number}", INDEX if b'"manifests"' in data else MANIFEST)
            said = store.refuse_pull(f"{registry.name}:m{number}", word)
            check("deeper" not in said or f"{registry.host} sent it so: try another tag" in said, said)


def test_document_of_the_store(store):
    """Nobody is said to have sent a document that the store had already."""
    image, here = three(), small()
    store.load(here.archive())
    with Registry() as registry:
        registry.add(image)
        config = {**image.manifest["config"], **{key: here.manifest["layers"][0][key] for key in ("digest", "size")}}
        registry.add_manifest(encode({**image.manifest, "config": config}), "other")
        said = store.refuse_pull(registry.name + ":other", "not valid JSON", "try another tag")
        check("sent it so" not in said, said)


def test_nested_indexes(store):
    with Registry() as registry:
        inner, platform = registry.add(three()), {"os": "linux", "architecture": images.ARCHITECTURE}
        for depth in range(10):
            data = encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
                {"mediaType": INDEX if depth else MANIFEST, "digest": inner, "platform": platform,
                 "size": len(registry.manifests[inner][0])}]})
            inner = registry.add_manifest(data, f"d{depth}", INDEX)
        store.run("pull", registry.name + ":d1")
        store.refuse_pull(registry.name + ":d9", "nest deeper", f"{registry.host} sent it so: try another tag")


def redirect(target):
    return lambda handler: handler.reply(307, Location=target)


def test_redirects(store):
    image = three()
    with Registry() as registry, Registry() as other:
        registry.add(image)
        other.add(image)
        for target, word in ((registry.host, "redirects more than"), ("file:///etc/passwd", "file:///etc/passwd"),
                             ("gopher://127.0.0.1/", "gopher://"), ("http://user:pw@127.0.0.1/x", "redirects to"),
                             ("unix:/run/x", "redirects to")):
            registry.answers.clear()
            registry.answer("/blobs/", redirect(target) if ":/" in target else
                            lambda handler: handler.reply(307, Location=handler.path))
            store.refuse_pull(registry.name + ":1", word)


def test_redirect_to_other_host(store):
    """What a content network serves is taken, but it learns no password; one that asks for it gets none."""
    image = three()
    with Registry() as registry, Registry() as other:
        registry.add(image)
        other.add(image)
        store.login(registry.host, "eve", "secret")
        registry.answer("/blobs/", lambda handler: demand_password(handler) is not False or
                        handler.reply(307, Location=f"http://{other.host}{handler.path}"))
        registry.answer("/v2/", demand_password)
        store.run("pull", registry.name + ":1")
        store.pulled(image, registry.name + ":1")
        check(len(other.requests) >= 4, "requests to the other host")
        check(not any("Authorization" in headers for _, headers in other.requests), "the password was sent along")
        store.run("rmi", registry.name + ":1")
        other.answer("/v2/", lambda handler: handler.reply(401, WWW_Authenticate='Basic realm="give"'))
        store.refuse_pull(registry.name + ":1", "401")
        check(not any("Authorization" in headers for _, headers in other.requests), "the password was given")


def test_redirect_from_tls_to_plain(store):
    certificate = Certificate(store.top)
    with Registry(certificate) as registry, Registry() as other:
        registry.add(three())
        store.settings(registries={registry.host: {"ca_file": certificate.certificate}})
        registry.answer("/blobs/", lambda handler: handler.reply(307, Location=f"http://{other.host}/x"))
        store.refuse_pull(registry.name + ":1", f"redirects to http://{other.host}")
        equal(other.requests, [], "requests")


# --- troubles -------------------------------------------------------------------------------------------


def test_slow_drip(store):
    image = large(MEBI)

    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(image.manifest["layers"][0]["size"]))
        handler.end_headers()
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.2)
    with Registry() as registry:
        registry.add(image)
        registry.answer("/blobs/" + layer_digest(image), drip)
        store.refuse_pull(registry.name + ":1", "nothing or nearly nothing", "5 times")
        registry.answers.clear()
        registry.answer("/manifests/", lambda handler: time.sleep(4))
        store.refuse_pull(registry.name + ":1", "nothing or nearly nothing")


def test_busy_registry(store):
    image = three()
    with Registry() as registry:
        registry.add(image)
        registry.once("/manifests/", lambda handler: handler.reply(429, Retry_After="2"))
        registry.once("/blobs/" + layer_digest(image), lambda handler: handler.reply(503), times=2)
        registry.once("/blobs/" + layer_digest(image, 1), lambda handler: handler.reply(500))
        begun = time.monotonic()
        said = store.run("pull", registry.name + ":1").stderr.decode()
        check(time.monotonic() - begun >= 2, "Retry-After was not heeded")
        store.pulled(image, registry.name + ":1")
        check("trying again in 2.0 s" in said and "503" in said, said)
        equal(len(registry.paths(layer_digest(image))), 3, "requests for the first layer")
        store.run("rmi", registry.name + ":1")
        registry.once("/manifests/", lambda handler: handler.reply(
            429, encode({"errors": [{"code": "TOOMANYREQUESTS", "message": "slow \x1b[31mdown"}]}), Retry_After="9999"))
        store.refuse_pull(registry.name + ":1", "429", "asks to wait 9999 seconds", "slow \\x1b[31mdown", "later")
        registry.answer("/blobs/" + layer_digest(image), lambda handler: handler.reply(502))
        store.refuse_pull(registry.name + ":1", "layer sha256:", "502", "5 times", "try later")


def cut_after(image, size, honest=True):
    """Answers a blob up to `size` bytes further, then cuts; honest: heeds Range."""
    data = image.members()["blobs/sha256/" + layer_digest(image)[7:]]

    def answer(handler):
        wanted = handler.headers.get("Range")
        start = int(wanted[6:-1]) if wanted and honest else 0
        if start + size >= len(data):
            return False
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(data[start:start + size])
        handler.cut()
        return True
    return answer


def test_resume(store):
    image = large()
    size = image.manifest["layers"][0]["size"]
    with Registry() as registry:
        registry.add(image)
        registry.answer(layer_digest(image), cut_after(image, 2 * MEBI))
        said = store.run("pull", registry.name + ":1").stderr.decode()
        store.pulled(image, registry.name + ":1")
        ranges = [headers.get("Range") for path, headers in registry.requests if layer_digest(image) in path]
        check(ranges[0] is None and len(ranges) >= 3 and all(ranges[1:]), f"ranges {ranges}")
        starts = [int(text[6:-1]) for text in ranges[1:]]
        check(starts == sorted(starts) and 0 < starts[0] < size, f"starts {starts}")
        check("trying again" in said, said)


def test_resume_refused(store):
    """A server without ranges begins again; one that sends another part is caught."""
    image = large()
    with Registry() as registry:
        registry.add(image)
        registry.once(layer_digest(image), cut_after(image, 2 * MEBI, honest=False))
        registry.answer(layer_digest(image), lambda handler: handler.reply(
            200, registry.blobs[layer_digest(image)]))
        store.run("pull", registry.name + ":1")
        store.pulled(image, registry.name + ":1")
        store.run("rmi", registry.name + ":1")
        registry.answers.clear()
        registry.once(layer_digest(image), cut_after(image, 2 * MEBI))
        registry.answer(layer_digest(image), lambda handler: handler.reply(
            206, b"x" * 1000, Content_Range=f"bytes 0-999/{len(registry.blobs[layer_digest(image)])}"))
        store.refuse_pull(registry.name + ":1", "another part")
        registry.answers.clear()
        registry.answer(layer_digest(image), cut_after(image, 1000))
        store.refuse_pull(registry.name + ":1", "5 times")


def test_full_disk(store):
    """Whether the blob does not fit, or what it becomes: said so, and not blamed on the registry."""
    with Registry() as registry:
        registry.add(large(), "blob")
        registry.add(Image([tar([entry("zeros", data=bytes(24 * MEBI))])], compression="+gzip"), "layer")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", store.data], check=True)
        try:
            store.run("rmi", "absent", status=125)
            for tag in ("blob", "layer"):
                said = store.refuse_pull(f"{registry.name}:{tag}", "No space left")
                check(f"{registry.host}: " not in said.split("app:", 1)[1] and "trying" not in said, said)
            equal(os.listdir(store.data + "/store/tmp"), [], "temporary files")
        finally:
            subprocess.run(["umount", store.data], check=True)


# --- push ----------------------------------------------------------------------------------------------


def load_as(store, image, name):
    store.load(image.archive(), "--name", name)


def test_push_to_real_registry(store):
    image, other = three("+gzip"), Image(layers(4), compression="+gzip")
    certificate = Certificate(store.top)
    for users, tls in ((None, None), ({"eve": "pass:word"}, certificate)):
        with Distribution(users, tls) as registry:
            name = f"{registry.host}/team/app"
            store.settings(registries={registry.host: {"ca_file": certificate.certificate}})
            load_as(store, image, name + ":1")
            load_as(store, other, name + ":2")
            if users:
                said = store.run("push", name + ":1", status=125).stderr.decode()
                check("user and a password" in said and f"docker login {registry.host}" in said, said)
                store.login(registry.host, "eve", "pass:word")
            result = store.run("push", name + ":1")
            rows = [f"configuration {image.id()[:12]}"] + [f"layer {layer['digest'][7:19]}"
                                                           for layer in image.manifest["layers"]]
            equal(sorted(line.split(":")[0] for line in result.stderr.decode().splitlines()), sorted(rows), "progress")
            equal(result.stdout.decode(), f"Pushed image: {name}:1\n{digest(encode(image.manifest))}\n", "output")
            equal(registry.manifest("team/app", "1"), (encode(image.manifest), MANIFEST), "manifest")
            for layer in image.manifest["layers"]:
                equal(registry.blob("team/app", layer["digest"]),
                      image.members()["blobs/sha256/" + layer["digest"][7:]], "blob")
            said = store.run("push", name + ":2").stderr.decode()
            equal(said.count("is there already"), 3, f"blobs that are not sent again ({said})")
            equal((store.run("push", "-q", name + ":2").stdout), b"", "-q")
            store.run("rmi", name + ":1", name + ":2")
            store.run("pull", name + ":1")
            store.pulled(image, name + ":1")
            store.run("rmi", name + ":1")


def test_push_troubles(store):
    image = three()
    with Registry() as registry:
        name = registry.name + ":1"
        load_as(store, image, name)
        registry.once("/blobs/uploads/", lambda handler: handler.reply(503, Retry_After="1"))
        registry.once("/manifests/", lambda handler: handler.reply(429, Retry_After="1"))
        store.run("push", name)
        equal(registry.manifests["1"], (encode(image.manifest), MANIFEST), "manifest")
        check(all(registry.blobs.get(layer["digest"]) for layer in image.manifest["layers"]), "blobs")
        for part, answer in (("/blobs/uploads/", lambda handler: endless(handler, 400)), ("/manifests/", endless_headers),
                             ("/blobs/sha256", lambda handler: handler.reply(307, Location=handler.path))):
            registry.blobs.clear()
            registry.answers.clear()
            registry.answer(part, answer)
            store.refuse_transfer("push", name, registry.host)
        for part, answer, words in (
                ("/blobs/uploads/", lambda handler: handler.reply(202), ["where to send"]),
                ("/blobs/uploads/", lambda handler: handler.reply(202, Location="file:///tmp/x"), ["cannot"]),
                ("/blobs/uploads/", lambda handler: handler.reply(307, Location="/v2/"), ["307"]),
                ("/manifests/", lambda handler: handler.reply(
                    400, encode({"errors": [{"code": "MANIFEST_INVALID", "message": "no \x1b"}]})),
                 ["400", "MANIFEST_INVALID: no \\x1b"]),
                ("/manifests/", lambda handler: handler.reply(
                    201, Docker_Content_Digest="sha256:" + "0" * 64), ["another digest"]),
                ("/v2/", lambda handler: handler.reply(403), ["403", "docker login"])):
            registry.blobs.clear()
            registry.answers.clear()
            registry.answer(part, answer)
            said = store.run("push", name, status=125).stderr.decode()
            check(all(word in said for word in words) and f"cannot push {name}" in said, said)
        registry.blobs = {layer["digest"]: b"" for layer in image.manifest["layers"]}
        registry.answers.clear()
        registry.answer("/blobs/uploads/", lambda handler: handler.reply(202))
        said = store.run("push", name, status=125).stderr.decode()
        check(f"configuration sha256:{image.id()[:12]}: {registry.host}" in said, said)
    check("cannot be reached" in store.run("push", name, status=125).stderr.decode(), "a registry that is gone")
    said = store.run("push", image.id()[:12], status=125).stderr.decode()
    check("hybrid tag" in said, said)
    check(b"no such image" in store.run("push", "absent", status=125).stderr, "absent")


def test_push_keeps_secrets(store):
    """Tokens are asked for with push; an upload that goes to another host carries no password."""
    image = three()
    with Registry() as registry, Registry() as other:
        load_as(store, image, registry.name + ":1")
        tokens = Tokens(registry, ("eve", "secret"))
        store.login(registry.host, "eve", "secret")
        registry.answers.append(("/blobs/uploads/", lambda handler: handler.command == "POST" and handler.reply(
            202, Location=f"http://{other.host}/v2/app/blobs/uploads/9?x=y")))
        store.run("push", registry.name + ":1")
        check("scope=repository%3Aapp%3Apull%2Cpush" in registry.paths("/token")[0], registry.paths("/token"))
        equal((tokens.count, len(other.blobs)), (1, 4), "tokens, blobs at the other host")
        check(not any("Authorization" in headers for _, headers in other.requests), "the token was sent along")


# --- what users see ------------------------------------------------------------------------------------


def test_run_pulls(store):
    image = three()
    with Registry() as registry:
        registry.add(image)
        name = registry.name + ":1"
        said = store.run("run", "--dry-run", "--pull=never", name, status=125).stderr.decode()
        check("no such image" in said and "hybrid load" in said and registry.requests == [], said)
        result = store.run("run", "--dry-run", name)
        check(result.stdout.startswith(b"image      ") and b"Pulled image" in result.stderr, result.stdout)
        requests = len(registry.requests)
        store.run("run", "--dry-run", "--pull=missing", name)
        equal(len(registry.requests), requests, "requests for an image that is here")
        result = store.run("run", "--dry-run", "--pull=always", "-q", name)
        check(len(registry.requests) > requests and result.stderr == b"", result.stderr)
        said = store.run("run", "--dry-run", registry.name + ":2", status=125).stderr.decode()
        check("no such image: " + registry.name + ":2" in said and "404" in said and "hybrid load" in said and
              said.count("hybrid: ") == 1, said)
        store.run("run", "--dry-run", "--pull=sometimes", name, status=125)
    said = store.run("run", "--dry-run", "no-such-host.invalid/app", status=125).stderr.decode()
    check("no such image: no-such-host.invalid/app:latest" in said and "cannot be reached" in said and
          "hybrid load" in said, said)


def slow_registry(registry, image):
    """Its layer takes 10 seconds, in steps that are no stall."""
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(registry.blobs[layer_digest(image)])))
        handler.end_headers()
        for start in range(0, len(registry.blobs[layer_digest(image)]), MEBI // 16):
            handler.wfile.write(registry.blobs[layer_digest(image)][start:start + MEBI // 16])
            time.sleep(0.1)
        return True
    registry.add(image)
    registry.answer(layer_digest(image), answer)


def wait_for(condition, what, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < deadline, f"waited in vain: {what}")
        time.sleep(0.02)


def test_interrupted(store):
    image = large()
    store.load(small().archive())
    with Registry() as registry:
        slow_registry(registry, image)
        for verb in (["pull"], ["run", "--dry-run"]):
            for number in (signal.SIGINT, signal.SIGTERM):
                before = store.snapshot()
                registry.requests.clear()
                process = store.start(*verb, registry.name + ":1", start_new_session=True)
                wait_for(lambda: registry.paths(layer_digest(image)), "the request for the layer")
                time.sleep(0.3)
                os.killpg(process.pid, number)
                _, said = process.communicate(timeout=20)
                equal(process.returncode, 128 + number, f"status ({said!r})")
                equal(images.processes_of(store), [], "processes")
                same_files(store.snapshot(), before, "the store has changed")


def test_interrupted_login(store):
    """Also while it waits for an authorization service that does not answer, or is to be asked again later."""
    store.settings(stall_seconds=60)
    for answer in (lambda handler: time.sleep(30), lambda handler: handler.reply(503, Retry_After="30")):
        with Registry() as registry:
            registry.add(three())
            registry.answer("/token", answer)
            Tokens(registry)
            process = store.start("pull", registry.name + ":1")
            wait_for(lambda: registry.paths("/token"), "the request for a token")
            time.sleep(0.3)
            begun = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=40)
            equal(process.returncode, 128 + signal.SIGINT, "status")
            check(time.monotonic() - begun < 5, f"it took {time.monotonic() - begun} s to end")


def test_killed(store):
    image = large()
    with Registry() as registry:
        slow_registry(registry, image)
        store.load(small().archive())
        before = store.snapshot()
        process = store.start("pull", registry.name + ":1")
        wait_for(lambda: registry.paths(layer_digest(image)), "the request for the layer")
        process.kill()
        process.communicate(timeout=20)
        wait_for(lambda: images.processes_of(store) == [], "the end of all processes")
        store.load(small().archive())
        same_files(store.snapshot(), before, "the store after kill -9 and a load")


def test_killed_push(store):
    """Nothing goes on sending when the command is gone."""
    with Registry() as registry:
        registry.answer("/blobs/uploads/", lambda handler: time.sleep(30))
        store.load(small().archive())
        store.run("tag", "small:1", registry.name + ":1")
        process = store.start("push", registry.name + ":1")
        wait_for(lambda: registry.paths("/blobs/uploads/"), "the request to upload")
        process.kill()
        process.communicate(timeout=20)
        wait_for(lambda: images.processes_of(store) == [], "the end of all processes")


def only_leftovers(store, options=()):
    """What `hybrid system check` finds: at most what killed commands leave, and the next one removes."""
    result = store.run("system", "check", "--format=json", *options, status=None)
    check(result.returncode in (0, 1), f"system check failed: {result.stderr!r}")
    problems = json.loads(result.stdout)["Problems"]
    harm = [problem for problem in problems if problem["Kind"] not in ("temporary", "orphan")]
    equal(harm, [], "broken")
    return problems


def test_killed_at_random(store):
    """Whichever process is killed, and when: no image lacks a part, and the next command cleans up."""
    chance = random.Random(7)
    with Registry() as registry:
        registry.add(Image(layers(5, 200000), compression="+gzip"))
        begun = time.monotonic()
        store.run("pull", registry.name + ":1")
        usual = time.monotonic() - begun
        for number in range(200):
            store.run("rmi", registry.name + ":1", status=None)
            process = store.start("pull", registry.name + ":1")
            time.sleep(chance.uniform(0, usual))
            victims = images.processes_of(store) if number % 2 else [process.pid]
            if victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(victims), signal.SIGKILL)
            process.communicate(timeout=20)
            wait_for(lambda: images.processes_of(store) == [], "the end of all processes")
            only_leftovers(store, [] if number % 20 == 0 else ["--quick"])
        store.load(small().archive())
        equal(only_leftovers(store), [], "problems after the next command")
        store.run("image", "prune", "--all")
        for kind in ("blobs/sha256", "layers", "index", "tmp"):
            equal(os.listdir(f"{store.data}/store/{kind}"), [], kind)


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def test_confinement(store):
    """One process has the network, and it is nobody; those that read archives have none."""
    image = large()
    with Registry() as registry:
        slow_registry(registry, image)
        process = store.start("pull", registry.name + ":1")
        try:
            wait_for(lambda: registry.paths(layer_digest(image)), "the request for the layer")
            ours = os.stat("/proc/self/ns/net").st_ino
            with_network = []
            for pid in images.processes_of(store):
                if os.stat(f"/proc/{pid}/ns/net").st_ino == ours:
                    with_network.append(pid)
            equal(len(with_network), 1, "processes with the network")
            pids = {pid: os.stat(f"/proc/{pid}/ns/pid").st_ino for pid in images.processes_of(store)}
            # Not the supervisor, which is the parent of all and reads nothing that others wrote.
            outside = [pid for pid, number in pids.items() if number == os.stat("/proc/self/ns/pid").st_ino]
            for pid in pids:
                equal(int(status_of(pid)["CapEff"], 16) & ~DAC_OVERRIDE_AND_FOWNER, 0, f"more capabilities: {pid}")
            check(len(outside) == 2 and with_network[0] in outside and len(pids) > 2, f"pid namespaces: {pids}")
            status = status_of(with_network[0])
            equal(status["Uid"].split(), ["65534"] * 4, "user ids")
            equal(status["Groups"].split(), [], "groups")
            for name in ("CapEff", "CapPrm", "CapInh"):
                equal(int(status[name], 16), 0, name)
            equal(status["NoNewPrivs"], "1", "no_new_privs")
            for name in os.listdir(f"/proc/{with_network[0]}/fd"):
                target = os.readlink(f"/proc/{with_network[0]}/fd/{name}")
                mode = os.stat(f"/proc/{with_network[0]}/fd/{name}").st_mode
                check(store.top not in target or stat.S_ISREG(mode), f"it holds {target}")
        finally:
            process.terminate()
            process.communicate(timeout=20)


class Crowd:
    """How many requests are being answered at a time, at most; each takes a while."""

    def __init__(self, method):
        self.method, self.lock, self.now, self.most = method, threading.Lock(), 0, 0

    def __call__(self, handler):
        if handler.command == self.method:
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            time.sleep(0.4)
            with self.lock:
                self.now -= 1
        return False


def test_parallel(store):
    """Layers come and go side by side: three at a time, or as many as the settings say."""
    image = Image(layers(7))
    for settings, most in (({}, 3), ({"parallel": 6}, 6), ({"parallel": 1}, 1)):
        store.settings(stall_seconds=10, **settings)
        with Registry() as registry:
            registry.add(image)
            pulls, pushes = Crowd("GET"), Crowd("PUT")
            registry.answer("/blobs/", pulls)
            store.run("pull", registry.name + ":1")
            registry.answers.clear()
            registry.blobs.clear()
            registry.answer("/blobs/", pushes)
            store.run("push", registry.name + ":1")
            equal((pulls.most, pushes.most), (most, most), f"at a time with {settings}")
            check(all(registry.blobs.get(layer["digest"]) for layer in image.manifest["layers"]), "blobs")
            store.run("rmi", registry.name + ":1")


def test_mount(store):
    """What another repository of the registry has is not sent; where that is refused, it is."""
    image, other = three("+gzip"), Image(layers(4), compression="+gzip")
    with Distribution() as registry:
        load_as(store, image, f"{registry.host}/team/base:1")
        load_as(store, other, f"{registry.host}/team/app:1")
        store.run("push", f"{registry.host}/team/base:1")
        said = store.run("push", f"{registry.host}/team/app:1").stderr.decode()
        equal(said.count("mounted from team/base"), 3, f"blobs that are not sent ({said})")
        for layer in other.manifest["layers"]:
            equal(registry.blob("team/app", layer["digest"]), other.members()["blobs/sha256/" + layer["digest"][7:]],
                  "blob")
    for refusal in (401, 403, 404, 405):
        with Registry() as registry:
            load_as(store, image, f"{registry.host}/team/base:1")
            load_as(store, other, registry.name + ":1")
            tokens = Tokens(registry)
            challenge = f'Bearer realm="{tokens.realm}",service="test"'
            registry.answers.insert(0, ("mount=", lambda handler, refusal=refusal, challenge=challenge: handler.reply(
                refusal, WWW_Authenticate=challenge if refusal == 401 else None)))
            store.run("push", registry.name + ":1")
            check(all(registry.blobs.get(layer["digest"]) for layer in other.manifest["layers"]), f"after {refusal}")
            asked = [path for path in registry.paths("/token") if "team%2Fbase%3Apull" in path]
            equal(bool(asked), refusal == 401, f"the token for the other repository: {registry.paths('/token')}")
            store.run("rmi", f"{registry.host}/team/base:1", registry.name + ":1")


def test_same_layers(store):
    """Equal layers are fetched once; one that is here in another compression is fetched, not converted."""
    layer = layers(1)[0]
    image = Image([layer, layers(2)[1], layer])
    with Registry() as registry:
        registry.add(image)
        store.run("pull", registry.name + ":1")
        store.pulled(image, registry.name + ":1")
        equal(len(registry.paths(layer_digest(image))), 1, "requests")
        other = Image([layer, layers(2)[1], layer], compression="+gzip")
        registry.add(other, "2")
        store.run("pull", registry.name + ":2")
        store.pulled(other, registry.name + ":2")


def test_concurrent(store):
    with Registry() as registry:
        names = []
        for number in range(8):
            registry.add(Image(layers(3) + [tar([directory(f"own{number}")])]), f"c{number}")
            names.append(f"{registry.name}:c{number}")
        processes = [store.start("pull", "-q", name) for name in names]
        for process in processes:
            _, said = process.communicate(timeout=60)
            equal((process.returncode, said), (0, b""), "status")
        equal(len(json.loads(store.run("images", "--format=json").stdout)), 8, "images")
        equal(os.listdir(store.data + "/store/tmp"), [], "temporary files")


def test_concurrent_with_prune(store):
    """Loads and pulls of overlapping images, while everything is removed again and again: all succeed."""
    with Registry() as registry:
        images_ = [Image(layers(3) + [tar([directory(f"own{number}")])]) for number in range(10)]
        paths = []
        for number, image in enumerate(images_):
            registry.add(image, f"c{number}")
            paths.append(store.file(image.archive(), f"c{number}.tar"))
        processes = [store.start("pull", "-q", f"{registry.name}:c{number}") for number in range(10)]
        processes += [store.start("load", "-q", "--name", f"loaded:{number}", path)
                      for number, path in enumerate(paths)]
        while any(process.poll() is None for process in processes):
            store.run("image", "prune", "--all")
        for process in processes:
            _, said = process.communicate(timeout=60)
            equal((process.returncode, said), (0, b""), f"status of {process.args[5:]}")
        equal(only_leftovers(store), [], "problems")
        store.run("image", "prune", "--all")
        for kind in ("blobs/sha256", "layers", "index", "tmp"):
            equal(os.listdir(f"{store.data}/store/{kind}"), [], kind)


def test_concurrent_with_removal(store):
    """Layers that are there when a pull begins, and are removed before it ends, are held for it; or put back, if who
    removed them did not see that."""
    image = large()
    base = layers(1)[0]
    both = Image([base, image_layer(image)])
    for seen in (True, False):
        with Registry() as registry:
            slow_registry(registry, image)
            store.load(Image([base], "base:1").archive())
            registry.add(both, "both")
            process = store.start("pull", "-q", registry.name + ":both")
            wait_for(lambda: registry.paths(layer_digest(image)), "the request for the layer")
            store.run("rmi", "base:1")
            check(os.path.exists(store.layer(base)), "the base is removed while it is held")
            if not seen:
                os.unlink(store.layer(base))
            _, said = process.communicate(timeout=60)
            equal((process.returncode, said), (0, b""), "status")
            store.pulled(both, registry.name + ":both")
            check(os.path.exists(store.layer(base)), "the base is not there")
            equal(only_leftovers(store), [], "problems")
            store.run("rmi", registry.name + ":both")
            check(not os.path.exists(store.layer(base)), "the base is not removed in the end")


def image_layer(image):
    return image.members()["blobs/sha256/" + layer_digest(image)[7:]]


def screen(text, width, height=24):
    """What a terminal of this size shows in the end of text: its lines."""
    rows, x, y = [""] * height, 0, 0
    for up, down, clear, character in re.findall(r"\x1b\[(\d+)A|\x1b\[(\d+)B|(\x1b\[K)|([^\x1b])", text, re.S):
        if up or down:
            y = max(0, y - int(up)) if up else min(height - 1, y + int(down))
        elif clear:
            rows[y] = rows[y][:x]
        elif character == "\r":
            x = 0
        else:
            if character == "\n" or x == width:
                x, y = 0 if x == width else x, y + 1
            if y == height:
                rows, y = rows[1:] + [""], height - 1
            if character != "\n":
                rows[y] = rows[y].ljust(x)[:x] + character + rows[y][x + 1:]
                x += 1
    return [row.rstrip() for row in rows if row.strip()]


def on_terminal(store, width, *arguments):
    """All that hybrid writes to a terminal so wide."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    process = subprocess.Popen(store.command(*arguments), env=store.environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while block := os.read(ours, 65536):
            shown += block
    except OSError:
        pass  # how the end of a terminal is told
    os.close(ours)
    equal(process.wait(30), 0, "status")
    return shown.decode()


def test_narrow_terminal(store):
    """A row stays a row, whatever the width: none wraps and shifts the others."""
    image = Image([tar([entry(f"data{number}", data=os.urandom(MEBI))]) for number in range(4)])
    short = [layer["digest"][7:19] for layer in image.manifest["layers"]]
    with Registry() as registry:
        registry.add(image)
        for width in (30, 60, 79, 120):
            for verb, word in (("pull", "done"), ("push", "pushed")):
                if verb == "push":
                    registry.blobs.clear()
                shown = on_terminal(store, width, verb, registry.name + ":1")
                lines = screen(shown, width)
                for number, name in enumerate(short):
                    found = [line for line in lines if name in line]
                    check(len(found) == 1 and word in found[0], f"{verb} at {width}: {name} in {lines}")
            store.run("rmi", registry.name + ":1")


def test_output(store):
    image = three()
    with Registry() as registry:
        registry.add(image)
        name = registry.name + ":1"
        result = store.run("pull", name)
        lines = result.stderr.decode().splitlines()
        check("3 layers, 3 of them to fetch" in lines[0] and
              sum("fetched" in line for line in lines) == 3 and sum("done" in line for line in lines) == 3 and
              b"\x1b" not in result.stderr, result.stderr)
        store.run("rmi", name)
        result = store.run("pull", "-q", name)
        equal((result.stdout, result.stderr), (b"", b""), "-q")
        store.run("rmi", name)
        shown = on_terminal(store, 100, "pull", name)
        check("\x1b[" in shown and "done" in shown and "Pulled image" in shown, shown)
    store.run("pull", status=125)
    store.run("pull", "a", "b", status=125)
    check(b"--plain-http" in store.run("pull", "--plain-htp", "a", status=125).stderr, "the nearest option")


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    number, shares = map(int, sys.argv[2].split("/")) if len(sys.argv) > 2 else (1, 1)
    tests = [(name.replace("test_", "registry_"), test) for name, test in globals().items()
             if name.startswith("test_")][number - 1::shares]
    return images.run_tests(tests, os.path.realpath(build + "/hybrid"), Puller)


if __name__ == "__main__":
    sys.exit(main())
