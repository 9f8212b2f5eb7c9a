"""What ends a run before anything slow is imported, and what the environment must hold."""

import json
import sys
from types import SimpleNamespace

import pytest
from trainer_support import Job

from millrace_trainer import gpt
from millrace_trainer.context import read_context
from millrace_trainer.problems import Problem


def run(job: Job, monkeypatch: pytest.MonkeyPatch, **env: str) -> int:
    for name, value in job.env(**env).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("millrace_trainer.progress.DEFAULT_INTERVAL_SECONDS", 0.05)
    return gpt.main()


def test_a_missing_input_is_named(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    (job.root / "train.txt").unlink()
    assert run(job, monkeypatch) == 1
    assert job.termination["reason"] == "InputMissing"
    assert "train.txt" in job.termination["message"]


def test_no_input_at_all_is_named(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(job, monkeypatch, MILLRACE_INPUTS="{}") == 1
    assert job.termination["reason"] == "InputMissing"


def test_a_bad_parameter_ends_in_the_termination_message(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.parameters["layer"] = "3"
    assert run(job, monkeypatch) == 1
    assert job.termination["reason"] == "BadParameter"
    assert "'layer'" in job.termination["message"]


def test_an_output_that_cannot_be_written_is_named(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.output.write_text("a file where the folder should be")
    assert run(job, monkeypatch) == 1
    assert job.termination["reason"] == "OutputNotWritable"
    assert str(job.output) in job.termination["message"]


def test_a_superseded_attempt_does_not_start(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    job.checkpoints.mkdir()
    pointer = {"schema": 1, "uid": "u-1", "runID": "run-1", "attempt": 5, "step": 3, "path": "x", "committedAt": "t"}
    (job.checkpoints / "latest.json").write_text(json.dumps({**pointer, "files": {}}))
    assert run(job, monkeypatch) == 1
    assert job.termination["reason"] == "Superseded"


def test_a_device_without_memory_is_told_with_what_to_lower(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    class OutOfMemoryError(RuntimeError):
        """As torch's."""

    def train(*_: object) -> None:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setitem(sys.modules, "millrace_trainer.training", SimpleNamespace(train=train))
    assert run(job, monkeypatch) == 1
    assert job.termination["reason"] == "OutOfMemory"
    assert job.termination["message"].startswith("CUDA out of memory: lower microBatchSize")


@pytest.mark.parametrize("value", ["x", "-1", "0"])
def test_a_bad_attempt_number_is_refused(value: str) -> None:
    with pytest.raises(Problem, match="MILLRACE_ATTEMPT"):
        read_context({"MILLRACE_ATTEMPT": value})
