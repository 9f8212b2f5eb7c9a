"""Rules of the house that import-linter cannot see, read from the syntax trees of our own sources."""

from __future__ import annotations

import ast
import importlib
import operator as stdlib_operator
import pkgutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import millrace_controllers
from millrace.engine.controller import Controller
from millrace.engine.reasons import SHARED, Reason
from millrace.engine.registry import controllers

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "operator/millrace"
KINDS = ROOT / "controllers/millrace_controllers"
LONGEST = 60


def sources(*roots: Path) -> Iterator[tuple[str, ast.Module]]:
    """Path from the repository's root, and the tree, of every module."""
    for root in roots:
        for path in sorted(root.rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())


def where(path: str, node: ast.AST) -> str:
    return f"{path}:{getattr(node, 'lineno', 0)}"


def called(node: ast.AST) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


def test_a_pod_template_is_written_in_a_backend_or_in_the_shared_builders_only() -> None:
    allowed = ("/backends/", "operator/millrace/kube/pods.py", "operator/millrace/podside/")
    found = [
        where(path, node)
        for path, tree in sources(ENGINE, KINDS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        and any(isinstance(key, ast.Constant) and key.value == "containers" for key in node.keys)
        and not any(part in path for part in allowed)
    ]
    assert found == []


def test_a_condition_reason_is_made_in_a_status_module_or_in_the_shared_list_only() -> None:
    found = [
        where(path, node)
        for path, tree in sources(ENGINE, KINDS)
        for node in ast.walk(tree)
        if called(node) == "Reason"
        and not (path.startswith("controllers/") and path.endswith("/status.py"))
        and path != "operator/millrace/engine/reasons.py"
    ]
    assert found == []


def test_no_condition_has_a_reason_written_as_a_bare_string() -> None:
    found = [
        where(path, node)
        for path, tree in sources(ENGINE, KINDS)
        for node in ast.walk(tree)
        if called(node) == "Verdict"
        and isinstance(node, ast.Call)
        and len(node.args) > 2
        and isinstance(node.args[2], ast.Constant)
    ]
    assert found == []


def reasons_in(value: Any) -> Iterator[Reason]:
    if isinstance(value, Reason):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from reasons_in(inner)
    elif isinstance(value, (tuple, list, frozenset, set)):
        for inner in value:
            yield from reasons_in(inner)


@pytest.mark.parametrize("package", [m.name for m in pkgutil.iter_modules(millrace_controllers.__path__) if m.ispkg])
def test_every_reason_of_a_kind_is_among_those_that_get_a_page(package: str) -> None:
    controller: Controller = importlib.import_module(f"millrace_controllers.{package}").CONTROLLER
    status = importlib.import_module(f"millrace_controllers.{package}.status")
    made = {reason for value in vars(status).values() for reason in reasons_in(value)}
    assert made
    assert {r.name for r in made - set(controller.reasons) - set(SHARED)} == set()


@pytest.mark.parametrize(
    "reason", sorted({r for c in controllers() for r in (*c.reasons, *SHARED)}, key=lambda r: r.name), ids=str
)
def test_a_reason_is_camel_case_and_says_what_it_means_and_what_to_do(reason: Reason) -> None:
    assert reason.name[0].isupper()
    assert reason.name.isalnum()
    assert reason.meaning.endswith(".")
    assert reason.next_step.endswith(".")


def test_what_pods_may_report_about_a_run_is_documented() -> None:
    """The sweeper's reports are for the deletion's message; what the others report becomes a condition's reason."""
    known = {r.name for c in controllers() for r in c.reasons}
    told = [
        (where(path, node), value.value)
        for path, tree in sources(ENGINE / "podside")
        if not path.endswith("/sweep.py")
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "reason" and isinstance(value, ast.Constant)
    ]
    assert told
    assert [place for place, name in told if name not in known] == []


def test_api_types_are_declared_in_the_api_only() -> None:
    bases = {"Model", "CommonSpec", "CommonStatus", "BaseModel"}
    found = [
        where(path, node)
        for path, tree in sources(ENGINE, KINDS)
        if not path.startswith("operator/millrace/api/")
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id in bases for b in node.bases)
    ]
    assert found == []


def test_spec_fields_are_declared_in_the_module_of_their_kind() -> None:
    """common.py holds what every kind has; a kind's own types are all in its one module."""
    for controller in controllers():
        module = f"millrace.api.v1alpha1.{controller.kind.singular}"
        assert controller.kind.spec.__module__ == module
        assert controller.kind.status.__module__ == module


@pytest.mark.parametrize("top", ["operator", "controllers", "tests", "images"])
def test_functions_fit_on_a_screen(top: str) -> None:
    found = [
        f"{where(path, node)} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path, tree in sources(ROOT / top)
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= LONGEST
    ]
    assert found == []


def test_nothing_but_the_command_line_and_pods_prints() -> None:
    talks = ("operator/millrace/cli/", "operator/millrace/podside/")
    found = [
        where(path, node)
        for path, tree in sources(ENGINE, KINDS)
        for node in ast.walk(tree)
        if called(node) == "print" and not path.startswith(talks)
    ]
    assert found == []


def test_every_module_says_why_it_exists() -> None:
    assert [path for path, tree in sources(ENGINE, KINDS) if not ast.get_docstring(tree)] == []


def test_no_folder_called_operator_is_a_package() -> None:
    """It would shadow the standard library's module of that name: python -m pytest, -m mypy and -m pip would all die."""
    tops = (ROOT / "operator", ROOT / "controllers", ROOT / "tests", ROOT / "images")
    assert [p for top in tops for p in top.rglob("__init__.py") if p.parent.name == "operator"] == []


def test_operator_is_the_standard_librarys() -> None:
    assert Path(str(stdlib_operator.__file__)).parent == Path(sysconfig.get_paths()["stdlib"])


def test_tests_are_no_packages() -> None:
    """Two files of one name in two folders are fine in pytest's importlib mode only while no folder is a package."""
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_kind_folders_have_the_same_files() -> None:
    wanted = {"__init__.py", "reconcile.py", "plan.py", "status.py", "backends"}
    for folder in (p for p in KINDS.iterdir() if p.is_dir() and p.name != "__pycache__"):
        assert wanted <= {p.name for p in folder.iterdir()}, folder.name
