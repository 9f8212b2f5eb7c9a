"""Training data as people upload it: two-column CSV, or an augmented manifest. Pure functions on bytes.

A row that cannot be read is passed over and told of; what is wrong with all of the data together ends the training.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

LEAST_PER_LABEL = 10
MOST_LABELS = {"MULTI_CLASS": 1000, "MULTI_LABEL": 100}
LEAST_LABELS = 2
LONGEST_LABEL = 5000
DEFAULT_DELIMITER = "|"
_LONGEST_FIELD = 1 << 24


class BadData(Exception):
    """Training cannot begin; the text is the classifier's Message."""


@dataclass
class Corpus:
    """Documents with their labels, and what was passed over."""

    texts: list[str] = field(default_factory=list)
    labels: list[tuple[str, ...]] = field(default_factory=list)
    skipped: list[dict[str, Any]] = field(default_factory=list)

    def add(self, text: str, labels: tuple[str, ...]) -> None:
        self.texts.append(text)
        self.labels.append(labels)

    def skip(self, file: str, line: int, why: str) -> None:
        self.skipped.append({"File": file, "Line": line, "ErrorCode": "INVALID_DOCUMENT", "ErrorMessage": why})

    def extend(self, other: Corpus) -> None:
        self.texts += other.texts
        self.labels += other.labels
        self.skipped += other.skipped

    def counts(self) -> Counter[str]:
        """Documents by label."""
        return Counter(label for labels in self.labels for label in labels)


def splitter(mode: str, delimiter: str | None) -> Callable[[str], tuple[str, ...]]:
    """What makes labels of the first column: in multi-class mode it is one, whatever stands in it."""
    if mode == "MULTI_CLASS":
        return lambda cell: (cell.strip(),)
    mark = delimiter or DEFAULT_DELIMITER
    return lambda cell: tuple(dict.fromkeys(part.strip() for part in cell.split(mark)))


def read_csv(file: str, data: bytes, labels_of: Callable[[str], tuple[str, ...]]) -> Corpus:
    """Rows of label and document, no header."""
    corpus = Corpus()
    for line, row in _rows(data):
        why = _fault(row, labels_of)
        if why:
            corpus.skip(file, line, why)
        elif row:
            corpus.add(row[1], labels_of(row[0]))
    return corpus


def _rows(data: bytes) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(_LONGEST_FIELD)
    text = data.decode("utf-8-sig", errors="surrogateescape")
    reader = csv.reader(io.StringIO(text, newline=""))
    line = 0
    for row in reader:
        yield line, row
        line = reader.line_num


def _fault(row: list[str], labels_of: Callable[[str], tuple[str, ...]]) -> str:
    """Why a row is no document; an empty line is nothing at all."""
    if not row:
        return ""
    if len(row) != 2:
        return f"The row has {len(row)} columns instead of 2."
    return _wrong(row[1], labels_of(row[0]))


def _wrong(text: str, labels: tuple[str, ...]) -> str:
    if not text.strip():
        return "The document is empty."
    if not labels or not all(labels):
        return "A label is empty."
    if any(len(label) > LONGEST_LABEL for label in labels):
        return f"A label is longer than {LONGEST_LABEL} characters."
    # What was not UTF-8 was read as lone surrogates.
    if not _is_utf8(text) or not all(_is_utf8(label) for label in labels):
        return "The row is not encoded as UTF-8."
    return ""


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def read_manifest(file: str, data: bytes, attributes: list[str], mode: str) -> Corpus:
    """Lines of Ground Truth's output: the text in `source`, labels below the attributes' names and their metadata."""
    corpus = Corpus()
    for line, raw in enumerate(data.splitlines()):
        if not raw.strip():
            continue
        try:
            text, labels = _annotated(json.loads(raw), attributes, mode)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            corpus.skip(file, line, f"The line is no annotated document ({type(error).__name__}: {error}).")
            continue
        if why := _wrong(text, labels):
            corpus.skip(file, line, why)
        else:
            corpus.add(text, labels)
    return corpus


def _annotated(entry: dict[str, Any], attributes: list[str], mode: str) -> tuple[str, tuple[str, ...]]:
    names = [name for attribute in attributes for name in _names(entry[f"{attribute}-metadata"])]
    if mode == "MULTI_CLASS" and len(names) != 1:
        raise ValueError(f"{len(names)} labels where one is expected")
    return str(entry["source"]), tuple(dict.fromkeys(names))


def _names(metadata: dict[str, Any]) -> list[str]:
    """One class-name of a single-label task, or the class-map of a multi-label one."""
    if "class-name" in metadata:
        return [str(metadata["class-name"])]
    return [str(name) for name in metadata["class-map"].values()]


def check(corpus: Corpus, mode: str) -> None:
    """Raises BadData where there is not enough to learn from, or too much."""
    counts = corpus.counts()
    if not counts:
        raise BadData("INVALID_INPUT: No document of the training data could be read.")
    if len(counts) < LEAST_LABELS:
        raise BadData(f"INSUFFICIENT_LABELS: The training data has {len(counts)} label; at least {LEAST_LABELS} are required.")
    if len(counts) > MOST_LABELS[mode]:
        raise BadData(f"TOO_MANY_LABELS: The training data has {len(counts)} labels; at most {MOST_LABELS[mode]} are allowed.")
    few = {label: count for label, count in sorted(counts.items()) if count < LEAST_PER_LABEL}
    if few:
        told = ", ".join(f"'{label}' has {count}" for label, count in few.items())
        raise BadData(f"INSUFFICIENT_DOCUMENTS: Each label requires at least {LEAST_PER_LABEL} training documents: {told}.")


def check_test(training: Corpus, test: Corpus) -> None:
    """The test set has every label of the training set, and no other."""
    known, seen = set(training.counts()), set(test.counts())
    if missing := sorted(known - seen):
        raise BadData(f"INVALID_TEST_DATA: The test data has no document of the label(s) {', '.join(missing)}.")
    if strange := sorted(seen - known):
        raise BadData(f"INVALID_TEST_DATA: The test data has label(s) that the training data lacks: {', '.join(strange)}.")
