"""`docs/metrics.md`: the operator's own metrics, read from the registry that it exposes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prometheus_client.metrics import MetricWrapperBase

from millrace.cli.generators.text import GENERATED, table
from millrace.engine.controller import Controller
from millrace.telemetry.metrics import Metrics

PATH = "docs/metrics.md"
_INTRO = """\
Every replica exposes these on port 8080 under `/metrics`, beside the usual `process_*` and `python_*` ones. No object's name is
ever a label: the number of series does not grow with the number of objects. The chart makes a ServiceMonitor
(`metrics.serviceMonitor.enabled`) and alerts (`metrics.prometheusRule.enabled`)."""
_HEADER = ("Name", "Type", "Labels", "What it counts")


def files(controllers: Sequence[Controller], root: Path) -> dict[str, str]:
    """The page of metrics."""
    rows = sorted(_row(m) for m in vars(Metrics()).values() if isinstance(m, MetricWrapperBase))
    return {PATH: f"# Metrics\n\n<!-- {GENERATED} -->\n\n{_INTRO}\n\n{table(_HEADER, rows)}"}


def _row(metric: MetricWrapperBase) -> tuple[str, str, str, str]:
    """Its name is as it is scraped: the library keeps a counter's name without the ending."""
    told = next(iter(metric.describe()))
    name = f"{told.name}_total" if told.type == "counter" else told.name
    return f"`{name}`", told.type, ", ".join(f"`{label}`" for label in metric._labelnames), told.documentation
