#!/usr/bin/python3
"""Registries for the tests of `hybrid pull`: Debian's docker-registry, and one of our own that can lie.

    registries.py --prepare     fetches what is needed, so that the tests need no network
"""

import base64
import functools
import hashlib
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from archives import OCI, Skip, encode, sha256
from images import check

MANIFEST = OCI + "manifest.v1+json"
INDEX = OCI + "index.v1+json"


@functools.lru_cache(maxsize=64)  # a busy machine takes seconds for a large one, and the client waits for less
def digest(data):
    return "sha256:" + sha256(data)


# --- one that can lie -----------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        registry = self.server.registry
        registry.requests.append((self.path, dict(self.headers.items())))
        self.content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            for part, answer in registry.answers:
                if part in self.path and answer(self) is not False:
                    return
            registry.serve(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_POST = do_PUT = do_HEAD = do_GET

    def handle(self):
        try:
            super().handle()
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass  # clients that give up are what is tested

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        headers.setdefault("Content_Length", str(len(body)))
        for key, value in headers.items():
            if value is not None:
                self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        return True

    def cut(self):
        """Ends the connection at once, without a word."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)


class SixServer(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


class Registry:
    """A registry with one repository, "app": manifests by tag or digest, blobs by digest. `answers` are
    (part of the path, function of the handler) that come before the truth; one that returns False passes."""

    def __init__(self, tls=None, address=("127.0.0.1", 0)):
        self.manifests, self.blobs, self.answers, self.requests = {}, {}, [], []
        self.server = (SixServer if ":" in address[0] else http.server.ThreadingHTTPServer)(address, Handler)
        self.server.daemon_threads, self.server.registry = True, self
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.name = f"{self.host}/app"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def add(self, image, tag="1"):
        """Offers an images.Image; its manifest's digest."""
        members = image.members()
        manifest = encode(image.manifest)
        self.blobs.update({"sha256:" + name.rsplit("/", 1)[1]: data for name, data in members.items()
                           if name.startswith("blobs/") and data != manifest})
        return self.add_manifest(manifest, tag)

    def add_manifest(self, data, tag="1", media_type=MANIFEST):
        self.manifests[digest(data)] = self.manifests[tag] = (data, media_type)
        return digest(data)

    def add_index(self, entries, tag="1"):
        """entries: (digest, platform object)"""
        manifests = [{"mediaType": MANIFEST, "digest": name, "size": len(self.manifests[name][0]),
                      "platform": platform} for name, platform in entries]
        return self.add_manifest(encode({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}), tag,
                                 INDEX)

    def answer(self, part, function):
        self.answers.append((part, function))

    def once(self, part, function, times=1):
        """Answers so the first few times; the truth afterwards."""
        left = [times]

        def answer(handler):
            if left[0] == 0:
                return False
            left[0] -= 1
            return function(handler)
        self.answer(part, answer)

    def paths(self, part=""):
        return [path for path, _ in self.requests if part in path]

    def serve(self, handler):
        kind, name = handler.path.split("?")[0].split("/")[-2:]
        if handler.command in ("POST", "PUT"):
            self.receive(handler, kind, name)
        elif kind == "manifests" and name in self.manifests:
            data, media_type = self.manifests[name]
            handler.reply(200, data, Content_Type=media_type, Docker_Content_Digest=digest(data))
        elif kind == "blobs" and name in self.blobs:
            self.serve_blob(handler, self.blobs[name])
        else:
            handler.reply(404, encode({"errors": [{"code": "NAME_UNKNOWN", "message": "not here"}]}))

    def receive(self, handler, kind, name):
        """An upload in one piece: POST, PUT with the digest; or a manifest."""
        if handler.command == "POST":
            handler.reply(202, Location="/v2/app/blobs/uploads/1?state=x")
        elif kind == "manifests":
            self.add_manifest(handler.content, name, handler.headers["Content-Type"])
            handler.reply(201, Docker_Content_Digest=digest(self.manifests[name][0]))
        else:
            data = handler.content
            good = digest(data) == urllib.parse.parse_qs(handler.path.split("?")[1])["digest"][0]
            self.blobs[digest(data)] = data
            handler.reply(201 if good else 400)

    @staticmethod
    def serve_blob(handler, data):
        wanted = handler.headers.get("Range")
        if not wanted:
            handler.reply(200, data)
            return
        start = int(wanted.split("=")[1].rstrip("-"))
        handler.reply(206, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# --- the real one ------------------------------------------------------------------------------------


class Certificate:
    """A self-signed certificate for 127.0.0.1 and localhost."""

    def __init__(self, directory):
        self.key, self.certificate = directory + "/key.pem", directory + "/certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout",
                        self.key, "-out", self.certificate], check=True, stderr=subprocess.DEVNULL)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def find_program():
    """docker-registry: installed, or fetched from Debian and unpacked into our cache; installing the package
    would start a service on the network."""
    if shutil.which("docker-registry"):
        return shutil.which("docker-registry")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cache = os.environ.get("HYBRID_CACHE") or os.path.join(base, "hybrid")
    tree = os.path.join(cache, "docker-registry")
    program = tree + "/usr/bin/docker-registry"
    if os.path.exists(program):
        return program
    os.makedirs(cache, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache) as work:
        got = subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", "docker-registry"],
                             cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        archives = [name for name in os.listdir(work) if name.endswith(".deb")]
        if got.returncode or not archives:
            raise Skip("docker-registry cannot be fetched: " + got.stdout.decode().strip()[-200:])
        subprocess.run(["dpkg-deb", "-x", f"{work}/{archives[0]}", work + "/tree"], check=True)
        os.rename(work + "/tree", tree)
    return program


class Distribution:
    """Debian's docker-registry on loopback; users: {name: password}; tls: a Certificate."""

    def __init__(self, users=None, tls=None):
        program = find_program()
        self.top = tempfile.mkdtemp(prefix="hybrid-registry-")
        self.users, self.tls, self.port = users, tls, free_port()
        self.host = f"localhost:{self.port}"
        with open(self.top + "/config.yml", "w", encoding="utf-8") as file:
            json.dump(self.config(), file)  # YAML reads JSON
        self.log = open(self.top + "/log", "wb")
        self.process = subprocess.Popen([program, "serve", self.top + "/config.yml"],
                                        stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)

    def config(self):
        config = {"version": 0.1, "storage": {"filesystem": {"rootdirectory": self.top + "/store"}},
                  "http": {"addr": f"127.0.0.1:{self.port}"}}
        if self.tls:
            config["http"]["tls"] = {"certificate": self.tls.certificate, "key": self.tls.key}
        if self.users:
            if not shutil.which("htpasswd"):
                raise Skip("htpasswd is not installed")
            with open(self.top + "/users", "wb") as file:
                for user, password in self.users.items():
                    file.write(subprocess.run(["htpasswd", "-Bbn", user, password], stdout=subprocess.PIPE,
                                              check=True).stdout)
            config["auth"] = {"htpasswd": {"realm": "test", "path": self.top + "/users"}}
        return config

    def __enter__(self):
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except OSError:
                time.sleep(0.05)
        raise AssertionError("docker-registry does not start: " + open(self.top + "/log").read()[-500:])

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()
        shutil.rmtree(self.top)

    def request(self, method, path, data=None, **headers):
        url = path if "://" in path else f"{'https' if self.tls else 'http'}://{self.host}{path}"
        request = urllib.request.Request(url, data=data, method=method,
                                         headers={key.replace("_", "-"): value for key, value in headers.items()})
        if self.users:
            request.add_header("Authorization", basic(*next(iter(self.users.items()))))
        context = ssl.create_default_context(cafile=self.tls.certificate) if self.tls else None
        return urllib.request.urlopen(request, context=context)

    def push(self, image, repository="app", tag="1"):
        members, manifest = image.members(), encode(image.manifest)
        for name, data in members.items():
            if not name.startswith("blobs/") or data == manifest:
                continue
            location = self.request("POST", f"/v2/{repository}/blobs/uploads/", b"").headers["Location"]
            self.request("PUT", f"{location}&digest={digest(data)}", data,
                         Content_Type="application/octet-stream").close()
        self.request("PUT", f"/v2/{repository}/manifests/{tag}", manifest, Content_Type=MANIFEST).close()
        return "sha256:" + hashlib.sha256(manifest).hexdigest()

    def manifest(self, repository, tag):
        """(bytes, media type) as it is kept there."""
        with self.request("GET", f"/v2/{repository}/manifests/{tag}", Accept=f"{MANIFEST}") as answer:
            return answer.read(), answer.headers["Content-Type"]

    def blob(self, repository, name):
        with self.request("GET", f"/v2/{repository}/blobs/{name}") as answer:
            return answer.read()


def write_json(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file)
    check(os.path.exists(path), path)
    return path


def prepare():
    try:
        find_program()
    except Skip as reason:  # the tests that need it will say so
        print(reason)


if __name__ == "__main__" and sys.argv[1:] == ["--prepare"]:
    prepare()
