"""Documents for a classifier of Comprehend: what its CSV must be, and what it would refuse after hours is refused at once."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.tabulated import Row, written

Work = Callable[..., dict[str, Any]]
RULES: dict[str, Any] = {
    "label": "label",
    "text": "text",
    "classes": ["phishing", "nonphishing"],
    "labels": {"not-phishing": "nonphishing"},
    "mode": "SingleLabel",
    "delimiter": "|",
    "language": "en",
    "languageColumn": None,
    "minimum": 10,
    "recommended": 200,
}
SPLIT = {"train": "0.8", "validation": "0", "test": "0.2", "seed": 5, "stratifyBy": "label"}
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20).map(lambda text: f"x{text}")
TRICKY = [
    'He said "hi, you"',
    "two\nlines",
    "three\r\nlines",
    'ends in "',
    "“curly” ähm 語 😀",
    " blanks ",
    ",",
    "a\rb",
    "phishing,x",
]


def mails(**counts: int) -> list[Row]:
    """So many documents of each label."""
    return [{"label": label, "text": f"mail {label} {n}"} for label, count in counts.items() for n in range(count)]


MAILS = mails(phishing=50, nonphishing=50)


def comprehend(**rules: Any) -> dict[str, Any]:
    return {"layout": {"bedrock": None, "comprehend": RULES | rules}}


def records(claims: Path, answer: dict[str, Any], part: str = "data") -> list[list[str]]:
    with (claims / "data" / answer["splits"][part]["path"]).open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream, strict=True))


@pytest.mark.parametrize("format_", ["csv", "jsonl", "parquet"])
def test_any_text_is_one_record_and_comes_back_as_it_was(work: Work, claims: Path, format_: str) -> None:
    rows = [{"text": text, "sender": "x", "label": "phishing"} for text in TRICKY] + mails(phishing=10, nonphishing=10)
    written(claims, format_, [{key: row.get(key, "") for key in ("text", "sender", "label")} for row in rows])
    answer = work(format=format_, **comprehend())
    assert answer["ok"], answer
    assert records(claims, answer) == [[row["label"], row["text"]] for row in rows], "no header, label first, nothing else"
    raw = (claims / "data" / answer["splits"]["data"]["path"]).read_bytes()
    assert raw.startswith(b'phishing,"He said ""hi, you"""\n'), "straight quotes, LF, no mark of byte order"
    assert answer["splits"]["data"]["path"].endswith("/data.csv")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ANY_TEXT, min_size=1, max_size=30))
def test_whatever_is_in_a_text_it_comes_back(work: Work, claims: Path, texts: list[str]) -> None:
    rows = [{"label": "phishing", "text": text} for text in texts] + mails(phishing=10, nonphishing=10)
    written(claims, "jsonl", rows)
    assert [text for _, text in records(claims, work(format="jsonl", **comprehend()))] == [row["text"] for row in rows]


def test_a_spelling_that_the_map_covers_is_published_as_the_class(work: Work, claims: Path) -> None:
    rows = [*mails(phishing=10), *({"label": label, "text": "x"} for label in [" not-phishing", "nonphishing "] * 5)]
    written(claims, "csv", rows)
    answer = work(format="csv", **comprehend())
    assert {label for label, _ in records(claims, answer)} == {"phishing", "nonphishing"}


# rules, rows, reason of the answer, part of the message, why
REFUSED: list[tuple[dict[str, Any], list[Row], str, str, str]] = [
    (
        {}, [*MAILS, {"label": "spam", "text": "x"}], "UnknownLabel",
        "1 row has labels beside 'phishing', 'nonphishing': rows.csv, row 101 ('spam')", "a third label",
    ),
    ({"labels": None}, [{"label": "not-phishing", "text": "x"}], "UnknownLabel", "row 1 ('not-phishing')", "a spelling variant"),
    ({}, [{"label": "Phishing", "text": "x"}], "UnknownLabel", "row 1 ('Phishing')", "case matters"),
    ({}, [*MAILS, {"label": " ", "text": "x"}], "InvalidRecord", "no label in 'label': rows.csv, row 101", "no label"),
    ({}, [*MAILS, {"label": "phishing", "text": " "}], "InvalidRecord", "no text in 'text': rows.csv, row 101", "no text"),
    ({"text": "body"}, MAILS, "LayoutMismatch", "the column 'body', which is none of 'label', 'text'", "no such column"),
    ({"labels": {"x": "spam"}}, MAILS, "BadParameter", "leads to 'spam'", "a map to what is no class"),
    ({"language": "ja"}, MAILS, "BadParameter", "one of en, es, de, it, fr, pt", "a language that is not trained"),
    (
        {"languageColumn": "label"}, MAILS, "InvalidRecord",
        "100 rows have another language than 'en': rows.csv, row 1 ('phishing')", "rows of another language",
    ),
    (
        {"classes": ["phishing", "nonphishing", "spam"]}, MAILS, "TooFewDocuments",
        "each label needs 10 documents: 'spam' has 0", "a class without any",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "rows", "name", "message", "why"), REFUSED, ids=[case[-1] for case in REFUSED])
def test_what_comprehend_would_not_train_on_is_named(
    work: Work, claims: Path, rules: dict[str, Any], rows: list[Row], name: str, message: str, why: str
) -> None:
    written(claims, "csv", rows)
    answer = work(format="csv", **comprehend(**rules))
    assert (answer["ok"], answer["reason"]) == (False, name), why
    assert message in answer["message"], why
    assert not list((claims / "data").rglob("*")), "nothing is published"


# documents of one label, policy, whether it is taken, labels below what is recommended, reason
COUNTS = [
    (9, 10, False, 0, "one too few"),
    (10, 10, True, 2, "just enough to train, too few to be good"),
    (10, 11, False, 0, "too few by a rule of one's own"),
    (200, 10, True, 1, "the other label is below what is recommended"),
]


@pytest.mark.parametrize(("count", "minimum", "ok", "below", "reason"), COUNTS, ids=[case[-1] for case in COUNTS])
def test_each_label_needs_documents(
    work: Work, claims: Path, count: int, minimum: int, ok: bool, below: int, reason: str
) -> None:
    written(claims, "csv", mails(phishing=count, nonphishing=100))
    answer = work(format="csv", **comprehend(minimum=minimum))
    assert answer["ok"] is ok, reason
    if not ok:
        assert (answer["reason"], f"'phishing' has {count}" in answer["message"]) == ("TooFewDocuments", True), reason
        return
    assert answer["layout"] == {
        "name": "ComprehendCSV",
        "records": count + 100,
        "classes": 2,
        "recommended": 200,
        "belowRecommended": below,
        "fewest": sorted(
            [{"label": "nonphishing", "documents": 100}, {"label": "phishing", "documents": count}],
            key=lambda told: told["documents"],
        ),
    }, reason


def test_documents_for_training_count_not_those_for_tests(work: Work, claims: Path) -> None:
    written(claims, "csv", mails(phishing=11, nonphishing=50))
    answer = work(format="csv", split=SPLIT, **comprehend())
    assert (answer["reason"], "10 documents in train: 'phishing' has 9" in answer["message"]) == ("TooFewDocuments", True)


def test_a_test_part_has_every_label_of_the_training_part(work: Work, claims: Path) -> None:
    written(claims, "csv", MAILS)
    answer = work(format="csv", split=SPLIT, **comprehend())
    assert {label for label, _ in records(claims, answer, "test")} == {"phishing", "nonphishing"}
    parts = [tuple(row) for name in ("train", "test") for row in records(claims, answer, name)]
    assert sorted(parts) == sorted((row["label"], row["text"]) for row in MAILS)


def test_a_test_part_without_a_label_is_refused(work: Work, claims: Path) -> None:
    rows = mails(phishing=400, nonphishing=0) + [{"label": "nonphishing", "text": "the same each time"}] * 40
    written(claims, "csv", rows)
    answers = [work(format="csv", split=SPLIT | {"seed": seed, "stratifyBy": None}, **comprehend()) for seed in range(6)]
    refused = [answer["message"] for answer in answers if answer.get("reason") == "LabelNotTested"]
    assert refused, "rows that are equal fall on one side, mostly on that for training"
    assert all("test has no document of 'nonphishing'" in message for message in refused)


# format, label of a row, reason
MANY: list[tuple[str, Any, str]] = [
    ("csv", "not-phishing| urgent |urgent", "labels in one text, the delimiter between them"),
    ("jsonl", ["urgent", "nonphishing"], "a list of JSON"),
    ("jsonl", "urgent|nonphishing", "a text in JSON"),
]


@pytest.mark.parametrize(("format_", "label", "reason"), MANY, ids=[case[-1] for case in MANY])
def test_several_labels_are_joined_by_the_delimiter(work: Work, claims: Path, format_: str, label: Any, reason: str) -> None:
    rows = [{"label": label, "text": f"t{number}"} for number in range(10)] + mails(phishing=10)
    written(claims, format_, rows)
    classes = ["phishing", "nonphishing", "urgent"]
    answer = work(format=format_, **comprehend(mode="MultiLabel", classes=classes))
    assert answer["ok"], answer
    assert {made for made, _ in records(claims, answer)} == {"nonphishing|urgent", "phishing"}, reason
    assert answer["layout"]["fewest"] == [{"label": name, "documents": 10} for name in sorted(classes)]


def test_another_delimiter_joins_and_one_label_is_the_rule(work: Work, claims: Path) -> None:
    rows = [{"label": ["phishing", "nonphishing"], "text": f"t{number}"} for number in range(10)]
    written(claims, "jsonl", rows)
    answer = work(format="jsonl", **comprehend(mode="MultiLabel", delimiter="~"))
    assert {made for made, _ in records(claims, answer)} == {"nonphishing~phishing"}
    single = work(format="jsonl", **comprehend())
    assert (single["reason"], "more than one label: rows.jsonl, row 1" in single["message"]) == ("InvalidRecord", True)


# fields of the request beside the layout, part of the message
TOGETHER: list[tuple[dict[str, Any], str]] = [
    ({"format": "text"}, "layout needs publish"),
    ({"publish": None}, "layout needs publish"),
    ({"layout": {"bedrock": None, "comprehend": None}}, "exactly one of bedrock, comprehend"),
]


@pytest.mark.parametrize(("change", "message"), TOGETHER)
def test_a_layout_is_one_and_needs_columns_and_a_place(work: Work, claims: Path, change: dict[str, Any], message: str) -> None:
    written(claims, "csv", MAILS)
    assert message in work(**{"format": "csv", **comprehend(), **change})["message"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_rows_larger_than_memory_are_drawn_and_laid_out_within_it(
    claims: Path, measured: Callable[..., tuple[dict[str, Any], int]]
) -> None:
    """About 300 MB within 256 MiB."""
    rows = 2_000_000
    label = "['phishing', 'not-phishing'][1 + i % 2] AS kind"
    text = "'mail, \"' || repeat(hash(i)::VARCHAR, 6) || chr(10) AS body"
    duckdb.sql(f"COPY (SELECT i AS id, {label}, {text} FROM range({rows}) t(i)) TO '{claims / 'raw' / 'a.csv'}' (HEADER)")
    request = {
        "source": {"path": str(claims / "raw" / "a.csv")},
        "format": "csv",
        "transform": {
            "drop": ["id"],
            "rename": {"kind": "label", "body": "text"},
            "truncate": [{"column": "text", "characters": 100}],
            "sample": {"rows": 1_500_000, "seed": 1, "fewer": "Fail"},
        },
        "split": SPLIT,
        "publish": {"path": str(claims / "data" / "corpus")},
        **comprehend(),
    }
    answer, kibibytes = measured(request, MILLRACE_MEMORY="256Mi")
    assert sum(part["rows"] for part in answer["splits"].values()) == 1_500_000
    assert kibibytes < 256 * 1024
