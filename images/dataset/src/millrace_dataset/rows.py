"""Rows of csv and jsonl files: parsed, checked against the declared columns, with a key that equal rows share."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from millrace_dataset.columns import Inference, check_value, type_of_json, type_of_text
from millrace_dataset.lines import MAX_LINE_BYTES, Reading
from millrace_dataset.problems import Problem
from millrace_dataset.request import Column


@dataclass(frozen=True)
class Row:
    """One row: what to write (`text`, without line end), the key equal rows share, and the values by column name."""

    text: str
    key: str
    values: Mapping[str, object]


@dataclass
class Schema:
    """What is known of the columns so far; `header` is the csv header that every file must repeat."""

    declared: tuple[Column, ...] | None
    inference: Inference = field(default_factory=Inference)
    header: list[str] | None = None

    def columns(self) -> tuple[Column, ...]:
        """The declared columns, or what was inferred."""
        return self.declared or self.inference.result()


def read_rows(reading: Reading, format: str, schema: Schema) -> Iterator[Row]:
    """The rows of one csv or jsonl file, in order; raises Problem naming file and row (data rows count from 1)."""
    return _csv_rows(reading, schema) if format == "csv" else _jsonl_rows(reading, schema)


def csv_line(fields: Sequence[str]) -> str:
    """One RFC 4180 record without its line end."""
    if list(fields) == [""]:
        return '""'  # an empty line would be read as no row
    return ",".join(_quoted(value) for value in fields)


def _quoted(value: str) -> str:
    if any(character in value for character in ',"\r\n') or value != value.strip():
        return '"' + value.replace('"', '""') + '"'
    return value


def _csv_rows(reading: Reading, schema: Schema) -> Iterator[Row]:
    csv.field_size_limit(MAX_LINE_BYTES)
    name = reading.file.relative
    parser = csv.reader(reading.text_lines(), strict=True)
    header = _next_record(parser, name, 0)
    if header is None:
        return
    _check_header(header, name, schema)
    number = 0
    while (fields := _next_record(parser, name, number + 1)) is not None:
        if not fields:
            continue
        number += 1
        place = f"{name}, row {number} (line {parser.line_num})"
        if len(fields) != len(header):
            raise Problem("RaggedRow", f"{place}: {len(fields)} fields where the header has {len(header)}")
        _check_fields(header, fields, place, schema)
        yield Row(csv_line(fields), json.dumps(fields), dict(zip(header, fields, strict=True)))


def _next_record(parser: "Iterator[list[str]]", name: str, number: int) -> list[str] | None:
    try:
        return next(parser, None)
    except csv.Error as error:
        where = f"row {number}" if number else "header"
        raise Problem("RaggedRow", f"{name}, {where}: not csv ({error}); quote fields as RFC 4180 says") from error


def _check_header(header: list[str], name: str, schema: Schema) -> None:
    if len(set(header)) != len(header) or not all(header):
        raise Problem("ColumnMismatch", f"{name}: the header has an empty or repeated column name")
    if schema.header is None:
        _check_names(header, name, schema.declared)
        schema.header = header
    elif header != schema.header:
        raise Problem("ColumnMismatch", f"{name}: its header differs from the first file's; all files need the same")


def _check_names(found: Sequence[str], place: str, declared: tuple[Column, ...] | None) -> None:
    if declared is None:
        return
    wanted = {column.name for column in declared}
    if missing := sorted(wanted - set(found)):
        raise Problem("ColumnMismatch", f"{place}: column {missing[0]!r} of spec.columns is missing")
    if extra := sorted(set(found) - wanted):
        raise Problem("ColumnMismatch", f"{place}: column {extra[0]!r} is not in spec.columns")


def _check_fields(header: list[str], fields: list[str], place: str, schema: Schema) -> None:
    if schema.declared is None:
        for name, value in zip(header, fields, strict=True):
            schema.inference.add(name, type_of_text(value))
        return
    values = dict(zip(header, fields, strict=True))
    for column in schema.declared:
        if column.type != "string":
            check_value(column, type_of_text(values[column.name]), place, values[column.name])


def _jsonl_rows(reading: Reading, schema: Schema) -> Iterator[Row]:
    name = reading.file.relative
    for number, line in enumerate(reading.text_lines(), 1):
        text = line.strip()
        if not text:
            continue
        place = f"{name}, row {number}"
        values = _json_object(text, place)
        _check_object(values, place, schema)
        yield Row(text, json.dumps(values, sort_keys=True), values)


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


def _check_object(values: Mapping[str, object], place: str, schema: Schema) -> None:
    if schema.declared is None:
        for name, value in values.items():
            schema.inference.add(name, type_of_json(value))
        return
    _check_names(list(values), place, schema.declared)
    for column in schema.declared:
        check_value(column, type_of_json(values[column.name]), place, json.dumps(values[column.name]))
