"""The quality report from table to page, on a survey whose dirt is known."""

import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

Work = Callable[..., dict[str, Any]]
SURVEY = {"source": {"generated": {"name": "workplace-survey", "parameters": {"rows": "1500", "seed": "7"}}}, "format": "csv"}
THIRDS = {"train": "0.6", "validation": "0.2", "test": "0.2", "seed": 3, "stratifyBy": "treatment"}


def report(claims: Path, answer: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads((claims / "data" / answer["report"]["path"] / "report.json").read_text()))


def page(claims: Path, answer: dict[str, Any]) -> str:
    return (claims / "data" / answer["report"]["path"] / "report.html").read_text()


@pytest.mark.proves("06.1")
def test_the_surveys_27_columns_are_typed_and_previewed(work: Work, claims: Path) -> None:
    answer = work(**SURVEY, quality={"target": "treatment"})
    kinds = {column["name"]: column["type"] for column in answer["columns"]}
    assert answer["columnCount"] == len(kinds) == 27
    assert (kinds["Timestamp"], kinds["Age"], kinds["treatment"]) == ("timestamp", "integer", "string")
    preview = report(claims, answer)["preview"]
    assert preview["columns"] == list(kinds)
    assert len(preview["rows"]) == 10
    assert f"<td>{preview['rows'][0][0]}</td>" in page(claims, answer)


@pytest.mark.proves("06.2")
def test_the_report_counts_what_was_put_wrong(work: Work, claims: Path) -> None:
    answer = work(**SURVEY, quality={"target": "treatment"})
    (data,) = answer["splits"].values()
    with (claims / "data" / data["path"]).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    found = report(claims, answer)
    columns = {column["name"]: column for column in found["columns"]}
    for name in ("comments", "work_interfere", "state", "Age"):
        assert columns[name]["missing"] == sum(not row[name] for row in rows), name
    seen = Counter(tuple(row.values()) for row in rows)
    assert answer["quality"]["duplicateRows"] == len(rows) - len(seen) > 0
    fences = columns["Age"]["numbers"]["fences"]
    assert columns["Age"]["numbers"]["outliers"] == sum(not fences[0] <= int(row["Age"]) <= fences[1] for row in rows) > 0
    severities = {(f["check"], f["column"]): f["severity"] for f in found["findings"]}
    assert severities["MissingValues", "comments"] == "high"
    assert severities["DuplicateRows", None] == "medium"
    assert answer["quality"]["findings"]["high"] == sum(s == "high" for s in severities.values())
    assert {c["value"]: c["rows"] for c in found["target"]["classes"]} == Counter(row["treatment"] for row in rows)


@pytest.mark.proves("06.2")
def test_a_sample_is_about_as_large_as_asked_for_and_the_same_each_time(work: Work, claims: Path) -> None:
    asked = {**SURVEY, "quality": {"target": "treatment", "sample": 1000}}
    first, again = work(**asked), work(**asked)
    assert first == again
    assert first["quality"]["mode"] == "Sampled"
    assert 850 < first["quality"]["measuredRows"] < 1150
    assert report(claims, first)["rows"] == 1500
    assert "a sample of" in page(claims, first)


@pytest.mark.proves("06.2")
def test_a_copy_of_the_target_leaks(work: Work, claims: Path) -> None:
    lines = "".join(f"{n},{n % 2},{'yes' if n % 2 else 'no'},{n % 7}\n" for n in range(400))
    (claims / "raw" / "a.csv").write_text("id,copy,label,other\n" + lines)
    found = work(format="csv", quality={"target": "label"})["quality"]
    assert found["worst"][0] == {"check": "TargetLeakage", "severity": "High", "value": "1.0000", "column": "copy"}
    assert found["bestFeature"]["column"] == "copy"


# content of the target's column, override, problem type, reason
PROBLEMS = [
    (["Yes", "No"] * 50, None, "Binary", "two words"),
    (["1", "0"] * 50, None, "Binary", "two numbers"),
    (["a", "b", "c", "d"] * 25, None, "Multiclass", "four words"),
    (["1", "2", "3", "4"] * 25, None, "Multiclass", "few numbers are grades"),
    ([str(n * 1.5) for n in range(100)], None, "Numeric", "many numbers"),
    (["1", "2", "3", "4"] * 25, "Numeric", "Numeric", "the user knows better"),
]


@pytest.mark.proves("06.8")
@pytest.mark.parametrize(("values", "override", "expected", "reason"), PROBLEMS, ids=[p[-1] for p in PROBLEMS])
def test_the_problem_follows_from_the_target(
    work: Work, claims: Path, values: list[str], override: str | None, expected: str, reason: str
) -> None:
    (claims / "raw" / "a.csv").write_text("x,y\n" + "".join(f"{n},{value}\n" for n, value in enumerate(values)))
    quality = {"target": "y", "problemType": override}
    assert work(format="csv", quality=quality)["quality"]["problemType"] == expected, reason


# gate, reason of the failure or None, part of its message
GATES: list[tuple[dict[str, str], str | None, str]] = [
    ({"check": "MissingValues", "above": "0.5"}, "TooManyMissingValues", "column 'comments': 8"),
    ({"check": "MissingValues", "column": "Age", "above": "0"}, None, ""),
    ({"check": "DuplicateRows", "above": "0.001"}, "TooManyDuplicates", "the limit is 0.1 %"),
    ({"check": "ConstantColumn"}, None, ""),
    ({"check": "Outliers", "column": "Age", "above": "0.001"}, "TooManyOutliers", "column 'Age'"),
    ({"check": "Outliers", "column": "Age", "above": "0.5"}, None, ""),
    ({"check": "ClassImbalance", "above": "0.4"}, "ClassesImbalanced", "column 'treatment'"),
    ({"check": "TargetLeakage", "above": "0.1"}, "TargetLeaks", "errors in predicting"),
    ({"check": "TargetLeakage", "above": "0.99"}, None, ""),
]


@pytest.mark.parametrize(("gate", "reason", "says"), GATES, ids=[json.dumps(g[0]) for g in GATES])
def test_a_shut_gate_publishes_its_report_and_nothing_else(
    work: Work, claims: Path, gate: dict[str, str], reason: str | None, says: str
) -> None:
    answer = work(**SURVEY, split=THIRDS, quality={"target": "treatment", "failOn": [gate]})
    published = {path.name for path in (claims / "data").rglob("*") if path.is_file() and ".owners" not in path.parts}
    assert answer["ok"] is (reason is None)
    if reason is None:
        assert published == {"report.json", "report.html", "manifest.json", "train.csv", "validation.csv", "test.csv"}
        return
    assert answer["reason"] == reason
    assert says in answer["message"]
    assert published == {"report.json", "report.html"}
    assert answer["quality"]["measuredRows"] == 1500


def test_a_gate_on_a_column_that_is_not_there_is_named(work: Work) -> None:
    answer = work(**SURVEY, quality={"failOn": [{"check": "MissingValues", "column": "age", "above": "0"}]})
    assert (answer["reason"], "'age'" in answer["message"]) == ("ColumnMismatch", True)


class _Parsed(HTMLParser):
    """What a browser would fetch or run, and whether tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []
        self.plots = self.titles = 0

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.outside += [tag] if tag in {"script", "link", "img", "iframe", "object"} else []
        self.outside += [name for name, _ in attributes if name in {"src", "href"} or name.startswith("on")]
        self.plots += tag == "svg"
        self.titles += tag == "title"
        if tag not in {"meta", "rect", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag


def test_the_page_needs_nothing_else_and_escapes_what_it_shows(work: Work, claims: Path) -> None:
    evil = '<script>alert("x")</script>'
    quoted = evil.replace('"', '""')
    rows = "".join(f'{n % 3},"{quoted}",{n / 3}\n' for n in range(60))
    (claims / "raw" / "a.csv").write_text(f'a,"b{quoted}",c\n{rows}')
    text = page(claims, work(format="csv", quality={"target": "a"}))
    parsed = _Parsed()
    parsed.feed(text)
    assert parsed.outside == []
    assert parsed.open == []
    assert parsed.titles == parsed.plots + 1, "each plot says in words what it shows"
    assert parsed.plots >= 4
    assert "&lt;script&gt;" in text
    assert "prefers-color-scheme:dark" in text
    assert not re.search(r"url\(|@import|https?://", text)


def test_values_of_another_type_than_the_rest_are_told_with_their_first_row(work: Work, claims: Path) -> None:
    rows = "".join(f"{n},{'N/A' if n in {41, 77} else n}\n" for n in range(100))
    (claims / "raw" / "a.csv").write_text("id,reading\n" + rows)
    answer = work(format="csv", quality={})
    assert [(c["name"], c["type"]) for c in answer["columns"]] == [("id", "integer"), ("reading", "string")]
    (invalid,) = report(claims, answer)["invalid"]
    assert (invalid["place"], invalid["shown"], invalid["count"]) == ("a.csv, row 42", "N/A", 2)


def test_an_answer_with_many_findings_fits_a_termination_message(work: Work, claims: Path) -> None:
    from millrace_dataset.result import encode

    names = [f"a rather long name of a column that nobody ever filled {n:03d}" for n in range(100)]
    (claims / "raw" / "a.csv").write_text(",".join(["id", *names]) + "\n" + f"1{',' * 100}\n" * 3)
    text = encode(work(format="csv", quality={}))
    assert len(text.encode()) <= 4096
    assert json.loads(text)["quality"]["findings"]["high"] == 101
