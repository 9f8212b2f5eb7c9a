"""The first pass: everything there is to know of a source (digest, rows, columns, where each split is cut)."""

from collections.abc import Iterator
from dataclasses import dataclass

from millrace_dataset.files import tree_digest
from millrace_dataset.intact import Passed
from millrace_dataset.lines import OnBytes, Reading, SourceFile
from millrace_dataset.problems import Problem
from millrace_dataset.request import Column, Request, Split
from millrace_dataset.splits import Histogram, Plan, bin_of, block_lines, plan

WHOLE = "data"
"""What the one file is called of a source that is not split."""


@dataclass(frozen=True)
class Written:
    """A file as it was written; `digest` is the SHA-256 of its bytes."""

    name: str
    rows: int
    size: int
    digest: str


@dataclass(frozen=True)
class Scan:
    """What the first pass found; `plan` is None when the source is published whole."""

    digest: str
    rows: int
    bytes: int
    columns: tuple[Column, ...]
    plan: Plan | None
    block: int


def scan_text(files: list[SourceFile], request: Request, on_bytes: OnBytes) -> Scan:
    """Read every file once; raises Problem for anything a user must mend."""
    entries, rows = [], 0
    for file in files:
        reading = Reading(file, on_bytes)
        rows += sum(chunk.count(b"\n") for chunk in text_chunks(reading))
        entries.append((file.relative, reading.sha256, reading.size))
    _refuse_empty(rows)
    block = block_lines(rows)
    cut = plan(_block_histogram(rows, block, request.split), request.split) if request.split else None
    return Scan(tree_digest(entries), rows, sum(entry[2] for entry in entries), (), cut, block)


def text_chunks(reading: Reading) -> Iterator[bytes]:
    """A file's bytes, checked to be lines of UTF-8; a last line without an end gets one, so that files can follow each other."""
    passed, last = Passed(reading.file, headed=False), b""
    for chunk in reading.chunks():
        passed.take(chunk)
        last = chunk[-1:]
        yield chunk
    passed.end()
    if last not in (b"", b"\n"):
        yield b"\n"


def _block_histogram(rows: int, block: int, split: Split) -> Histogram:
    histogram = Histogram()
    for index in range(-(-rows // block)):
        histogram.add("", bin_of(str(index), split.seed), min(block, rows - index * block))
    return histogram


def _refuse_empty(rows: int) -> None:
    if not rows:
        raise Problem("SourceEmpty", "the source has no rows: add data or correct the path")
