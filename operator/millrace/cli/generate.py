"""`python -m millrace.cli.generate [--check]`: writes, or checks, everything that follows from the kinds.

A new kind is one folder and one API module; this is what makes it appear everywhere else.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import typer

import millrace
from millrace.cli.generators import commands, crds, health, iam, kinds, metrics, rbac, reasons
from millrace.engine.controller import Controller
from millrace.engine.registry import controllers

_GENERATORS = (crds, rbac, kinds, reasons, metrics, commands, health, iam)
_FOLDERS = (*crds.FOLDERS, *kinds.FOLDERS, *reasons.FOLDERS)
"""Folders that hold generated files only: what nothing generates any more goes."""


def texts(found: Sequence[Controller], root: Path) -> dict[str, str]:
    """Every generated file by its path from the root."""
    return {path: text for generator in _GENERATORS for path, text in generator.files(found, root).items()}


def differences(wanted: dict[str, str], root: Path) -> list[str]:
    """Paths whose content is not what is generated, and files that nothing generates any more; sorted."""
    wrong = [path for path, text in wanted.items() if _content(root / path) != text]
    return sorted([*wrong, *_left_over(wanted, root)])


def _content(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _left_over(wanted: dict[str, str], root: Path) -> list[str]:
    there = (p for folder in _FOLDERS for p in sorted((root / folder).glob("*")) if p.is_file())
    return [path for p in there if (path := p.relative_to(root).as_posix()) not in wanted]


def write(wanted: dict[str, str], root: Path) -> list[str]:
    """Make the files be what is generated; gives the paths that were touched."""
    touched = differences(wanted, root)
    for path in touched:
        if path not in wanted:
            (root / path).unlink()
            continue
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(wanted[path])
    return touched


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all is as generated (or has been written), 1 when `--check` found a difference."""
    parser = argparse.ArgumentParser(prog="python -m millrace.cli.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on any difference and name the files")
    parser.add_argument("--root", type=Path, default=Path(millrace.__file__).parents[2], help="root of the repository")
    options = parser.parse_args(arguments)
    wanted = texts(controllers(), options.root)
    if not options.check:
        for path in write(wanted, options.root):
            typer.echo(f"wrote {path}" if path in wanted else f"removed {path}")
        return 0
    wrong = differences(wanted, options.root)
    for path in wrong:
        typer.echo(f"{path}: not what the kinds say; run `make generate`", err=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
