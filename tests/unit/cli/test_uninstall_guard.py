"""What the guard of `helm uninstall` says."""

from __future__ import annotations

from typing import Any

from millrace.cli.uninstall_guard import refusal


def held(number: int) -> list[dict[str, Any]]:
    return [{"kind": "TrainingJob", "metadata": {"name": f"job-{n}", "namespace": "team"}} for n in range(number)]


def test_a_refusal_names_the_objects_and_both_ways_on() -> None:
    said = refusal(held(2))
    assert "uninstall refused: 2 object(s)" in said
    assert "  trainingjob/job-0 in namespace team\n  trainingjob/job-1 in namespace team\n" in said
    assert "millrace release --all" in said


def test_a_long_list_is_cut_and_counted() -> None:
    said = refusal(held(25))
    assert "job-19" in said
    assert "job-20" not in said
    assert "and 5 more" in said
