#!/usr/bin/env python3
"""mkimage.py OUT.tar REFERENCE [--folder DIR=PATH]... BINARY [ARG...]

Writes an OCI image archive for `ctr image import`: one layer with the program, the loader and the shared libraries
that it needs, where they stand here, and each folder's files below PATH. Same input, same bytes.
"""
import hashlib
import io
import json
import platform
import re
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PT_INTERP = 3


def add_dir(tar, name, mode):
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, mode
    tar.addfile(info)


def add_file(tar, name, data, mode=0o644):
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    tar.addfile(info, io.BytesIO(data))


def needs_loader(binary):
    """True for a dynamically linked ELF file."""
    offset, = struct.unpack_from("<Q", binary, 0x20)
    size, count = struct.unpack_from("<HH", binary, 0x36)
    return any(struct.unpack_from("<I", binary, offset + i * size)[0] == PT_INTERP for i in range(count))


def libraries(path):
    """The loader and every shared library of a dynamically linked program, as `ldd` finds them here."""
    found = subprocess.run(["ldd", path], check=True, capture_output=True, text=True).stdout
    if "not found" in found:
        sys.exit(f"{path}: a shared library is missing here:\n{found}")
    return sorted(re.findall(r"(/\S+) \(0x", found))


def layer_of(name, path, binary, folders):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        add_dir(tar, "tmp", 0o1777)
        add_dir(tar, "etc", 0o755)
        add_file(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/false\n")
        for library in libraries(path) if needs_loader(binary) else []:
            add_file(tar, library.lstrip("/"), Path(library).read_bytes(), 0o755)
        for folder, target in folders:
            for file in sorted(f for f in Path(folder).rglob("*") if f.is_file()):
                add_file(tar, f"{target.strip('/')}/{file.relative_to(folder)}", file.read_bytes())
        add_file(tar, name, binary, 0o755)
    return buffer.getvalue()


def digest(blob):
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def descriptor(kind, blob, **more):
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest(blob), "size": len(blob), **more}


def main(out, reference, *args):
    folders = []
    while args[:1] == ("--folder",):
        folders.append(args[1].split("=", 1))
        args = args[2:]
    path, *args = args
    binary = Path(path).read_bytes()
    if binary[:5] != b"\x7fELF\x02":
        sys.exit(f"{path}: not a 64-bit ELF program")
    name = Path(path).name
    layer = layer_of(name, path, binary, folders)
    config = json.dumps({
        "architecture": ARCHITECTURES[platform.machine()], "os": "linux",
        "config": {"Entrypoint": [f"/{name}", *args], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [digest(layer)]},
    }).encode()
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": descriptor("config.v1+json", config), "layers": [descriptor("layer.v1.tar", layer)],
    }).encode()
    index = json.dumps({"schemaVersion": 2, "manifests": [descriptor(
        "manifest.v1+json", manifest, annotations={"io.containerd.image.name": reference})]}).encode()
    with tarfile.open(out, "w") as tar:
        add_file(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        add_file(tar, "index.json", index)
        for blob in (config, manifest, layer):
            add_file(tar, "blobs/sha256/" + hashlib.sha256(blob).hexdigest(), blob)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
