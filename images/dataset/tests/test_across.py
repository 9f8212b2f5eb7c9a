"""Rows that a Dataset shares with another one, whatever the format, and what keeps two from being compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from millrace_local_aws import LocalAws, local_aws

Object = dict[str, Any]
Work = Callable[..., Object]


def published(claims: Path, name: str, content: str | bytes) -> Object:
    """A file of another Dataset, as the operator tells of it."""
    path = claims / "others" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return {"path": str(path), "digest": f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"}


def asked(*files: Object, **more: Any) -> Object:
    return {"compareWith": [{"name": "train", "digest": "sha256:train", "files": list(files)}], **more}


def compared(work: Work, *files: Object, **fields: Any) -> Object:
    return work(**{"format": "csv", "quality": asked(*files), **fields})


def rows_shared(answer: Object) -> int:
    assert answer["ok"], answer
    (told,) = answer["quality"]["shared"]
    assert (told["dataset"], told["digest"]) == ("train", "sha256:train")
    return int(told["rows"])


HERE = "id,text\n1,good\n2,bad\n2,bad\n3,\n"
# content there, rows that are in both, reason
CSV: list[tuple[str, int, str]] = [
    ("id,text\n9,other\n", 0, "none is the same"),
    ("id,text\n1,good\n", 1, "one is the same"),
    ("id,text\n2,bad\n", 2, "each of ours counts that is there, too"),
    ("id,text\n1,good\n1,good\n1,good\n", 1, "how often it is there does not matter"),
    ("text,id\ngood,1\nbad,2\n", 3, "columns go by their names, not by their places"),
    ('id,text\n3,""\n', 1, "an empty value and a missing one are the same, as among duplicates"),
    ("id,text\n1,Good\n1.0,good\n", 0, "values are the texts that they are"),
]


@pytest.mark.proves("15.5")
@pytest.mark.parametrize(("there", "rows", "reason"), CSV, ids=[c[-1] for c in CSV])
def test_rows_of_csv_that_are_in_both_are_counted(work: Work, claims: Path, there: str, rows: int, reason: str) -> None:
    (claims / "raw" / "a.csv").write_text(HERE)
    assert rows_shared(compared(work, published(claims, "t.csv", there))) == rows, reason


LINES = ['{"q": "a?", "a": {"x": [1, 2]}}', '{"q": "b?", "a": null}', '{"q": "c?"}']
# lines there, rows that are in both, reason
JSONL: list[tuple[list[str], int, str]] = [
    (['{"a":{"x":[1,2]},  "q":"a?"}'], 1, "keys of a row have no order, and blanks are no content"),
    (['{"q": "c?"}', '{"q": "b?"}'], 1, "a key that is missing is not one that is null, as among duplicates"),
    (['{"q": "c?", "more": 1}'], 0, "a key that only the other one has makes another row"),
    (['{"q": "A?", "a": {"x": [1, 2]}}'], 0, "case matters"),
]


@pytest.mark.proves("15.5")
@pytest.mark.parametrize(("there", "rows", "reason"), JSONL, ids=[j[-1] for j in JSONL])
def test_rows_of_jsonl_that_are_in_both_are_counted(work: Work, claims: Path, there: list[str], rows: int, reason: str) -> None:
    (claims / "raw" / "a.jsonl").write_text("\n".join(LINES) + "\n")
    assert rows_shared(compared(work, published(claims, "t.jsonl", "\n".join(there) + "\n"), format="jsonl")) == rows, reason


def parquet(path: Path, rows: str) -> bytes:
    duckdb.connect().execute(f"COPY ({rows}) TO '{path}' (FORMAT parquet)")
    return path.read_bytes()


def test_rows_of_parquet_that_are_in_both_are_counted(work: Work, claims: Path, tmp_path: Path) -> None:
    parquet(claims / "raw" / "a.parquet", "SELECT i AS n, i / 2 AS half FROM range(100) t(i)")
    there = parquet(tmp_path / "t.parquet", "SELECT i / 2 AS half, i AS n FROM range(90, 200) t(i)")
    assert rows_shared(compared(work, published(claims, "t.parquet", there), format="parquet")) == 10


@pytest.mark.proves("15.5")
def test_conversations_are_compared_as_they_are_published_whatever_the_seeds(work: Work, claims: Path) -> None:
    def line(question: str, *turns: Object) -> str:
        return json.dumps({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "yes"}, *turns]})

    (claims / "raw" / "a.jsonl").write_text(line("a?", {"role": "user", "content": "sure?"}) + "\n" + line("b?") + "\n")
    rules = {
        "messages": "messages",
        "roles": {"system": "system", "user": "user", "assistant": "assistant"},
        "trailingUser": "DropTurn",
        "prettyPrinted": "Reject",
        "minimum": 1,
        "tooFew": "Warn",
    }
    there = published(claims, "t.jsonl", line("a?") + "\n")
    split = {"train": "0.5", "validation": "0.5", "seed": 9}
    assert rows_shared(compared(work, there, format="jsonl", conversations=rules, split=split)) == 1, "its last turn is dropped"


def test_all_parts_of_the_other_count_and_each_dataset_for_itself(work: Work, claims: Path) -> None:
    (claims / "raw" / "a.csv").write_text("id\n1\n2\n3\n4\n")
    parts = [published(claims, f"{n}.csv", f"id\n{n}\n") for n in (1, 2)]
    others = [{"name": "train", "digest": "sha256:t", "files": parts}, {"name": "old", "digest": "sha256:o", "files": parts[:1]}]
    answer = work(format="csv", quality={"compareWith": others})
    assert [(other["dataset"], other["rows"]) for other in answer["quality"]["shared"]] == [("train", 2), ("old", 1)]
    worst = {f["dataset"]: f for f in answer["quality"]["worst"] if f["check"] == "SharedRows"}
    assert worst["train"] == {"check": "SharedRows", "severity": "High", "value": "0.5000", "dataset": "train"}
    folder = claims / "data" / answer["report"]["path"]
    told = json.loads((folder / "report.json").read_text())
    assert told["shared"] == answer["quality"]["shared"]
    assert "Dataset &#x27;train&#x27;: 50 % of the rows are in it, too" in (folder / "report.html").read_text()


# largest share, reason of the failure, words, why
GATES: list[tuple[str, str | None, str, str]] = [
    ("0", "TooManySharedRows", "Dataset 'train': 25 % of the rows are in it, too, the limit is 0 %", "none is let through"),
    ("0.2", "TooManySharedRows", "the limit is 20 %", "a quarter is more than a fifth"),
    ("0.25", None, "", "a quarter is let through"),
]


@pytest.mark.proves("15.5")
@pytest.mark.parametrize(("above", "reason", "words", "why"), GATES, ids=[g[-1] for g in GATES])
def test_a_gate_holds_back_what_shares_too_much(
    work: Work, claims: Path, above: str, reason: str | None, words: str, why: str
) -> None:
    (claims / "raw" / "a.csv").write_text("id\n1\n2\n3\n4\n")
    gate = {"check": "SharedRows", "above": above}
    answer = work(format="csv", quality=asked(published(claims, "t.csv", "id\n4\n5\n"), failOn=[gate]))
    assert answer.get("reason") == reason, why
    assert words in answer.get("message", ""), why
    assert answer["quality"]["shared"][0]["rows"] == 1, "the report says so either way"
    assert bool(answer.get("splits")) is (reason is None), why


def test_of_a_sample_only_its_rows_count(work: Work, claims: Path) -> None:
    rows = "id\n" + "".join(f"{n}\n" for n in range(4000))
    (claims / "raw" / "a.csv").write_text(rows)
    answer = work(format="csv", quality=asked(published(claims, "t.csv", rows), sample=1000))
    assert 850 < rows_shared(answer) == answer["quality"]["measuredRows"] < 1150


# content there, digest told, words, reason
UNLIKE: list[tuple[str, str | None, str, str]] = [
    ("id,label\n1,good\n", None, "column 'label' is there only", "a renamed column would make every row differ without a word"),
    ("id,text\n1,good\n", "sha256:0", "train/t.csv is not the file that it published", "somebody wrote into its folder"),
]


@pytest.mark.parametrize(("there", "digest", "words", "reason"), UNLIKE, ids=[u[-1] for u in UNLIKE])
def test_what_cannot_be_compared_is_said(
    work: Work, claims: Path, there: str, digest: str | None, words: str, reason: str
) -> None:
    (claims / "raw" / "a.csv").write_text(HERE)
    file = published(claims, "t.csv", there)
    answer = compared(work, {**file, "digest": digest or file["digest"]})
    assert (answer["ok"], answer["reason"]) == (False, "NotComparable"), reason
    assert "quality.compareWith names 'train', which cannot be compared with: " in answer["message"]
    assert words in answer["message"], reason


def test_a_file_that_is_gone_and_keys_that_have_nothing_in_common_are_said(work: Work, claims: Path) -> None:
    (claims / "raw" / "a.jsonl").write_text('{"q": 1}\n')
    gone = compared(work, {"path": str(claims / "none.jsonl"), "digest": "sha256:0"}, format="jsonl")
    assert "none.jsonl cannot be read: No such file" in gone["message"]
    strange = compared(work, published(claims, "t.jsonl", '{"z": 1}\n'), format="jsonl")
    assert "its rows have none of the keys q" in strange["message"]


def test_columns_of_another_type_are_said(work: Work, claims: Path, tmp_path: Path) -> None:
    parquet(claims / "raw" / "a.parquet", "SELECT 1 AS n")
    there = parquet(tmp_path / "t.parquet", "SELECT 1.5 AS n")
    answer = compared(work, published(claims, "t.parquet", there), format="parquet")
    assert "its column 'n' is number, here it is integer" in answer["message"]


# quality, words, reason
BAD: list[tuple[Object, str, str]] = [
    ({"failOn": [{"check": "SharedRows", "above": "0"}]}, "SharedRows needs quality.compareWith", "shared with whom?"),
    ({"compareWith": [{"name": "t", "files": []}]}, "'t' must have files", "there is nothing to read"),
    ({"compareWith": [{"name": "t", "files": [{"path": "x", "digest": ""}]}]}, "absolute path or an S3 URI", "x is no place"),
]


@pytest.mark.parametrize(("quality", "words", "reason"), BAD, ids=[b[-1] for b in BAD])
def test_a_request_that_makes_no_sense_is_refused(work: Work, quality: Object, words: str, reason: str) -> None:
    answer = work(format="csv", quality=quality)
    assert (answer["reason"], words in answer["message"]) == ("BadParameter", True), reason


@pytest.mark.timeout(120)
def test_a_million_rows_are_compared_within_the_pods_memory(claims: Path, measured: Callable[..., tuple[Object, int]]) -> None:
    there = claims / "big.csv"
    query = "SELECT i AS id, md5(i::VARCHAR) AS text FROM range({}, {}) t(i)"
    for path, first, last in ((claims / "raw" / "a.csv", 0, 200_000), (there, 100_000, 1_100_000)):
        duckdb.connect().execute(f"COPY ({query.format(first, last)}) TO '{path}' (HEADER)")
    file = {"path": str(there), "digest": f"sha256:{hashlib.sha256(there.read_bytes()).hexdigest()}"}
    request = {
        "name": "eval",
        "namespace": "team",
        "uid": "u",
        "source": {"path": str(claims / "raw")},
        "format": "csv",
        "publish": {"path": str(claims / "data")},
        "quality": asked(file),
    }
    answer, kibibytes = measured(request, MILLRACE_MEMORY="512Mi")
    assert rows_shared(answer) == 100_000
    assert kibibytes < 512 << 10


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    with local_aws(speed=0, enforce_iam=True) as made:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        names = {"AWS_ENDPOINT_URL": made.endpoint_url, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "123456789012"}
        for name, value in {**names, "AWS_SECRET_ACCESS_KEY": "local", "AWS_EC2_METADATA_DISABLED": "true"}.items():
            monkeypatch.setenv(name, value)
        made.client("s3").create_bucket(Bucket="data")
        yield made


def test_what_the_other_published_to_s3_is_read_from_there(aws: LocalAws, work: Work, claims: Path) -> None:
    body = b"id\n4\n5\n"
    aws.client("s3").put_object(Bucket="data", Key="train/v/train.csv", Body=body)
    (claims / "raw" / "a.csv").write_text("id\n1\n4\n5\n")
    file = {"uri": "s3://data/train/v/train.csv", "digest": f"sha256:{hashlib.sha256(body).hexdigest()}"}
    assert rows_shared(compared(work, file)) == 2
    gone = compared(work, {**file, "uri": "s3://data/train/w/train.csv"})
    assert (gone["reason"], "train.csv is not there" in gone["message"]) == ("NotComparable", True)
