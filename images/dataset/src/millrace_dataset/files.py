"""File work that must be right once: hashing in bounded memory, durable writes, the contract's tree digest."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20


def sha256_file(path: Path) -> tuple[str, int]:
    """Hex SHA-256 and length in bytes of a file, read in chunks."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def tree_digest(entries: Iterable[tuple[str, str, int]]) -> str:
    """The contract's digest over (POSIX relative path, sha256 hex, bytes), in order of path; `sha256:<hex>`."""
    digest = hashlib.sha256()
    for path, sha256, size in sorted(entries):
        digest.update(f"{path}\0{sha256}\0{size}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        json.dump(value, stream, indent=1, ensure_ascii=False)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def fsync_file(path: Path) -> None:
    """Make a file's content durable that another library wrote."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def fsync_directory(path: Path) -> None:
    """Make a directory's entries durable, which a rename alone does not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
