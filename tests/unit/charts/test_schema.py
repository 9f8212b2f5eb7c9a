"""The values' schema says exactly what the values are: a misspelt value must never be taken in silence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace import __version__

CHARTS = Path(__file__).parents[3] / "charts"
Schema = dict[str, Any]


def objects(schema: Schema, path: str) -> Iterator[tuple[str, Schema]]:
    if schema.get("type") == "object":
        yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from objects(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from objects(schema[key], f"{path}[]")


def leaves(values: Any, schema: Schema, path: str) -> Iterator[str]:
    """Keys of the values that the schema does not know, and the other way round."""
    if not isinstance(values, dict) or "properties" not in schema:
        return
    for name in sorted(values.keys() ^ schema["properties"].keys() - {"global"}):
        yield f"{path}.{name}"
    for name in values.keys() & schema["properties"].keys():
        yield from leaves(values[name], schema["properties"][name], f"{path}.{name}")


@pytest.mark.parametrize("chart", ["millrace", "millrace-crds"])
def test_no_object_takes_unknown_values(chart: str) -> None:
    schema = json.loads((CHARTS / chart / "values.schema.json").read_text())
    for path, node in objects(schema, chart):
        closed = node.get("additionalProperties") is False or isinstance(node.get("additionalProperties"), dict)
        passed_on = node.get("x-as-in-a-pod") or path.endswith(".global")
        assert closed or passed_on, f"{path} takes anything"


@pytest.mark.parametrize("chart", ["millrace", "millrace-crds"])
def test_values_and_schema_have_the_same_keys(chart: str) -> None:
    schema = json.loads((CHARTS / chart / "values.schema.json").read_text())
    values = yaml.safe_load((CHARTS / chart / "values.yaml").read_text())
    assert list(leaves(values, schema, chart)) == []


@pytest.mark.parametrize("chart", ["millrace", "millrace-crds"])
def test_the_chart_has_the_version_of_the_operator(chart: str) -> None:
    told = yaml.safe_load((CHARTS / chart / "Chart.yaml").read_text())
    assert (told["version"], told["appVersion"]) == (__version__, __version__)
