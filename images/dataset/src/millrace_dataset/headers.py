"""The header of a csv file, and whether it says what its rows hold."""

import csv
import difflib
from collections.abc import Sequence

from millrace_dataset.lines import MAX_LINE_BYTES, Reading, SourceFile
from millrace_dataset.problems import Problem
from millrace_dataset.request import Column


def header_of(file: SourceFile) -> list[str]:
    """The names in the first record; [] in a file without any. Problem(RaggedRow) where the first row has another length."""
    csv.field_size_limit(MAX_LINE_BYTES)
    records = csv.reader(Reading(file).text_lines(), strict=True)
    header: list[str] = []
    try:
        header = next((fields for fields in records if fields), [])
        first = next((fields for fields in records if fields), None)
    except csv.Error as error:
        where = "row 1" if header else "header"
        raise Problem("RaggedRow", f"{file.relative}, {where}: not csv ({error}); quote fields as RFC 4180 says") from error
    _check_header(header, file.relative)
    if first is not None and len(first) != len(header):
        raise Problem("RaggedRow", ragged(f"{file.relative}, row 1 (line {records.line_num})", len(first), len(header)))
    return header


def ragged(place: str, found: int, wanted: int) -> str:
    """What is said of a row that has another number of fields than the header."""
    hint = "quote fields that hold commas, or name the missing columns" if found > wanted else "complete the row"
    return f"{place}: {found} fields where the header has {wanted}; {hint}"


def _check_header(header: list[str], name: str) -> None:
    if empty := [str(place) for place, column in enumerate(header, 1) if not column.strip()]:
        raise Problem("ColumnMismatch", f"{name}: the header has an empty column name at place {', '.join(empty)}; name it")
    seen: dict[str, str] = {}
    for column in header:
        if (twin := seen.get(column.lower())) is not None:
            same = "a repeated column name" if twin == column else f"{twin!r}, which differs in case alone from"
            raise Problem("ColumnMismatch", f"{name}: the header has {same} {column!r}; rename one")
        seen[column.lower()] = column


def check_same(header: list[str], first: list[str], name: str) -> None:
    """All files of a source have one header."""
    if header != first:
        raise Problem("ColumnMismatch", f"{name}: its header differs from the first file's; all files need the same")


def check_names(found: Sequence[str], place: str, declared: tuple[Column, ...] | None) -> None:
    """The columns are those that were declared; a near miss is named with what was meant."""
    if declared is None:
        return
    wanted = [column.name for column in declared]
    missing, extra = [name for name in wanted if name not in found], [name for name in found if name not in wanted]
    if missing:
        near = difflib.get_close_matches(missing[0], extra, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise Problem("ColumnMismatch", f"{place}: column {missing[0]!r} of spec.columns is missing{hint}")
    if extra:
        raise Problem("ColumnMismatch", f"{place}: column {extra[0]!r} is not in spec.columns")
