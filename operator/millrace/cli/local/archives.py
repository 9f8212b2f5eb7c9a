"""The one image that no base and no builder is needed for: Debian's static busybox, as pause container and as a shell."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path

from millrace.cli.local.errors import LocalError
from millrace.cli.local.packages import find
from millrace.cli.local.settings import cache_home

# Not wget and nc: they resolve names through libraries that a static program cannot load, and die of it.
_APPLETS = ("sh", "cat", "echo", "env", "httpd", "id", "ls", "nslookup", "rm", "sleep", "touch", "true")


@dataclass(frozen=True)
class Image:
    """An image as nodes get it: its full name, and the archive file that holds it."""

    tag: str
    archive: Path


def ensure_busybox() -> Image:
    program = find("busybox")
    if program is None:
        raise LocalError("busybox is not installed", "Run: apt-get install busybox-static")
    layer = busybox_layer(Path(program).read_bytes())
    key = hashlib.sha256(layer).hexdigest()
    image = Image(f"localhost/millrace/busybox:{key[:12]}", cache_home() / "archives" / f"busybox-{key[:12]}.tar")
    if not image.archive.exists():
        image.archive.parent.mkdir(parents=True, exist_ok=True)
        draft = image.archive.with_suffix(".draft")
        draft.write_bytes(docker_archive(image.tag, layer))
        draft.replace(image.archive)
    return image


def busybox_layer(program: bytes) -> bytes:
    """A file system of busybox and links to it; the same program gives the same bytes."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for folder, mode in (("bin", 0o755), ("tmp", 0o1777), ("etc", 0o755)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        _add(tar, "bin/busybox", program, 0o755)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n", 0o644)
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return content.getvalue()


def docker_archive(tag: str, layer: bytes) -> bytes:
    """The `docker save` form of an image of one layer."""
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": ["/bin/busybox", "sleep", "infinity"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for file, data in ((name, config), ("layer.tar", layer), ("manifest.json", manifest)):
            _add(tar, file, data, 0o644)
    return content.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    tar.addfile(entry, io.BytesIO(content))
