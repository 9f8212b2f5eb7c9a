"""Rows made into others before they are published: columns dropped and renamed, texts cut, rows drawn by a seed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millrace_dataset import engine
from support.tabulated import Row, read, written

Work = Callable[..., dict[str, Any]]
ROWS: list[Row] = [
    {"id": str(number), "dialogue": f'"Hi," said #{number},\nähm', "summary": f"Nr. {number} grüßt", "topic": "greeting"}
    for number in range(60)
]


def transform(**members: Any) -> dict[str, Any]:
    """As the operator writes it: without what is not set."""
    sample = {"sample": {"seed": 0, "fewer": "Fail"} | members["sample"]} if "sample" in members else {}
    return {"transform": members | sample}


PAIRS = {"drop": ["id", "topic"], "rename": {"dialogue": "prompt", "summary": "completion"}}


@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet"])
def test_columns_are_dropped_and_renamed_and_values_stay(work: Work, claims: Path, format_: str) -> None:
    written(claims, format_, ROWS)
    answer = work(format=format_, **transform(**PAIRS))
    assert answer["ok"], answer
    assert read(claims, answer) == [{"prompt": row["dialogue"], "completion": row["summary"]} for row in ROWS]
    assert [column["name"] for column in answer["columns"]] == ["prompt", "completion"]
    assert answer["digest"] != work(format=format_)["digest"], "other rows of the same source are another content"


@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet"])
def test_a_sample_is_the_same_to_the_byte_however_many_threads_draw_it(
    work: Work, claims: Path, format_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row | {"id": str(number)} for number, row in enumerate(ROWS * 100)]
    written(claims, format_, rows)
    made = []
    for number, threads in enumerate((1, 8)):
        monkeypatch.setattr(engine, "threads", lambda *_, threads=threads: threads)
        publish = {"path": str(claims / "data" / f"run{number}")}
        answer = work(format=format_, publish=publish, **transform(sample={"rows": 1000, "seed": 42}))
        made.append((claims / "data" / answer["splits"]["data"]["path"]).read_bytes())
        assert answer["rows"] == 1000
        drawn = [int(row["id"]) for row in read(claims, answer)]
    assert made[0] == made[1]
    assert drawn == sorted(set(drawn)), "in the order of the source, none twice"
    assert drawn != list(range(1000)), "the first rows are no sample"
    assert 400 < sum(number < 3000 for number in drawn) < 600, "neither half is preferred"


def test_another_seed_draws_other_rows(work: Work, claims: Path) -> None:
    written(claims, "csv", ROWS)
    first, second = (work(format="csv", **transform(sample={"rows": 20, "seed": seed})) for seed in (1, 2))
    assert read(claims, first) != read(claims, second)
    assert first["version"] != second["version"], "both stay side by side"


# rows asked for, policy, rows published or None, reason
FEWER = [
    (60, "Fail", 60, "exactly as many as there are"),
    (61, "Fail", None, "one more than there are"),
    (61, "UseAll", 60, "all there are are enough"),
    (59, "UseAll", 59, "there are enough"),
]


@pytest.mark.parametrize(("asked", "policy", "made", "reason"), FEWER, ids=[case[-1] for case in FEWER])
def test_fewer_rows_than_asked_for_are_a_choice(
    work: Work, claims: Path, asked: int, policy: str, made: int | None, reason: str
) -> None:
    written(claims, "csv", ROWS)
    answer = work(format="csv", **transform(sample={"rows": asked, "fewer": policy}))
    if made is not None:
        assert (answer["ok"], answer["rows"]) == (True, made), reason
        return
    assert (answer["ok"], answer["reason"]) == (False, "TooFewRows"), reason
    assert answer["message"].startswith("60 rows where transform.sample asks for 61")
    assert not list((claims / "data").rglob("*")), "nothing is published"


@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet"])
def test_a_text_is_cut_after_so_many_characters_not_bytes(work: Work, claims: Path, format_: str) -> None:
    written(claims, format_, [{"text": "añb😀c"}, {"text": "語"}, {"text": 'a"\n'}])
    answer = work(format=format_, **transform(truncate=[{"column": "text", "characters": 4}]))
    assert [row["text"] for row in read(claims, answer)] == ["añb😀", "語", 'a"\n']


def test_what_is_no_text_stays_what_it_was_in_lines_of_json(work: Work, claims: Path) -> None:
    rows: list[Row] = [
        {"a": {"deep": [1, 2.5, None]}, "big": 12345678901234567890123, "t": "abc", "b": True},
        {"a": None, "t": ["kept", "whole"]},
    ]
    written(claims, "jsonl", rows)
    answer = work(format="jsonl", **transform(rename={"a": 'x"y'}, drop=["b"], truncate=[{"column": "t", "characters": 2}]))
    assert read(claims, answer) == [
        {'x"y': {"deep": [1, 2.5, None]}, "big": 12345678901234567890123, "t": "ab"},
        {'x"y': None, "t": ["kept", "whole"]},
    ], "a key that is missing stays missing"


def test_rows_that_become_equal_meet_in_one_split(work: Work, claims: Path) -> None:
    written(claims, "csv", [row | {"dialogue": f"d{number % 20}", "summary": "s"} for number, row in enumerate(ROWS)])
    split = {"train": "0.5", "validation": "0.5", "test": "0", "seed": 3}
    answer = work(format="csv", split=split, **transform(drop=["id"]))
    train, validation = ({row["dialogue"] for row in read(claims, answer, name)} for name in ("train", "validation"))
    assert (train & validation, train | validation) == (set(), {f"d{number}" for number in range(20)})


def test_quality_is_measured_of_what_is_published(work: Work, claims: Path) -> None:
    written(claims, "csv", ROWS)
    answer = work(format="csv", quality={}, **transform(drop=["id", "dialogue", "summary"]))
    assert answer["quality"]["duplicateRows"] == len(ROWS) - 1, "without the other columns they are all the same"


def test_invalid_values_are_those_of_the_rows_that_are_left(work: Work, claims: Path) -> None:
    rows = [{"age": "n/a" if number % 20 == 7 else str(number), "id": str(number)} for number in range(200)]
    written(claims, "csv", rows)
    answer = work(format="csv", quality={}, **transform(rename={"age": "years"}, sample={"rows": 100, "seed": 4}))
    left = sum(row["years"] == "n/a" for row in read(claims, answer))
    assert 0 < left < 10
    told = {found["column"]: found for found in answer["quality"]["worst"] if found["check"] == "InvalidValues"}
    assert told["years"]["value"] == f"{left / 100:.4f}"


# transform, reason of the answer, part of the message, why
REFUSED: list[tuple[dict[str, Any], str, str, str]] = [
    ({"drop": ["ids"]}, "ColumnMismatch", "transform.drop names 'ids'", "no such column to drop"),
    ({"rename": {"x": "y"}}, "ColumnMismatch", "transform.rename names 'x'", "no such column to rename"),
    ({"rename": {"id": "Topic"}}, "ColumnMismatch", "two columns of the name 'topic'", "a name that is taken"),
    ({"rename": {"id": "x", "topic": "x"}}, "ColumnMismatch", "two columns of the name 'x'", "two of one new name"),
    ({"drop": ["id"], "rename": {"id": "x"}}, "BadParameter", "drops and renames 'id'", "both at once"),
    ({"drop": list(ROWS[0])}, "ColumnMismatch", "leaves no column", "nothing is left"),
    (
        {"rename": {"id": "x"}, "truncate": [{"column": "id", "characters": 1}]},
        "ColumnMismatch", "transform.truncate names 'id'", "a cut goes by the new name",
    ),
    ({"truncate": [{"column": "id", "characters": 1}]}, "TypeMismatch", "'id', which is integer", "numbers are not cut"),
    ({"sample": {"rows": 0}}, "BadParameter", "rows must be 1 or more", "a sample of nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "name", "message", "why"), REFUSED, ids=[case[-1] for case in REFUSED])
def test_a_transform_that_cannot_be_is_named(
    work: Work, claims: Path, asked: dict[str, Any], name: str, message: str, why: str
) -> None:
    written(claims, "csv", ROWS)
    answer = work(format="csv", **transform(**asked))
    assert (answer["ok"], answer["reason"]) == (False, name), why
    assert message in answer["message"], why


@pytest.mark.parametrize("change", [{"format": "text"}, {"publish": None}], ids=["text has no columns", "nowhere to publish"])
def test_a_transform_needs_columns_and_a_place_to_publish(work: Work, claims: Path, change: dict[str, Any]) -> None:
    written(claims, "csv", ROWS)
    assert "transform needs publish" in work(**{"format": "csv", **transform(drop=["id"]), **change})["message"]
