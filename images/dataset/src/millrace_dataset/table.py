"""Rows of any format as one DuckDB table, `source`: a column `c<n>` for each of theirs, and `key`, the row's own number.

`key` is 64 bits of the MD5 over the seed and the row's values: equal rows have equal keys in every version of DuckDB, which
its own hash() does not promise. Values of csv stay the text that they were; what they mean is decided by `columns`.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from millrace_dataset.engine import Connection, identifier
from millrace_dataset.intact import Intact
from millrace_dataset.request import Column

KEY_BITS = 64
SEPARATOR = "chr(31)"


@dataclass(frozen=True)
class Part:
    """The rows of one file: `first` is the row id of its first."""

    file: Intact
    first: int
    rows: int


@dataclass(frozen=True)
class Invalid:
    """Values of a column that are not what most of its values are: `wanted` is the type of the others."""

    column: str
    wanted: str
    count: int
    place: str
    shown: str


@dataclass(frozen=True)
class Table:
    """What was loaded; `types` are those of `columns`, and `parsed` says that DuckDB's own types hold (parquet)."""

    connection: Connection
    columns: tuple[Column, ...]
    parts: tuple[Part, ...]
    parsed: bool
    lines: bool = False
    """Whether a column `raw` holds each row as it was written (jsonl)."""
    invalid: tuple[Invalid, ...] = ()
    origin: str = "rowid"
    """SQL: the row id in the source that a row was made of, which names its place."""
    remaining: int | None = None
    """Rows that are left of those of the files; all where not given."""

    @property
    def rows(self) -> int:
        """Rows of the table."""
        return sum(part.rows for part in self.parts) if self.remaining is None else self.remaining

    def field(self, name: str) -> str:
        """The column of the table that holds a column of the source; KeyError where there is none."""
        return f"c{self.place(name)}"

    def place(self, name: str) -> int:
        """Its number from 0; KeyError where there is none."""
        for number, column in enumerate(self.columns):
            if column.name == name:
                return number
        raise KeyError(name)

    def number(self, column: Column) -> str:
        """A column of numbers as DOUBLE; NULL where a value is missing."""
        return f"TRY_CAST({self.field(column.name)} AS DOUBLE)"

    def text(self, column: Column) -> str:
        """A column as text; NULL where a value is missing."""
        return f"{self.field(column.name)}::VARCHAR"

    def place_of_row(self, rowid: int) -> str:
        """`file, row 2`."""
        part = next(part for part in reversed(self.parts) if part.first <= rowid)
        return f"{part.file.file.relative}, row {rowid - part.first + 1}"


def key_sql(seed: int, values: Iterable[str]) -> str:
    """The key of a row; a missing value and an empty one are the same."""
    fields = "".join(f", {SEPARATOR}, {value}" for value in values)
    return f"md5_number_lower(concat('{seed}'{fields}))"


def create(connection: Connection, kinds: Iterable[str], lines: bool) -> None:
    """The empty table; `kinds` are DuckDB types."""
    fields = [f"c{number} {kind}" for number, kind in enumerate(kinds)]
    raw = ["raw VARCHAR"] if lines else []
    connection.execute(f"CREATE TABLE source ({', '.join([*fields, *raw, 'key UBIGINT'])})")


def named(table: Table) -> str:
    """The columns under their own names, for writing."""
    return ", ".join(f"{table.field(column.name)} AS {identifier(column.name)}" for column in table.columns)
