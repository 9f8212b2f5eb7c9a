"""Regular expressions in specs: Python's, which no CEL rule can check."""

from __future__ import annotations

import re


def problem(expression: str) -> str | None:
    """What is wrong with a regular expression; None where nothing is."""
    try:
        re.compile(expression)
    except re.error as error:
        return str(error)
    return None
