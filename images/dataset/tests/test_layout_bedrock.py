"""Lines that a model of Bedrock is customized on: nothing but what it reads, and what it would refuse is named with its row."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from support.tabulated import Row, read, written

Work = Callable[..., dict[str, Any]]
PAIRS: list[Row] = [{"prompt": f'"{number},\nähm"', "completion": f"Nr. {number} 語"} for number in range(40)]
TEXTS: list[Row] = [{"input": row["prompt"]} for row in PAIRS]


def bedrock(customization: str, max_tokens: int | None = None) -> dict[str, Any]:
    return {"layout": {"bedrock": {"customization": customization, "maxTokens": max_tokens}, "comprehend": None}}


@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(("customization", "rows"), [("FineTuning", PAIRS), ("ContinuedPretraining", TEXTS)])
def test_lines_hold_what_bedrock_reads_and_nothing_else(
    work: Work, claims: Path, format_: str, customization: str, rows: list[Row]
) -> None:
    written(claims, format_, rows)
    answer = work(format=format_, **bedrock(customization))
    assert answer["ok"], answer
    place = answer["splits"]["data"]["path"]
    assert place.endswith("/data.jsonl")
    assert read(claims, answer) == rows
    assert list(read(claims, answer)[0]) == list(rows[0]), "in this order"
    manifest = json.loads((claims / "data" / place).with_name("manifest.json").read_text())
    assert (manifest["format"], manifest["splits"]["data"]["file"]) == ("jsonl", "data.jsonl")
    longest = max(sum(len(text) for text in row.values()) for row in rows)
    assert answer["layout"] == {"name": f"Bedrock{customization}", "records": 40, "longestTokens": -(-longest // 6)}


def test_a_dialogue_set_is_made_ready_from_its_source(work: Work, claims: Path) -> None:
    rows: list[Row] = [
        {"id": f"train_{number}", "dialogue": f"#Person1#: {number}?\n#Person2#: Yes.", "summary": f"S {number}", "topic": "t"}
        for number in range(500)
    ]
    written(claims, "csv", rows)
    pairs = {"drop": ["id", "topic"], "rename": {"dialogue": "prompt", "summary": "completion"}}
    asked = {"transform": {**pairs, "sample": {"rows": 100, "seed": 42, "fewer": "Fail"}}, **bedrock("FineTuning")}
    split = {"train": "0.8", "validation": "0.2", "test": "0", "seed": 1}
    answer = work(format="csv", split=split, **asked)
    assert answer["rows"] == 100
    lines = read(claims, answer, "train") + read(claims, answer, "validation")
    assert {tuple(line) for line in lines} == {("prompt", "completion")}
    assert {(line["prompt"], line["completion"]) for line in lines} < {(row["dialogue"], row["summary"]) for row in rows}
    digests = {name: part["digest"] for name, part in answer["splits"].items()}
    again = work(format="csv", split=split, publish={"path": str(claims / "data" / "again")}, **asked)
    assert {name: part["digest"] for name, part in again["splits"].items()} == digests, "the same to the byte"


# customization, rows, part of the message, why
UNFIT: list[tuple[str, list[Row], str, str]] = [
    ("ContinuedPretraining", PAIRS, "the rows are labelled ('prompt', 'completion')", "labelled rows are not pre-trained on"),
    ("FineTuning", TEXTS, "the rows are unlabelled ('input')", "unlabelled rows are not tuned on"),
    ("FineTuning", [PAIRS[0] | {"id": "1"}], "'prompt' and 'completion' and nothing else", "a column too many"),
    ("FineTuning", [{"prompt": "a"}], "drop and rename by transform", "a column too few"),
    ("ContinuedPretraining", [{"text": "a"}], "takes 'input' and nothing else", "another name"),
]


@pytest.mark.parametrize(("customization", "rows", "message", "why"), UNFIT, ids=[case[-1] for case in UNFIT])
def test_rows_for_another_customization_are_refused(
    work: Work, claims: Path, customization: str, rows: list[Row], message: str, why: str
) -> None:
    written(claims, "csv", rows)
    answer = work(format="csv", **bedrock(customization))
    assert (answer["ok"], answer["reason"]) == (False, "LayoutMismatch"), why
    assert message in answer["message"], why
    assert not list((claims / "data").rglob("*")), "nothing is published"


# format, rows, part of the message, why
FAULTY: list[tuple[str, list[Row], str, str]] = [
    ("csv", [PAIRS[0], {"prompt": "a", "completion": ""}], "1 row has no text in 'completion': rows.csv, row 2", "an empty text"),
    ("csv", [PAIRS[0], {"prompt": " \n", "completion": "b"}], "no text in 'prompt': rows.csv, row 2", "a text of blanks"),
    ("jsonl", [PAIRS[0], {"prompt": "a"}], "no text in 'completion': rows.jsonl, row 2", "a key that is missing"),
    ("jsonl", [PAIRS[0], {"prompt": 5, "completion": "b"}], "no text in 'prompt': rows.jsonl, row 2", "a number is no text"),
    ("jsonl", [{"prompt": None, "completion": "b"}] * 7, "row 5 and 2 more", "the first ones are named, all are counted"),
]


@pytest.mark.parametrize(("format_", "rows", "message", "why"), FAULTY, ids=[case[-1] for case in FAULTY])
def test_a_row_that_is_no_record_is_named(
    work: Work, claims: Path, format_: str, rows: list[Row], message: str, why: str
) -> None:
    written(claims, format_, rows)
    answer = work(format=format_, **bedrock("FineTuning"))
    assert (answer["ok"], answer["reason"]) == (False, "InvalidRecord"), why
    assert message in answer["message"], why
    assert not list((claims / "data").rglob("*")), "nothing is published"


def test_rows_are_named_by_their_place_in_the_source_after_a_draw(work: Work, claims: Path) -> None:
    rows = [row | {"completion": "" if number >= 20 else "x"} for number, row in enumerate(PAIRS)]
    written(claims, "csv", rows)
    sample = {"transform": {"sample": {"rows": 39, "seed": 1, "fewer": "Fail"}}}
    message = work(format="csv", **sample, **bedrock("FineTuning"))["message"]
    named = [int(place.split("row ")[1].split(" ")[0].rstrip(";")) for place in message.split(": ")[1].split("; ")]
    assert 21 <= min(named) <= 22, "at most one of the first two empty ones was not drawn"


@pytest.mark.parametrize(("characters", "ok"), [(12, True), (13, False)])
def test_a_record_longer_than_the_model_takes_is_named(work: Work, claims: Path, characters: int, ok: bool) -> None:
    written(claims, "jsonl", [{"input": "a"}, {"input": "語" * characters}])
    answer = work(format="jsonl", **bedrock("ContinuedPretraining", max_tokens=2))
    assert answer["ok"] is ok
    if not ok:
        assert "rows.jsonl, row 2 ('3')" in answer["message"]


def test_a_column_of_numbers_in_parquet_is_no_text(work: Work, claims: Path) -> None:
    duckdb.sql(f"COPY (SELECT 1 AS input) TO '{claims / 'raw' / 'rows.parquet'}'")
    answer = work(format="parquet", **bedrock("ContinuedPretraining"))
    assert (answer["reason"], "'input' is integer" in answer["message"]) == ("LayoutMismatch", True)
