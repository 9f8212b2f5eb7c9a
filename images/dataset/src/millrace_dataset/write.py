"""The second pass over text: lines into one file a split, each hashed as it is written."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from millrace_dataset.files import tree_digest
from millrace_dataset.lines import Hash, OnBytes, Reading, SourceFile
from millrace_dataset.problems import Problem
from millrace_dataset.request import Request
from millrace_dataset.scan import WHOLE, Scan, Written, text_chunks
from millrace_dataset.splits import bin_of


@dataclass
class SplitFile:
    """One file being written; `digest` is the SHA-256 of its bytes."""

    name: str
    stream: BinaryIO
    rows: int = 0
    size: int = 0
    _hash: Hash = field(default_factory=hashlib.sha256)

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of what was written so far."""
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes, rows: int) -> None:
        """Append bytes that complete `rows` rows."""
        self.stream.write(data)
        self._hash.update(data)
        self.size += len(data)
        self.rows += rows


def write_splits(files: list[SourceFile], request: Request, found: Scan, folder: Path, on_bytes: OnBytes) -> list[Written]:
    """Write the splits (or `data`) into `folder`, durable; a source that changed since the scan is Problem."""
    names = found.plan.names if found.plan else (WHOLE,)
    with ExitStack() as stack:
        outputs = {
            name: SplitFile(name, stack.enter_context((folder / f"{name}.{request.extension}").open("wb"))) for name in names
        }
        entries: list[tuple[str, str, int]] = []
        for name, data, rows in _routed(files, request, found, entries, on_bytes):
            outputs[name].write(data, rows)
        for output in outputs.values():
            output.stream.flush()
            os.fsync(output.stream.fileno())
    if tree_digest(entries) != found.digest:
        raise Problem("PublishFailed", "the source changed while it was read: run again when nothing writes to it")
    return [Written(output.name, output.rows, output.size, output.digest) for output in outputs.values()]


def _routed(
    files: list[SourceFile], request: Request, found: Scan, entries: list[tuple[str, str, int]], on_bytes: OnBytes
) -> Iterator[tuple[str, bytes, int]]:
    """(split, bytes, rows completed) in source order; fills `entries` with the digests of what was read."""
    router = _Text(found, request)
    for file in files:
        reading = Reading(file, on_bytes)
        yield from router.route(reading)
        entries.append((file.relative, reading.sha256, reading.size))


class _Text:
    """Contiguous blocks of lines go to one split, so a language model sees running text."""

    def __init__(self, found: Scan, request: Request) -> None:
        self.found, self.request, self.line = found, request, 0
        self.current = self._split()

    def route(self, reading: Reading) -> Iterator[tuple[str, bytes, int]]:
        for chunk in text_chunks(reading):
            start = 0
            while start < len(chunk):
                end, rows = self._block_end(chunk, start)
                yield self.current, chunk[start:end], rows
                self.line += rows
                start = end
                if rows and self.line % self.found.block == 0:
                    self.current = self._split()

    def _block_end(self, chunk: bytes, start: int) -> tuple[int, int]:
        """Where the current block ends within the chunk, or the chunk's end, and how many rows end before it."""
        if self.found.plan is None:
            return len(chunk), chunk.count(b"\n", start)
        end, rows, wanted = start, 0, self.found.block - self.line % self.found.block
        while rows < wanted:
            end = chunk.find(b"\n", end) + 1
            if end == 0:
                return len(chunk), rows
            rows += 1
        return end, rows

    def _split(self) -> str:
        if self.found.plan is None or self.request.split is None:
            return WHOLE
        return self.found.plan.split_of("", bin_of(str(self.line // self.found.block), self.request.split.seed))
