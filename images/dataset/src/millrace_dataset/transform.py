"""Rows made into others before they are split: columns dropped and renamed, texts cut, rows drawn.

All of it is SQL over the loaded table, so that memory does not grow with the source. Which rows are drawn follows from the seed
and the place of each row alone, never from the order in which threads finish.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from millrace_dataset import table as tables
from millrace_dataset.engine import Connection, literal
from millrace_dataset.inference import holds
from millrace_dataset.loading import pointer
from millrace_dataset.problems import Problem
from millrace_dataset.request import Column, Request
from millrace_dataset.shaping import Sample, Transform
from millrace_dataset.table import SEPARATOR, Invalid, Table


@dataclass(frozen=True)
class Field:
    """A column that stays: what it was called, what it is called, and after how many characters it is cut, if at all."""

    old: Column
    name: str
    characters: int | None

    @property
    def column(self) -> Column:
        """As it is in the result."""
        return Column(self.name, self.old.type)


def transformed(table: Table, request: Request) -> Table:
    """The rows as the transform makes them; raises Problem."""
    wanted = request.transform
    if wanted is None:
        return table
    fields = _fields(table.columns, wanted)
    where = _drawn(table, wanted.sample) if wanted.sample else "true"
    make = _line if table.lines else _cells
    return make(table, fields, where, request.split.seed if request.split else 0)


def _fields(columns: tuple[Column, ...], wanted: Transform) -> list[Field]:
    """What stays; Problem names what the transform speaks of and is not there, and names that would stand twice."""
    renamed = dict(wanted.rename)
    _refuse_unknown("drop", wanted.drop, [column.name for column in columns])
    _refuse_unknown("rename", renamed, [column.name for column in columns])
    kept = [Column(renamed.get(c.name, c.name), c.type) for c in columns if c.name not in wanted.drop]
    _refuse_twins(kept)
    _refuse_cuts(kept, dict(wanted.truncate))
    old = [column for column in columns if column.name not in wanted.drop]
    cuts = dict(wanted.truncate)
    return [Field(before, after.name, cuts.get(after.name)) for before, after in zip(old, kept, strict=True)]


def _refuse_unknown(what: str, names: Iterable[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise Problem("ColumnMismatch", f"transform.{what} names {name!r}, which is none of {_named(known)}")


def _named(columns: Iterable[str]) -> str:
    names = [repr(name) for name in columns]
    return ", ".join(names[:10]) + f" and {len(names) - 10} more" * (len(names) > 10)


def _refuse_twins(columns: list[Column]) -> None:
    if not columns:
        raise Problem("ColumnMismatch", "transform.drop leaves no column: keep one at least")
    seen: set[str] = set()
    for column in columns:
        if column.name.lower() in seen:
            raise Problem("ColumnMismatch", f"transform makes two columns of the name {column.name!r}: drop or rename one")
        seen.add(column.name.lower())


def _refuse_cuts(columns: list[Column], cuts: Mapping[str, int]) -> None:
    _refuse_unknown("truncate", cuts, [column.name for column in columns])
    for column in columns:
        if column.name in cuts and column.type != "string":
            raise Problem("TypeMismatch", f"transform.truncate names {column.name!r}, which is {column.type}: only text is cut")


# -- rows ------------------------------------------------------------------------------------------------------------------


def _drawn(table: Table, sample: Sample) -> str:
    """SQL: which rows are drawn; Problem(TooFewRows) where there are fewer and that is not let through."""
    if table.rows < sample.rows and sample.fewer == "Fail":
        raise Problem(
            "TooFewRows",
            f"{table.rows} rows where transform.sample asks for {sample.rows}: add rows, ask for fewer, or set fewer: UseAll",
        )
    if table.rows <= sample.rows:
        return "true"
    lot = f"md5_number_lower(concat('{sample.seed}', {SEPARATOR}, rowid))"
    query = f"SELECT {lot} AS lot, rowid FROM source ORDER BY lot, rowid LIMIT 1 OFFSET {sample.rows - 1}"
    last, place = table.connection.execute(query).fetchone() or (0, 0)
    return f"({lot}, rowid) <= ({last}::UBIGINT, {place})"


# -- columns ---------------------------------------------------------------------------------------------------------------


def _cells(table: Table, fields: list[Field], where: str, seed: int) -> Table:
    """Rows of csv and parquet."""
    values = [_cut(table.field(field.old.name), field.characters) for field in fields]
    cells = ", ".join(f"{value} AS c{number}" for number, value in enumerate(values))
    key = tables.key_sql(seed, [f"c{number}::VARCHAR" for number in range(len(fields))])
    return remade(table, f"SELECT {cells}, {table.origin} AS origin FROM source WHERE {where}", key, fields)


def _cut(value: str, characters: int | None) -> str:
    return value if characters is None else f"left({value}, {characters})"


def _line(table: Table, fields: list[Field], where: str, seed: int) -> Table:
    """Rows of jsonl: a key that a row has not, it has not afterwards; values that stay are as they were."""
    pairs = ", ".join(_pair(field) for field in fields)
    rows = f"SELECT '{{' || concat_ws(', ', {pairs}) || '}}' AS raw, {table.origin} AS origin FROM source WHERE {where}"
    return of_lines(table, rows, tuple(field.column for field in fields), seed)


def _pair(field: Field) -> str:
    at = literal(pointer(field.old.name))
    value = f"json_extract(raw, {at})::VARCHAR"
    if field.characters is not None:
        text = f"to_json(left(json_extract_string(raw, {at}), {field.characters}))::VARCHAR"
        value = f"CASE json_type(raw, {at}) WHEN 'VARCHAR' THEN {text} ELSE {value} END"
    return f"CASE WHEN json_exists(raw, {at}) THEN to_json({literal(field.name)})::VARCHAR || ': ' || {value} END"


def of_lines(table: Table, rows: str, columns: tuple[Column, ...], seed: int) -> Table:
    """A table of lines; `rows` is SQL that makes `raw` and `origin`."""
    values = ", ".join(
        f"json_extract_string(raw, {literal(pointer(column.name))}) AS c{number}" for number, column in enumerate(columns)
    )
    ordered = [literal(pointer(name)) for name in sorted(column.name for column in columns)]
    key = tables.key_sql(seed, [f"json_extract(raw, {p})" for p in ordered])
    count = _replace(table.connection, f"SELECT {values}, raw, {key} AS key, origin FROM ({rows})")
    return replace(table, columns=columns, parsed=False, lines=True, invalid=(), origin="origin", remaining=count)


def remade(table: Table, rows: str, key: str, fields: list[Field]) -> Table:
    """A table of cells; `rows` is SQL that makes `c<n>` and `origin`."""
    count = _replace(table.connection, f"SELECT * EXCLUDE (origin), {key} AS key, origin FROM ({rows})")
    names = {field.old.name: field.name for field in fields}
    columns = tuple(field.column for field in fields)
    made = replace(table, columns=columns, invalid=(), origin="origin", remaining=count)
    kept = [replace(found, column=names[found.column]) for found in table.invalid if found.column in names]
    return replace(made, invalid=tuple(again for found in kept if (again := _counted(made, found)).count))


def _counted(table: Table, found: Invalid) -> Invalid:
    """Invalid values as they are among the rows that are left."""
    field = table.field(found.column)
    query = f"SELECT count(*), min(origin), min_by({field}, origin) FROM source WHERE NOT {holds(field, found.wanted)}"
    count, first, shown = table.connection.execute(query).fetchone() or (0, None, None)
    if not count:
        return replace(found, count=0)
    return replace(found, count=int(count), place=table.place_of_row(int(first)), shown=str(shown)[:40])


def _replace(connection: Connection, rows: str) -> int:
    """The table is made anew from itself, in the same order; how many rows it has then."""
    connection.execute(f"CREATE TABLE shaped AS {rows}")
    connection.execute("DROP TABLE source")
    connection.execute("ALTER TABLE shaped RENAME TO source")
    return int((connection.execute("SELECT count(*) FROM source").fetchone() or (0,))[0])
