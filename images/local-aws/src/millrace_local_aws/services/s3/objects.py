"""Buckets and the versions of objects: rows in the database, bytes in files.

A version's file is written whole before its row; a row never points at nothing. Files that no row names are removed at the start.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace_local_aws.engine.ids import version
from millrace_local_aws.services.s3.checksums import Sums
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError

if TYPE_CHECKING:
    from millrace_local_aws.world import World

_SCHEMA = """
CREATE TABLE IF NOT EXISTS s3_version (
    bucket TEXT NOT NULL, key TEXT NOT NULL, seq INTEGER NOT NULL, id TEXT NOT NULL, latest INTEGER NOT NULL,
    marker INTEGER NOT NULL, facts TEXT NOT NULL, PRIMARY KEY (bucket, key, seq)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS s3_latest ON s3_version (bucket, key) WHERE latest = 1;
"""
CHUNK = 256 * 1024
NO_SUCH_KEY = "The specified key does not exist."


@dataclass
class Version:
    """One version of an object, or a delete marker. `files` are its bytes in order (several after a multipart upload)."""

    bucket: str
    key: str
    id: str
    seq: int = 0
    marker: bool = False
    size: int = 0
    etag: str = ""
    modified: float = 0.0
    owner: str = ""
    files: list[tuple[str, int]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    checksums: dict[str, str] = field(default_factory=dict)
    checksum_type: str = "FULL_OBJECT"
    parts: list[dict[str, Any]] = field(default_factory=list)
    encryption: dict[str, Any] = field(default_factory=dict)
    storage_class: str = "STANDARD"

    def facts(self) -> str:
        hidden = ("bucket", "key", "id", "seq", "marker")
        return json.dumps({name: value for name, value in asdict(self).items() if name not in hidden}, separators=(",", ":"))


def _version(row: tuple[Any, ...]) -> Version:
    bucket, key, seq, name, _, marker, facts = row
    return Version(bucket, key, name, seq, bool(marker), **json.loads(facts))


_COLUMNS = "bucket, key, seq, id, latest, marker, facts"


class Objects:
    """Everything S3 keeps."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.buckets = world.store.table("s3.bucket")
        world.store.schema(_SCHEMA)
        self._folder = world.folder / "objects"
        self._folder.mkdir(exist_ok=True)
        self._sequence = world.store.select("SELECT coalesce(max(seq), 0) FROM s3_version")[0][0]
        self._sequence = max(self._sequence, int(world.clock.wall() * 1000))
        self._remove_orphans()

    # Files

    def _remove_orphans(self) -> None:
        known = {
            name for row in self.world.store.select("SELECT facts FROM s3_version") for name, _ in json.loads(row[0])["files"]
        }
        for _, _, upload in self.world.store.table("s3.upload").everything():
            known |= {part["file"] for part in upload["parts"].values()}
        for path in self._folder.glob("*/*"):
            if path.name not in known:
                path.unlink()

    def path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    async def write(self, source: AsyncIterator[bytes], sums: Sums) -> str:
        """A new file with all that comes; returns its name. Memory holds one chunk."""
        name = uuid.uuid4().hex
        path = self.path(name)
        path.parent.mkdir(exist_ok=True)
        try:
            with path.open("wb", buffering=0) as file:
                async for chunk in source:
                    sums.update(chunk)
                    file.write(chunk)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return name

    def discard(self, names: list[str]) -> None:
        """Files that no version needs any more; they go once that is on disk: a kill must not leave rows without files."""
        self.world.store.after_commit(lambda: self._unlink(names))

    def _unlink(self, names: list[str]) -> None:
        for name in names:
            self.path(name).unlink(missing_ok=True)

    def pieces(self, files: list[tuple[str, int]], start: int, length: int) -> list[tuple[Path, int, int]]:
        """Path, offset and length of each part of a range."""
        out = []
        for name, size in files:
            take = min(size - start, length)
            if take > 0:
                out.append((self.path(name), max(0, start), take))
                length -= take
                start = 0
            else:
                start -= size
        return out

    def read(self, found: Version) -> bytes:
        """All of an object's bytes; for services here that read small documents."""
        return b"".join(piece for path, at, size in self.pieces(found.files, 0, found.size) for piece in _read(path, at, size))

    # Buckets

    def bucket(self, name: str) -> Record:
        found = self.buckets.get("", name)
        if found is None:
            raise AwsError("NoSuchBucket", "The specified bucket does not exist", 404, BucketName=name)
        return found

    # Versions

    def next_sequence(self) -> int:
        self._sequence += 1
        return int(self._sequence)

    def latest(self, bucket: str, key: str) -> Version | None:
        """The current version, which may be a delete marker."""
        rows = self.world.store.select(
            f"SELECT {_COLUMNS} FROM s3_version WHERE bucket = ? AND key = ? AND latest = 1", (bucket, key)
        )
        return _version(rows[0]) if rows else None

    def version(self, bucket: str, key: str, name: str) -> Version | None:
        rows = self.world.store.select(
            f"SELECT {_COLUMNS} FROM s3_version WHERE bucket = ? AND key = ? AND id = ?", (bucket, key, name)
        )
        return _version(rows[0]) if rows else None

    def current(self, bucket: str, key: str) -> Version | None:
        """The current version unless it is a delete marker."""
        found = self.latest(bucket, key)
        return None if found is None or found.marker else found

    def add(self, new: Version) -> Version:
        """Make it the current version; replaces the null version where the bucket keeps none."""
        record = self.bucket(new.bucket)
        new.seq = self.next_sequence()
        new.modified = float(int(self.world.clock.wall()))
        new.owner = record["account"]
        if record["versioning"] == "Enabled":
            new.id = version()
        else:
            new.id = "null"
            self._replace_null(new)
        execute = self.world.store.execute
        execute("UPDATE s3_version SET latest = 0 WHERE bucket = ? AND key = ? AND latest = 1", (new.bucket, new.key))
        values = (new.bucket, new.key, new.seq, new.id, 1, int(new.marker), new.facts())
        execute(f"INSERT INTO s3_version ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        return new

    def _replace_null(self, new: Version) -> None:
        old = self.version(new.bucket, new.key, "null")
        if old is not None:
            self._forget(old)

    def _forget(self, old: Version) -> None:
        self.world.store.execute(
            "DELETE FROM s3_version WHERE bucket = ? AND key = ? AND seq = ?", (old.bucket, old.key, old.seq)
        )
        self.discard([name for name, _ in old.files])

    def save(self, changed: Version) -> None:
        """Its facts, such as tags, were changed."""
        values = (changed.facts(), changed.bucket, changed.key, changed.seq)
        self.world.store.execute("UPDATE s3_version SET facts = ? WHERE bucket = ? AND key = ? AND seq = ?", values)

    def remove(self, old: Version) -> None:
        """One version, for good; the newest that is left becomes current."""
        self._forget(old)
        statement = "SELECT max(seq) FROM s3_version WHERE bucket = ? AND key = ?"
        newest = self.world.store.select(statement, (old.bucket, old.key))[0][0]
        if newest is not None:
            self.world.store.execute(
                "UPDATE s3_version SET latest = (seq = ?) WHERE bucket = ? AND key = ?", (newest, old.bucket, old.key)
            )

    def empty(self, bucket: str) -> bool:
        return not self.world.store.select("SELECT 1 FROM s3_version WHERE bucket = ? LIMIT 1", (bucket,))

    def page(self, bucket: str, prefix: str, after: str, most: int) -> list[Version]:
        """Current versions with a key behind `after`, in the keys' order."""
        statement = (
            f"SELECT {_COLUMNS} FROM s3_version INDEXED BY s3_latest WHERE bucket = ? AND latest = 1 AND marker = 0"
            " AND key > ? AND key >= ? AND key < ? ORDER BY key LIMIT ?"
        )
        return [_version(row) for row in self.world.store.select(statement, (bucket, after, prefix, prefix + "\U0010ffff", most))]

    def versions_page(self, bucket: str, prefix: str, after: tuple[str, int], most: int) -> list[tuple[Version, bool]]:
        """All versions in the order of keys, newest first, with whether each is current."""
        statement = (
            f"SELECT {_COLUMNS} FROM s3_version WHERE bucket = ? AND key >= ? AND key < ?"
            " AND (key > ? OR (key = ? AND seq < ?)) ORDER BY key, seq DESC LIMIT ?"
        )
        values = (bucket, prefix, prefix + "\U0010ffff", after[0], after[0], after[1], most)
        return [(_version(row), bool(row[4])) for row in self.world.store.select(statement, values)]

    def keys(self, bucket: str, prefix: str) -> list[Version]:
        """All current versions below a prefix."""
        return self.page(bucket, prefix, "", 1_000_000)

    def put_bytes(self, bucket: str, key: str, data: bytes, content_type: str = "application/octet-stream") -> Version:
        """An object that a service here writes."""
        sums = Sums(["CRC32"])
        sums.update(data)
        name = uuid.uuid4().hex
        path = self.path(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return self.add_written(bucket, key, name, sums, content_type)

    def put_file(self, bucket: str, key: str, source: Path, content_type: str = "application/octet-stream") -> Version:
        """An object from a file, which is moved here; memory holds one chunk."""
        sums = Sums(["CRC32"])
        with source.open("rb") as file:
            while chunk := file.read(CHUNK):
                sums.update(chunk)
        name = uuid.uuid4().hex
        self.path(name).parent.mkdir(exist_ok=True)
        _move(source, self.path(name))
        return self.add_written(bucket, key, name, sums, content_type)

    def add_written(self, bucket: str, key: str, name: str, sums: Sums, content_type: str) -> Version:
        from millrace_local_aws.services.s3 import notifications

        new = Version(bucket, key, "", size=sums.size, etag=sums.etag, files=[(name, sums.size)], checksums=sums.found())
        new.headers["ContentType"] = content_type
        added = self.add(new)
        notifications.created(self.world, added, "Put", "PutObject", self.bucket(bucket)["account"])
        return added


def _move(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError:
        import shutil

        shutil.move(source, target)


def _read(path: Path, at: int, size: int) -> list[bytes]:
    out = []
    with path.open("rb", buffering=0) as file:
        file.seek(at)
        while size > 0 and (chunk := file.read(min(CHUNK, size))):
            size -= len(chunk)
            out.append(chunk)
    return out


async def stream(pieces: list[tuple[Path, int, int]]) -> AsyncIterator[bytes]:
    """The bytes of a range, a chunk at a time."""
    for path, at, size in pieces:
        with path.open("rb", buffering=0) as file:
            file.seek(at)
            left = size
            while left > 0 and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk
