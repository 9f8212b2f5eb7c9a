"""Types of csv columns: guessed from the first rows, then held against every value, so that one late value is enough."""

from collections import Counter
from dataclasses import replace

from millrace_dataset.columns import type_of_text
from millrace_dataset.engine import batches, literal
from millrace_dataset.problems import Problem
from millrace_dataset.request import Column
from millrace_dataset.table import Invalid, Table

SAMPLE_ROWS = 1000
INVALID_SHARE = 0.1
"""Where fewer values than this are of another type, they are reported as invalid; the column is a string all the same."""

_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?"
PATTERNS = {
    "integer": r"\s*[+-]?(0|[1-9][0-9]*)\s*",
    "number": r"\s*[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*",
    "boolean": r"\s*(?i:true|false)\s*",
    "date": rf"\s*{_DAY}\s*",
    "timestamp": rf"\s*{_DAY}([ T]{_TIME})?\s*",
}
"""What a value must look like in full. A leading zero makes a string: such things are codes, not counts."""
WIDER = {"integer": ("integer", "number", "string"), "date": ("date", "timestamp", "string")}
_POINTS_IN_TIME = frozenset({"date", "timestamp"})
"""Types whose pattern admits what no calendar has: they must be convertible too."""


def holds(field: str, kind: str) -> str:
    """SQL: whether a value that is there is of a type. A value of blanks alone is a missing one."""
    if kind == "string":
        return "true"
    test = f"regexp_full_match({field}, {literal(PATTERNS[kind])})"
    if kind in _POINTS_IN_TIME:
        test = f"({test} AND TRY_CAST({field} AS TIMESTAMP) IS NOT NULL)"
    return f"({test} OR trim({field}) = '')"


def typed(table: Table, declared: tuple[Column, ...] | None) -> Table:
    """The table with the declared types, or with inferred ones; Problem(TypeMismatch) names the first value that is no such."""
    if declared is not None:
        types = {column.name: column.type for column in declared}
        columns = tuple(Column(column.name, types[column.name]) for column in table.columns)
        _check(table, columns)
        return replace(table, columns=columns)
    guessed = _guessed(table)
    return _widened(table, guessed)


def _broken(table: Table, columns: tuple[Column, ...]) -> dict[str, int]:
    """How many values of each column are not of its type, strings need no reading."""
    found: dict[str, int] = {}
    for asked in batches([column for column in columns if column.type != "string"]):
        counts = ", ".join(f"count_if(NOT {holds(table.field(column.name), column.type)})" for column in asked)
        row = table.connection.execute(f"SELECT {counts} FROM source").fetchone() or ()
        found.update((column.name, int(count)) for column, count in zip(asked, row, strict=True) if count)
    return found


def _first(table: Table, column: Column) -> tuple[str, str]:
    """Place and text of the first value that is not of the column's type."""
    field = table.field(column.name)
    query = f"SELECT rowid, {field} FROM source WHERE NOT {holds(field, column.type)} ORDER BY rowid LIMIT 1"
    rowid, shown = table.connection.execute(query).fetchone() or (0, "")
    return table.place_of_row(int(rowid)), str(shown)[:40]


def _check(table: Table, columns: tuple[Column, ...]) -> None:
    broken = _broken(table, columns)
    for column in columns:
        if count := broken.get(column.name):
            place, shown = _first(table, column)
            more = "" if count == 1 else f" ({count} such rows)"
            raise Problem("TypeMismatch", f"{place}: column {column.name!r} must be {column.type}, found {shown!r}{more}")


def _guessed(table: Table) -> tuple[Column, ...]:
    """By the type that most of the first values have; a column without any is a string."""
    rows = table.connection.execute(f"SELECT * EXCLUDE (key) FROM source LIMIT {SAMPLE_ROWS}").fetchall()
    kinds = zip(*([type_of_text(value or "") for value in row] for row in rows), strict=True)
    return tuple(Column(column.name, commonest(seen)) for column, seen in zip(table.columns, kinds, strict=False))


def commonest(kinds: tuple[str | None, ...]) -> str:
    """The type of most values; integers among numbers are numbers."""
    counts = Counter(kind for kind in kinds if kind is not None)
    if not counts:
        return "string"
    if counts["integer"] and counts["number"]:
        counts["number"] += counts.pop("integer")
    return counts.most_common(1)[0][0]


def _widened(table: Table, guessed: tuple[Column, ...]) -> Table:
    """Each column as narrow as all its values allow; few values that keep it from that are told as invalid."""
    columns, invalid = guessed, []
    while broken := _broken(table, columns):
        made = []
        for column in columns:
            if column.name not in broken:
                made.append(column)
                continue
            wider = _next(column.type)
            if wider == "string":
                invalid += _invalid(table, column, broken[column.name])
            made.append(Column(column.name, wider))
        columns = tuple(made)
    return replace(table, columns=columns, invalid=tuple(invalid))


def _next(kind: str) -> str:
    ladder = WIDER.get(kind, (kind, "string"))
    return ladder[ladder.index(kind) + 1]


def _invalid(table: Table, column: Column, count: int) -> list[Invalid]:
    present = (table.connection.execute(f"SELECT count({table.field(column.name)}) FROM source").fetchone() or (0,))[0]
    if count > INVALID_SHARE * present:
        return []
    return [Invalid(column.name, column.type, count, *_first(table, column))]
