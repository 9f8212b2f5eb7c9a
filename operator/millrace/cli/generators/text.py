"""Text helpers of the generators: YAML without aliases, Markdown tables, and the parts of a page that people write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

GENERATED = "made by `make generate` from the kinds; do not edit"
_BEGIN = "<!-- written by hand -->"
_END = "<!-- the rest is made by `make generate` -->"


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        """Shared parts are written out: an alias would tie two fields of a manifest together for its readers."""
        return True


def to_yaml(value: Any) -> str:
    """YAML in the order of the dictionaries, without aliases."""
    return yaml.dump(value, Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; "" when there is no row."""
    lines = ["| " + " | ".join(_cell(c) for c in row) + " |" for row in rows]
    if not lines:
        return ""
    top = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join([*top, *lines]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def with_kept_intro(path: Path, title: str, default: str, generated: str) -> str:
    """A page whose first part is written by hand: kept from the page as it is, `default` where there is none yet."""
    intro = default
    if path.exists():
        _, found, after = path.read_text().partition(_BEGIN)
        if found and _END in after:
            intro = after.partition(_END)[0].strip()
    return f"# {title}\n\n{_BEGIN}\n\n{intro}\n\n{_END}\n\n{generated.strip()}\n"
