"""What `millrace plan` makes of manifests, without a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace.api.v1alpha1.trainingjob import TrainingJobSpec
from millrace.cli.planning import Change, differences, manifests, problems
from millrace.cli.problems import Problem

GOOD: dict[str, Any] = {"output": {"claim": {"name": "data"}}, "kubernetes": {"runtime": "nemo", "nodes": 2}}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [Change("spec.a", 1, 2)]),
        ({}, {"a": 2}, [Change("spec.a", None, 2)]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, [Change("spec.a.b[1]", 2, 3)]),
        ({"a": [1]}, {"a": [1, 2]}, [Change("spec.a", [1], [1, 2])]),
        ({"a": {"b": 1}}, {}, [Change("spec.a", {"b": 1}, None)]),
    ],
)
def test_differences_name_the_field(before: Any, after: Any, expected: list[Change]) -> None:
    assert list(differences(before, after)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Change("spec.a", None, 2), "+ spec.a: 2"),
        (Change("spec.a", 1, None), "- spec.a: 1"),
        (Change("spec.a", 1, 2), "~ spec.a: 1 -> 2"),
    ],
)
def test_a_change_reads_as_a_line(change: Change, expected: str) -> None:
    assert str(change) == expected


@pytest.mark.parametrize(
    ("spec", "expected", "reason"),
    [
        (GOOD, [], "nothing is wrong"),
        ({**GOOD, "kubernets": {}}, ["spec.kubernets: unknown field"], "a slip of the pen would be dropped in silence"),
        (
            {**GOOD, "kubernetes": {"nodes": 0}},
            ["spec.kubernetes.nodes: Input should be greater than or equal to 1"],
            "the path leads to the field",
        ),
        ({"kubernetes": {}}, ["spec.output: Field required"], "a missing field is named"),
        (
            {**GOOD, "inputs": [{"name": "train", "clam": {}}]},
            ["spec.inputs[0].clam: unknown field"],
            "items of lists are counted from zero",
        ),
        ({**GOOD, "parameters": {"anything": "1"}}, [], "keys of a map are the user's own"),
    ],
)
def test_problems_name_the_field(spec: dict[str, Any], expected: list[str], reason: str) -> None:
    assert problems({"spec": spec}, TrainingJobSpec) == expected, reason


def test_a_manifest_without_a_spec_says_so() -> None:
    assert problems({}, TrainingJobSpec) == ["spec: is missing"]


def test_a_folder_is_read_in_order_and_lists_are_taken_apart(tmp_path: Path) -> None:
    one, two, three = ({"kind": "A", "metadata": {"name": name}} for name in ("one", "two", "three"))
    (tmp_path / "b.yaml").write_text(yaml.safe_dump_all([two, None]))
    (tmp_path / "a.json").write_text('{"kind": "List", "items": [{"kind": "A", "metadata": {"name": "one"}}]}')
    (tmp_path / "c.yml").write_text(yaml.safe_dump(three))
    (tmp_path / "README.md").write_text("kind: [")
    assert list(manifests(tmp_path)) == [one, two, three]


def test_an_empty_folder_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="holds no manifests"):
        list(manifests(tmp_path))
