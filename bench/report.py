"""Facts about the machine, the results file and the table at the end."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Row = tuple[str, str, str, "bool | None"]
RESULTS = Path(__file__).with_name("results.json")
_VERDICT = {True: "[green]yes[/]", False: "[red]no[/]", None: ""}


def machine(kubernetes: str) -> dict[str, Any]:
    """What the figures were taken on."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)),
        "memoryGiB": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "kubernetes": kubernetes,
        "load1": round(os.getloadavg()[0], 2),
        "packages": {name: version(name) for name in ("aiohttp", "duckdb", "kopf", "pydantic")},
    }


def write(facts: dict[str, Any], parts: dict[str, Any]) -> None:
    """Merge into bench/results.json, so that parts can be measured one by one; each keeps the facts it was taken under."""
    try:
        known = json.loads(RESULTS.read_text())
    except (OSError, ValueError):
        known = {}
    known.update({name: {"machine": facts, **found} for name, found in parts.items()})
    RESULTS.write_text(json.dumps(known, indent=1) + "\n")


def show(facts: dict[str, Any], rows: list[Row]) -> None:
    """The table."""
    console = Console(width=None if os.isatty(1) else 150)
    load = f"load {facts['load1']} before, {os.getloadavg()[0]:.2f} after"
    table = Table(title=f"{facts['cores']} cores, Python {facts['python']}, Kubernetes {facts['kubernetes']}, {load}")
    table.add_column("what")
    table.add_column("figure (min / median / max)", justify="right")
    table.add_column("bar", justify="right")
    table.add_column("met")
    for what, figure, bar, met in rows:
        table.add_row(what, figure, bar, _VERDICT[met])
    console.print(table)
