"""Digests of folders, files that are whole or not there, and messages that fit."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.podside import files


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination-log"
    monkeypatch.setenv("MILLRACE_TERMINATION_LOG", str(path))
    return path


def write(root: Path, **content: str) -> None:
    for name, text in content.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_digest_of_a_folder_is_that_of_the_contract(tmp_path: Path) -> None:
    write(tmp_path, b="two", a__z="one", a_dot_txt="three")
    told = [("a.txt", "three"), ("a/z", "one"), ("b", "two")]
    lines = "".join(f"{name}\0{hashlib.sha256(text.encode()).hexdigest()}\0{len(text)}\n" for name, text in told)
    expected = "sha256:" + hashlib.sha256(lines.encode()).hexdigest()
    assert files.tree_digest(tmp_path) == (expected, 3, 11)


def test_an_empty_or_missing_folder_has_no_files(tmp_path: Path) -> None:
    assert files.tree_digest(tmp_path)[1:] == (0, 0)
    assert files.tree_digest(tmp_path / "none")[1:] == (0, 0)


@pytest.mark.parametrize("change", ["content", "name", "added", "moved"])
def test_any_change_of_a_folder_changes_its_digest(tmp_path: Path, change: str) -> None:
    write(tmp_path, a="one", b="two")
    before = files.tree_digest(tmp_path)[0]
    if change == "content":
        (tmp_path / "a").write_text("onE")
    elif change == "name":
        (tmp_path / "a").rename(tmp_path / "c")
    elif change == "added":
        (tmp_path / "empty").touch()
    else:
        (tmp_path / "d").mkdir()
        (tmp_path / "a").rename(tmp_path / "d" / "a")
    assert files.tree_digest(tmp_path)[0] != before


def test_what_is_to_be_left_out_is_left_out_whole(tmp_path: Path) -> None:
    write(tmp_path, a="one", skip__b="two", skipped="three")
    left = [p.relative_to(tmp_path).as_posix() for p in files.walk(tmp_path, [tmp_path / "skip"])]
    assert left == ["a", "skipped"], "a folder of which the other's name begins is another folder"


# -- JSON ----------------------------------------------------------------------------------------------------------------


def test_a_json_file_is_read_back_and_a_missing_one_is_none(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", {"a": "é"})
    assert files.read_json(tmp_path / "x.json") == {"a": "é"}
    assert files.read_json(tmp_path / "none.json") is None
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"], "no temporary file stays"


@pytest.mark.parametrize("text", ["", "{", "[1]", '"text"'])
def test_what_is_not_a_json_object_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError):  # noqa: PT011  json's own words, or ours
        files.read_json(tmp_path / "x.json")


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    files.write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"new": object()})
    assert files.read_json(path) == {"old": 1}


# -- termination messages ------------------------------------------------------------------------------------------------


def test_a_report_that_fits_is_left_as_it_is_also_on_standard_output(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    message = {"schema": 1, "reason": "InputMissing", "message": "é ist nicht da"}
    files.report(message)
    assert json.loads(log.read_text()) == message
    assert json.loads(capfd.readouterr().out) == message


# message, why
LONG = [
    ("x" * 5000, "plain text"),
    ("é" * 5000, "two bytes a character"),
    ("😀" * 3000, "four bytes a character"),
    ('"\\' * 3000, "two bytes each once they are escaped"),
    ("\n" * 5000, "line ends are escaped too"),
]


@pytest.mark.parametrize(("text", "why"), LONG, ids=[row[-1] for row in LONG])
def test_a_message_that_is_too_long_is_cut_and_its_beginning_and_reason_stay(log: Path, text: str, why: str) -> None:
    files.report({"schema": 1, "reason": "BadParameter", "message": text})
    raw = log.read_bytes()
    assert len(raw) <= 4096, why
    told = json.loads(raw)
    assert told["reason"] == "BadParameter"
    assert told["message"].endswith("…")
    assert len(told["message"]) > 800, "as much as fits is told"
    assert text.startswith(told["message"][:-1])


def test_text_of_many_bytes_that_fits_is_not_cut(log: Path) -> None:
    files.report({"message": "é" * 1500})
    assert json.loads(log.read_text())["message"] == "é" * 1500


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text(max_size=3000), st.integers(1, 5))
def test_every_message_fits_and_is_json(log: Path, text: str, times: int) -> None:
    files.report({"schema": 1, "message": text * times})
    assert len(log.read_bytes()) <= 4096
    assert isinstance(json.loads(log.read_text())["message"], str)


def test_a_file_name_that_is_no_utf_8_can_still_be_reported(log: Path) -> None:
    files.report({"message": os.fsdecode(b"/claims/\xff.bin is missing") * 300})
    assert "is missing" in json.loads(log.read_bytes())["message"]
