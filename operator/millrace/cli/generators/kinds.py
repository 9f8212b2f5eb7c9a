"""`docs/kinds`: a page a kind. People write its beginning; the tables of fields and rules follow from the schema."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from millrace.api.common import ClaimName, Decimal, Name, Quantity
from millrace.api.resource import Kind
from millrace.api.schema import structural
from millrace.cli.generators.text import GENERATED, table, with_kept_intro
from millrace.engine.controller import Controller

Schema = dict[str, Any]
FOLDERS = ("docs/kinds",)

_LIMITS = {"minimum": "at least", "maximum": "at most"}
_SIZES = {
    ("minLength", "maxLength"): "characters",
    ("minItems", "maxItems"): "items",
    ("minProperties", "maxProperties"): "entries",
}
_WORDS = {
    TypeAdapter(type_).json_schema()["pattern"]: word
    for type_, word in ((Name, "name"), (ClaimName, "name"), (Decimal, "decimal number as text"), (Quantity, "quantity"))
}
"""What the patterns that every kind uses are called."""


def files(controllers: Sequence[Controller], root: Path) -> dict[str, str]:
    """A page a kind, and the list of them."""
    made = {f"docs/kinds/{c.kind.singular}.md": page(c, root) for c in controllers}
    made["docs/kinds/README.md"] = _index([c.kind for c in controllers])
    return made


def _index(kinds: Sequence[Kind]) -> str:
    rows = [
        (f"[{k.name}]({k.singular}.md)", ", ".join(f"`{n}`" for n in (k.plural, *k.short_names)), f"`{k.summary}`", k.description)
        for k in kinds
    ]
    return f"# Kinds\n\n<!-- {GENERATED} -->\n\n{table(('Kind', 'For kubectl', 'Summed up in', 'What it is'), rows)}"


def page(controller: Controller, root: Path) -> str:
    """The page of one kind."""
    kind = controller.kind
    spec, status = structural(kind.spec), structural(kind.status)
    parts = [
        f"## Spec\n\n{fields(spec)}",
        f"## Rules\n\nChecked when the object is applied.\n\n{rules(kind, spec)}",
        f"## Status\n\n{fields(status)}",
        f"## Columns of `kubectl get {kind.plural}`\n\n{_columns(kind)}",
        f"## Reasons\n\n{_reasons(controller)}",
    ]
    path = root / f"docs/kinds/{kind.singular}.md"
    return with_kept_intro(path, kind.name, kind.description, "\n".join(parts))


def fields(schema: Schema) -> str:
    """The table of a schema's fields: dotted path, type with its bounds, default, description."""
    rows = [
        (f"`{path}`{' *' if required else ''}", kind_of(node), _default(node), node.get("description", ""))
        for path, node, required in walk(schema)
    ]
    return table(("Field (* required)", "Type", "Default", "What it is"), rows)


def walk(schema: Schema, prefix: str = "") -> Iterator[tuple[str, Schema, bool]]:
    """Every field below a schema: its dotted path ([] for items of a list), its schema, whether it is required."""
    for name, node in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield path, node, name in schema.get("required", ())
        yield from walk(node, f"{path}.")
        yield from walk(node.get("items", {}), f"{path}[].")


def kind_of(node: Schema) -> str:
    """A field's type in words, with what bounds it."""
    if "enum" in node:
        return " or ".join(f"`{value}`" for value in node["enum"])
    if node.get("pattern") in _WORDS:
        return _WORDS[node["pattern"]]
    return ", ".join([_base(node), *_bounds(node)])


def _base(node: Schema) -> str:
    if "items" in node:
        return f"list of {_item(node['items'])}"
    if "additionalProperties" in node:
        return f"map of {_item(node['additionalProperties'])}"
    return "time" if node.get("format") == "date-time" else str(node.get("type", "any"))


def _item(node: Schema) -> str:
    """An item's own bounds are left to the definition itself: here they would read as the list's."""
    return kind_of(node) if "enum" in node or node.get("pattern") in _WORDS else _base(node)


def _bounds(node: Schema) -> Iterator[str]:
    yield from (f"{words} {node[key]}" for key, words in _LIMITS.items() if key in node)
    for (least, most), unit in _SIZES.items():
        if node.get(least, 0) > 1:
            yield f"at least {node[least]} {unit}"
        if most in node:
            yield f"at most {node[most]} {unit}"
    if "pattern" in node:
        yield f"matches `{node['pattern']}`"


def _default(node: Schema) -> str:
    if "default" not in node:
        return ""
    value = node["default"]
    if isinstance(value, list):
        return ", ".join(f"`{v}`" for v in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if value != "" else '`""`'


def rules(kind: Kind, spec: Schema) -> str:
    """The table of CEL rules: where, what must hold, the expression."""
    found = [("(object)", message, f"`{rule}`") for rule, message in kind.rules]
    for path, node, _ in [("spec", spec, True), *walk(spec, "spec.")]:
        for where, inner in ((path, node), (f"{path}[]", node.get("items", {}))):
            own = inner.get("x-kubernetes-validations", ())
            found += [(f"`{where}`", rule["message"], f"`{rule['rule']}`") for rule in own]
    return table(("Where", "What must hold", "CEL"), found)


def _columns(kind: Kind) -> str:
    rows = [(c.name, c.description, "`-o wide` only" if c.priority else "") for c in kind.columns]
    return table(("Column", "What it shows", ""), rows)


def _reasons(controller: Controller) -> str:
    """Links to the pages of the kind's own reasons; those that every kind shares are in the index."""
    links = [f"[{r.name}](../reasons/{r.name}.md)" for r in sorted(controller.reasons, key=lambda r: r.name)]
    shared = "Those that every kind shares are in the [index](../reasons/README.md)."
    return f"{', '.join(links)}.\n\n{shared}" if links else shared
