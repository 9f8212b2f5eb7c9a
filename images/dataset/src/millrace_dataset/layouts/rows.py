"""Texts of any format, and rows that are refused with their places."""

from millrace_dataset.engine import literal
from millrace_dataset.loading import pointer
from millrace_dataset.problems import Problem
from millrace_dataset.table import Table

NAMED_ROWS = 5


def text_sql(table: Table, name: str) -> str:
    """SQL: the text in a column, NULL where there is none; Problem(LayoutMismatch) where the column holds no text at all."""
    field, column = table.field(name), table.columns[table.place(name)]
    if table.lines:
        at = literal(pointer(name))
        return f"CASE json_type(raw, {at}) WHEN 'VARCHAR' THEN json_extract_string(raw, {at}) END"
    if table.parsed and column.type != "string":
        raise Problem("LayoutMismatch", f"column {name!r} is {column.type} where text is needed: rename another to it")
    return f"{field}::VARCHAR"


def blank(text: str) -> str:
    """SQL: whether a text is missing, empty or of blanks alone."""
    return f"NOT coalesce(regexp_matches({text}, '\\S'), false)"


def refuse(table: Table, rows: str, reason: str, what: str, shown: str = "NULL", hint: str = "") -> None:
    """Problem that names the first of `rows`, SQL from FROM on with a column `origin`; none where there is no such row."""
    count = int((table.connection.execute(f"SELECT count(*) {rows}").fetchone() or (0,))[0])
    if not count:
        return
    query = f"SELECT origin, {shown} {rows} ORDER BY origin LIMIT {NAMED_ROWS}"
    places = [_place(table, int(origin), value) for origin, value in table.connection.execute(query).fetchall()]
    more = f" and {count - NAMED_ROWS} more" * (count > NAMED_ROWS)
    many = "1 row has" if count == 1 else f"{count} rows have"
    raise Problem(reason, f"{many} {what}: {'; '.join(places)}{more}{hint}")


def _place(table: Table, origin: int, value: object) -> str:
    return table.place_of_row(origin) + ("" if value is None else f" ({str(value)[:40]!r})")
