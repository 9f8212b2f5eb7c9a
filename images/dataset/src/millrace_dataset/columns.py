"""Types of columns: inferred from values when the user gave none, checked row by row when they did."""

import re
from dataclasses import dataclass, field
from datetime import datetime

from millrace_dataset.problems import Problem
from millrace_dataset.request import Column

INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)\Z")
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")
BOOLEANS = frozenset({"true", "false"})
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


def type_of_text(value: str) -> str | None:
    """Type of a csv field; None for an empty one. A leading zero makes a string: such things are codes, not counts."""
    text = value.strip()
    if not text:
        return None
    if INTEGER.match(text):
        return "integer"
    if NUMBER.match(text) and not re.match(r"[+-]?0[0-9]", text):
        return "number"
    if text.lower() in BOOLEANS:
        return "boolean"
    return type_of_time(text) or "string"


def type_of_time(text: str) -> str | None:
    """`date` or `timestamp` for ISO 8601; None for anything else."""
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return None
    if DATE.match(text):
        return "date"
    return "timestamp" if DATE.match(text[:10]) and len(text) > 15 else None


def type_of_json(value: object, wanted: str = "") -> str | None:
    """Type of a JSON value; None for null. JSON has no times: text is one where one is `wanted`."""
    if value is None:
        return None
    if isinstance(value, str) and wanted in {"date", "timestamp"}:
        return type_of_time(value) or "string"
    for kind, name in ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "object"


def widen(left: str | None, right: str | None) -> str | None:
    """The narrowest type that holds both; `string` holds everything."""
    if left is None or right is None or left == right:
        return left or right
    pair = {left, right}
    if pair == {"date", "timestamp"}:
        return "timestamp"
    return "number" if pair == {"integer", "number"} else "string"


@dataclass
class Inference:
    """Column types as rows pass by, in the order in which columns first appear."""

    seen: dict[str, str | None] = field(default_factory=dict)

    def add(self, name: str, kind: str | None) -> None:
        """Take one value's type into account."""
        known = self.seen.get(name)
        if known != kind or name not in self.seen:
            self.seen[name] = widen(known, kind)

    def result(self) -> tuple[Column, ...]:
        """The columns; one that never had a value is `string`."""
        return tuple(Column(name, kind or "string") for name, kind in self.seen.items())


def accepts(declared: str, found: str | None) -> bool:
    """Whether a value of type `found` may stand in a column declared as `declared`; a missing value always may."""
    if found is None or found == declared:
        return True
    return (declared, found) in {("number", "integer"), ("timestamp", "date")}


def check_value(column: Column, found: str | None, place: str, shown: str) -> None:
    """Problem(TypeMismatch) naming place and column unless the value fits."""
    if not accepts(column.type, found):
        raise Problem("TypeMismatch", f"{place}: column {column.name!r} must be {column.type}, found {shown[:40]!r}")
