"""Tar archives and images made of them, entry by entry, so that a test can spoil any part."""

import gzip
import hashlib
import io
import json
import platform
import shutil
import subprocess
import tarfile

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
OCI = "application/vnd.oci.image."


class Skip(Exception):
    pass


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def encode(value):
    return json.dumps(value).encode()


def entry(name, kind=tarfile.REGTYPE, data=b"", **fields):
    """One tar entry: (TarInfo, content). Extended attributes as xattrs={name: bytes}."""
    info = tarfile.TarInfo(name)
    info.type, info.size, info.mode, info.mtime = kind, len(data), 0o644, 1700000000
    for key, value in fields.pop("xattrs", {}).items():
        info.pax_headers["SCHILY.xattr." + key] = value.decode("utf-8", "surrogateescape")
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def directory(name, mode=0o755, **fields):
    return entry(name, tarfile.DIRTYPE, mode=mode, **fields)


def link(name, target, kind=tarfile.SYMTYPE):
    return entry(name, kind, linkname=target)


def tar(entries, form=tarfile.PAX_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zstd(data):
    if not shutil.which("zstd"):
        raise Skip("zstd is not installed")
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


COMPRESSIONS = {"": lambda data: data, "+gzip": lambda data: gzip.compress(data, 1, mtime=0), "+zstd": zstd}


class Image:
    """An image in parts that a test can spoil: members of an OCI layout, by name."""

    def __init__(self, layers, name=None, config=None, compression="", **document):
        self.blobs = {}
        descriptors = [self.blob(COMPRESSIONS[compression](layer), OCI + "layer.v1.tar" + compression)
                       for layer in layers]
        self.config = {"architecture": ARCHITECTURE, "os": "linux", "config": config or {"Cmd": ["sh"]},
                       "created": "2024-01-02T03:04:05Z",
                       "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha256(x) for x in layers]}}
        self.config.update(document)
        self.manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": None,
                         "layers": descriptors}
        self.annotations = {"org.opencontainers.image.ref.name": name} if name else {}
        self.index_entry = {}

    def blob(self, data, media_type):
        self.blobs["blobs/sha256/" + sha256(data)] = data
        return {"mediaType": media_type, "digest": "sha256:" + sha256(data), "size": len(data)}

    def members(self):
        if self.manifest["config"] is None:
            self.manifest["config"] = self.blob(encode(self.config), OCI + "config.v1+json")
        descriptor = self.blob(encode(self.manifest), OCI + "manifest.v1+json")
        descriptor.update(annotations=self.annotations, **self.index_entry)
        return {"oci-layout": encode({"imageLayoutVersion": "1.0.0"}),
                "index.json": encode({"schemaVersion": 2, "manifests": [descriptor]}), **self.blobs}

    def archive(self):
        return tar([entry(name, data=data) for name, data in self.members().items()])

    def id(self):
        return sha256(encode(self.config))

    def docker_archive(self, tags):
        layers = [self.blobs["blobs/sha256/" + layer["digest"][7:]] for layer in self.manifest["layers"]]
        names = [f"{number}/layer.tar" for number in range(len(layers))]
        parts = [entry(self.id() + ".json", data=encode(self.config))]
        parts += [entry(name, data=layer) for name, layer in zip(names, layers)]
        parts += [entry("manifest.json", data=encode(
            [{"Config": self.id() + ".json", "RepoTags": tags, "Layers": names}]))]
        return tar(parts)
