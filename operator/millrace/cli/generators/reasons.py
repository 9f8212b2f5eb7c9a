"""`docs/reasons`: a page for each condition reason, for whoever meets it in `kubectl get` and asks what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from millrace.cli.generators.text import GENERATED, table
from millrace.engine.controller import Controller
from millrace.engine.reasons import SHARED, Reason

FOLDERS = ("docs/reasons",)
_EVERY = "every kind"


def files(controllers: Sequence[Controller], root: Path) -> dict[str, str]:
    """A page a reason, and the list of them."""
    found = collected(controllers)
    made = {f"docs/reasons/{name}.md": _page(name, told) for name, told in found.items()}
    made["docs/reasons/README.md"] = _index(found)
    return made


def collected(controllers: Sequence[Controller]) -> dict[str, dict[Reason, list[str]]]:
    """By name, each meaning that a reason has and the kinds that have it; two kinds may mean different things by one name."""
    found: dict[str, dict[Reason, list[str]]] = {}
    for reason in SHARED:
        found.setdefault(reason.name, {})[reason] = [_EVERY]
    for controller in controllers:
        for reason in controller.reasons:
            if reason not in SHARED:
                found.setdefault(reason.name, {}).setdefault(reason, []).append(controller.kind.name)
    return dict(sorted(found.items()))


def _page(name: str, told: dict[Reason, list[str]]) -> str:
    parts = [f"# {name}\n\n<!-- {GENERATED} -->"]
    for reason, kinds in told.items():
        parts.append(f"Used by {_links(kinds)}.\n\n**Meaning.** {reason.meaning}\n\n**Next step.** {reason.next_step}")
    return "\n\n".join(parts) + "\n"


def _links(kinds: Sequence[str]) -> str:
    return ", ".join(kind if kind == _EVERY else f"[{kind}](../kinds/{kind.lower()}.md)" for kind in kinds)


def _index(found: dict[str, dict[Reason, list[str]]]) -> str:
    rows = [
        (f"[{name}]({name}.md)", _links(kinds), reason.meaning) for name, told in found.items() for reason, kinds in told.items()
    ]
    intro = "What stands in the column Reason of `kubectl get`, and in a condition's `reason`."
    return f"# Reasons\n\n<!-- {GENERATED} -->\n\n{intro}\n\n{table(('Reason', 'Used by', 'Meaning'), rows)}"
