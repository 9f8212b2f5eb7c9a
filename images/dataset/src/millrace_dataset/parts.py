"""Splits of a table: where each is cut, and one file each, in the order of the source."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from millrace_dataset.engine import identifier, literal
from millrace_dataset.files import fsync_file, sha256_file, tree_digest
from millrace_dataset.problems import Problem
from millrace_dataset.request import Request, Split
from millrace_dataset.scan import WHOLE, Scan, Written
from millrace_dataset.shaping import Comprehend
from millrace_dataset.splits import BIN_BITS, MAX_STRATA, Histogram, Plan, plan
from millrace_dataset.table import KEY_BITS, Table, named

BIN = f"(key >> {KEY_BITS - BIN_BITS})"


def scan_table(table: Table, request: Request) -> Scan:
    """What is known of a table once it was loaded; raises Problem where it cannot be split as asked."""
    entries = [part.file.entry for part in table.parts]
    made = cut(table, request.split) if request.split else None
    return Scan(_digest(tree_digest(entries), request), table.rows, sum(entry[2] for entry in entries), table.columns, made, 1)


def _digest(source: str, request: Request) -> str:
    """Of the source, and of what is made of it: other rows of the same source have another digest."""
    asked = [None if member is None else asdict(member) for member in (request.transform, request.layout)]
    if not any(asked):
        return source
    text = json.dumps([source, *asked], sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def cut(table: Table, split: Split) -> Plan:
    """Where each stratum is cut; Problem where that cannot be done."""
    stratum = _stratum(table, split)
    histogram = Histogram()
    if stratum != "''":
        _check_strata(table, stratum)
    query = f"SELECT {stratum}, {BIN}, count(*) FROM source GROUP BY ALL ORDER BY ALL"
    cursor = table.connection.cursor().execute(query)
    while found := cursor.fetchmany(10_000):
        for value, place, rows in found:
            histogram.add(str(value), int(place), int(rows))
    return plan(histogram, split)


def _check_strata(table: Table, stratum: str) -> None:
    found = table.connection.execute(f"SELECT approx_count_distinct({stratum}) FROM source").fetchone() or (0,)
    if found[0] > 2 * MAX_STRATA:
        raise Problem("BadParameter", f"split.stratifyBy names a column with more than {MAX_STRATA} values: use a category")


def _stratum(table: Table, split: Split) -> str:
    if split.stratify_by is None:
        return "''"
    try:
        return f"coalesce({table.field(split.stratify_by)}::VARCHAR, '')"
    except KeyError:
        raise Problem("ColumnMismatch", f"split.stratifyBy names {split.stratify_by!r}, which is no column of the data") from None


def part_sql(request: Request, table: Table, made: Plan | None, name: str) -> str:
    """SQL: whether a row belongs to a part of that name."""
    if made is None or request.split is None:
        return "true"
    return f"{number_sql(made, _stratum(table, request.split))} = {made.names.index(name)}"


def number_sql(made: Plan, stratum: str) -> str:
    """SQL: which split, by number from 0, a row belongs to."""
    cases = {
        value: " + ".join(f"({BIN} >= {bound})::INT" for bound in bounds[:-1]) or "0" for value, bounds in made.bounds.items()
    }
    if list(cases) == [""]:
        return cases[""]
    whens = " ".join(f"WHEN {literal(value)} THEN {case}" for value, case in cases.items())
    return f"CASE {stratum} {whens} END"


def write_parts(table: Table, request: Request, made: Plan | None, folder: Path) -> list[Written]:
    """One file a split (or `data`) in `folder`, durable; digests are of what was read back from it."""
    names = (WHOLE,) if made is None else made.names
    return [_written(table, request, folder, name, part_sql(request, table, made, name)) for name in names]


def _written(table: Table, request: Request, folder: Path, name: str, where: str) -> Written:
    path = folder / f"{name}.{request.extension}"
    fields = "raw" if table.lines else named(table)
    query = f"COPY (SELECT {fields} FROM source WHERE {where}) TO {literal(str(path))} ({_options(request)})"
    rows = int((table.connection.execute(query).fetchone() or (0,))[0])
    fsync_file(path)
    sha256, size = sha256_file(path)
    return Written(name, rows, size, f"sha256:{sha256}")


def _options(request: Request) -> str:
    """Comprehend reads no header, and texts stand in quotes, so that a record is one whatever it holds."""
    layout = request.layout
    if isinstance(layout, Comprehend):
        return f"FORMAT csv, HEADER false, FORCE_QUOTE ({identifier(layout.text)})"
    return _OPTIONS[request.published_format]


_OPTIONS = {
    "csv": "FORMAT csv, HEADER true",
    # A JSON line holds no control character: nothing is ever quoted or split.
    "jsonl": "FORMAT csv, HEADER false, DELIMITER '\x01', QUOTE '', ESCAPE ''",
    "parquet": "FORMAT parquet, COMPRESSION zstd",
}
