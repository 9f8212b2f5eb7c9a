"""The reader: what it is told of a run is believed only when every byte of it was seen."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millrace.podside import verify
from millrace.podside.files import tree_digest

Object = dict[str, Any]
RUN = {"name": "gpt", "namespace": "team-a", "runID": "r1", "specDigest": "sha256:1"}


class Finished:
    """A finished run on a claim."""

    def __init__(self, root: Path, *, own: bool = True, checkpoints: str = "out/checkpoints") -> None:
        self.root, self.own = root, own
        self.output, self.checkpoints = root / "out", root / checkpoints
        (self.output / "model").mkdir(parents=True)
        (self.output / "model" / "weights").write_bytes(b"w" * 1000)
        (self.output / "model" / "config.json").write_text("{}")
        if own:
            self.record()
            self.commit()

    def record(self, **change: Any) -> None:
        digest, files, size = tree_digest(self.output / "model")
        model = {"path": "model", "digest": digest, "files": files, "bytes": size}
        made = {"schema": 1, **RUN, "uid": "u1", "steps": 400, "metrics": {"loss": 1.5}, "model": model}
        (self.output / "run.json").write_text(json.dumps({**made, **change}))

    def commit(self, **change: Any) -> None:
        folder = self.checkpoints / "step-00000400-a2"
        folder.mkdir(parents=True)
        (folder / "state").write_bytes(b"s" * 500)
        told = {"state": {"sha256": hashlib.sha256(b"s" * 500).hexdigest(), "bytes": 500}}
        pointer = {
            "schema": 1,
            "uid": "u1",
            "runID": "r1",
            "attempt": 2,
            "step": 400,
            "path": folder.name,
            "committedAt": "2026-01-01T00:00:00Z",
            "files": told,
        }
        (self.checkpoints / "latest.json").write_text(json.dumps({**pointer, **change}))

    def task(self) -> Object:
        return {
            "outputDir": str(self.output),
            "checkpointDir": str(self.checkpoints),
            "ownRuntime": self.own,
            "run": RUN,
            "uid": "u1",
            "attempt": 2,
        }


class Verdict:
    def __init__(self, log: Path) -> None:
        self.log = log

    def __call__(self, run: Finished) -> Object:
        code = verify.run(run.task())
        told: Object = json.loads(self.log.read_text())
        assert code == (0 if told["ok"] else 1)
        return told


@pytest.fixture
def verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verdict:
    log = tmp_path / "termination-log"
    monkeypatch.setenv("MILLRACE_TERMINATION_LOG", str(log))
    return Verdict(log)


def test_a_whole_run_is_told_with_all_that_status_wants(tmp_path: Path, verdict: Verdict) -> None:
    told = verdict(Finished(tmp_path))
    assert told["ok"] is True
    assert (told["model"]["files"], told["model"]["bytes"], told["steps"], told["recordUID"]) == (2, 1002, 400, "u1")
    assert told["checkpoint"] == {
        "step": 400,
        "path": "step-00000400-a2",
        "committedAt": "2026-01-01T00:00:00Z",
        "attempt": 2,
    }
    assert told["metrics"] == {"loss": 1.5}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


WEIGHTS, STATE = "out/model/weights", "out/checkpoints/step-00000400-a2/state"

# what happens to the files, reason, why
DAMAGE: list[tuple[Callable[[Finished], object], str, str]] = [
    (lambda r: flip(r.root / WEIGHTS), "ModelCorrupt", "one bit of the model"),
    (lambda r: truncate(r.root / WEIGHTS), "ModelCorrupt", "one byte of the model is missing"),
    (lambda r: (r.root / WEIGHTS).unlink(), "ModelCorrupt", "a file of the model is missing"),
    (lambda r: (r.output / "model" / "more").touch(), "ModelCorrupt", "a file that nobody told of"),
    (lambda r: flip(r.root / STATE), "CheckpointCorrupt", "one bit of the checkpoint"),
    (lambda r: truncate(r.root / STATE), "CheckpointCorrupt", "one byte of the checkpoint is missing"),
    (lambda r: (r.root / STATE).unlink(), "CheckpointCorrupt", "a file of the checkpoint is missing"),
    (lambda r: (r.output / "run.json").unlink(), "RecordMissing", "no record"),
    (lambda r: r.record(runID="r0"), "RecordMissing", "the record of another run"),
    (lambda r: r.record(specDigest="sha256:2"), "RecordMissing", "the record of another spec"),
    (lambda r: (r.output / "run.json").write_text("{"), "OutputUnreadable", "a record that is no JSON"),
    (lambda r: r.record(model=None), "OutputUnreadable", "a record without a model"),
    (lambda r: r.record(model={"path": "model"}), "OutputUnreadable", "a record without the model's digest"),
    (lambda r: (r.checkpoints / "latest.json").write_text("[]"), "OutputUnreadable", "a pointer that is no object"),
]


@pytest.mark.parametrize(("damage", "reason", "why"), DAMAGE, ids=[d[-1] for d in DAMAGE])
def test_a_damaged_run_is_not_believed(
    tmp_path: Path, verdict: Verdict, damage: Callable[[Finished], object], reason: str, why: str
) -> None:
    run = Finished(tmp_path)
    damage(run)
    told = verdict(run)
    assert (told["ok"], told["reason"]) == (False, reason), why
    assert told["message"]


def test_a_run_without_checkpoints_is_whole(tmp_path: Path, verdict: Verdict) -> None:
    run = Finished(tmp_path)
    (run.checkpoints / "latest.json").unlink()
    assert verdict(run)["checkpoint"] is None


def test_a_checkpoint_of_another_run_is_not_this_ones(tmp_path: Path, verdict: Verdict) -> None:
    run = Finished(tmp_path)
    pointer = json.loads((run.checkpoints / "latest.json").read_text())
    (run.checkpoints / "latest.json").write_text(json.dumps({**pointer, "runID": "r0"}))
    flip(tmp_path / STATE)
    told = verdict(run)
    assert (told["ok"], told["checkpoint"]) == (True, None)


def test_a_record_that_another_object_left_is_told_with_its_uid(tmp_path: Path, verdict: Verdict) -> None:
    run = Finished(tmp_path)
    run.record(uid="u0")
    assert verdict(run)["recordUID"] == "u0"


# -- programs that know nothing of records -------------------------------------------------------------------------------


def test_a_foreign_run_is_sealed_with_a_record_and_the_seal_holds(tmp_path: Path, verdict: Verdict) -> None:
    run = Finished(tmp_path, own=False)
    first = verdict(run)
    assert first["ok"] is True
    assert (first["model"]["path"], first["model"]["files"], first["recordUID"]) == (".", 2, "u1")
    assert verdict(run) == first, "a second reader finds the record and checks it"
    flip(run.root / WEIGHTS)
    assert verdict(run)["reason"] == "ModelCorrupt"


def test_a_foreign_output_without_files_is_no_result(tmp_path: Path, verdict: Verdict) -> None:
    run = Finished(tmp_path, own=False)
    for path in (run.output / "model").iterdir():
        path.unlink()
    run.commit()
    (run.output / "progress.json").write_text("{}")
    assert verdict(run)["reason"] == "OutputEmpty", "checkpoints and our own files are no model"
    assert not (run.output / "run.json").exists()


def test_a_foreign_seal_of_an_earlier_run_is_replaced(tmp_path: Path, verdict: Verdict) -> None:
    run = Finished(tmp_path, own=False)
    run.record(runID="r0", uid="u0")
    told = verdict(run)
    assert (told["ok"], told["recordUID"]) == (True, "u1")
    assert json.loads((run.output / "run.json").read_text())["runID"] == "r1"


@pytest.mark.parametrize("checkpoints", ["out", "."], ids=["in the output itself", "above the output"])
@pytest.mark.parametrize("own", [True, False], ids=["our runtime", "foreign"])
def test_checkpoints_that_do_not_lie_apart_hide_no_model(tmp_path: Path, verdict: Verdict, own: bool, checkpoints: str) -> None:
    told = verdict(Finished(tmp_path, own=own, checkpoints=checkpoints))
    assert told["ok"] is True
    assert told["model"]["files"] == 2


def test_a_record_with_very_many_metrics_still_fits(tmp_path: Path, verdict: Verdict) -> None:
    run = Finished(tmp_path)
    run.record(metrics={f"metric_number_{n}": n / 7 for n in range(1000)})
    told = verdict(run)
    assert told["ok"] is True
    assert len(told["metrics"]) == 32
