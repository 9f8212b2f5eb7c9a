"""Lines that a model of Amazon Bedrock is customized on: `prompt` and `completion`, or `input` alone."""

from typing import Any

from millrace_dataset.layouts.rows import blank, refuse, text_sql
from millrace_dataset.problems import Problem
from millrace_dataset.request import Column
from millrace_dataset.shaping import BEDROCK_FIELDS, Bedrock
from millrace_dataset.table import Table
from millrace_dataset.transform import of_lines

CHARACTERS_PER_TOKEN = 6
"""By which Bedrock's own documentation estimates tokens."""


def laid_out(table: Table, layout: Bedrock, seed: int) -> Table:
    """One JSON object a row; raises Problem."""
    _check_columns([column.name for column in table.columns], layout)
    texts = {name: text_sql(table, name) for name in layout.fields}
    for name, text in texts.items():
        empty = f"FROM (SELECT {text} AS text, {table.origin} AS origin FROM source) WHERE {blank('text')}"
        refuse(table, empty, "InvalidRecord", f"no text in {name!r}")
    pairs = " || ', ' || ".join(f"'\"{name}\": ' || to_json({text})::VARCHAR" for name, text in texts.items())
    rows = f"SELECT '{{' || {pairs} || '}}' AS raw, {table.origin} AS origin FROM source"
    made = of_lines(table, rows, tuple(Column(name, "string") for name in texts), seed)
    _refuse_long(made, layout)
    return made


def _check_columns(found: list[str], layout: Bedrock) -> None:
    """Problem(LayoutMismatch) unless the columns are those of the customization; rows meant for the other one are told so."""
    wanted = list(layout.fields)
    if sorted(found) == sorted(wanted):
        return
    other = next(name for name in BEDROCK_FIELDS if name != layout.customization)
    told = ", ".join(map(repr, found[:10])) or "none"
    if set(BEDROCK_FIELDS[other]) <= set(found):
        kind = "labelled" if other == "FineTuning" else "unlabelled"
        why = f"the rows are {kind} ({told}): set layout.bedrock.customization: {other}, or transform them"
    else:
        why = f"the columns are {told}: drop and rename by transform"
    raise Problem("LayoutMismatch", f"{layout.customization} takes {' and '.join(map(repr, wanted))} and nothing else; {why}")


def _tokens(table: Table) -> str:
    characters = " + ".join(f"length({table.field(column.name)})" for column in table.columns)
    return f"ceil(({characters}) / {CHARACTERS_PER_TOKEN}.0)::BIGINT"


def _refuse_long(table: Table, layout: Bedrock) -> None:
    if layout.max_tokens is not None:
        rows = f"FROM source WHERE {_tokens(table)} > {layout.max_tokens}"
        what = f"more than about {layout.max_tokens} tokens, at {CHARACTERS_PER_TOKEN} characters to a token"
        refuse(table, rows, "InvalidRecord", what, _tokens(table), "; shorten them, or cut by transform.truncate")


def told(table: Table, layout: Bedrock) -> dict[str, Any]:
    """How many lines there are, and how long the longest is."""
    found = table.connection.execute(f"SELECT max({_tokens(table)}) FROM source").fetchone() or (0,)
    return {"name": f"Bedrock{layout.customization}", "records": table.rows, "longestTokens": int(found[0])}
