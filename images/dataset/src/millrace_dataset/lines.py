"""Lines of source files in bounded memory, hashed as they pass, so that one reading both checks and digests a source."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from millrace_dataset.problems import Problem

MAX_LINE_BYTES = 16 << 20
PIECE_BYTES = 1 << 20
BOM = b"\xef\xbb\xbf"

OnBytes = Callable[[int], None]


class Hash(Protocol):
    """The part of hashlib's objects used here."""

    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


@dataclass(frozen=True)
class SourceFile:
    """One file of a source: its POSIX path relative to the source, and where it lies."""

    relative: str
    path: Path


@dataclass
class Reading:
    """One pass over one file; after the last piece `sha256` and `size` describe what was read."""

    file: SourceFile
    on_bytes: OnBytes = field(default=lambda _: None)
    size: int = 0
    _hash: Hash = field(default_factory=hashlib.sha256)

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes read so far."""
        return self._hash.hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """The file's bytes as they come, without a leading byte order mark."""
        with self.file.path.open("rb") as stream:
            while chunk := stream.read(PIECE_BYTES):
                yield from self._passed(chunk)

    def pieces(self) -> Iterator[bytes]:
        """Lines with their line ends; one longer than PIECE_BYTES comes in pieces, of which only the last has the end."""
        with self.file.path.open("rb") as stream:
            while piece := stream.readline(PIECE_BYTES):
                yield from self._passed(piece)

    def lines(self) -> Iterator[bytes]:
        """Whole lines with their line ends; a line over MAX_LINE_BYTES is Problem(RaggedRow)."""
        held = bytearray()
        number = 1
        for piece in self.pieces():
            if held or not piece.endswith(b"\n"):
                held += piece
                self._check_length(len(held), number)
                if not piece.endswith(b"\n"):
                    continue
                piece = bytes(held)
                held.clear()
            yield piece
            number += 1
        if held:
            yield bytes(held)

    def text_lines(self) -> Iterator[str]:
        """Lines as text; bytes that are not UTF-8 are Problem(EncodingError) naming file and line."""
        for number, line in enumerate(self.lines(), 1):
            yield decode(line, self.file.relative, number)

    def _passed(self, data: bytes) -> Iterator[bytes]:
        first = self.size == 0
        self.size += len(data)
        self._hash.update(data)
        self.on_bytes(len(data))
        if first:
            data = data.removeprefix(BOM)
        if data:
            yield data

    def _check_length(self, length: int, number: int) -> None:
        if length > MAX_LINE_BYTES:
            raise Problem(
                "RaggedRow",
                f"{self.file.relative}, line {number}: longer than {MAX_LINE_BYTES >> 20} MiB; break it into rows",
            )


def decode(line: bytes, name: str, number: int) -> str:
    """UTF-8 to text; Problem(EncodingError) names the file, the line and the byte."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(
            "EncodingError",
            f"{name}, line {number}: byte {error.start + 1} (0x{line[error.start]:02x}) is not UTF-8; convert the file to UTF-8",
        ) from error
