"""From files to the table: csv, jsonl and parquet, each checked so that what is wrong is named with file and row."""

import json
from collections.abc import Callable, Mapping

import duckdb

from millrace_dataset import table as tables
from millrace_dataset.columns import Inference, check_value, type_of_json
from millrace_dataset.engine import Connection, first_line, identifier, literal
from millrace_dataset.headers import check_names, check_same, header_of, ragged
from millrace_dataset.inference import typed
from millrace_dataset.intact import Intact, checked, digested, place_of, stamp
from millrace_dataset.lines import OnBytes, Reading, SourceFile
from millrace_dataset.problems import Problem
from millrace_dataset.request import Column, Request
from millrace_dataset.table import Part, Table

_BUFFER = 4 << 20
_REJECTS = 100


def load(connection: Connection, files: list[SourceFile], request: Request, on_bytes: OnBytes) -> Table:
    """The source as a table; raises Problem for anything a user must mend."""
    loader = {"csv": _csv, "jsonl": _jsonl, "parquet": _parquet}[request.format]
    try:
        made = loader(connection, files, request, on_bytes)
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
        raise Problem("FormatMismatch", f"the source cannot be read as {request.format}: {first_line(error)}") from error
    if not made.rows:
        raise Problem("SourceEmpty", "the source has no rows: add data or correct the path")
    for part in made.parts:
        if stamp(part.file.file.path) != part.file.stamp:
            raise Problem("PublishFailed", "the source changed while it was read: run again when nothing writes to it")
    return made


def _seed(request: Request) -> int:
    return request.split.seed if request.split else 0


def _insert(connection: Connection, found: list[Intact], sql: Callable[[Intact], str]) -> tuple[Part, ...]:
    parts, first = [], 0
    for file in found:
        rows = int((connection.execute(f"INSERT INTO source {sql(file)}").fetchone() or (0,))[0])
        parts.append(Part(file, first, rows))
        first += rows
    return tuple(parts)


# -- csv -----------------------------------------------------------------------------------------------------------------


def _csv(connection: Connection, files: list[SourceFile], request: Request, on_bytes: OnBytes) -> Table:
    found = [checked(file, on_bytes, headed=True) for file in files]
    headers = [header_of(file) for file in files]
    names = next((header for header in headers if header), [])
    for file, header in zip(files, headers, strict=True):
        if header:
            check_same(header, names, file.relative)
    if not names:
        return Table(connection, (), (), parsed=False)
    check_names(names, files[0].relative, request.columns)
    tables.create(connection, ["VARCHAR"] * len(names), lines=False)
    fields = [f"c{number}" for number in range(len(names))]
    key = tables.key_sql(_seed(request), fields)
    known = [file for file, header in zip(found, headers, strict=True) if header]
    parts = _insert(connection, known, lambda file: f"SELECT *, {key} FROM {read_csv(file, fields)}{_no_row(fields)}")
    _refuse_rejects(connection, known, names)
    made = Table(connection, tuple(Column(name, "string") for name in names), parts, parsed=False)
    return typed(made, request.columns)


def _no_row(fields: list[str]) -> str:
    """An empty line is no row; in a file of one column it cannot be told from an empty value."""
    return f" WHERE {fields[0]} IS NOT NULL" if len(fields) == 1 else ""


def read_csv(file: Intact, fields: list[str]) -> str:
    """A file of csv as a table of texts; the fields are its columns in their order."""
    options = {
        "auto_detect": "false",
        "header": "true",
        "delim": "','",
        "quote": "'\"'",
        "escape": "'\"'",
        "columns": "{" + ", ".join(f"'{field}': 'VARCHAR'" for field in fields) + "}",
        "strict_mode": str(not file.mixed).lower(),
        "store_rejects": "true",
        "rejects_limit": str(_REJECTS),
    }
    return f"read_csv({literal(str(file.file.path))}, {', '.join(f'{k}={v}' for k, v in options.items())}, {_room(file)})"


def _refuse_rejects(connection: Connection, files: list[Intact], names: list[str]) -> None:
    """Problem(RaggedRow) for the first row that is none, of the first file that has one."""
    query = (
        "SELECT s.file_path, e.line_byte_position, e.error_type::VARCHAR, e.error_message, e.column_idx"
        " FROM reject_errors e JOIN reject_scans s USING (scan_id, file_id) ORDER BY e.scan_id, e.line_byte_position"
    )
    found = connection.execute(query).fetchall()
    if not found:
        return
    path, offset, kind, message, column = found[0]
    file = next(file.file for file in files if str(file.file.path) == path)
    place = place_of(file, max(0, int(offset) - 1), headed=True)
    more = "" if len(found) == 1 else f" ({'at least ' * (len(found) >= _REJECTS)}{len(found)} such rows)"
    raise Problem("RaggedRow", _said(place, str(kind), str(message), int(column or 0), names) + more)


def _said(place: str, kind: str, message: str, column: int, names: list[str]) -> str:
    if "COLUMNS" in kind:
        return ragged(place, int(message.rsplit(" ", 1)[-1]), len(names))
    where = f"column {names[column - 1]!r}" if 0 < column <= len(names) else "a field"
    return f"{place}: {where} is not csv ({message.rstrip('.')}); quote fields as RFC 4180 says"


# -- jsonl ---------------------------------------------------------------------------------------------------------------


def _jsonl(connection: Connection, files: list[SourceFile], request: Request, on_bytes: OnBytes) -> Table:
    found, inference = [], Inference()
    for file in files:
        found.append(checked(file, on_bytes, headed=False))
        _check_objects(file, request.columns, inference)
    columns = request.columns or inference.result()
    tables.create(connection, ["VARCHAR"] * len(columns), lines=True)
    pointers = [literal(pointer(column.name)) for column in columns]
    values = ", ".join(f"json_extract_string(raw, {p})" for p in pointers)
    ordered = [literal(pointer(name)) for name in sorted(column.name for column in columns)]
    key = tables.key_sql(_seed(request), [f"json_extract(raw, {p})" for p in ordered])
    wanted = f"SELECT {values}{', ' * bool(values)}trim(raw, ' \t\r'), {key}"
    parts = _insert(connection, found, lambda file: f"{wanted} FROM {read_lines(file)} WHERE trim(raw, ' \t\r') <> ''")
    return Table(connection, tuple(columns), parts, parsed=False, lines=True)


def pointer(name: str) -> str:
    """A JSON pointer to a key of the outermost object."""
    return "/" + name.replace("~", "~0").replace("/", "~1")


def read_lines(file: Intact) -> str:
    """Lines as they are, by the csv reader: a line of JSON holds no control character, so nothing is split or unquoted."""
    fixed = "auto_detect=false, header=false, delim='\x01', quote='', escape='', strict_mode=false, columns={'raw': 'VARCHAR'}"
    return f"read_csv({literal(str(file.file.path))}, {fixed}, {_room(file)})"


def _room(file: Intact) -> str:
    longest = max(file.longest + 1, 2 << 20)
    return f"max_line_size={longest}, buffer_size={max(_BUFFER, 2 * longest)}"


def _check_objects(file: SourceFile, declared: tuple[Column, ...] | None, inference: Inference) -> None:
    for number, line in enumerate(Reading(file).text_lines(), 1):
        if line.strip():
            place = f"{file.relative}, row {number}"
            _check_object(_json_object(line, place), place, declared, inference)


def _json_object(text: str, place: str) -> dict[str, object]:
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Problem("RaggedRow", f"{place}: not JSON ({error}); write one JSON object a line") from error
    if not isinstance(value, dict):
        raise Problem("TypeMismatch", f"{place}: a JSON {type_of_json(value) or 'null'} where an object was expected")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _check_object(values: Mapping[str, object], place: str, declared: tuple[Column, ...] | None, inference: Inference) -> None:
    if declared is None:
        for name, value in values.items():
            inference.add(name, type_of_json(value))
        return
    check_names(list(values), place, declared)
    for column in declared:
        value = values[column.name]
        check_value(column, type_of_json(value, column.type), place, json.dumps(value))


# -- parquet -------------------------------------------------------------------------------------------------------------


def _parquet(connection: Connection, files: list[SourceFile], request: Request, on_bytes: OnBytes) -> Table:
    found = [digested(file, on_bytes) for file in files]
    first: list[tuple[str, str]] = []
    for file in files:
        found_here = described(connection, file)
        if first and found_here != first:
            raise Problem("ColumnMismatch", f"{file.relative}: its columns differ from the first file's; all files need the same")
        first = found_here
    columns = tuple(Column(name, type_of_duckdb(kind)) for name, kind in first)
    check_names([column.name for column in columns], files[0].relative, request.columns)
    _check_types(columns, request.columns, files[0].relative)
    tables.create(connection, [kind for _, kind in first], lines=False)
    names = [identifier(name) for name, _ in first]
    key = tables.key_sql(_seed(request), [f"{name}::VARCHAR" for name in names])
    parts = _insert(
        connection, found, lambda file: f"SELECT {', '.join(names)}, {key} FROM read_parquet({literal(str(file.file.path))})"
    )
    return Table(connection, columns, parts, parsed=True)


def described(connection: Connection, file: SourceFile) -> list[tuple[str, str]]:
    """Names and DuckDB types of a parquet file's columns."""
    try:
        rows = connection.execute(f"DESCRIBE SELECT * FROM read_parquet({literal(str(file.path))})").fetchall()
    except duckdb.Error as error:
        raise Problem("FormatMismatch", f"{file.relative} is not parquet: {first_line(error)}") from error
    return [(str(row[0]), str(row[1])) for row in rows]


def type_of_duckdb(kind: str) -> str:
    """A column type of ours for one of DuckDB's."""
    if kind.endswith("[]") or kind.startswith(("STRUCT", "MAP", "UNION")):
        return "array" if kind.endswith("]") else "object"
    if kind.startswith("TIMESTAMP"):
        return "timestamp"
    if kind.startswith("DECIMAL") or kind in {"DOUBLE", "FLOAT"}:
        return "number"
    integers = {f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")} | {"INTEGER", "UINTEGER"}
    return "integer" if kind in integers else {"BOOLEAN": "boolean", "DATE": "date"}.get(kind, "string")


def _check_types(columns: tuple[Column, ...], declared: tuple[Column, ...] | None, name: str) -> None:
    wanted = {column.name: column.type for column in declared or ()}
    for column in columns:
        asked = wanted.get(column.name, column.type)
        if asked != column.type and (asked, column.type) != ("number", "integer"):
            raise Problem("TypeMismatch", f"{name}: column {column.name!r} must be {asked}, the file has {column.type}")
