"""The images built here as values of the chart."""

from __future__ import annotations

from pathlib import Path

import yaml

from millrace.cli.local.commands import CHART_IMAGES, values

ROOT = Path(__file__).parents[3]


def test_the_charts_images_are_named_and_no_others() -> None:
    held = {
        "localhost/millrace/operator": "localhost/millrace/operator:abc",
        "registry.test:5000/x/trainer": "registry.test:5000/x/trainer:def",
        "localhost/millrace/busybox": "localhost/millrace/busybox:1",
    }
    assert values(held) == {
        "images": {
            "operator": {"repository": "localhost/millrace/operator", "tag": "abc"},
            "trainer": {"repository": "registry.test:5000/x/trainer", "tag": "def"},
        }
    }


def test_they_are_those_that_the_chart_has() -> None:
    assert set(CHART_IMAGES) == set(yaml.safe_load((ROOT / "charts/millrace/values.yaml").read_text())["images"])
