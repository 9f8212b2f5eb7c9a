"""Whole runs on two ranks: the record, the resume that equals no interruption, SIGTERM, and every way to fail."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from trainer_support import LAST, Job, Launcher, make_job, wait_for

from millrace_trainer.checkpoint import Store
from millrace_trainer.files import hash_tree, tree_digest
from millrace_trainer.history import History
from millrace_trainer.state import load_shared

pytestmark = pytest.mark.slow


def history(job: Job) -> History:
    store = Store(job.checkpoints, "u-1", "run-1", 99, 1)
    pointer = store.resumable()
    assert pointer is not None
    store.verify(pointer)
    return History.from_state(load_shared(store, pointer).history)


def logs(job: Job) -> str:
    return "".join(path.read_text() for path in sorted(job.root.glob("log*")))


@pytest.fixture(scope="module")
def whole(launcher: Launcher, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A run that nothing interrupted; with dropout, so that random state matters."""
    job = make_job(tmp_path_factory.mktemp("whole"))
    job.parameters["dropout"] = "0.1"
    assert launcher.run(job, 2) == [0, 0], logs(job)
    return job


def test_a_run_leaves_model_report_and_a_record_of_what_lies_on_disk(whole: Job) -> None:
    record = whole.record
    entries = hash_tree(whole.output / "model")
    assert record["model"]["digest"] == tree_digest(entries)
    assert sorted(entries) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in whole.root.rglob("*.[jsp]*") if path.is_file())
    assert (record["runID"], record["specDigest"], record["steps"]) == ("run-1", "sha256:11", LAST)
    assert record["checkpoint"] == {"step": LAST, "path": f"step-{LAST:08d}-a1"}
    assert 1 < record["metrics"]["validationPerplexity"] < 2 * record["metrics"]["unigramPerplexity"] < 300
    assert (whole.output / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in (whole.output / "report.html").read_text()
    assert list((whole.output / "tensorboard").glob("events.out.tfevents.*"))
    progress = json.loads((whole.output / "progress.json").read_text())
    assert (progress["phase"], progress["step"], progress["checkpoint"]["step"]) == ("done", LAST, LAST)
    assert "Train Loss: " in logs(whole)
    assert "unigram baseline on the same tokens" in logs(whole)


def test_only_the_last_checkpoints_are_kept_and_all_ranks_are_in_them(whole: Job) -> None:
    assert sorted(path.name for path in whole.checkpoints.iterdir()) == [
        "latest.json",
        "step-00000032-a1",
        "step-00000040-a1",
    ]
    assert sorted(whole.pointer["files"]) == ["rank-00000.pt", "rank-00001.pt", "training.pt"]


def test_the_same_run_again_ends_at_once_without_training(whole: Job, launcher: Launcher) -> None:
    before = [(whole.output / name).read_bytes() for name in ("run.json", "progress.json")], whole.pointer
    assert launcher.run(whole, 2, attempt=2) == [0, 0]
    assert ([(whole.output / name).read_bytes() for name in ("run.json", "progress.json")], whole.pointer) == before


def test_a_run_that_lost_only_its_record_exports_again_without_training(whole: Job, launcher: Launcher, tmp_path: Path) -> None:
    job = Job(tmp_path, whole.parameters)
    subprocess.run(["cp", "-r", f"{whole.root}/.", str(tmp_path)], check=True)
    (job.output / "run.json").unlink()
    assert launcher.run(job, 2, attempt=2) == [0, 0], logs(job)
    assert job.record["model"] == whole.record["model"]
    assert job.record["metrics"] == whole.record["metrics"]


def torchrun(job: Job) -> "subprocess.Popen[bytes]":
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port), "--max-restarts", "0"]
    with (job.root / "log").open("ab") as log:
        return subprocess.Popen([*command, "-m", "millrace_trainer.gpt"], env={**os.environ, **job.env()}, stdout=log, stderr=log)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def committed(job: Job, step: int) -> bool:
    return (job.checkpoints / "latest.json").exists() and job.pointer["step"] >= step


def test_a_run_whose_rank_was_killed_goes_on_as_if_nothing_had_happened(launcher: Launcher, job: Job, whole: Job) -> None:
    """The losses of every step, the learning rates and the weights equal those of the run that was not interrupted."""
    job.parameters = {**whole.parameters}
    first = torchrun(job)
    wait_for(lambda: committed(job, 8))
    os.kill(children(first.pid)[-1], signal.SIGKILL)
    assert first.wait(60) != 0
    assert not (job.output / "run.json").exists()
    reached = job.pointer["step"]
    assert reached < LAST
    assert launcher.run(job, 2, attempt=2) == [0, 0], logs(job)
    assert job.pointer["attempt"] == 2
    assert f"from step {reached};" in logs(job)
    resumed, expected = history(job), history(whole)
    assert list(resumed.train) == list(range(1, LAST + 1))
    assert resumed.train == pytest.approx(expected.train, rel=1e-5)
    assert resumed.learning_rate == pytest.approx(expected.learning_rate)
    assert resumed.validation == pytest.approx(expected.validation, rel=1e-5)
    assert job.record["metrics"]["loss"] == pytest.approx(whole.record["metrics"]["loss"], rel=1e-5)


def test_a_run_resumed_on_another_number_of_ranks_reads_the_same_data(launcher: Launcher, tmp_path: Path) -> None:
    """Without dropout the losses do not depend on the number of ranks: the order is one of global samples."""
    single, mixed = make_job(tmp_path / "single"), make_job(tmp_path / "mixed")
    assert launcher.run(single, 1) == [0]
    pids = launcher.start(mixed, 2)
    wait_for(lambda: committed(mixed, 8))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert launcher.codes() == [-9, -9]
    assert launcher.run(mixed, 1, attempt=2) == [0], logs(mixed)
    assert history(mixed).train == pytest.approx(history(single).train, rel=2e-3)


def test_sigterm_to_one_rank_saves_on_every_rank_and_the_next_attempt_goes_on(launcher: Launcher, job: Job, whole: Job) -> None:
    job.parameters, job.every = {**whole.parameters, "maxSteps": "5000", "validateEverySteps": "5000"}, 0
    pids = launcher.start(job, 2)
    wait_for(lambda: "Step: " in logs(job))
    os.kill(pids[1], signal.SIGTERM)
    assert launcher.codes() == [85, 85], logs(job)
    step = job.pointer["step"]
    assert sorted(job.pointer["files"]) == ["rank-00000.pt", "rank-00001.pt", "training.pt"]
    progress = json.loads((job.output / "progress.json").read_text())
    assert progress["phase"] == "failed"
    assert progress["message"] == f"stopped by SIGTERM; checkpoint at step {step}"
    assert not (job.output / "run.json").exists()
    job.parameters["maxSteps"] = str(step + 2)
    assert launcher.run(job, 2, attempt=2) == [0, 0], logs(job)
    assert list(history(job).train) == list(range(1, step + 3))


def test_mock_data_trains_without_inputs_or_tokenizer(launcher: Launcher, job: Job) -> None:
    job.parameters |= {"data": "mock", "mockTokens": "20000"}
    assert launcher.run(job, 1, MILLRACE_INPUTS="{}") == [0], logs(job)
    assert sorted(path.name for path in (job.output / "model").iterdir()) == ["config.json", "model.safetensors"]


def failing(launcher: Launcher, job: Job, **env: str) -> dict[str, Any]:
    codes = launcher.run(job, 2, **env)
    assert all(code != 0 for code in codes), logs(job)
    assert not (job.output / "run.json").exists()
    return job.termination


def test_a_loss_that_is_not_a_number_ends_the_run_with_its_step(launcher: Launcher, job: Job) -> None:
    job.parameters |= {"learningRate": "1e30", "warmupSteps": "0"}
    found = failing(launcher, job)
    assert (found["reason"], found["schema"]) == ("NaNLoss", 1)
    assert found["step"] > 1
    assert "lower learningRate" in found["message"]


def test_a_checkpoint_that_was_changed_is_refused(launcher: Launcher, job: Job, whole: Job) -> None:
    subprocess.run(["cp", "-r", str(whole.checkpoints), str(job.root)], check=True)
    path = job.checkpoints / whole.pointer["path"] / "training.pt"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = failing(launcher, job)
    assert found["reason"] == "CheckpointUnreadable"
    assert "training.pt" in found["message"]


def test_an_old_attempt_stops_when_a_later_one_has_committed(launcher: Launcher, job: Job) -> None:
    job.parameters |= {"maxSteps": "5000"}
    launcher.start(job, 1)
    wait_for(lambda: committed(job, 8))
    later = {**job.pointer, "attempt": 2}
    (job.root / "later").write_text(json.dumps(later))
    (job.root / "later").replace(job.checkpoints / "latest.json")
    assert launcher.codes() == [1]
    assert job.termination["reason"] == "Superseded"
    assert job.pointer["attempt"] == 2


def test_text_shorter_than_one_window_is_named(launcher: Launcher, job: Job) -> None:
    (job.root / "train.txt").write_text("short\n")
    found = failing(launcher, job)
    assert found["reason"] == "InputUnreadable"
    assert "fewer than one window" in found["message"]


def test_input_that_is_no_text_is_named(launcher: Launcher, job: Job) -> None:
    (job.root / "train.txt").write_bytes(b"\xff\xfe" * 4000)
    codes = launcher.run(job, 1)
    assert codes == [1]
    assert job.termination["reason"] == "InputUnreadable"
    assert "not UTF-8" in job.termination["message"]


def test_the_exported_model_is_the_trained_one_for_transformers(whole: Job) -> None:
    """Another implementation, given only the exported files, computes the same validation loss."""
    from transformers import GPT2LMHeadModel

    from millrace_trainer.config import read_config
    from millrace_trainer.data import validation_windows
    from millrace_trainer.tokens import encode_file, load_tokenizer

    model = GPT2LMHeadModel.from_pretrained(whole.output / "model").eval()
    tokenizer = load_tokenizer((whole.output / "model" / "tokenizer.json").read_text())
    ids = encode_file(tokenizer, whole.root / "train.txt", whole.root / "ids")
    windows = validation_windows(ids[len(ids) - len(ids) // 20 :], read_config(whole.parameters, 2))
    with torch.no_grad():
        logits = model(windows[:, :-1]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
    assert float(loss.exp()) == pytest.approx(whole.record["metrics"]["validationPerplexity"], rel=1e-4)
