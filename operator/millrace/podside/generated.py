"""How many tokens an answer of a language model says that it has: what it does not say is not guessed."""

from __future__ import annotations

import json
from typing import Any


def tokens(body: str) -> int | None:
    """By OpenAI's `usage.completion_tokens`, or TGI's `details.generated_tokens` of one answer or of a list of them."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        return None
    counts = [_of_one(one) for one in (told if isinstance(told, list) else [told])]
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None


def _of_one(answer: Any) -> int | None:
    for part, name in (("usage", "completion_tokens"), ("details", "generated_tokens")):
        counted = answer.get(part) if isinstance(answer, dict) else None
        count = counted.get(name) if isinstance(counted, dict) else None
        if isinstance(count, int) and not isinstance(count, bool) and count >= 0:
            return count
    return None
