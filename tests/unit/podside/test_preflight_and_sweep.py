"""What would fail after minutes of GPU time fails at once, by name; and what was to be deleted is gone or named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from millrace.podside import preflight, sweep
from millrace.podside.__main__ import PROGRAMS, main

Object = dict[str, Any]
RUN = {"name": "gpt", "namespace": "team-a", "runID": "", "specDigest": "sha256:1"}


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination-log"
    monkeypatch.setenv("MILLRACE_TERMINATION_LOG", str(path))
    return path


def task(root: Path, **change: Any) -> Object:
    made: Object = {
        "outputDir": str(root / "claim" / "out"),
        "checkpointDir": str(root / "claim" / "out" / "checkpoints"),
        "inputs": {},
        "wrapperDir": None,
        "run": RUN,
    }
    return {**made, **change}


def said(log: Path) -> Object:
    return dict(json.loads(log.read_text()))


def test_a_run_that_can_start_finds_its_folders_made_and_nothing_in_them(tmp_path: Path, log: Path) -> None:
    assert preflight.run(task(tmp_path)) == 0
    output = tmp_path / "claim" / "out"
    assert [p.relative_to(output).as_posix() for p in output.rglob("*")] == ["checkpoints"]
    assert not log.exists()


def test_the_wrapper_is_put_where_the_program_finds_it(tmp_path: Path, log: Path) -> None:
    (tmp_path / "wrap").mkdir()
    assert preflight.run(task(tmp_path, wrapperDir=str(tmp_path / "wrap"))) == 0
    assert (tmp_path / "wrap" / "wrap.sh").read_text().startswith("#!/bin/sh")


def test_a_missing_input_is_named(tmp_path: Path, log: Path) -> None:
    (tmp_path / "there").touch()
    inputs = {"train": str(tmp_path / "there"), "validation": str(tmp_path / "none")}
    assert preflight.run(task(tmp_path, inputs=inputs)) == 1
    assert said(log)["reason"] == "InputMissing"
    assert "'validation'" in said(log)["message"]
    assert str(tmp_path / "none") in said(log)["message"]


def test_an_input_that_may_not_be_read_is_named(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "there").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read everything
    assert preflight.run(task(tmp_path, inputs={"train": str(tmp_path / "there")})) == 1
    assert said(log)["reason"] == "InputUnreadable"


@pytest.mark.parametrize("field", ["outputDir", "checkpointDir"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, log: Path, field: str) -> None:
    (tmp_path / "file").touch()
    assert preflight.run(task(tmp_path, **{field: str(tmp_path / "file" / "out")})) == 1
    assert said(log)["reason"] == "OutputNotWritable"
    assert str(tmp_path / "file" / "out") in said(log)["message"]


# record in the output, found, why
RECORDS: list[tuple[Object | str | None, bool, str]] = [
    (None, False, "a first run"),
    ({**RUN, "uid": "another", "model": {}}, True, "the object was deleted and made again"),
    ({**RUN, "runID": "2"}, False, "another run of the same object"),
    ({**RUN, "specDigest": "sha256:2"}, False, "the spec says another thing now"),
    ({**RUN, "namespace": "team-b"}, False, "a record that was copied from elsewhere"),
    ("{", False, "a broken record is no record"),
]


@pytest.mark.parametrize(("record", "found", "why"), RECORDS, ids=[r[-1] for r in RECORDS])
def test_a_run_that_has_been_done_is_not_done_again(
    tmp_path: Path, log: Path, record: Object | str | None, found: bool, why: str
) -> None:
    output = tmp_path / "claim" / "out"
    output.mkdir(parents=True)
    if record is not None:
        (output / "run.json").write_text(record if isinstance(record, str) else json.dumps(record))
    # A done run is told even where an input is gone since: nothing will read it.
    inputs = {"train": str(tmp_path / "none")} if found else {}
    assert preflight.run(task(tmp_path, inputs=inputs)) == int(found), why
    assert (said(log)["reason"] == "AlreadyDone") if found else not log.exists()


# -- sweep ---------------------------------------------------------------------------------------------------------------


def test_a_sweep_takes_folders_and_files_and_is_content_with_what_is_gone(tmp_path: Path, log: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "f").touch()
    (tmp_path / "file").touch()
    (tmp_path / "kept").touch()
    assert sweep.run({"paths": [str(tmp_path / p) for p in ("a", "file", "none")]}) == 0
    assert said(log) == {"schema": 1, "ok": True}
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "file").exists()
    assert (tmp_path / "kept").exists()


def test_a_sweep_that_fails_names_the_path(tmp_path: Path, log: Path) -> None:
    (tmp_path / "file").touch()
    assert sweep.run({"paths": [str(tmp_path / "file" / "below")]}) == 1
    assert (said(log)["ok"], said(log)["reason"]) == (False, "NotDeleted")
    assert str(tmp_path / "file" / "below") in said(log)["message"]


def test_a_sweep_leaves_what_another_dataset_uses_and_takes_it_with_the_last(tmp_path: Path, log: Path) -> None:
    folder = tmp_path / "0123456789ab"
    (folder / ".owners").mkdir(parents=True)
    for uid in ("mine", "other"):
        (folder / ".owners" / uid).touch()
    (folder / "train.csv").touch()
    assert sweep.run({"paths": [str(folder)], "owner": "mine"}) == 0
    assert (folder / "train.csv").exists()
    assert sweep.run({"paths": [str(folder)], "owner": "other"}) == 0
    assert not folder.exists()


# -- the entry point -----------------------------------------------------------------------------------------------------


def test_a_program_gets_its_task_from_the_environment(tmp_path: Path, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["podside", "sweep"])
    monkeypatch.setenv("MILLRACE_TASK", json.dumps({"paths": []}))
    assert main() == 0


@pytest.mark.parametrize("arguments", [[], ["no-such"]])
def test_an_unknown_program_is_told_which_there_are(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["podside", *arguments])
    assert main() == 2
    told = capsys.readouterr().err
    assert all(name in told for name in PROGRAMS)
