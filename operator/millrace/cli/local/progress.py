"""Shows each step of a long command while it runs: a moving bar on a terminal, one line per finished step elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

console = Console(stderr=True, highlight=False)


class Steps:
    """The steps of one command, of which the number is known beforehand."""

    def __init__(self, total: int, shown: Console = console) -> None:
        self._console = shown
        self._total = total
        self._done = 0

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """One step; its line stays, with the seconds it took."""
        self._done += 1
        label = f"[{self._done}/{self._total}] {text}"
        began = time.monotonic()
        with self._bar(label):
            yield
        self._console.print(f"[green]✓[/green] {escape(label)} [dim]{time.monotonic() - began:.1f} s[/dim]")

    @contextmanager
    def _bar(self, label: str) -> Iterator[None]:
        if not self._console.is_terminal:
            yield
            return
        columns = (SpinnerColumn(), BarColumn(bar_width=24), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            progress.add_task(escape(label), total=None)
            yield


def escape(text: str) -> str:
    """Keeps rich from reading a count in brackets as markup."""
    return text.replace("[", r"\[")
