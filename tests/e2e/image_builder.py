"""Images for the tests, made by hand: layers from directories or from single entries (also such as no builder
writes), in the archives of `docker save` and in OCI layouts."""

import gzip
import hashlib
import io
import json
import pathlib
import tarfile

FILE, LINK, HARD, DEVICE, DIR = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE
SECOND = 1_000_000_000


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(*entries):
    """A layer of (name, kind, data or target[, {TarInfo attribute: value}])."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, data, *more in entries:
            info = tarfile.TarInfo(name)
            info.type, info.mode = kind, 0o755
            for key, value in (more[0] if more else {}).items():
                setattr(info, key, value)
            if kind == FILE:
                info.size = len(data)
            elif kind in (LINK, HARD):
                info.linkname = data
            elif kind == DEVICE:
                info.devmajor, info.devminor = 1, 3
            tar.addfile(info, io.BytesIO(data) if kind == FILE else None)
    return out.getvalue()


def layer_of(directory, *skip):
    """A layer with all that is in DIRECTORY."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in sorted(pathlib.Path(directory).iterdir()):
            if path.name not in skip and path.name != ".complete":
                tar.add(path, path.name)
    return out.getvalue()


def sparse_layer(name, size):
    """A layer whose only file is all holes and SIZE bytes long: GNU's old form, which Python only reads."""
    def field(text, length):
        return text.encode().ljust(length, b"\0")

    def number(value, length):
        return b"\x80" + value.to_bytes(length - 1, "big") if value >= 8 ** (length - 1) else field(f"{value:0{length - 1}o}", length)
    head = (field(name, 100) + number(0o644, 8) + number(0, 8) + number(0, 8) + number(0, 12) + number(0, 12) + b" " * 8 + b"S"
            + field("", 100) + b"ustar  \0" + field("", 32) + field("", 32) + number(0, 8) + number(0, 8)
            + field("", 12) + field("", 12) + field("", 12) + field("", 4) + b"\0"
            + number(size, 12) + number(0, 12) + field("", 72) + b"\0" + number(size, 12))
    head = head.ljust(512, b"\0")
    total = sum(head)
    head = head[:148] + f"{total:06o}\0 ".encode() + head[156:]
    return head + b"\0" * 1024


def config_json(layers, config=None, arch="amd64", created="2024-05-06T07:08:09Z"):
    return json.dumps({"architecture": arch, "os": "linux", "created": created, "config": config or {},
                       "rootfs": {"type": "layers", "diff_ids": [sha256(one) for one in layers]},
                       "history": [{"created_by": "tests"} for _ in layers]}).encode()


def docker_archive(path, layers, config=None, tags=("test:1",), arch="amd64"):
    """What docker save writes (before its version 25). Returns the image's id."""
    text = config_json(layers, config, arch)
    with tarfile.open(path, "w") as tar:
        def add(name, data):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        name = sha256(text)[7:] + ".json"
        add(name, text)
        for i, one in enumerate(layers):
            add(f"{i}/layer.tar", one)
        add("manifest.json", json.dumps([{"Config": name, "RepoTags": list(tags) or None,
                                          "Layers": [f"{i}/layer.tar" for i in range(len(layers))]}]).encode())
    return sha256(text)


def oci_layout(path, layers, config=None, name="", arch="amd64"):
    """An OCI layout with gzipped layers. Returns the image's id."""
    path = pathlib.Path(path)
    blobs = path / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(data, kind):
        (blobs / sha256(data)[7:]).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": sha256(data), "size": len(data)}
    text = config_json(layers, config, arch)
    manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                           "config": blob(text, "config.v1+json"),
                           "layers": [blob(gzip.compress(one, 1), "layer.v1.tar+gzip") for one in layers]}).encode()
    entry = blob(manifest, "manifest.v1+json")
    if name:
        entry["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rpartition(":")[2]}
    (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return sha256(text)
