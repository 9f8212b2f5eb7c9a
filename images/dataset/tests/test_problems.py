"""Every fault a user can mend comes back with its reason and a message that says where and what to change."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Work = Callable[..., dict[str, Any]]

BROKEN = {
    "ragged row": ("csv", b"a,b\n1,2\n3\n", {}, "RaggedRow", "f.x, row 2 (line 3): 1 fields where the header has 2"),
    "open quote": ("csv", b'a,b\n1,"2\n', {}, "RaggedRow", "f.x, row 1"),
    "not json": ("jsonl", b'{"a": 1}\n{"a":\n', {}, "RaggedRow", "f.x, row 2: not JSON"),
    "nan is not json": ("jsonl", b'{"a": NaN}\n', {}, "RaggedRow", "NaN is not JSON"),
    "json array": ("jsonl", b"[1]\n", {}, "TypeMismatch", "f.x, row 1: a JSON array"),
    "latin-1 text": ("text", b"good\nna\xefve\n", {}, "EncodingError", "f.x, row 2"),
    "cut utf-8": ("text", b"good\n\xc3", {}, "EncodingError", "f.x, row 2"),
    "latin-1 csv": ("csv", b"a\nna\xefve\n", {}, "EncodingError", "row 1 (line 2): byte 3 (0xef), at offset 4"),
    "empty": ("text", b"", {}, "SourceEmpty", "no rows"),
    "header only": ("csv", b"a,b\n", {}, "SourceEmpty", "no rows"),
    "missing column": ("csv", b"a\n1\n", {"columns": [{"name": "z", "type": "string"}]}, "ColumnMismatch", "'z'"),
    "extra column": ("jsonl", b'{"a":1,"b":2}\n', {"columns": [{"name": "a", "type": "integer"}]}, "ColumnMismatch", "'b'"),
    "wrong type": ("csv", b"a\n1\nx\n", {"columns": [{"name": "a", "type": "integer"}]}, "TypeMismatch", "row 2"),
    "json type": ("jsonl", b'{"a":"1"}\n', {"columns": [{"name": "a", "type": "number"}]}, "TypeMismatch", "row 1"),
    "twice the same column": ("csv", b"a,a\n1,2\n", {}, "ColumnMismatch", "repeated column"),
    "every row has more fields than the header": (
        "csv",
        b"a,b\n1,2,3\n4,5,6\n",
        {},
        "RaggedRow",
        "row 1 (line 2): 3 fields where the header has 2",
    ),
    "every row ends in a comma": ("csv", b"a,b\n1,2,\n4,5,\n", {}, "RaggedRow", "row 1 (line 2): 3 fields"),
    "one row of many": ("csv", b"a,b\n" + b"1,2\n" * 50_000 + b"3\n", {}, "RaggedRow", "row 50001 (line 50002): 1 fields"),
    "ragged rows are counted": ("csv", b"a,b\n1,2\n3\n4\n", {}, "RaggedRow", "(2 such rows)"),
    "a ragged row below a field of two lines": ("csv", b'a,b\n1,"x\ny"\n3\n', {}, "RaggedRow", "row 2 (line 4)"),
    "a quote in mid-field": ("csv", b'a,b\n1,2\n3,"x"y\n', {}, "RaggedRow", "row 2 (line 3): column 'b'"),
    "an empty name": ("csv", b"a,,c\n1,2,3\n", {}, "ColumnMismatch", "an empty column name at place 2"),
    "names that differ in case": ("csv", b"a,A\n1,2\n", {}, "ColumnMismatch", "'a', which differs in case alone from 'A'"),
    "a misspelt name": (
        "csv",
        b"tretment,b\nx,1\n",
        {"columns": [{"name": "treatment", "type": "string"}, {"name": "b", "type": "integer"}]},
        "ColumnMismatch",
        "'treatment' of spec.columns is missing; did you mean 'tretment'?",
    ),
    "a late value of another type": (
        "csv",
        b"a\n" + b"1\n" * 5000 + b"1.5\n",
        {"columns": [{"name": "a", "type": "integer"}]},
        "TypeMismatch",
        "f.x, row 5001: column 'a' must be integer, found '1.5'",
    ),
    "utf-16": ("csv", "a,b\n1,2\n".encode("utf-16"), {}, "EncodingError", "it is UTF-16"),
    "an encoding that changes": (
        "csv",
        "a\nnaïve\n".encode() + "naïve\n".encode("latin-1"),
        {},
        "EncodingError",
        "row 2 (line 3): byte 3",
    ),
    "no target": ("csv", b"a\n1\n", {"quality": {"target": "z"}}, "ColumnMismatch", "quality.target names 'z'"),
    "unknown stratum": (
        "csv",
        b"a\n1\n2\n",
        {"split": {"train": "0.5", "validation": "0.5", "stratifyBy": "z"}},
        "ColumnMismatch",
        "'z'",
    ),
    "too few rows": ("text", b"one\n", {"split": {"train": "0.9", "test": "0.1"}}, "BadParameter", "would be empty"),
    "sum": ("text", b"one\n", {"split": {"train": "0.9"}}, "BadParameter", "sum to 1"),
    "format": ("avro", b"x", {}, "BadParameter", "text, csv, jsonl, parquet"),
    "not parquet": ("parquet", b"x" * 100, {}, "FormatMismatch", "f.x is not parquet"),
}


@pytest.mark.proves("06.1")
@pytest.mark.parametrize(("format", "content", "fields", "reason", "says"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_source_is_named(
    work: Work, claims: Path, format: str, content: bytes, fields: dict[str, Any], reason: str, says: str
) -> None:
    (claims / "raw" / "f.x").write_bytes(content)
    answer = work(format=format, **fields)
    assert (answer["ok"], answer["reason"]) == (False, reason)
    assert says in answer["message"]
    assert not [path for path in (claims / "data").rglob("*") if path.is_file()]


def test_a_missing_path_is_named(work: Work, claims: Path) -> None:
    answer = work(source={"path": str(claims / "absent")})
    assert answer["reason"] == "SourceMissing"
    assert "absent" in answer["message"]


def test_an_unknown_generator_is_answered_with_the_list(work: Work) -> None:
    answer = work(source={"generated": {"name": "lorem", "parameters": {}}})
    assert answer["reason"] == "UnknownGenerator"
    assert "csv-table, debian-text, film-sentiment, markov-text, workplace-survey" in answer["message"]


@pytest.mark.parametrize(
    ("parameters", "says"), [({"size": "1"}, "bytes, seed"), ({"bytes": "x"}, "integer"), ({"bytes": "0"}, "from 1 to")]
)
def test_a_generators_bad_parameter_is_answered_with_what_it_takes(work: Work, parameters: Any, says: str) -> None:
    answer = work(source={"generated": {"name": "markov-text", "parameters": parameters}})
    assert answer["reason"] == "BadParameter"
    assert says in answer["message"]


def test_generated_text_depends_on_its_seed_alone(work: Work) -> None:
    def digest(seed: str) -> str:
        answer = work(source={"generated": {"name": "markov-text", "parameters": {"bytes": "5000", "seed": seed}}})
        return str(answer["digest"])

    assert digest("1") == digest("1") != digest("2")


def test_shipped_text_is_published(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_CORPORA", str(tmp_path))
    source = {"generated": {"name": "debian-text"}}
    assert work(source=source)["reason"] == "SourceMissing"
    (tmp_path / "debian-text.txt").write_text("In the beginning\n")
    assert work(source=source)["rows"] == 1


def test_a_request_that_is_no_json_is_a_bad_parameter() -> None:
    from millrace_dataset.__main__ import answer

    assert answer("{")["reason"] == "BadParameter"
    assert answer("[]")["reason"] == "BadParameter"


def test_line_ends_of_two_kinds_are_no_fault(work: Work, claims: Path) -> None:
    (claims / "raw" / "a.csv").write_bytes(b'a,b\r\n1,2\n3,"x\r\ny"\r\n5,6\n')
    answer = work(format="csv")
    assert answer["ok"], answer
    assert answer["rows"] == 3
