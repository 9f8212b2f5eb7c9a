"""What `millrace status` shows of an object."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from millrace.api.v1alpha1.dataset import KIND as DATASET
from millrace.api.v1alpha1.trainingjob import KIND as JOB
from millrace.cli import status, view

NOW = datetime(2026, 1, 1, 1, 30, tzinfo=UTC)
Build = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("conditions", "extra", "expected", "reason"),
    [
        ([], {}, "Pending", "the operator has said nothing"),
        ([("Succeeded", "True")], {"generation": 2, "observed": 1}, "Pending", "what it said is about an older spec"),
        ([("Succeeded", "Unknown"), ("Reconciling", "True")], {}, "Working", "under way"),
        ([("Succeeded", "True")], {}, "Succeeded", "the summary condition's own name"),
        ([("Succeeded", "False"), ("Stalled", "True")], {}, "Failed", "for good"),
        ([("Succeeded", "Unknown"), ("Stalled", "True")], {}, "Stalled", "a human must act, and then it goes on"),
        ([("Succeeded", "False")], {}, "Failed", "a bounded run that is False stays so"),
        ([("Succeeded", "Unknown", "Suspended")], {}, "Suspended", "asked to rest"),
        ([("Succeeded", "True")], {"metadata": {"deletionTimestamp": "2026-01-01T01:00:00Z"}}, "Deleting", "deletion wins"),
        ([("Succeeded", "True")], {"metadata": {"annotations": {"millrace.dev/paused": "true"}}}, "Paused", "nothing is written"),
        ([("Succeeded", "True")], {"metadata": {"annotations": {"millrace.dev/paused": "false"}}}, "Succeeded", "not paused"),
    ],
)
def test_the_state_is_one_word(
    job: Build, conditions: list[tuple[str, ...]], extra: dict[str, Any], expected: str, reason: str
) -> None:
    assert view.state(job(*conditions, **extra), JOB) == expected, reason


def test_what_rightly_does_nothing_is_called_suspended_once_it_does(job: Build) -> None:
    idle = ("Ready", "False", "Idle")
    assert view.state(job(idle), DATASET, {"Idle"}) == "Suspended"
    assert view.state(job(idle, ("Reconciling", "True")), DATASET, {"Idle"}) == "Working", "it is being stopped"
    assert view.state(job(idle), DATASET) == "NotReady", "a kind that knows no such reason"


def test_a_lasting_thing_that_is_not_ready_has_not_failed(job: Build) -> None:
    assert view.state(job(("Ready", "False")), DATASET) == "NotReady"
    assert view.state(job(("Ready", "False"), ("Reconciling", "True")), DATASET) == "Working"


def test_a_row_tells_what_stalls_before_what_it_is_summed_up_in(job: Build) -> None:
    row = view.row(job(("Succeeded", "Unknown", "Training"), ("Stalled", "True", "QuotaGone", "Ask for more")), JOB, NOW)
    assert (row.reason, row.message) == ("QuotaGone", "Ask for more")


def test_a_row_reads_progress_attempt_and_restarts(job: Build) -> None:
    progress = {"step": 120, "maxSteps": 400, "percent": 30, "etaSeconds": 95}
    row = view.row(job(("Succeeded", "Unknown"), progress=progress, attempt=3, restarts={"count": 2}), JOB, NOW)
    assert view.cells(row, all_namespaces=True) == [
        "team", "trainingjob", "gpt", "NotReady", "Because", "███░░░░░░░  30%", "120/400", "1m35s", "3", "2", "1h30m",
    ]  # fmt: skip


def test_what_nobody_reported_is_blank(job: Build) -> None:
    row = view.row(job(("Succeeded", "Unknown", "Queued")), JOB, NOW)
    assert view.cells(row, all_namespaces=False)[4:9] == ["", "", "", "", ""]


def test_a_dataset_has_its_percent_elsewhere_in_status(job: Build) -> None:
    assert view.row(job(("Ready", "False"), progressPercent=55), DATASET, NOW).percent == 55


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (95, "1m35s"),
        (600, "10m"),
        (3600, "1h"),
        (5400, "1h30m"),
        (90000, "1d1h"),
        (10**6, "11d"),
    ],
)
def test_spans_have_at_most_two_units(seconds: int, expected: str) -> None:
    assert view.span(seconds) == expected


@pytest.mark.parametrize(("percent", "full"), [(0, 0), (4, 0), (50, 5), (100, 10), (120, 10)])
def test_a_bar_never_leaves_its_box(percent: int, full: int) -> None:
    drawn = view.bar(percent).split(" ")[0]
    assert len(drawn) == 10
    assert drawn.count("█") == full


def test_rows_are_ordered_by_namespace_kind_and_name(job: Build) -> None:
    rows = [
        view.row(job(("Succeeded", "True"), metadata={"namespace": ns, "name": name}), JOB, NOW)
        for ns, name in (("b", "a"), ("a", "z"), ("a", "b"))
    ]
    assert [(r.namespace, r.name) for r in view.ordered(rows)] == [("a", "b"), ("a", "z"), ("b", "a")]


def test_below_the_table_stands_what_to_do_about_what_failed(job: Build) -> None:
    bad = view.row(
        job(("Succeeded", "False", "NameConflict", "Job 'x' exists"), ("Stalled", "True", "NameConflict", "Job 'x' exists")),
        JOB,
        NOW,
    )
    good = view.row(job(("Succeeded", "True", "Done"), metadata={"name": "fine"}), JOB, NOW)
    out = StringIO()
    Console(file=out, width=200).print(status.rendered([bad, good], all_namespaces=False))
    text = out.getvalue()
    assert "trainingjob/gpt: NameConflict: Job 'x' exists" in text
    assert "next: Rename or delete that object, or rename this one." in text
    assert "trainingjob/fine:" not in text
