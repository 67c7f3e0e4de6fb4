#!/usr/bin/python3
"""Where images come from: `hybrid verify` and `hybrid pull` against a registry, and what a policy makes of it.

    signatures.py [BUILD]     prints PASS, FAIL or SKIP lines; exit status 1 if anything failed
"""

import base64
import json
import os
import subprocess
import sys
import tempfile

import images
from images import Image, check, encode, equal
from registries import MANIFEST, Registry, digest, write_json
from registry import Puller, layers, three

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"


class Signer:
    """A key pair made by openssl."""

    def __init__(self, store, name, *kind):
        self.private, self.public = f"{store.top}/{name}.key", f"{store.top}/{name}.pem"
        subprocess.run(["openssl", "genpkey", *(kind or ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")),
                        "-out", self.private], check=True, stderr=subprocess.DEVNULL)
        subprocess.run(["openssl", "pkey", "-in", self.private, "-pubout", "-out", self.public], check=True)

    def sign(self, data):
        signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.private], input=data, check=True,
                                stdout=subprocess.PIPE)
        return base64.b64encode(signed.stdout).decode()


def payload(registry, named, reference=None):
    return encode({"critical": {"identity": {"docker-reference": reference or registry.name},
                                "image": {"docker-manifest-digest": named},
                                "type": "cosign container image signature"}, "optional": {"by": "a test"}})


def attach(registry, named, *entries):
    """Puts signatures where cosign does; entries: (payload, base64)."""
    blobs = [(text, {"dev.cosignproject.cosign/signature": signature}) for text, signature in entries]
    config = encode({"architecture": "", "os": "", "rootfs": {"type": "layers", "diff_ids": []}})
    registry.blobs.update({digest(data): data for data in [config, *(text for text, _ in blobs)]})
    registry.add_manifest(encode({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": PAYLOAD, "digest": digest(text), "size": len(text), "annotations": notes}
                   for text, notes in blobs]}), named.replace(":", "-") + ".sig")


def write_policy(store, *keys):
    return write_json(store.top + "/policy.json", {
        "version": 1, "default": "deny",
        "rules": [{"name": "signed", "match": {"signature": {"keys": list(keys)}}, "isolation": "container"}]})


def decision(store, policy, name, status):
    """What `run` would do, and what it says."""
    result = store.run("--policy", policy, "run", "--dry-run", name, "x", status=status)
    return (result.stdout + result.stderr).decode()


def refuse(store, word, *arguments):
    before = store.snapshot()
    said = store.run("verify", *arguments, status=125).stderr.decode()
    check(word in said and said.count("\n") == 1, f"{word!r} is not said: {said!r}")
    images.same_files(store.snapshot(), before, "the store has changed")


def test_policy(store):
    team, other = Signer(store, "team"), Signer(store, "other")
    with Registry() as registry:
        name, stranger = registry.name + ":1", registry.name + ":2"
        named = registry.add(three(), "1")
        registry.add(Image(layers(2)), "2")
        for image in (name, stranger):
            store.run("pull", "-q", image)
        policy = write_policy(store, team.public)
        check("refused" in decision(store, policy, name, 125), "an image that nobody verified runs")
        refuse(store, "404", "--key", team.public, name)
        text = payload(registry, named)
        attach(registry, named, (text, other.sign(text)), (text, team.sign(text)))
        said = store.run("verify", "--key", team.public, name).stdout.decode()
        check(f"{named} is signed by {team.public}" in said, said)
        check("isolation  container" in decision(store, policy, name, 0), "a signed image does not run")
        explained = store.run("--policy", policy, "policy", "explain", name).stdout.decode()
        check('decided by "signed"' in explained, explained)
        check("refused" in decision(store, policy, stranger, 125), "another image of the repository runs")
        check("refused" in decision(store, write_policy(store, other.public), name, 125), "by another key")
        store.run("verify", "-q", "--key", other.public, name)
        for keys in ((other.public,), (team.public,), (team.public, other.public)):
            decision(store, write_policy(store, *keys), name, 0)
        equal(os.listdir(store.data + "/store/signatures"), [named.split(":")[1]], "signers")
        store.run("rmi", name)
        equal(os.listdir(store.data + "/store/signatures"), [], "signers of an image that is gone")
        store.run("pull", "-q", name)
        check("refused" in decision(store, write_policy(store, team.public), name, 125), "verified no more")


def test_key_files(store):
    """A key that others could have put there decides nothing."""
    team, other = Signer(store, "team"), Signer(store, "other")
    with Registry() as registry:
        name, named = registry.name + ":1", registry.add(three(), "1")
        text = payload(registry, named)
        attach(registry, named, (text, team.sign(text)))
        store.run("pull", "-q", name)
        store.run("verify", "-q", "--key", team.public, name)
        policy = write_policy(store, team.public)
        decision(store, policy, name, 0)
        os.chmod(team.public, 0o666)
        check("can be written by others" in decision(store, policy, name, 125), "a key of everybody's")
        os.chmod(team.public, 0o644)
        os.rename(team.public, team.public + ".old")
        check("cannot open the key" in decision(store, policy, name, 125), "a key that is gone")
        os.symlink(team.public + ".old", team.public)
        check("symbolic link" in decision(store, policy, name, 125), "a link")
        os.rename(other.public, team.public)
        check("refused" in decision(store, policy, name, 125), "another key of the same name")
        os.rename(team.public + ".old", team.public)
        decision(store, policy, name, 0)
        with open(f"{store.data}/store/signatures/{named.split(':')[1]}", "w", encoding="ascii") as file:
            file.write("spoilt")
        check("who signed the image" in decision(store, policy, name, 125), "spoilt signers")
        unasked = write_json(store.top + "/policy.json", {"version": 1, "default": "container", "rules": []})
        decision(store, unasked, name, 0)


def test_forged(store):
    team, other = Signer(store, "team"), Signer(store, "other", "-algorithm", "RSA")
    weak = Signer(store, "weak", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024")
    with Registry() as registry:
        name, named = registry.name + ":1", registry.add(three(), "1")
        store.run("pull", "-q", name)
        good, elsewhere = payload(registry, named), payload(registry, named, "registry.example/app")
        another = payload(registry, "sha256:" + "0" * 64)
        for word, *entries in (("not of this key", (good, other.sign(good))),
                               ("not of this key", (good, team.sign(good + b" "))),
                               ("not of this key", (good, "")),
                               ("another image", (another, team.sign(another))),
                               ("signed as", (elsewhere, team.sign(elsewhere))),
                               ("none",)):
            attach(registry, named, *entries)
            refuse(store, word, "--key", team.public, name)
        attach(registry, named, (good, other.sign(good)))
        store.run("verify", "--key", other.public, name)
        refuse(store, "neither ECDSA", "--key", weak.public, name)
        refuse(store, "not a public key", "--key", team.private, name)
        refuse(store, "cannot read the key", "--key", team.public + "-none", name)
        refuse(store, "whose signature", name)
        refuse(store, "no such image", "--key", team.public, registry.name + ":3")


def test_hostile_registry(store):
    """Signatures of the wrong form: refused, and never by more than a line."""
    team = Signer(store, "team")
    with Registry() as registry:
        name, named = registry.name + ":1", registry.add(three(), "1")
        store.run("pull", "-q", name)
        tag = named.replace(":", "-") + ".sig"
        for manifest in (b"{}", b"[]", encode({"layers": 1}), encode({"layers": [1]}),
                         encode({"layers": [{"mediaType": PAYLOAD, "digest": named, "size": 1 << 40}]}),
                         encode({"layers": [{"mediaType": "x/y", "digest": named, "size": 10}]})):
            registry.add_manifest(manifest, tag)
            refuse(store, "is not known to be signed", "--key", team.public, name)
    equal(os.listdir(store.data + "/store/tmp"), [], "temporary files")


# The machine's own settings, for one command: /etc as it is, and a file more.
AS_SYSTEM = """
mount -t tmpfs tmpfs "$1" && mkdir "$1/upper" "$1/work" &&
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" overlay /etc &&
mkdir -p /etc/hybrid && printf %s "$2" >/etc/hybrid/registries.json && shift 2 && exec "$@"
"""


def pull_as_system(store, settings, *arguments, status=0):
    scratch = tempfile.mkdtemp(dir=store.top)
    environment = {name: value for name, value in store.environment.items() if name != "HYBRID_REGISTRIES"}
    result = subprocess.run(["unshare", "--mount", "sh", "-c", AS_SYSTEM, "sh", scratch, encode(settings).decode(),
                             *store.command("pull", "-q", *arguments)], env=environment, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
    os.rmdir(scratch)
    check(result.returncode == status, f"pull {arguments} by {settings}: {result.stderr.decode()}")
    return result.stderr.decode()


def test_pulled_from(store):
    """A registry's prefix trusts what was pulled from there, not what is called so."""
    with Registry() as registry:
        name, other = registry.name + ":1", registry.name + ":2"
        registry.add(three(), "1")
        registry.add(Image(layers(2)), "2")
        http = {"registries": {registry.host: {"plain_http": True}}}
        policy = write_json(store.top + "/policy.json", {
            "version": 1, "default": "deny",
            "rules": [{"name": "ours", "match": {"pulled_from": [registry.name]}, "isolation": "container"}]})

        def judge(trusted, why, image=name):
            said = decision(store, policy, image, 0 if trusted else 125)
            check(("isolation  container" if trusted else "refused by the policy") in said, f"{why}: {said}")

        store.run("pull", "-q", name)
        judge(False, "settings that the caller chose")
        pull_as_system(store, {}, name)
        judge(False, "whoever listens on loopback")
        pull_as_system(store, http, "--plain-http", name)
        judge(False, "--plain-http")
        pull_as_system(store, http, name)
        judge(True, "as the machine's settings say")
        listed = json.loads(store.run("images", "--format=json").stdout)
        judge(True, "by its id", next(image["Id"] for image in listed if image["Repository"] == registry.name))
        store.run("tag", name, "localhost/mine:1")
        judge(False, "another name of the same content", "localhost/mine:1")
        judge(True, "its own name")
        store.run("pull", "-q", other)
        store.run("tag", other, name)
        judge(False, "other content, tagged")
        pull_as_system(store, http, name)
        judge(True, "pulled again")
        store.run("save", "-o", store.top + "/saved.tar", name)
        store.run("rmi", name)
        store.run("load", "-q", store.top + "/saved.tar")
        judge(False, "loaded")
        elsewhere = Image(layers(1), "elsewhere:1")
        store.load(elsewhere.archive())
        whole = digest(encode(elsewhere.manifest))
        claimed = f"{registry.name}@{whole}"
        said = pull_as_system(store, http, claimed, status=125)
        check(whole[:19] in said or "404" in said, f"a digest that the registry does not have: {said}")
        check("no such image" in decision(store, policy, claimed, 125), "what the store had from elsewhere")


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    tests = [(name.replace("test_", "signature_"), test) for name, test in globals().items()
             if name.startswith("test_")]
    return images.run_tests(tests, os.path.realpath(build + "/hybrid"), Puller)


if __name__ == "__main__":
    sys.exit(main())
