"""The pass over a file's bytes before anything parses it: digest, encoding, and lines that are no lines."""

import codecs
from dataclasses import dataclass
from pathlib import Path

from millrace_dataset.lines import MAX_LINE_BYTES, OnBytes, Reading, SourceFile
from millrace_dataset.problems import Problem


@dataclass(frozen=True)
class Intact:
    """A file that is UTF-8 throughout; `longest` is in bytes and at least its longest line, `mixed` says that its line ends
    are of more than one kind. `stamp` tells whether it changed since."""

    file: SourceFile
    sha256: str
    size: int
    longest: int
    mixed: bool
    stamp: tuple[int, int, int]

    @property
    def entry(self) -> tuple[str, str, int]:
        """Its part of the tree digest."""
        return self.file.relative, self.sha256, self.size


def stamp(path: Path) -> tuple[int, int, int]:
    """Inode, size and time of the last change."""
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def digested(file: SourceFile, on_bytes: OnBytes) -> Intact:
    """A file of bytes (parquet): its digest alone."""
    taken, reading = stamp(file.path), Reading(file, on_bytes)
    for _ in reading.chunks():
        pass
    return Intact(file, reading.sha256, reading.size, 0, False, taken)


def checked(file: SourceFile, on_bytes: OnBytes, *, headed: bool) -> Intact:
    """A file of text; Problem(EncodingError or RaggedRow) names row, line and byte. A line that is too long is refused as
    soon as it is, not when it ends."""
    taken, reading, passed = stamp(file.path), Reading(file, on_bytes), Passed(file, headed)
    for chunk in reading.chunks():
        passed.take(chunk)
    passed.end()
    return Intact(file, reading.sha256, reading.size, passed.longest, passed.mixed, taken)


class Passed:
    """What is known of a file up to a byte; `headed` says that it is csv."""

    def __init__(self, file: SourceFile, headed: bool) -> None:
        self.file, self.headed, self.longest, self.open = file, headed, 0, 0
        self.returns = self.feeds = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._start = 0

    @property
    def mixed(self) -> bool:
        """Lines end in LF here and in CR LF there."""
        return 0 < self.returns < self.feeds

    def take(self, chunk: bytes) -> None:
        """The next piece."""
        self._decode(chunk, final=False)
        self.feeds += chunk.count(b"\n")
        if b"\r" in chunk:
            self.returns += chunk.count(b"\r")
        self._measure(chunk)
        self._start += len(chunk)

    def end(self) -> None:
        """Nothing follows."""
        self._decode(b"", final=True)

    def _measure(self, chunk: bytes) -> None:
        """Lines within a piece are shorter than it; only those that span pieces are measured."""
        first = chunk.find(b"\n")
        if first < 0:
            self.open += len(chunk)
        else:
            self.longest = max(self.longest, self.open + first + 1, len(chunk))
            self.open = len(chunk) - chunk.rfind(b"\n") - 1
        self.longest = max(self.longest, self.open)
        if self.longest > MAX_LINE_BYTES:
            place = place_of(self.file, self._start, self.headed)
            raise Problem("RaggedRow", f"{place}: longer than {MAX_LINE_BYTES >> 20} MiB; break it into rows")

    def _decode(self, chunk: bytes, final: bool) -> None:
        held = len(self._decoder.getstate()[0])
        try:
            self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            raise self._not_utf8(self._start - held + error.start) from error

    def _not_utf8(self, offset: int) -> Problem:
        with self.file.path.open("rb") as stream:
            begin = 3 if stream.read(3) == codecs.BOM_UTF8 else 0
            stream.seek(begin + offset)
            byte = stream.read(1)
            stream.seek(0)
            marked = stream.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        offset += begin
        place, column = place_of(self.file, offset, self.headed), offset - line_start(self.file.path, offset) + 1
        hint = "it is UTF-16: " if marked else ""
        what = f"byte {column} (0x{byte.hex()}), at offset {offset} of the file, is not UTF-8"
        return Problem("EncodingError", f"{place}: {what}; {hint}convert the file to UTF-8")


def line_start(path: Path, offset: int) -> int:
    """Where the line begins that holds a byte."""
    with path.open("rb") as stream:
        begin = max(0, offset - MAX_LINE_BYTES)
        stream.seek(begin)
        return begin + stream.read(offset - begin).rfind(b"\n") + 1


def place_of(file: SourceFile, offset: int, headed: bool) -> str:
    """`file, row 2` of a byte; of csv `file, row 2 (line 3)`, as its rows begin below the header and a quoted field may span
    lines."""
    rows = lines = quotes = passed = 0
    with file.path.open("rb") as stream:
        while (piece := stream.readline(1 << 20)) and passed + len(piece) <= offset:
            passed += len(piece)
            quotes += piece.count(b'"')
            if piece.endswith(b"\n"):
                lines += 1
                rows += quotes % 2 == 0 and piece.strip() != b""
    if not headed:
        return f"{file.relative}, row {lines + 1}"
    return f"{file.relative}, {f'row {rows}' if rows else 'header'} (line {lines + 1})"
