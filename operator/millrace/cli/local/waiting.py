"""Waits with a deadline that say what they waited for and what was last seen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from millrace.cli.local.errors import LocalError

T = TypeVar("T")


class NotYet(Exception):
    """Raised by a probe: why the thing waited for is not there yet."""


def wait_for(what: str, probe: Callable[[], T], seconds: float, fix: str = "", every: float = 0.1) -> T:
    """Calls `probe` until it no longer raises NotYet or OSError; its answer is returned."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return probe()
        except (NotYet, OSError) as problem:
            if time.monotonic() > deadline:
                raise LocalError(f"waited {seconds:.0f} s for {what}; last seen: {problem}", fix) from problem
        time.sleep(every)
