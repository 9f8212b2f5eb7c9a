"""Rows that stand in another Dataset, too: by keys as those of duplicates are, joined in DuckDB, which spills where it must.

The other one's rows are read from what it published, and are never held: only a number comes back.
"""

from collections.abc import Sequence
from pathlib import Path

from millrace_dataset import table as tables
from millrace_dataset.engine import identifier, literal
from millrace_dataset.headers import header_of
from millrace_dataset.intact import Intact, checked, digested
from millrace_dataset.lines import SourceFile
from millrace_dataset.loading import described, pointer, read_csv, read_lines, type_of_duckdb
from millrace_dataset.problems import Problem
from millrace_dataset.quality.facts import Shared
from millrace_dataset.request import Compared, Request
from millrace_dataset.sources import workspace
from millrace_dataset.table import Table

_SEED = 0
"""One for both: a Dataset's own keys are of the seed of its split."""
_ROWS = "trim(raw, ' \t\r') <> ''"


def shared(table: Table, request: Request, source: str) -> tuple[Shared, ...]:
    """How many rows of `source`, the table or a sample of it, each Dataset that is compared with has, too. Raises Problem."""
    compared = request.quality.compared if request.quality else ()
    return tuple(Shared(other.name, other.digest, _count(table, request, other, source)) for other in compared)


def _count(table: Table, request: Request, other: Compared, source: str) -> int:
    with workspace(request, "compared") as work:
        files = [_intact(file, other, request.format) for file in _files(other, work)]
        own, theirs = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[request.format](table, files, other.name)
        joined = f"(SELECT {own} AS key FROM {source}) SEMI JOIN ({' UNION ALL '.join(theirs)}) USING (key)"
        return int((table.connection.execute(f"SELECT count(*) FROM {joined}").fetchone() or (0,))[0])


# -- their files -----------------------------------------------------------------------------------------------------------


def _files(other: Compared, work: Path) -> list[tuple[SourceFile, str]]:
    """With the digest that each was published with."""
    return [(_file(other, number, place, work), digest) for number, (place, digest) in enumerate(other.files)]


def _file(other: Compared, number: int, place: str, work: Path) -> SourceFile:
    if not place.startswith("s3://"):
        return SourceFile(f"{other.name}/{Path(place).name}", Path(place))
    from millrace_dataset import s3  # the client takes memory that claims do not need

    try:
        (file,) = s3.fetch(place, work / str(number), lambda _: None)
    except Problem as problem:
        if problem.reason == "SourceMissing":
            raise _unlike(other.name, f"{place} is not there") from problem
        raise
    return SourceFile(f"{other.name}/{file.relative}", file.path)


def _intact(file: tuple[SourceFile, str], other: Compared, format_: str) -> Intact:
    source, digest = file
    try:
        found = (
            digested(source, lambda _: None) if format_ == "parquet" else checked(source, lambda _: None, headed=format_ == "csv")
        )
    except OSError as error:
        raise _unlike(other.name, f"{source.path} cannot be read: {error.strerror or error}") from error
    if f"sha256:{found.sha256}" != digest:
        raise _unlike(other.name, f"{source.relative} is not the file that it published")
    return found


def _unlike(name: str, why: str) -> Problem:
    return Problem("NotComparable", f"quality.compareWith names {name!r}, which cannot be compared with: {why}")


# -- keys ------------------------------------------------------------------------------------------------------------------


def _csv(table: Table, files: Sequence[Intact], name: str) -> tuple[str, list[str]]:
    names = [column.name for column in table.columns]
    theirs = []
    for file in files:
        header = header_of(file.file)
        _check_names(names, header, name)
        fields = [f"c{number}" for number in range(len(header))]
        key = tables.key_sql(_SEED, [fields[header.index(column)] for column in names])
        theirs.append(f"SELECT {key} AS key FROM {read_csv(file, fields)}")
    return tables.key_sql(_SEED, [table.field(column) for column in names]), theirs


def _parquet(table: Table, files: Sequence[Intact], name: str) -> tuple[str, list[str]]:
    wanted = {column.name: column.type for column in table.columns}
    for file in files:
        found = {column: type_of_duckdb(kind) for column, kind in described(table.connection, file.file)}
        _check_names(list(wanted), list(found), name)
        for column in (c for c in wanted if wanted[c] != found[c]):
            raise _unlike(name, f"its column {column!r} is {found[column]}, here it is {wanted[column]}")
    key = tables.key_sql(_SEED, [f"{identifier(column)}::VARCHAR" for column in wanted])
    theirs = [f"SELECT {key} AS key FROM read_parquet({literal(str(file.file.path))})" for file in files]
    return tables.key_sql(_SEED, [f"{table.field(column)}::VARCHAR" for column in wanted]), theirs


def _jsonl(table: Table, files: Sequence[Intact], name: str) -> tuple[str, list[str]]:
    """Keys of both sides count: a row with one more key is another row."""
    rows = [f"{read_lines(file)} WHERE {_ROWS}" for file in files]
    keys = " UNION ".join(f"SELECT unnest(json_keys(raw)) AS name FROM {each}" for each in rows)
    theirs = {str(row[0]) for row in table.connection.execute(keys).fetchall()}
    own = {column.name for column in table.columns}
    if not own & theirs:
        raise _unlike(name, f"its rows have none of the keys {', '.join(sorted(own)[:5])}")
    pointers = [literal(pointer(column)) for column in sorted(own | theirs)]
    key = tables.key_sql(_SEED, [f"json_extract(raw, {p})" for p in pointers])
    return key, [f"SELECT {key} AS key FROM {each}" for each in rows]


def _check_names(own: Sequence[str], theirs: Sequence[str], name: str) -> None:
    if odd := sorted(set(own) ^ set(theirs)):
        where = "here only" if odd[0] in own else "there only"
        raise _unlike(name, f"column {odd[0]!r} is {where}, and rows of other columns are never the same")
