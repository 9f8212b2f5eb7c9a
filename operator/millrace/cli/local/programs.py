"""Runs other programs to their end, quietly, and turns their failure into an error that shows what they said."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from millrace.cli.local.errors import LocalError

_SHOWN = 25


def run(
    argv: Sequence[object],
    *,
    what: str,
    fix: str = "",
    seconds: float = 120,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """The program's standard output. `what` completes the sentence "could not ..."."""
    try:
        done = subprocess.run(
            [str(part) for part in argv],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=env,
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError as missing:
        raise LocalError(f"could not {what}: {argv[0]} is not installed", fix) from missing
    except subprocess.TimeoutExpired as late:
        raise LocalError(f"could not {what}: {argv[0]} did not end within {seconds:.0f} s", fix) from late
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-_SHOWN:])
        raise LocalError(f"could not {what}: {Path(str(argv[0])).name} said\n{said}", fix)
    return done.stdout


def succeeds(argv: Sequence[object], seconds: float = 30) -> bool:
    """Whether the program is there and ends with 0."""
    try:
        run(argv, what="ask", seconds=seconds)
    except LocalError:
        return False
    return True
