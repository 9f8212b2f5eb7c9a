"""Tells apart what `millrace local load` is given: an image archive, or the name of a folder of images/."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

from millrace.cli.local.archives import Image
from millrace.cli.local.errors import LocalError
from millrace.cli.local.images import ensure_image

_REF = "org.opencontainers.image.ref.name"


def resolve(text: str) -> Image:
    path = Path(text)
    if path.is_file():
        return Image(archive_tag(path), path.resolve())
    if "/" in text or text.endswith(".tar"):
        raise LocalError(f"there is no file {text}", "Give an archive, or the name of a folder of images/.")
    return ensure_image(text)


def archive_tag(path: Path) -> str:
    """The name that a docker or OCI archive gives its (first) image."""
    try:
        with tarfile.open(path) as archive:
            names = set(archive.getnames())
            if "manifest.json" in names:
                return str(_json(archive, "manifest.json")[0]["RepoTags"][0])
            return str(_json(archive, "index.json")["manifests"][0]["annotations"][_REF])
    except (tarfile.TarError, KeyError, IndexError, TypeError, ValueError) as problem:
        raise LocalError(
            f"{path} is not an image archive with a name ({problem})",
            f"Make one: buildah push IMAGE oci-archive:{path}:IMAGE, or docker save -o {path} IMAGE",
        ) from problem


def _json(archive: tarfile.TarFile, name: str) -> Any:
    member = archive.extractfile(name)
    if member is None:
        raise KeyError(name)
    return json.loads(member.read())
