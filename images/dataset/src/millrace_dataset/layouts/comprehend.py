"""Documents that a classifier of Amazon Comprehend learns from: csv without a header, the label first and the text second."""

from dataclasses import replace
from typing import Any

from millrace_dataset import table as tables
from millrace_dataset.engine import literal
from millrace_dataset.layouts.rows import blank, refuse, text_sql
from millrace_dataset.loading import pointer
from millrace_dataset.parts import part_sql
from millrace_dataset.problems import Problem
from millrace_dataset.request import Column, Request
from millrace_dataset.shaping import Comprehend
from millrace_dataset.splits import Plan
from millrace_dataset.table import Table
from millrace_dataset.transform import Field, remade

NAMED_LABELS = 5


def laid_out(table: Table, layout: Comprehend, seed: int) -> Table:
    """Two columns, label and text; raises Problem."""
    _check_columns(table, layout)
    _refuse_languages(table, layout)
    found = f"SELECT {_labels(table, layout)} AS labels, {text_sql(table, layout.text)} AS text, {table.origin} AS origin"
    documents = f"(SELECT {_mapped('labels', layout)} AS labels, text, origin FROM ({found} FROM source))"
    _refuse_documents(table, layout, documents)
    rows = f"SELECT array_to_string(labels, {literal(layout.delimiter)}) AS c0, text AS c1, origin FROM {documents}"
    fields = [Field(Column(name, "string"), name, None) for name in (layout.label, layout.text)]
    made = remade(table, rows, tables.key_sql(seed, ["c0", "c1"]), fields)
    return replace(made, lines=False, parsed=False, invalid=())


def _check_columns(table: Table, layout: Comprehend) -> None:
    known = [column.name for column in table.columns]
    for name in filter(None, (layout.label, layout.text, layout.language_column)):
        if name not in known:
            told = ", ".join(map(repr, known[:10]))
            raise Problem("LayoutMismatch", f"layout.comprehend names the column {name!r}, which is none of {told}")


def _refuse_languages(table: Table, layout: Comprehend) -> None:
    """Rows that say that they are of another language: a classifier takes one."""
    if layout.language_column is None or layout.language is None:
        return
    said = f"lower(trim({table.field(layout.language_column)}::VARCHAR))"
    rows = f"FROM (SELECT {said} AS said, {table.origin} AS origin FROM source) WHERE said IS DISTINCT FROM '{layout.language}'"
    what, hint = f"another language than {layout.language!r}", "; a classifier takes one language"
    refuse(table, rows, "InvalidRecord", what, "said", hint)


# -- labels ----------------------------------------------------------------------------------------------------------------


def _labels(table: Table, layout: Comprehend) -> str:
    """SQL: the labels of a row as a list, as the source calls them."""
    field, column = table.field(layout.label), table.columns[table.place(layout.label)]
    if table.lines:
        at = literal(pointer(layout.label))
        inner = f"json_extract_string(json_extract(raw, {at}), '$[*]')"
        return f"CASE json_type(raw, {at}) WHEN 'ARRAY' THEN {inner} ELSE {_split(field, layout)} END"
    if table.parsed and column.type == "array":
        return f"{field}::VARCHAR[]"
    return _split(f"{field}::VARCHAR", layout)


def _split(text: str, layout: Comprehend) -> str:
    return f"[{text}]" if layout.mode == "SingleLabel" else f"string_split({text}, {literal(layout.delimiter)})"


def _mapped(labels: str, layout: Comprehend) -> str:
    """SQL: labels as they are published, each once and in one order; blanks around them do not count, empty ones are none."""
    whens = " ".join(f"WHEN {literal(old)} THEN {literal(new)}" for old, new in layout.labels)
    each = f"CASE trim(x) {whens} ELSE trim(x) END" if whens else "trim(x)"
    return f"list_sort(list_distinct(list_filter(list_transform({labels}, lambda x: {each}), lambda x: x <> '')))"


def _refuse_documents(table: Table, layout: Comprehend, documents: str) -> None:
    """Problem for rows that are no documents of this classifier."""
    refuse(table, f"FROM {documents} WHERE coalesce(len(labels), 0) = 0", "InvalidRecord", f"no label in {layout.label!r}")
    refuse(table, f"FROM {documents} WHERE {blank('text')}", "InvalidRecord", f"no text in {layout.text!r}")
    known = ", ".join(map(literal, layout.classes))
    strange = f"list_filter(labels, lambda x: x NOT IN ({known}))"
    named = ", ".join(map(repr, layout.classes[:10])) + " …" * (len(layout.classes) > 10)
    hint = "; correct them, or say in layout.comprehend.labels which class each of them means"
    refuse(table, f"FROM {documents} WHERE len({strange}) > 0", "UnknownLabel", f"labels beside {named}", f"{strange}[1]", hint)
    if layout.mode == "SingleLabel":
        rows = f"FROM {documents} WHERE len(labels) > 1"
        refuse(table, rows, "InvalidRecord", "more than one label", "labels::VARCHAR", "; set mode: MultiLabel, or leave one")


# -- parts -----------------------------------------------------------------------------------------------------------------


def judged(table: Table, request: Request, layout: Comprehend, made: Plan | None) -> dict[str, Any]:
    """What is told of the labels; Problem where Comprehend would not train on the part for training, or not test."""
    train = "train" if made is not None and "train" in made.names else None
    counts = _counts(table, layout, part_sql(request, table, made, train) if train else "true")
    _refuse_few(counts, layout, train)
    if train and made is not None and "test" in made.names:
        _refuse_untested(_counts(table, layout, part_sql(request, table, made, "test")), layout)
    return _told(table, layout, counts)


def _counts(table: Table, layout: Comprehend, where: str) -> dict[str, int]:
    """Documents of each class, those without any too."""
    labels = f"unnest(string_split(c0, {literal(layout.delimiter)}))" if layout.mode == "MultiLabel" else "c0"
    query = f"SELECT label, count(*) FROM (SELECT {labels} AS label FROM source WHERE {where}) GROUP BY label"
    return dict.fromkeys(layout.classes, 0) | {str(label): int(n) for label, n in table.connection.execute(query).fetchall()}


def _fewest(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (item[1], item[0]))[:NAMED_LABELS]


def _refuse_few(counts: dict[str, int], layout: Comprehend, part: str | None) -> None:
    few = {label: count for label, count in counts.items() if count < layout.minimum}
    if few:
        told = ", ".join(f"{label!r} has {count}" for label, count in _fewest(few))
        more = f" and {len(few) - NAMED_LABELS} more" * (len(few) > NAMED_LABELS)
        where = f" in {part}" if part else ""
        raise Problem("TooFewDocuments", f"each label needs {layout.minimum} documents{where}: {told}{more}; add documents")


def _refuse_untested(counts: dict[str, int], layout: Comprehend) -> None:
    missing = sorted(label for label, count in counts.items() if not count)
    if missing:
        told = ", ".join(map(repr, missing[:NAMED_LABELS])) + " …" * (len(missing) > NAMED_LABELS)
        raise Problem(
            "LabelNotTested",
            f"test has no document of {told}: set split.stratifyBy: {layout.label}, a larger split.test, or add documents",
        )


def _told(table: Table, layout: Comprehend, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "name": "ComprehendCSV",
        "records": table.rows,
        "classes": len(counts),
        "recommended": layout.recommended,
        "belowRecommended": sum(count < layout.recommended for count in counts.values()),
        "fewest": [{"label": label, "documents": count} for label, count in _fewest(counts)],
    }
