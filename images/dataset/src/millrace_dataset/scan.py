"""The first pass: everything there is to know of a source (digest, rows, columns, where each split is cut)."""

import codecs
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from millrace_dataset.files import tree_digest
from millrace_dataset.lines import OnBytes, Reading, SourceFile
from millrace_dataset.problems import Problem
from millrace_dataset.request import Column, Request, Split
from millrace_dataset.rows import Row, Schema, read_rows
from millrace_dataset.splits import Histogram, Plan, bin_of, block_lines, plan

WHOLE = "data"


@dataclass(frozen=True)
class Scan:
    """What the first pass found; `assign` is None when the source is published whole."""

    digest: str
    rows: int
    bytes: int
    columns: tuple[Column, ...]
    plan: Plan | None
    block: int


def scan(files: list[SourceFile], request: Request, on_bytes: OnBytes) -> Scan:
    """Read every file once; raises Problem for anything a user must mend."""
    scanner = _scan_text if request.format == "text" else _scan_table
    return scanner(files, request, on_bytes)


def _scan_text(files: list[SourceFile], request: Request, on_bytes: OnBytes) -> Scan:
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
    """A file's bytes, checked to be UTF-8; a last line without an end gets one, so that files can follow each other."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, last = 1, b""
    for chunk in reading.chunks():
        _check_utf8(decoder, chunk, reading.file.relative, line)
        line += chunk.count(b"\n")
        last = chunk[-1:]
        yield chunk
    _check_utf8(decoder, b"", reading.file.relative, line, final=True)
    if last not in (b"", b"\n"):
        yield b"\n"


def _check_utf8(decoder: codecs.IncrementalDecoder, chunk: bytes, name: str, line: int, final: bool = False) -> None:
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError as error:
        line += error.object.count(b"\n", 0, error.start)
        raise Problem("EncodingError", f"{name}, row {line}: not UTF-8 ({error.reason}); convert the file to UTF-8") from error


def _block_histogram(rows: int, block: int, split: Split) -> Histogram:
    histogram = Histogram()
    for index in range(-(-rows // block)):
        histogram.add("", bin_of(str(index), split.seed), min(block, rows - index * block))
    return histogram


def _scan_table(files: list[SourceFile], request: Request, on_bytes: OnBytes) -> Scan:
    schema, histogram, entries, rows = Schema(request.columns), Histogram(), [], 0
    count = _counter(request.split, histogram)
    for file in files:
        reading = Reading(file, on_bytes)
        for row in read_rows(reading, request.format, schema):
            rows += 1
            count(row)
        entries.append((file.relative, reading.sha256, reading.size))
    _refuse_empty(rows)
    cut = plan(histogram, request.split) if request.split else None
    return Scan(tree_digest(entries), rows, sum(entry[2] for entry in entries), schema.columns(), cut, 1)


def _counter(split: Split | None, histogram: Histogram) -> Callable[[Row], None]:
    if split is None:
        return lambda row: None
    return lambda row: histogram.add(stratum_of(row, split), bin_of(row.key, split.seed))


def stratum_of(row: Row, split: Split) -> str:
    """The value of the column to stratify by, as text; Problem(ColumnMismatch) when the row has no such column."""
    if split.stratify_by is None:
        return ""
    if split.stratify_by not in row.values:
        raise Problem("ColumnMismatch", f"split.stratifyBy names {split.stratify_by!r}, which is no column of the data")
    return str(row.values[split.stratify_by])


def _refuse_empty(rows: int) -> None:
    if not rows:
        raise Problem("SourceEmpty", "the source has no rows: add data or correct the path")
