"""Publishing: a version's folder appears whole, by one rename, or not at all; what is reported was read back.

A version's name mixes the source's digest with format, columns and split settings, so another split never overwrites
what a running job reads.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace_dataset.files import fsync_directory, sha256_file, write_json
from millrace_dataset.problems import Problem
from millrace_dataset.request import Request
from millrace_dataset.scan import Scan, Written

MANIFEST = "manifest.json"
OWNERS = ".owners"

Write = Callable[[Path], list[Written]]


@dataclass(frozen=True)
class Published:
    """A version: its folder and its manifest's splits (name -> file, rows, bytes, digest)."""

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


def publish(request: Request, found: Scan, base: Path, write: Write) -> Published:
    """Publish under `base`, or verify and reuse what is there; Problem(PublishFailed) when the claim does not take it.

    `write` puts the splits into a folder. Who uses a version is noted in it, so that it goes with the last of them.
    """
    final = base / version_of(found, request)
    try:
        if final.exists():
            made = verify(final)
        else:
            with appearing(final, request.uid) as folder:
                _fill(request, found, folder, write)
            made = _read(final)
        own(final, request.uid)
    except OSError as error:
        raise Problem("PublishFailed", f"cannot write under {base}: {error.strerror or error}") from error
    return made


@contextmanager
def appearing(final: Path, uid: str) -> Iterator[Path]:
    """A temporary folder beside `final` that takes its name when the block ends well, and goes when it does not."""
    temporary = final.with_name(f".{final.name}.{uid or os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        fsync_directory(temporary)
        _rename(temporary, final)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def own(folder: Path, uid: str) -> None:
    """Note that the Dataset of this uid uses the folder; the sweep of a deleted one looks there (millrace.podside.sweep)."""
    if uid:
        (folder / OWNERS).mkdir(exist_ok=True)
        (folder / OWNERS / uid).touch()


def _fill(request: Request, found: Scan, folder: Path, write: Write) -> None:
    splits = write(folder)
    manifest = {
        "schema": 1,
        "name": request.name,
        "namespace": request.namespace,
        "digest": found.digest,
        "format": request.published_format,
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


def _rename(temporary: Path, final: Path) -> None:
    try:
        temporary.rename(final)
    except OSError:
        if not final.exists():  # somebody else publishing the same version first is a success
            raise
    fsync_directory(final.parent)


def _read(folder: Path) -> Published:
    return Published(folder, json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["splits"])


def verify(folder: Path) -> Published:
    """Read a version back and compare every file with the manifest; Problem(PublishFailed) names what differs."""
    try:
        made = _read(folder)
        for split in made.splits.values():
            sha256, size = sha256_file(folder / split["file"])
            if (f"sha256:{sha256}", size) != (split["digest"], split["bytes"]):
                raise _damaged(folder, split["file"])
    except (KeyError, ValueError, FileNotFoundError) as error:
        raise _damaged(folder, MANIFEST) from error
    return made


def _damaged(folder: Path, name: str) -> Problem:
    return Problem(
        "PublishFailed",
        f"{folder}/{name} was changed after it was published: remove that folder to have it published anew",
    )
