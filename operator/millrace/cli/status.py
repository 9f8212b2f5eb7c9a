"""`millrace status`: every object as a line, with its reason and its progress; `-w` keeps the table live."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from millrace.cli.options import Context, Kubeconfig, Namespace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rich.console import RenderableType

    from millrace.cli.cluster import Connection, Target
    from millrace.cli.view import Row

_WIDE = 500
_COLOURS = {
    "Succeeded": "green",
    "Ready": "green",
    "Failed": "red",
    "Stalled": "red",
    "Working": "cyan",
    "Suspended": "yellow",
    "Paused": "yellow",
}


class Output(StrEnum):
    """Forms of the answer."""

    TABLE = "table"
    JSON = "json"


def status(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="NAME or KIND/NAME; all when none.")] = None,
    namespace: Namespace = None,
    all_namespaces: Annotated[bool, typer.Option("--all-namespaces", "-A", help="Of all namespaces.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep the table live until interrupted.")] = False,
    output: Annotated[Output, typer.Option("--output", "-o", help="Form of the answer.")] = Output.TABLE,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show objects, and what to do about failures."""
    import asyncio

    from millrace.cli.cluster import Target

    target = Target(context, kubeconfig, namespace)
    asyncio.run(_show(target, names or [], all_namespaces, watch, output))


async def _show(target: Target, names: list[str], all_namespaces: bool, watch: bool, output: Output) -> None:
    from millrace.cli.cluster import connected

    async with connected(target) as connection:
        if watch:
            await _live(connection, names, all_namespaces)
            return
        rows = await collected(connection, names, None if all_namespaces else connection.namespace)
    if output is Output.JSON:
        _print_json(rows)
    else:
        _print_table(rows, all_namespaces, "" if all_namespaces else f" in namespace {connection.namespace}")


async def collected(connection: Connection, names: list[str], namespace: str | None) -> list[Row]:
    """Rows of the named objects, or of all. Raises Problem (not found) where a name has no object."""
    import asyncio

    from millrace.cli import view
    from millrace.cli.problems import Exit, Problem
    from millrace.engine.clock import SystemClock
    from millrace.engine.registry import controllers

    now = SystemClock().now()
    found = [(c, obj) for c in controllers() for obj in await connection.list_all(c, namespace)]
    made = [(obj, view.row(obj, c.kind, now, {reason.name for reason in c.resting})) for c, obj in found]
    rows = await asyncio.gather(*(_with_traffic(connection, obj, row) for obj, row in made))
    missing = [name for name in names if not any(_named(r, name) for r in rows)]
    if missing:
        where = f"namespace {namespace}" if namespace else "any namespace"
        raise Problem(f"not found in {where}: {', '.join(missing)}", "`millrace status -A` shows every object.", Exit.NOT_FOUND)
    return view.ordered(r for r in rows if not names or any(_named(r, name) for name in names))


async def _with_traffic(connection: Connection, obj: dict[str, Any], row: Row) -> Row:
    """What has traffic is asked how much; everything else is shown as it is."""
    from dataclasses import replace

    from millrace.cli.traffic import measured

    seen = await measured(connection, obj)
    if seen is None:
        return row
    return replace(row, requests_per_second=seen.per_second, latency_p50=seen.p50, latency_p99=seen.p99)


def _named(row: Row, typed: str) -> bool:
    """Whether NAME or KIND/NAME means this row."""
    from millrace.cli.cluster import subject

    if "/" not in typed:
        return row.name == typed
    controller, name = subject(typed)
    return row.kind == controller.kind.singular and row.name == name


def _print_json(rows: list[Row]) -> None:
    import json

    from millrace.cli import view

    typer.echo(json.dumps([view.as_json(r) for r in rows], indent=2))


def _print_table(rows: list[Row], all_namespaces: bool, where: str) -> None:
    from rich.console import Console

    if not rows:
        typer.echo(f"no objects{where}", err=True)
        return
    # A pipe has no width: nothing is cut there, so that what reads it sees whole lines.
    console = Console() if sys.stdout.isatty() else Console(width=_WIDE)
    console.print(rendered(rows, all_namespaces))


def rendered(rows: list[Row], all_namespaces: bool) -> RenderableType:
    """The table, and below it what is wrong with those that failed or are stuck and what to do about it."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from millrace.cli import view

    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False)
    for heading in view.columns(all_namespaces):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        colour = _COLOURS.get(row.state, "")
        table.add_row(*(Text(cell, style=colour if cell == row.state else "") for cell in view.cells(row, all_namespaces)))
    notes = [Text(note) for row in rows if row.state in {"Failed", "Stalled"} for note in ("", *advice(row))]
    return Group(table, *notes)


def advice(row: Row) -> list[str]:
    """What is wrong with an object, and the documented next step of its reason."""
    said = [f"{row.kind}/{row.name}: {row.reason}: {row.message}"]
    step = next_step(row.kind, row.reason)
    return [*said, f"  next: {step}"] if step else said


def next_step(kind: str, reason: str) -> str:
    """The documented next step of a kind's reason; "" for an unknown one."""
    from millrace.engine.reasons import SHARED
    from millrace.engine.registry import controllers

    own = next((c.reasons for c in controllers() if c.kind.singular == kind), ())
    return next((r.next_step for r in (*own, *SHARED) if r.name == reason), "")


async def _live(connection: Connection, names: list[str], all_namespaces: bool) -> None:
    """Redraw in place on a terminal; elsewhere print the table anew each time that something other than an age changes."""
    from rich.live import Live

    if not sys.stdout.isatty():
        await _each_change(connection, names, all_namespaces)
        return
    with Live(auto_refresh=False) as live:
        async for rows in _looks(connection, names, all_namespaces):
            live.update(rendered(rows, all_namespaces), refresh=True)


async def _each_change(connection: Connection, names: list[str], all_namespaces: bool) -> None:
    from dataclasses import replace

    shown: list[Row] = []
    async for rows in _looks(connection, names, all_namespaces):
        ageless = [replace(r, age_seconds=0) for r in rows]
        if ageless != shown:
            _print_table(rows, all_namespaces, "")
            shown = ageless


async def _looks(connection: Connection, names: list[str], all_namespaces: bool) -> AsyncIterator[list[Row]]:
    import asyncio

    while True:
        yield await collected(connection, names, None if all_namespaces else connection.namespace)
        await asyncio.sleep(1)
