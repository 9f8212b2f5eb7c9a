"""The promise of the house: a kind is one folder and one API module, and appears everywhere without touching another file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]

API_MODULE = '''
"""Windmill: a kind from outside."""

from pydantic import Field

from millrace.api.common import CommonSpec, CommonStatus
from millrace.api.resource import AGE, Kind, summary_columns


class WindmillSpec(CommonSpec):
    """Desired windmill."""

    sails: int = Field(default=4, ge=2, le=12, description="Number of sails.")


class WindmillStatus(CommonStatus):
    """Observed windmill."""

    turns: int | None = Field(default=None, description="Turns so far.")


KIND = Kind("Windmill", "windmills", ("wm",), WindmillSpec, WindmillStatus, (*summary_columns("Ready"), AGE), "Ready", "Turns.")
'''

KIND_FOLDER = '''
"""Windmill."""

from millrace.api.v1alpha1.windmill import KIND
from millrace.engine.controller import Controller, Rule
from millrace.engine.outcome import Outcome
from millrace.engine.reasons import Reason
from millrace.kube.resources import SECRETS


async def _pass(ctx: object) -> Outcome:
    return Outcome()


CONTROLLER = Controller(
    kind=KIND,
    reconcile=_pass,
    finalize=_pass,
    explain=lambda obj, error: None,
    children=(SECRETS,),
    rules=(Rule("wind.example.org", ("breezes",), ("get",)),),
    reasons=(Reason("Becalmed", "There is no wind.", "Wait for wind."),),
)
'''


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with one more folder and one more module, after a run of the generator."""
    root = tmp_path_factory.mktemp("house")
    for part in ("operator", "controllers", "charts"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "operator/millrace/api/v1alpha1/windmill.py").write_text(API_MODULE)
    (root / "controllers/millrace_controllers/windmill").mkdir()
    (root / "controllers/millrace_controllers/windmill/__init__.py").write_text(KIND_FOLDER)
    generate(root)
    return root


def generate(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{root / 'operator'}:{root / 'controllers'}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "millrace.cli.generate", *arguments]
    return subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=True, timeout=120)


@pytest.mark.parametrize("folder", ["crds", "charts/millrace-crds/templates"])
def test_it_gets_a_definition(house: Path, folder: str) -> None:
    made = yaml.safe_load((house / folder / "millrace.dev_windmills.yaml").read_text())
    assert made["spec"]["names"]["kind"] == "Windmill"
    sails = made["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["sails"]
    assert (sails["minimum"], sails["maximum"], sails["default"]) == (2, 12, 4)


def test_it_gets_permissions(house: Path) -> None:
    roles = yaml.safe_load((house / "charts/millrace/files/rbac.yaml").read_text())
    named = {role: {r for rule in rules for r in rule["resources"]} for role, rules in roles.items()}
    assert {"windmills", "windmills/status", "windmills/finalizers", "secrets", "breezes"} <= named["namespaced"]
    assert all("windmills" in named[role] for role in ("guard", "view", "edit"))


def test_it_gets_pages(house: Path) -> None:
    assert (
        "| `sails` | integer, at least 2, at most 12 | `4` | Number of sails. |" in (house / "docs/kinds/windmill.md").read_text()
    )
    assert "windmill.md" in (house / "docs/kinds/README.md").read_text()
    assert "There is no wind." in (house / "docs/reasons/Becalmed.md").read_text()


def test_it_gets_a_health_check(house: Path) -> None:
    assert 'SUMMARY = "Ready"' in (house / "argocd/resource_customizations/millrace.dev/Windmill/health.lua").read_text()
    assert "millrace.dev_Windmill" in (house / "argocd/argocd-cm.yaml").read_text()


def test_the_kinds_that_were_there_stay(house: Path) -> None:
    there = {p.name for p in (ROOT / "crds").iterdir()}
    assert {p.name for p in (house / "crds").iterdir()} == there | {"millrace.dev_windmills.yaml"}


def test_the_result_is_as_generated(house: Path) -> None:
    assert generate(house, "--check").returncode == 0
