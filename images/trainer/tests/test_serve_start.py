"""What a start needs: the environment, a folder that one engine can serve, and a clear end where it cannot."""

import json
from pathlib import Path
from typing import Any

import pytest
from serve_support import make_model, start

from millrace_serve.choose import gguf
from millrace_serve.problems import StartProblem
from millrace_serve.settings import Parameters, cpus, read_parameters, read_settings

NEEDED = {"MILLRACE_MODEL_DIR": "/model", "MILLRACE_MODEL_NAME": "m"}


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = read_settings(NEEDED)
    assert (settings.port, settings.drain_seconds, settings.grace_seconds) == (8080, 5.0, 30.0)
    assert settings.parameters == Parameters()
    assert settings.parameters.concurrency == settings.parameters.maxBatch


BAD = [
    ({"MILLRACE_MODEL_NAME": ""}, "MILLRACE_MODEL_NAME is not set", "a model without a name"),
    ({"MILLRACE_PORT": "http"}, "MILLRACE_PORT must be", "a port that is no number"),
    ({"MILLRACE_PORT": "70000"}, "MILLRACE_PORT must be", "a port that does not exist"),
    ({"MILLRACE_DRAIN_SECONDS": "-1"}, "MILLRACE_DRAIN_SECONDS must be", "time that runs backwards"),
    ({"MILLRACE_SERVE_PARAMETERS": "{"}, "not JSON", "half an object"),
    ({"MILLRACE_SERVE_PARAMETERS": '{"maxBatch": 4}'}, "values are strings", "a number, where the operator writes strings"),
    ({"MILLRACE_SERVE_PARAMETERS": '{"batch": "4"}'}, "unknown parameter 'batch'; allowed: maxBatch", "a name nobody knows"),
    ({"MILLRACE_SERVE_PARAMETERS": '{"maxBatch": "0"}'}, "from 1 to", "a batch of nothing"),
    ({"MILLRACE_SERVE_PARAMETERS": '{"maxQueue": "-1"}'}, "from 0 to", "a queue of less than nothing"),
    ({"MILLRACE_SERVE_PARAMETERS": '{"device": "tpu"}'}, "one of auto, cpu, cuda", "a device that is none"),
]


@pytest.mark.parametrize(("env", "message", "why"), BAD, ids=[case[2] for case in BAD])
def test_a_bad_setting_is_named(env: dict[str, str], message: str, why: str) -> None:
    with pytest.raises(StartProblem, match=message) as caught:
        read_settings({**NEEDED, **env})
    assert caught.value.reason == "BadParameter", why


def test_parameters_are_strings_by_name() -> None:
    parameters = read_parameters('{"maxBatch": "3", "maxConcurrency": "9", "device": "cpu"}')
    assert (parameters.maxBatch, parameters.concurrency, parameters.device) == (3, 9, "cpu")


@pytest.mark.parametrize(("quota", "expected"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None)])
def test_the_pod_s_cpu_limit_bounds_the_threads(tmp_path: Path, quota: str, expected: int | None) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    assert cpus(tmp_path) == (expected or cpus(tmp_path / "absent"))


@pytest.mark.parametrize(("quota", "expected"), [("100000\n", 1), ("50000\n", 1), ("-1\n", None)])
def test_the_limit_is_found_in_older_control_groups_too(tmp_path: Path, quota: str, expected: int | None) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text(quota)
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert cpus(tmp_path) == (expected or cpus(tmp_path / "absent"))


FOLDERS = [
    ([], "neither a GGUF file nor config.json and model.safetensors", "an empty folder"),
    (["config.json"], "nor model.safetensors", "weights forgotten"),
    (["config.json", "model.safetensors"], "no tokenizer.json: .* mock data", "trained on mock data"),
    (["a.gguf", "b.gguf"], "2 GGUF files", "two models"),
]


@pytest.mark.parametrize(("names", "message", "why"), FOLDERS, ids=[case[2] for case in FOLDERS])
def test_a_folder_that_nothing_can_serve_is_named(tmp_path: Path, names: list[str], message: str, why: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(StartProblem, match=message) as caught:
        gguf(tmp_path)
    assert caught.value.reason == "ModelUnreadable", why


def test_the_content_of_a_folder_chooses_the_engine(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).touch()
    assert gguf(tmp_path) is None
    (tmp_path / "some.gguf").touch()
    assert gguf(tmp_path) == tmp_path / "some.gguf"


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


SPOILT = [
    ("config.json", {"model_type": "llama"}, "model_type must be gpt2", "another architecture"),
    ("config.json", {"n_layer": 9}, "lacks transformer.h.2", "weights of another model"),
    ("config.json", {"n_embd": "wide"}, "not a GPT-2 configuration", "a size that is no number"),
    ("tokenizer.json", {"decoder": None}, "must be byte-level", "a tokenizer whose bytes are unknown"),
]


@pytest.mark.parametrize(("name", "changes", "message", "why"), SPOILT, ids=[case[3] for case in SPOILT])
def test_files_that_do_not_fit_together_are_named(
    tmp_path: Path, name: str, changes: dict[str, Any], message: str, why: str
) -> None:
    from millrace_serve.torch_engine import Model

    edit(make_model(tmp_path / "model") / name, **changes)
    with pytest.raises(StartProblem, match=message) as caught:
        Model(tmp_path / "model", Parameters(threads=1))
    assert caught.value.reason == "ModelUnreadable", why


def test_a_context_beyond_the_model_s_positions_is_refused(tmp_path: Path) -> None:
    from millrace_serve.torch_engine import Model

    with pytest.raises(StartProblem, match="at most 128"):
        Model(make_model(tmp_path / "model"), Parameters(threads=1, contextLength=129))


def test_a_start_that_fails_says_why_in_the_termination_log(tmp_path: Path) -> None:
    running = start(tmp_path, tmp_path, {"speed": "high"})
    assert running.process.wait(30) == 1
    found = json.loads((tmp_path / "termination").read_text())
    assert (found["schema"], found["reason"]) == (1, "BadParameter")
    assert "unknown parameter 'speed'" in found["message"]


def test_a_model_that_cannot_be_read_ends_the_process_after_it_has_listened(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF but not really")
    running = start(tmp_path, tmp_path)
    assert running.process.wait(60) == 1, running.log.read_text()
    found = json.loads((tmp_path / "termination").read_text())
    assert found["reason"] == "ModelUnreadable"
    assert "broken.gguf" in found["message"]
