"""The image as a training container of SageMaker's: what it makes of /opt/ml, and what it leaves there. torchrun is played by a script
where the run itself does not matter; tests/e2e trains for real."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from millrace_trainer import sagemaker
from millrace_trainer.problems import Problem

SRC = Path(__file__).parents[1] / "src"
TURNS = [("System", "Name the class."), ("User", "A film\nto remember."), ("Chatbot", "positive")]
TOLD = "System: Name the class.\nUser: A film to remember.\nChatbot: positive\n\n"


def line(turns: list[tuple[str, str]] = TURNS) -> str:
    told = {"messages": [{"role": role, "content": content} for role, content in turns]}
    return json.dumps(told, ensure_ascii=False) + "\n"


@pytest.fixture
def ml(tmp_path: Path) -> Path:
    """As SageMaker lays it out."""
    base = tmp_path / "ml"
    for folder in ("input/config", "input/data/train", "model", "output/data", "checkpoints"):
        (base / folder).mkdir(parents=True)
    config = base / "input/config"
    (config / "hyperparameters.json").write_text(json.dumps({"maxSteps": "5", "sagemaker_region": '"us-east-1"'}))
    (config / "resourceconfig.json").write_text(json.dumps({"current_host": "algo-1", "hosts": ["algo-1"]}))
    (base / "input/data/train/train.jsonl").write_text(line() + line())
    return base


def settings(ml: Path, **environ: str) -> dict[str, str]:
    scratch = ml.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return sagemaker.environment(ml, scratch, {"TRAINING_JOB_NAME": "tuned-0a1b2c-3", **environ})


def inputs(ml: Path) -> dict[str, str]:
    return {name: Path(told["path"]).read_text() for name, told in json.loads(settings(ml)["MILLRACE_INPUTS"]).items()}


def test_conversations_become_text_that_ends_where_the_answer_does(ml: Path) -> None:
    assert inputs(ml) == {"train": TOLD + TOLD}


def test_a_line_ends_where_json_says(ml: Path) -> None:
    (ml / "input/data/train/train.jsonl").write_text(
        line([("User", "one\u2028two\x85three"), ("Chatbot", "yes")]), encoding="utf-8"
    )
    assert inputs(ml) == {"train": "User: one two three\nChatbot: yes\n\n"}


def test_every_gpu_has_a_process(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert sagemaker._gpus(tmp_path) == 2


def test_an_evaluation_channel_is_what_is_validated_on(ml: Path) -> None:
    (ml / "input/data/evaluation").mkdir()
    (ml / "input/data/evaluation/evaluation.jsonl").write_text(line())
    assert inputs(ml)["validation"] == TOLD


def test_one_file_of_text_is_read_where_it_is(ml: Path) -> None:
    (ml / "input/data/train/train.jsonl").unlink()
    (ml / "input/data/train/corpus.txt").write_text("words")
    told = json.loads(settings(ml)["MILLRACE_INPUTS"])
    assert told["train"]["path"] == str(ml / "input/data/train/corpus.txt")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("train.jsonl", line() + "{}\n", "train.jsonl, line 2 is no conversation"),
        ("train.jsonl", "not json\n", "train.jsonl, line 1 is no conversation"),
        ("train.parquet", "PAR1", "train.parquet is neither text"),
    ],
)
def test_what_is_no_input_is_named(ml: Path, name: str, content: str, says: str) -> None:
    (ml / "input/data/train/train.jsonl").unlink()
    (ml / "input/data/train" / name).write_text(content)
    (ml / "input/data/train/other.txt").write_text("words")
    with pytest.raises(Problem, match=says):
        settings(ml)


def test_the_run_is_that_of_the_hyperparameters_below_opt_ml(ml: Path) -> None:
    told = settings(ml)
    assert json.loads(told["MILLRACE_PARAMETERS"]) == {"maxSteps": "5"}
    assert told["MILLRACE_ATTEMPT"] == "3", "Millrace's jobs end in their attempt"
    assert told["MILLRACE_CHECKPOINT_DIR"] == str(ml / "checkpoints")
    assert settings(ml, TRAINING_JOB_NAME="somebody-elses")["MILLRACE_ATTEMPT"] == "1"


def test_a_group_of_hosts_meets_at_the_first(ml: Path) -> None:
    group = {"current_host": "algo-2", "hosts": ["algo-2", "algo-1"]}
    (ml / "input/config/resourceconfig.json").write_text(json.dumps(group))
    words = sagemaker.command(settings(ml, SM_NUM_GPUS="8"))
    assert words[1:6] == ["--nnodes=2", "--node-rank=1", "--nproc-per-node=8", "--master-addr=algo-1", "--master-port=29500"]


def train(ml: Path, program: str) -> "subprocess.Popen[bytes]":
    """The program `train`, with this one in place of torchrun."""
    script = ml.parent / "bin/torchrun"
    script.parent.mkdir(exist_ok=True)
    script.write_text(f"#!{sys.executable}\nimport json, os, pathlib, signal, sys, time\n{program}\n")
    script.chmod(0o755)
    environ = {
        **os.environ,
        "PATH": f"{script.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(SRC),
        "SAGEMAKER_BASE_DIR": str(ml),
    }
    return subprocess.Popen([sys.executable, "-m", "millrace_trainer.sagemaker"], env=environ, stderr=subprocess.DEVNULL)


OUTPUT = "out = pathlib.Path(os.environ['MILLRACE_OUTPUT_DIR'])\n"


def test_the_model_is_handed_over_and_the_report_stays(ml: Path) -> None:
    made = "(out / 'model').mkdir(); (out / 'model/config.json').write_text('{}'); (out / 'report.html').write_text('loss')"
    assert train(ml, OUTPUT + made).wait(30) == 0
    assert [path.name for path in (ml / "model").iterdir()] == ["config.json"]
    assert [path.name for path in (ml / "output/data").iterdir()] == ["report.html"]
    assert not (ml / "output/failure").exists()


@pytest.mark.parametrize(
    ("program", "code", "says"),
    [
        (
            "log = pathlib.Path(os.environ['MILLRACE_TERMINATION_LOG'])\n"
            "log.write_text(json.dumps({'reason': 'NaNLoss', 'message': 'the loss is NaN'})); sys.exit(1)",
            1,
            "NaNLoss: the loss is NaN",
        ),
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, "the run ended with exit code 137"),
    ],
    ids=["which it explains", "without a word"],
)
def test_a_failure_stands_where_sagemaker_looks_for_it(ml: Path, program: str, code: int, says: str) -> None:
    assert train(ml, program).wait(30) == code
    assert (ml / "output/failure").read_text() == says


def test_an_input_that_cannot_be_read_is_a_failure_too(ml: Path) -> None:
    (ml / "input/data/train/train.jsonl").write_text("{}\n")
    assert train(ml, "sys.exit(0)").wait(30) == 1
    assert (ml / "output/failure").read_text().startswith("InputUnreadable: train.jsonl, line 1")


def test_sigterm_reaches_the_run(ml: Path) -> None:
    waits = OUTPUT + (
        "signal.signal(signal.SIGTERM, lambda *_: ((out / 'checkpoint').touch(), sys.exit(85)))\n(out / 'ready').touch()\ntime.sleep(30)"
    )
    running = train(ml, waits)
    end = time.monotonic() + 20
    while not (ml / "output/data/ready").exists() and time.monotonic() < end:
        time.sleep(0.02)
    running.send_signal(signal.SIGTERM)
    assert running.wait(20) == 85
    assert (ml / "output/data/checkpoint").exists()
