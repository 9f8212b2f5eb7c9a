"""Publishing: a version's folder appears whole, by one rename, or not at all; what is reported was read back.

A version's name mixes the source's digest with format, columns and split settings, so another split never overwrites
what a running job reads.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace_dataset.files import fsync_directory, sha256_file, write_json
from millrace_dataset.lines import OnBytes, SourceFile
from millrace_dataset.problems import Problem
from millrace_dataset.request import Request
from millrace_dataset.scan import Scan
from millrace_dataset.write import write_splits

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Published:
    """A verified version: its folder and its manifest's splits (name -> file, rows, bytes, digest)."""

    folder: Path
    splits: Mapping[str, Mapping[str, Any]]


def version_of(found: Scan, request: Request) -> str:
    """Twelve hex digits that name what would be published."""
    split = request.split
    settings = {
        "digest": found.digest,
        "format": request.format,
        "columns": [[column.name, column.type] for column in request.columns or ()],
        "split": split
        and {
            "fractions": {name: str(value.normalize()) for name, value in split.fractions.items()},
            "seed": split.seed,
            "stratifyBy": split.stratify_by,
        },
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def publish(files: list[SourceFile], request: Request, found: Scan, base: Path, on_bytes: OnBytes) -> Published:
    """Publish under `base`, or verify and reuse what is there; Problem(PublishFailed) when the claim does not take it."""
    final = base / version_of(found, request)
    try:
        if not final.exists():
            _build(files, request, found, final, on_bytes)
        return verify(final)
    except OSError as error:
        raise Problem("PublishFailed", f"cannot write under {base}: {error.strerror or error}") from error


def _build(files: list[SourceFile], request: Request, found: Scan, final: Path, on_bytes: OnBytes) -> None:
    temporary = final.with_name(f".{final.name}.{request.uid or os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        _fill(files, request, found, temporary, on_bytes)
        _rename(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fill(files: list[SourceFile], request: Request, found: Scan, folder: Path, on_bytes: OnBytes) -> None:
    splits = write_splits(files, request, found, folder, on_bytes)
    manifest = {
        "schema": 1,
        "name": request.name,
        "namespace": request.namespace,
        "digest": found.digest,
        "format": request.format,
        "rows": found.rows,
        "bytes": found.bytes,
        "columns": [{"name": column.name, "type": column.type} for column in found.columns],
        "splits": {
            split.name: {
                "file": f"{split.name}.{request.extension}",
                "rows": split.rows,
                "bytes": split.size,
                "digest": split.digest,
            }
            for split in splits
        },
    }
    write_json(folder / MANIFEST, manifest)
    fsync_directory(folder)


def _rename(temporary: Path, final: Path) -> None:
    try:
        temporary.rename(final)
    except OSError:
        if not final.exists():  # somebody else publishing the same version first is a success
            raise
    fsync_directory(final.parent)


def verify(folder: Path) -> Published:
    """Read a version back and compare every file with the manifest; Problem(PublishFailed) names what differs."""
    try:
        splits = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["splits"]
        for split in splits.values():
            sha256, size = sha256_file(folder / split["file"])
            if (f"sha256:{sha256}", size) != (split["digest"], split["bytes"]):
                raise _damaged(folder, split["file"])
    except (KeyError, ValueError, FileNotFoundError) as error:
        raise _damaged(folder, MANIFEST) from error
    return Published(folder, splits)


def _damaged(folder: Path, name: str) -> Problem:
    return Problem(
        "PublishFailed",
        f"{folder}/{name} was changed after it was published: remove that folder to have it published anew",
    )
