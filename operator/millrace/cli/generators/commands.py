"""`docs/cli.md`: the help of every command, as it is shown on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from millrace.cli.generators.text import GENERATED, table
from millrace.cli.local import app as local_app
from millrace.cli.main import app
from millrace.cli.problems import MEANINGS
from millrace.engine.controller import Controller

PATH = "docs/cli.md"
_WIDTH = 100
_INTRO = """\
`millrace`, also installed as `kubectl millrace`. It reads the same kubeconfig as kubectl; inside a pod it uses the pod's service
account. Every error says what to do next."""


def files(controllers: Sequence[Controller], root: Path) -> dict[str, str]:
    """The page of commands."""
    parts = [f"# Commands\n\n<!-- {GENERATED} -->\n\n{_INTRO}", f"## Exit codes\n\n{_exits()}"]
    parts += [f"## {name}\n\n```text\n{text}\n```" for name, text in helps()]
    return {PATH: "\n\n".join(parts) + "\n"}


def _exits() -> str:
    return table(("Code", "Meaning"), [(str(int(code)), meaning) for code, meaning in MEANINGS.items()]).strip()


def helps() -> Iterator[tuple[str, str]]:
    """Every command by its full name, with its help; groups are opened."""
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        opened = typer.main.get_command(local_app) if name == "local" else command
        yield from _walk(f"millrace {name}", opened)


def _walk(name: str, command: Any) -> Iterator[tuple[str, str]]:
    if hasattr(command, "commands"):
        for child, inner in command.commands.items():
            yield from _walk(f"{name} {child}", inner)
        return
    # Drawn boxes depend on the terminal; the plain form does not.
    command.rich_markup_mode = None
    context = typer.Context(command, info_name=name, terminal_width=_WIDTH, max_content_width=_WIDTH)
    yield name, "\n".join(line.rstrip() for line in command.get_help(context).strip().splitlines())
