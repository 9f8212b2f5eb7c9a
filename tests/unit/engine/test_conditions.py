"""Verdicts to conditions, outcomes to the smallest patch, errors to what a user is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.engine.conditions import desired_status, find, for_error, is_true, merge_patch, merged, shortened
from millrace.engine.errors import Denied, NameConflict, Refused, Retry, Terminal, Waiting, from_api
from millrace.engine.outcome import Outcome, Verdict
from millrace.kube import errors as api

Object = dict[str, Any]
THEN, NOW = "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"


def held(status: str, reason: str = "Old", message: str = "old") -> Object:
    return {
        "type": "Ready",
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": THEN,
        "observedGeneration": 1,
    }


# old conditions, status now, transition time, reason
TIMES = [
    ([], "True", NOW, "a condition that is new changed now"),
    ([held("True")], "True", THEN, "another reason or message is no transition"),
    ([held("False")], "True", NOW, "the status changed"),
    ([held("Unknown")], "False", NOW, "Unknown is a status of its own"),
]


@pytest.mark.parametrize(("old", "status", "when", "reason"), TIMES, ids=[t[-1] for t in TIMES])
def test_the_transition_time_moves_only_with_the_status(old: list[Object], status: Any, when: str, reason: str) -> None:
    (made,) = merged(old, [Verdict("Ready", status, "New", "new")], 7, NOW)
    assert made["lastTransitionTime"] == when, reason
    assert (made["reason"], made["message"], made["observedGeneration"]) == ("New", "new", 7)


def test_a_condition_that_a_pass_does_not_name_is_removed() -> None:
    old = [{**held("True"), "type": "Stalled"}]
    assert [c["type"] for c in merged(old, [Verdict("Ready", "True", "Fine")], 1, NOW)] == ["Ready"]


def test_a_message_is_one_line_of_at_most_1024_characters() -> None:
    assert shortened("two\n  lines\tand a tab ") == "two lines and a tab"
    long = shortened("x" * 5000)
    assert len(long) == 1024
    assert long.endswith("…")
    assert shortened("y" * 1024) == "y" * 1024


def test_the_whole_status_keeps_what_a_pass_does_not_name_and_drops_what_it_names_none() -> None:
    old = {"observedGeneration": 1, "kept": 1, "dropped": 2, "changed": 3, "conditions": [held("True")]}
    outcome = Outcome((Verdict("Ready", "True", "Fine"),), {"dropped": None, "changed": 4, "never there": None})
    made = desired_status(old, outcome, 5, NOW)
    assert {k: v for k, v in made.items() if k != "conditions"} == {"observedGeneration": 5, "kept": 1, "changed": 4}
    assert old["dropped"] == 2, "what came in is not touched"


def test_a_pass_that_says_the_same_again_has_nothing_to_write() -> None:
    outcome = Outcome((Verdict("Ready", "True", "Fine", "all is well"),), {"rows": 3})
    first = desired_status({}, outcome, 2, THEN)
    assert merge_patch(first, desired_status(first, outcome, 2, NOW)) == {}


# -- the patch -----------------------------------------------------------------------------------------------------------

LEAVES = st.one_of(st.integers(2, 9), st.text("abc", max_size=3), st.lists(st.integers(2, 9), max_size=3))
TREES = st.recursive(LEAVES, lambda inner: st.dictionaries(st.sampled_from("pqrs"), inner, max_size=4), max_leaves=20)
OBJECTS = st.dictionaries(st.sampled_from("pqrs"), TREES, max_size=4)


def applied(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2, word for word."""
    if not isinstance(patch, dict):
        return patch
    made = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            made.pop(name, None)
        else:
            made[name] = applied(made.get(name), value)
    return made


@given(OBJECTS, OBJECTS)
def test_applying_the_patch_to_the_old_object_gives_the_new_one(old: Object, new: Object) -> None:
    assert applied(old, merge_patch(old, new)) == new


@given(OBJECTS)
def test_there_is_no_patch_between_equal_objects(same: Object) -> None:
    assert merge_patch(same, dict(same)) == {}


@given(OBJECTS, OBJECTS)
def test_the_patch_names_no_field_that_is_the_same(old: Object, new: Object) -> None:
    patch = merge_patch(old, new)
    assert all(old.get(name) != new.get(name) for name in patch)


# -- looking -------------------------------------------------------------------------------------------------------------

# object's generation, condition, true, reason
TRUTHS = [
    (1, held("True"), True, "it is True for the spec as it is"),
    (2, held("True"), False, "it is True for a spec that was"),
    (1, held("False"), False, "it is False"),
    (1, {**held("True"), "type": "Other"}, False, "another condition is True"),
]


@pytest.mark.parametrize(("generation", "condition", "expected", "reason"), TRUTHS, ids=[t[-1] for t in TRUTHS])
def test_a_condition_counts_for_the_generation_that_it_is_about(
    generation: int, condition: Object, expected: bool, reason: str
) -> None:
    obj = {"metadata": {"generation": generation}, "status": {"conditions": [condition]}}
    assert is_true(obj, "Ready") is expected, reason


def test_an_object_without_status_has_no_condition() -> None:
    assert not is_true({"metadata": {"generation": 1}}, "Ready")
    assert find(None, "Ready") is None


# -- errors --------------------------------------------------------------------------------------------------------------

# error, of Succeeded, of Ready, second condition, reason name, why
ERRORS: list[tuple[BaseException, str, str, str, str, str]] = [
    (Retry("broken pipe"), "Unknown", "False", "Reconciling", "RetryingAfterError", "it passes by itself"),
    (Waiting("no such Secret"), "Unknown", "False", "Reconciling", "RetryingAfterError", "it goes on when that changes"),
    (Denied("quota"), "Unknown", "False", "Reconciling", "PermissionDenied", "a quota may be raised"),
    (Terminal("wrong"), "False", "False", "Stalled", "InvalidSpec", "only the spec can help"),
    (Refused("field is bad"), "False", "False", "Stalled", "InvalidSpec", "the API server says it is invalid"),
    (NameConflict("taken"), "False", "False", "Stalled", "NameConflict", "a human must rename something"),
    (KeyError("x"), "Unknown", "False", "Reconciling", "InternalError", "an unknown error is tried again, and said"),
]


@pytest.mark.parametrize("row", ERRORS, ids=[f"{type(r[0]).__name__}: {r[-1]}" for r in ERRORS])
def test_an_error_is_told_in_two_conditions(row: tuple[BaseException, str, str, str, str, str]) -> None:
    error, succeeded, ready, second, name, why = row
    for summary, status in (("Succeeded", succeeded), ("Ready", ready)):
        said = for_error(summary, error)
        assert [(v.type, v.status, v.reason) for v in said] == [(summary, status, name), (second, "True", name)], why
        assert all(str(error) in v.message for v in said)


# API error, engine error, silent, after, why
MEANINGS: list[tuple[api.ApiError, type, bool, float | None, str]] = [
    (api.Conflict(409, "Conflict", "m"), Retry, True, None, "somebody wrote first: look again and say nothing"),
    (api.AlreadyExists(409, "AlreadyExists", "m"), Retry, True, None, "the cache will know in a moment"),
    (api.Forbidden(403, "Forbidden", "m"), Denied, False, 30.0, "RBAC or a quota must change"),
    (api.Invalid(422, "Invalid", "m"), Refused, False, None, "the spec leads to something invalid"),
    (api.Unavailable(503, "", "m"), Retry, False, None, "the API server comes back"),
    (api.NotFound(404, "NotFound", "m"), Retry, False, None, "a namespace that goes"),
    (api.ApiError(401, "Unauthorized", "m"), Retry, False, None, "a token is renewed"),
]


@pytest.mark.parametrize(("error", "type_", "silent", "after", "why"), MEANINGS, ids=[m[-1] for m in MEANINGS])
def test_an_api_error_means_one_of_three_things(
    error: api.ApiError, type_: type, silent: bool, after: float | None, why: str
) -> None:
    meant = from_api(error)
    assert type(meant) is type_, why
    assert meant.message == "m"
    assert getattr(meant, "silent", False) is silent
    assert getattr(meant, "after", None) == after


def test_a_throttled_call_waits_as_long_as_the_server_says() -> None:
    throttled = api.Throttled(429, "TooManyRequests", "slow down")
    throttled.after = 17.0
    meant = from_api(throttled)
    assert isinstance(meant, Retry)
    assert meant.after == 17.0
