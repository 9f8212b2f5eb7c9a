"""Runs the health checks as Argo CD does: in Lua 5.1, alone, without the libraries of files and modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from lupa.lua51 import LuaRuntime

from millrace.engine.registry import controllers

FOLDER = Path(__file__).parents[3] / "argocd/resource_customizations/millrace.dev"
STATUSES = {"Healthy", "Progressing", "Degraded", "Suspended"}


def health(script: str, obj: dict[str, Any]) -> dict[str, str]:
    lua = LuaRuntime(unpack_returned_tuples=True, register_eval=False)
    # Argo CD opens only the base, table, string and safe os libraries.
    for forbidden in ("io", "package", "require", "dofile", "loadfile"):
        lua.globals()[forbidden] = None
    lua.globals().obj = lua.table_from(obj, recursive=True)
    return dict(lua.execute(script))


def cases() -> list[Any]:
    found = []
    for file in sorted(FOLDER.glob("*/health_test.yaml")):
        for case in yaml.safe_load(file.read_text())["tests"]:
            name = f"{file.parent.name}: {Path(case['inputPath']).stem}"
            found.append(pytest.param(file.parent, case["inputPath"], case["healthStatus"], id=name))
    return found


@pytest.mark.parametrize(("folder", "path", "expected"), cases())
def test_the_health_of(folder: Path, path: str, expected: dict[str, str]) -> None:
    obj = yaml.safe_load((folder / path).read_text())
    assert health((folder / "health.lua").read_text(), obj) == expected


@pytest.mark.parametrize("kind", [c.kind.name for c in controllers()])
def test_each_kind_is_tested_in_every_health_that_it_can_have(kind: str) -> None:
    tested = yaml.safe_load((FOLDER / kind / "health_test.yaml").read_text())["tests"]
    assert {case["healthStatus"]["status"] for case in tested} == STATUSES
    used = {Path(case["inputPath"]).name for case in tested}
    assert used == {p.name for p in (FOLDER / kind / "testdata").iterdir()}, "a file of testdata is used by no test"


@pytest.mark.parametrize("controller", controllers(), ids=lambda c: c.kind.name)
def test_the_objects_of_the_tests_are_valid_ones(controller: Any) -> None:
    kind = controller.kind
    for file in (FOLDER / kind.name / "testdata").iterdir():
        obj = yaml.safe_load(file.read_text())
        assert (obj["apiVersion"], obj["kind"]) == (kind.api_version, kind.name)
        kind.spec.model_validate(obj["spec"])
        kind.status.model_validate(obj["status"])


@pytest.mark.parametrize("controller", controllers(), ids=lambda c: c.kind.name)
def test_an_object_without_any_status_is_progressing(controller: Any) -> None:
    script = (FOLDER / controller.kind.name / "health.lua").read_text()
    bare = {"metadata": {"name": "x", "generation": 1}, "spec": {}}
    assert health(script, bare)["status"] == "Progressing"
