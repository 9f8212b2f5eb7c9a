"""The command line as a whole: exit codes, messages instead of tracebacks, and a quick start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml

from millrace.cli import main
from millrace.cli.explain import explained
from millrace.cli.problems import MEANINGS, Exit, Problem
from millrace.kube import errors as api
from millrace.kube.credentials import NoCluster


def ends_with(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as raised:
        main.run(arguments)
    return int(raised.value.code or 0)


@pytest.fixture
def nowhere(tmp_path: Path) -> Path:
    """A kubeconfig of a server that does not answer: port 1 of this machine."""
    path = tmp_path / "config"
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["version"], Exit.OK, "it needs no cluster"),
        (["nonsense"], Exit.USAGE, "there is no such command"),
        (["wait"], Exit.USAGE, "an argument is missing"),
        (["wait", "gpt"], Exit.USAGE, "not KIND/NAME"),
        (["wait", "cat/gpt"], Exit.USAGE, "no such kind"),
        (["wait", "tj/gpt", "--timeout", "soon"], Exit.USAGE, "no duration"),
        (["release"], Exit.USAGE, "neither objects nor --all"),
        (["release", "tj/gpt", "--all"], Exit.USAGE, "both"),
    ],
)
def test_exit_codes_of_the_command_line_itself(arguments: list[str], code: Exit, reason: str) -> None:
    assert ends_with(arguments) == code, reason


@pytest.mark.parametrize("command", [["status"], ["wait", "tj/x"], ["logs", "tj/x"], ["release", "--all", "--yes"]])
def test_a_cluster_that_does_not_answer_is_said_in_a_sentence(
    command: list[str], nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ends_with([*command, "--kubeconfig", str(nowhere)]) == Exit.NO_CLUSTER
    said = capsys.readouterr().err
    assert "did not answer" in said
    assert "millrace local status" in said
    assert "Traceback" not in said


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(["status", "--kubeconfig", str(tmp_path / "none")]) == Exit.NO_CLUSTER
    assert f"{tmp_path / 'none'} does not exist" in capsys.readouterr().err


def test_a_kind_that_is_not_there_names_those_that_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(["wait", "cat/gpt"]) == Exit.USAGE
    assert "Kinds are: cloudaccount, dataset, modelendpoint, trainingjob" in capsys.readouterr().err


def test_plan_names_the_wrong_field_and_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "job.yaml"
    spec = {"output": {"claim": {"name": "data"}}, "kubernetes": {"runtime": "nemo", "nodes": "two"}}
    path.write_text(
        yaml.safe_dump({"apiVersion": "millrace.dev/v1alpha1", "kind": "TrainingJob", "metadata": {"name": "x"}, "spec": spec})
    )
    assert ends_with(["plan", "--offline", "-f", str(path)]) == Exit.FAILED
    assert "spec.kubernetes.nodes:" in capsys.readouterr().out


def test_plan_shows_the_children_that_the_operator_would_make(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "job.yaml"
    spec = {"output": {"claim": {"name": "data"}}, "kubernetes": {"runtime": "nemo", "nodes": 2}}
    path.write_text(
        yaml.safe_dump({"apiVersion": "millrace.dev/v1alpha1", "kind": "TrainingJob", "metadata": {"name": "x"}, "spec": spec})
    )
    assert ends_with(["plan", "--offline", "-f", str(path)]) == Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "trainingjob/x: would be created"
    assert any(line.startswith("  create  Job/x-‹uid›-1  2 pod(s)") for line in lines)


def test_a_file_that_is_not_there_is_a_problem_and_not_a_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(["plan", "--offline", "-f", str(tmp_path / "none.yaml")]) == Exit.FAILED
    assert "none.yaml: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoCluster("none"), Exit.NO_CLUSTER),
        (api.Unavailable(0, "Unreachable", "x"), Exit.NO_CLUSTER),
        (api.Forbidden(403, "Forbidden", "x"), Exit.NO_CLUSTER),
        (api.ApiError(401, "Unauthorized", "x"), Exit.NO_CLUSTER),
        (api.NotFound(404, "NotFound", "x"), Exit.NOT_FOUND),
        (api.Invalid(422, "Invalid", "x"), Exit.FAILED),
        (api.Conflict(409, "Conflict", "x"), Exit.FAILED),
        (aiohttp.ClientConnectionError("x"), Exit.NO_CLUSTER),
        (yaml.YAMLError("x"), Exit.FAILED),
    ],
)
def test_every_foreseen_error_is_a_problem_with_an_exit_code(error: Exception, code: Exit) -> None:
    problem = explained(error)
    assert isinstance(problem, Problem)
    assert problem.code is code


def test_an_error_that_nobody_foresaw_is_none_of_them() -> None:
    assert explained(ZeroDivisionError()) is None


def test_every_exit_code_is_documented() -> None:
    assert set(MEANINGS) == set(Exit)


def test_help_imports_nothing_heavy() -> None:
    """What takes long to import would make every completion and every typing error slow."""
    code = "import sys; import millrace.cli.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "typer" in loaded
    assert {"aiohttp", "pydantic", "kopf", "yaml", "rich.table", "millrace.cli.local", "millrace_controllers"}.isdisjoint(loaded)
