"""The models' patterns are Java's; this makes Python's of them.

Unicode classes become the nearest Python has (a little wider). A pattern that is not valid in Java either stands for anything.
"""

from __future__ import annotations

import re
from functools import cache

# Ranges without brackets, to stand inside a class or, with brackets, alone.
_RANGES = {
    r"\p{L}": r"\w",
    r"\p{M}": r"\u0300-\u036f",
    r"\p{Z}": r"\s",
    r"\p{Zs}": r"\s",
    r"\p{N}": r"\d",
    r"\p{S}": r"$+<=>\^`|~\u00a2-\u00b9\u20a0-\u2bff",
    r"\p{P}": r"!-/:-@\[-`{-~\u2010-\u2027",
    r"\p{ASCII}": r"\x00-\x7f",
    r"\p{Alnum}": "a-zA-Z0-9",
    r"\p{Print}": r"\x20-\x7e",
}
_CLASS = re.compile(r"\\p\{\w+\}")


def _translated(pattern: str) -> str:
    out, depth, position = [], 0, 0
    while position < len(pattern):
        found = _CLASS.match(pattern, position)
        if found:
            ranges = _RANGES.get(found.group(), r"\w")
            out.append(ranges if depth else f"[{ranges}]")
            position = found.end()
            continue
        step = 2 if pattern[position] == "\\" else 1
        piece = pattern[position : position + step]
        depth += {"[": 1, "]": -1}.get(piece, 0)
        out.append(piece)
        position += step
    return (
        "".join(out).replace(r"\P{C}", r"[^\x00-\x1f]").replace(r"\z", r"\Z").replace(r"[\w-_]", r"[\w_-]").replace("${1,", "{1,")
    )


@cache
def compiled(pattern: str) -> re.Pattern[str] | None:
    """None where the pattern is no regular expression at all."""
    try:
        return re.compile(_translated(pattern))
    except re.error:
        return None


def matches(pattern: str, value: str) -> bool:
    """Whether the whole value matches, as AWS has it."""
    expression = compiled(pattern)
    return expression is None or expression.fullmatch(value) is not None
