"""The worker from request to published folder: what it publishes, and that it never half-publishes."""

import csv
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millrace_dataset.files import sha256_file, tree_digest
from millrace_dataset.result import encode

Work = Callable[..., dict[str, Any]]
HALVES = {"train": "0.5", "validation": "0.5", "test": "0", "seed": 3, "stratifyBy": None}


def published(claims: Path, answer: dict[str, Any], split: str) -> Path:
    return claims / "data" / str(answer["splits"][split]["path"])


def test_a_whole_source_is_published_as_one_file_with_the_digest_of_its_content(work: Work, claims: Path) -> None:
    (claims / "raw" / "b.txt").write_text("two\nthree")
    (claims / "raw" / "a.txt").write_text("one\n")
    answer = work()
    entries = [(name, *sha256_file(claims / "raw" / name)) for name in ("a.txt", "b.txt")]
    assert answer["digest"] == tree_digest(entries)
    assert (answer["rows"], answer["bytes"]) == (3, 13)
    assert published(claims, answer, "data").read_text() == "one\ntwo\nthree\n"
    assert answer["splits"]["data"]["path"] == f"corpus/{answer['version']}/data.txt"


def test_text_splits_hold_every_line_once_in_blocks_of_running_text(work: Work, claims: Path) -> None:
    lines = [f"line {number}\n" for number in range(20_000)]
    (claims / "raw" / "a.txt").write_text("".join(lines))
    answer = work(split={"train": "0.9", "validation": "0.1", "seed": 7})
    train = published(claims, answer, "train").read_text().splitlines(keepends=True)
    validation = published(claims, answer, "validation").read_text().splitlines(keepends=True)
    assert sorted(train + validation) == sorted(lines)
    assert abs(len(validation) - 2000) <= 64
    assert sum(int(b.split()[1]) - int(a.split()[1]) == 1 for a, b in itertools.pairwise(train)) > 17_000


def test_another_seed_or_fraction_is_another_version_and_the_same_settings_are_the_same_one(work: Work, claims: Path) -> None:
    (claims / "raw" / "a.txt").write_text("".join(f"{number}\n" for number in range(1000)))
    first, again = work(split=HALVES), work(split=HALVES)
    other = work(split=HALVES | {"seed": 4})
    assert first == again
    assert other["digest"] == first["digest"]
    assert other["version"] != first["version"]
    assert len(list((claims / "data" / "corpus").iterdir())) == 2


def test_equal_rows_of_a_table_never_straddle_splits(work: Work, claims: Path) -> None:
    rows = [f"{number % 300},x" for number in range(3000)]
    (claims / "raw" / "a.csv").write_text("id,value\n" + "\n".join(rows) + "\n")
    answer = work(format="csv", split=HALVES)
    train = set(published(claims, answer, "train").read_text().splitlines()[1:])
    validation = set(published(claims, answer, "validation").read_text().splitlines()[1:])
    assert not train & validation
    assert answer["splits"]["train"]["rows"] + answer["splits"]["validation"]["rows"] == 3000


def test_stratified_splits_keep_a_rare_class_in_proportion(work: Work, claims: Path) -> None:
    rows = [{"id": number, "label": number % 50 == 0} for number in range(2000)]
    (claims / "raw" / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    split = {"train": "0.8", "validation": "0.1", "test": "0.1", "seed": 1, "stratifyBy": "label"}
    answer = work(format="jsonl", split=split)
    rare = {
        name: sum(json.loads(line)["label"] for line in published(claims, answer, name).read_text().splitlines())
        for name in answer["splits"]
    }
    assert rare == {"train": 32, "validation": 4, "test": 4}


def test_csv_quoting_survives_and_types_are_inferred(work: Work, claims: Path) -> None:
    rows = [["id", "code", "note", "ratio", "ok"], ["1", "007", 'a "b", c', "1", "true"]]
    rows += [["2", "12", "x\ny", "", "False"], ["3", "9", " pad ", "2.5e1", "TRUE"]]
    with (claims / "raw" / "a.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    answer = work(format="csv")
    with published(claims, answer, "data").open(newline="") as stream:
        assert list(csv.reader(stream)) == rows
    kinds = {column["name"]: column["type"] for column in answer["columns"]}
    assert kinds == {"id": "integer", "code": "string", "note": "string", "ratio": "number", "ok": "boolean"}


def test_the_answer_fits_a_termination_message_however_many_columns_there_are(work: Work, claims: Path) -> None:
    names = [f"a rather long column name, number {number:04d} of a wide table ä" for number in range(500)]
    (claims / "raw" / "a.jsonl").write_text(json.dumps(dict.fromkeys(names, 1)) + "\n")
    text = encode(work(format="jsonl"))
    assert len(text.encode()) <= 4096
    assert json.loads(text)["columnCount"] == 500


def test_a_source_without_publish_is_described_only(work: Work, claims: Path) -> None:
    (claims / "raw" / "a.txt").write_text("one\n")
    answer = work(publish=None)
    assert answer["ok"]
    assert (answer["splits"], answer["version"]) == ({}, "")


def test_a_failed_publish_leaves_nothing_behind(work: Work, claims: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (claims / "raw" / "a.txt").write_text("one\n" * 10)

    def refuse(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", refuse)
    answer = work()
    assert answer["reason"] == "PublishFailed"
    assert "No space left" in answer["message"]
    assert list((claims / "data" / "corpus").iterdir()) == []


def test_a_published_file_that_was_changed_is_reported_and_not_reused(work: Work, claims: Path) -> None:
    (claims / "raw" / "a.txt").write_text("one\n")
    published(claims, work(), "data").write_text("two\n")
    answer = work()
    assert answer["reason"] == "PublishFailed"
    assert "data.txt" in answer["message"]


def test_hidden_entries_of_a_mounted_configmap_are_not_data(work: Work, claims: Path) -> None:
    inline = claims / "inline"
    (inline / "..2026").mkdir(parents=True)
    (inline / "..2026" / "text").write_text("one\ntwo\n")
    (inline / "..data").symlink_to("..2026")
    (inline / "text").symlink_to("..data/text")
    answer = work(source={"inline": {"path": str(inline)}})
    assert (answer["rows"], answer["bytes"]) == (2, 8)


@pytest.mark.slow
def test_a_large_file_passes_in_bounded_memory(claims: Path, measured: Callable[..., tuple[dict[str, Any], int]]) -> None:
    """Two hundred megabytes here; memory does not depend on length, and the limit asked for 2 GiB is 256 MiB."""
    with (claims / "raw" / "a.txt").open("wb") as stream:
        block = b"all work and no play makes jack a dull boy\n" * 25_000
        for _ in range(190):
            stream.write(block)
    request = {
        "source": {"path": str(claims / "raw" / "a.txt")},
        "format": "text",
        "split": {"train": "0.9", "validation": "0.1", "seed": 1},
        "publish": {"path": str(claims / "data" / "corpus")},
    }
    answer, kibibytes = measured(request)
    assert answer["rows"] == 190 * 25_000
    assert kibibytes < 256 * 1024
    assert json.loads((claims / "termination").read_text()) == answer
