"""Names, tokens and tags are functions of the object: nothing is remembered to find what a crash left."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.aws import naming, tags

UID = "0a1b2c3d-0000-4000-8000-000000000000"

# name, parts, limit, made, why
NAMES = [
    ("gpt", (1,), 63, "gpt-0a1b2c-1", "name, six of the uid, attempt"),
    ("team.gpt", (), 63, "team-gpt-0a1b2c", "SageMaker's names have no dots"),
    ("a" * 40, (12,), 32, "a" * 22 + "-0a1b2c-12", "the name is cut, never what makes it unique"),
    ("ab-cd", (1,), 12, "ab-0a1b2c-1", "no hyphen is left hanging by the cut"),
]


@pytest.mark.parametrize(("name", "parts", "limit", "made", "why"), NAMES)
def test_a_name_is_made_of_name_uid_and_attempt(name: str, parts: tuple[int, ...], limit: int, made: str, why: str) -> None:
    assert naming.thing_name(name, UID, *parts, limit=limit) == made, why


def test_a_limit_that_leaves_no_room_is_a_defect_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no room"):
        naming.thing_name("gpt", UID, 1, limit=9)


@given(st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,38}[a-z0-9])?", fullmatch=True), st.integers(1, 99999), st.integers(20, 63))
def test_every_name_is_one_that_sagemaker_takes(name: str, attempt: int, limit: int) -> None:
    made = naming.thing_name(name, UID, attempt, limit=limit)
    assert len(made) <= limit
    assert re.fullmatch(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", made)


def test_a_token_is_the_same_for_the_same_attempt_and_another_for_the_next() -> None:
    assert naming.token(UID, "create", 1) == naming.token(UID, "create", 1)
    assert len({naming.token(UID, "create", n) for n in range(100)} | {naming.token("other", "create", 1)}) == 101
    assert len(naming.token(UID, 1)) == 36


def test_a_content_name_changes_with_the_content_alone() -> None:
    assert naming.content_name("chat", "a") == naming.content_name("chat", "a") != naming.content_name("chat", "b")


def test_tags_tell_whose_a_thing_is_and_the_users_own_cannot_lie_about_it() -> None:
    owner = {"kind": "TrainingJob", "metadata": {"name": "gpt", "namespace": "team", "uid": UID}}
    made = tags.of(owner, "cluster-uid", {"cost-center": "7", tags.UID: "another"})
    assert made == {
        "cost-center": "7",
        "millrace.dev/cluster": "cluster-uid",
        "millrace.dev/namespace": "team",
        "millrace.dev/kind": "TrainingJob",
        "millrace.dev/name": "gpt",
        "millrace.dev/uid": UID,
    }
    assert tags.as_map(tags.as_list(made)) == made
    assert tags.as_list({"b": "2", "a": "1"}, "key", "value") == [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]
    assert tags.is_of(made, UID)
    assert not tags.is_of({}, UID)
