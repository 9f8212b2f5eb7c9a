"""Durable files: what is named is whole and on disk before its name is visible."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class FileEntry:
    """A file's SHA-256 (hex) and length in bytes."""

    sha256: str
    bytes: int


def hash_file(path: Path) -> FileEntry:
    """Read a file in chunks and describe it."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(digest.hexdigest(), size)


def hash_tree(root: Path) -> dict[str, FileEntry]:
    """Every regular file under `root` by POSIX relative path."""
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): hash_file(path) for path in paths}


def tree_digest(entries: Mapping[str, FileEntry]) -> str:
    """The digest the operator computes too: SHA-256 over path, hash and length of each file in order of path."""
    digest = hashlib.sha256()
    for path, entry in sorted(entries.items()):
        digest.update(f"{path}\0{entry.sha256}\0{entry.bytes}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def fsync_file(path: Path) -> None:
    """Force a written file to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


fsync_directory = fsync_file


def write_text(path: Path, text: str) -> None:
    """Replace a file's content so that a reader, even after a power cut, sees the old or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    fsync_directory(path.parent)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """As write_text, for a JSON object; NaN and infinity are refused, since they are not JSON."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False))
