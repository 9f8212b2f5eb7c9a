"""Pushes: what is taken, what is held, and who may send them."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from millrace.engine.cache import Cache
from millrace.engine.progress import Board, Gate, PushRefused, parse
from millrace.kube.errors import Unavailable
from millrace.kube.resources import Resource
from support import builders
from support.clock import FakeClock

Object = dict[str, Any]

BODY: Object = {
    "schema": 1,
    "job": "gpt",
    "namespace": "team-a",
    "uid": builders.UID,
    "attempt": 1,
    "rank": 3,
    "phase": "training",
    "step": 120,
    "maxSteps": 400,
    "metrics": {"loss": 3.21, "perplexity": "24.8"},
    "tokensPerSecond": 5120.0,
    "stepSeconds": 0.04,
    "checkpoint": {"step": 100, "path": "step-00000100-a1", "committedAt": "2026-01-01T00:00:00Z"},
    "message": None,
    "heartbeatAt": "2026-01-01T00:00:00Z",
}


def test_a_report_in_the_words_of_the_contract_is_taken_whole() -> None:
    push = parse(BODY, None, 7.0)
    assert (push.uid, push.attempt, push.rank, push.phase) == (builders.UID, 1, 3, "training")
    assert (push.step, push.max_steps, push.metrics) == (120, 400, {"loss": 3.21, "perplexity": 24.8})
    assert push.checkpoint == {"step": 100, "path": "step-00000100-a1", "committedAt": "2026-01-01T00:00:00Z"}
    assert (push.received, push.step_changed) == (7.0, 7.0)


def test_a_heartbeat_without_figures_is_enough() -> None:
    push = parse({"uid": "u", "attempt": 2}, None, 1.0)
    assert (push.rank, push.step, push.max_steps, push.metrics, push.checkpoint) == (0, 0, None, {}, None)


@pytest.mark.parametrize(("sent", "check"), [("NaN", math.isnan), ("Infinity", math.isinf), ("-Infinity", math.isinf)])
def test_a_loss_that_is_no_number_arrives_as_such(sent: str, check: Any) -> None:
    assert check(parse({**BODY, "metrics": {"loss": sent}}, None, 0).metrics["loss"])


def test_the_time_of_the_last_step_moves_only_with_the_step() -> None:
    first = parse(BODY, None, 10)
    same = parse(BODY, first, 20)
    further = parse({**BODY, "step": 121}, same, 30)
    assert (same.received, same.step_changed) == (20, 10)
    assert further.step_changed == 30
    assert parse({**BODY, "attempt": 2}, further, 40).step_changed == 40, "another attempt begins anew"


# change, why
REFUSED: list[tuple[Object, str]] = [
    ({"uid": None, "attempt": "one"}, "an attempt is a number"),
    ({"step": "many"}, "a step is a number"),
    ({"step": -1}, "a step is not negative"),
    ({"step": float("inf")}, "JSON as Python reads it knows Infinity, and int() of it overflows"),
    ({"step": 10**40}, "the API server would refuse the status with it"),
    ({"maxSteps": 10**400}, "the same for the last step"),
    ({"metrics": [1, 2]}, "metrics have names"),
    ({"metrics": {"loss": None}}, "a value is a number"),
    ({"checkpoint": {"step": 1}}, "a checkpoint has a path"),
]


@pytest.mark.parametrize(("change", "why"), REFUSED, ids=[r[-1] for r in REFUSED])
def test_a_body_that_is_no_report_is_refused_and_breaks_nothing(change: Object, why: str) -> None:
    with pytest.raises(PushRefused) as refused:
        parse({**BODY, **change}, None, 0)
    assert refused.value.status == 400, why


def test_a_rate_that_is_no_number_is_left_out() -> None:
    push = parse({**BODY, "tokensPerSecond": "NaN", "stepSeconds": 1e300}, None, 0)
    assert (push.tokens_per_second, push.step_seconds) == (None, None)


def test_what_a_sender_makes_long_is_cut() -> None:
    many = {f"metric{n}": n for n in range(100)}
    push = parse({**BODY, "metrics": many, "message": "x" * 9999, "phase": "p" * 99}, None, 0)
    assert len(push.metrics) == 32
    assert push.message is not None
    assert (len(push.message), len(push.phase)) == (1024, 32)


# -- the board -----------------------------------------------------------------------------------------------------------


def test_the_board_keeps_the_newest_report_of_each_rank() -> None:
    board = Board()
    board.put(builders.push(0, step=1))
    board.put(builders.push(1, step=2))
    board.put(builders.push(0, step=3))
    assert {rank: p.step for rank, p in board.of(builders.UID, 1).items()} == {0: 3, 1: 2}


def test_a_new_attempt_forgets_the_reports_of_the_one_before() -> None:
    board = Board()
    board.put(builders.push(0, attempt=1))
    board.put(builders.push(0, attempt=1, uid="another object"))
    board.put(builders.push(0, attempt=2))
    assert board.of(builders.UID, 1) == {}
    assert set(board.of(builders.UID, 2)) == {0}
    assert set(board.of("another object", 1)) == {0}


def test_an_object_that_is_gone_leaves_nothing_on_the_board() -> None:
    board = Board()
    board.put(builders.push(0))
    board.forget(builders.UID)
    assert board.pushes == {}


# -- the gate ------------------------------------------------------------------------------------------------------------


class Reviews:
    """Answers TokenReviews; counts them."""

    def __init__(self, status: Object | Exception) -> None:
        self.status = status
        self.asked: list[Object] = []

    async def create(self, _: Resource, manifest: Object) -> Object:
        self.asked.append(manifest)
        if isinstance(self.status, Exception):
            raise self.status
        return {"status": self.status}


def review(pod_uid: str | None, **change: Any) -> Object:
    extra = {"authentication.kubernetes.io/pod-uid": [pod_uid]} if pod_uid else {}
    user = {"username": "system:serviceaccount:team-a:default", "extra": extra}
    return {"authenticated": True, "audiences": ["millrace"], "user": user, **change}


def gate_for(status: Object | Exception, *pods: Object) -> tuple[Gate, Reviews, FakeClock]:
    cache, clock, reviews = Cache(), FakeClock(), Reviews(status)
    for pod in pods:
        cache.put("pods", pod)
    return Gate(reviews, cache, clock), reviews, clock  # type: ignore[arg-type]


OWNER = builders.training_job()
POD = builders.running_pod(OWNER)
POD_UID = POD["metadata"]["uid"]

# token, review, pods, status, why
DOORS: list[tuple[str, Object | Exception, list[Object], int, str]] = [
    ("", review(POD_UID), [POD], 401, "a push without a token"),
    ("t", review(POD_UID, authenticated=False), [POD], 401, "a token that the API server does not know"),
    ("t", review(POD_UID, audiences=["https://kubernetes.default.svc"]), [POD], 401, "a token for another audience"),
    ("t", review(None), [POD], 403, "a token of a person is not bound to a pod"),
    ("t", review("uid of another pod"), [POD], 403, "a pod of another object"),
    ("t", review(POD_UID), [builders.running_pod(OWNER, attempt=2)], 403, "a pod of another attempt"),
    ("t", review(POD_UID), [builders.ended_pod(OWNER)], 403, "a pod that has ended"),
    ("t", Unavailable(0, "Unreachable", "gone"), [POD], 503, "an API server that does not answer is no fault of the sender"),
]


@pytest.mark.parametrize(("token", "status", "pods", "answer", "why"), DOORS, ids=[d[-1] for d in DOORS])
async def test_the_gate_turns_away(token: str, status: Object | Exception, pods: list[Object], answer: int, why: str) -> None:
    for pod in pods:
        pod["metadata"]["uid"] = POD_UID
    gate, _, _ = gate_for(status, *pods)
    with pytest.raises(PushRefused) as refused:
        await gate.check(token, builders.UID, 1)
    assert refused.value.status == answer, why


async def test_a_live_pod_of_just_this_attempt_may_report() -> None:
    gate, reviews, _ = gate_for(review(POD_UID), POD)
    await gate.check("t", builders.UID, 1)
    assert reviews.asked[0]["spec"] == {"token": "t", "audiences": ["millrace"]}


async def test_a_token_is_reviewed_once_in_five_minutes_but_its_pod_is_looked_at_each_time() -> None:
    cache, clock, reviews = Cache(), FakeClock(), Reviews(review(POD_UID))
    gate = Gate(reviews, cache, clock)  # type: ignore[arg-type]
    cache.put("pods", POD)
    for _ in range(3):
        await gate.check("t", builders.UID, 1)
    assert len(reviews.asked) == 1
    clock.advance(301)
    await gate.check("t", builders.UID, 1)
    assert len(reviews.asked) == 2
    cache.remove("pods", POD)
    with pytest.raises(PushRefused):
        await gate.check("t", builders.UID, 1)


async def test_a_review_that_failed_is_asked_again() -> None:
    gate, reviews, _ = gate_for(Unavailable(503, "", "later"), POD)
    with pytest.raises(PushRefused):
        await gate.check("t", builders.UID, 1)
    reviews.status = review(POD_UID)
    await gate.check("t", builders.UID, 1)


def test_a_body_survives_its_way_over_the_wire() -> None:
    assert parse(json.loads(json.dumps(BODY)), None, 0) == parse(BODY, None, 0)
