"""Reading back what lies on a claim: digests, records, and the message that a container leaves when it ends."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

RECORD = "run.json"
PROGRESS = "progress.json"
POINTER = "latest.json"
_CHUNK = 4 * 1024 * 1024
_LIMIT = 4096


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file. Raises OSError."""
    with path.open("rb") as stream:
        digest = hashlib.sha256()
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def walk(root: Path, skip: Iterable[Path] = ()) -> Iterator[Path]:
    """Regular files under a folder, sorted by POSIX relative path; folders and files in `skip` are left out."""
    left_out = {p.resolve() for p in skip}
    found = [p for p in root.rglob("*") if p.is_file() and not _within(p, left_out)]
    yield from sorted(found, key=lambda p: p.relative_to(root).as_posix())


def _within(path: Path, folders: set[Path]) -> bool:
    resolved = path.resolve()
    return any(resolved == f or f in resolved.parents for f in folders)


def tree_digest(root: Path, skip: Iterable[Path] = ()) -> tuple[str, int, int]:
    """("sha256:<hex>", files, bytes) of a folder: SHA-256 over "<path>\\0<sha256>\\0<bytes>\\n" of each file, by path."""
    digest, files, size = hashlib.sha256(), 0, 0
    for path in walk(root, skip):
        length = path.stat().st_size
        digest.update(f"{path.relative_to(root).as_posix()}\0{sha256(path)}\0{length}\n".encode())
        files, size = files + 1, size + length
    return f"sha256:{digest.hexdigest()}", files, size


def read_json(path: Path) -> dict[str, Any] | None:
    """The JSON object in a file; None where there is no file. Raises ValueError where it is not one."""
    try:
        loaded = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    if not isinstance(loaded, dict):
        raise ValueError(f"{path.name} does not hold a JSON object")
    return loaded


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a file so that a reader sees the old one or the whole new one, even after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


def report(message: dict[str, Any]) -> None:
    """Leave a termination message: at most 4,096 bytes of JSON, the text in it shortened where it must be."""
    text = _bytes(message)
    if len(text) > _LIMIT and "message" in message:
        text = _bytes({**message, "message": _cut(message)})
    Path(os.environ.get("MILLRACE_TERMINATION_LOG", "/dev/termination-log")).write_bytes(text)
    sys.stdout.buffer.write(text + b"\n")
    sys.stdout.flush()


def _cut(message: dict[str, Any]) -> str:
    """As much of the text as fits: how many bytes a character takes depends on the character."""
    said = message["message"]
    fits, most = 0, len(said)
    while fits < most:
        tried = (fits + most + 1) // 2
        if len(_bytes({**message, "message": said[:tried] + "…"})) <= _LIMIT:
            fits = tried
        else:
            most = tried - 1
    return f"{said[:fits]}…"


def _bytes(message: dict[str, Any]) -> bytes:
    """Names of files need not be UTF-8: what cannot be said becomes a question mark."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
