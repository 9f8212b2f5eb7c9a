"""What an endpoint does next and what it says, as tables."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.api.schema import structural
from millrace.api.v1alpha1.modelendpoint import ModelEndpointStatus
from millrace.engine.conditions import desired_status
from millrace_controllers.modelendpoint import status
from millrace_controllers.modelendpoint.observed import Deployed, Fault, Measured, Observed, ServingPod, Target, Trouble
from millrace_controllers.modelendpoint.plan import Step, next_step
from support.builders import MODEL_DIGEST, ago
from support.schemas import problems

Object = dict[str, Any]
OLD_DIGEST = "sha256:" + "0" * 64
NOW, BEFORE = "rev-now", "rev-before"
TARGET = Target("claim://results/gpt/model", MODEL_DIGEST, NOW, "gpt", "2")
URL = "http://chat.team-a.svc:8080"


def deployed(**change: Any) -> Deployed:
    return Deployed(**{"name": "chat-1", "revision": NOW, "replicas": 2, "generation": 3, **change})


def pod(name: str = "a", *, revision: str = NOW, ready: bool = True, fault: Fault | None = None, **change: Any) -> ServingPod:
    trouble = Trouble(fault, f"it is the {fault.value}") if fault else None
    digest = MODEL_DIGEST if revision == NOW else OLD_DIGEST
    return ServingPod(name, revision, ready, digest=digest, trouble=trouble, **change)


def seen(*pods: ServingPod, **change: Any) -> Observed:
    return Observed(**{"deployed": deployed(), "pods": pods, **change})


# observed, wanted pods, generation of our last write, step, reason
STEPS: list[tuple[Observed, int, int | None, Step, str]] = [
    (Observed(), 2, None, Step.MAKE, "there is nothing"),
    (seen(), 2, 3, Step.NOTHING, "it is as it should be"),
    (seen(), 2, None, Step.NOTHING, "the operator died before it could note its write"),
    (seen(complete=False), 2, 3, Step.MAKE, "somebody deleted the Service"),
    (seen(deployed=deployed(revision=BEFORE)), 2, 3, Step.MAKE, "the spec or the model changed"),
    (seen(deployed=deployed(generation=4)), 2, 3, Step.MAKE, "somebody edited the Deployment"),
    (seen(deployed=deployed(generation=4, replicas=7)), 2, 3, Step.MAKE, "somebody scaled the Deployment"),
    (seen(), 5, 3, Step.SCALE, "more pods are wanted"),
    (seen(), 0, 3, Step.SCALE, "it is suspended"),
]


@pytest.mark.parametrize(("found", "replicas", "applied", "step", "reason"), STEPS, ids=[s[-1] for s in STEPS])
def test_what_comes_next(found: Observed, replicas: int, applied: int | None, step: Step, reason: str) -> None:
    assert next_step(TARGET, replicas, found, applied) is step, reason


OLD_PODS = (pod("x", revision=BEFORE), pod("y", revision=BEFORE))
BAD = pod("b", ready=False, fault=Fault.PROBE)
# observed, wanted pods, reason of Ready, its status, status of Available, type of the second condition, words, why
SAID: list[tuple[Observed, int, str, str, str, str | None, str, str]] = [
    (seen(pod("a"), pod("b")), 2, "Serving", "True", "True", None, "2 pods serve model aaaaaaaaaaaa", "all answer"),
    (seen(), 2, "Loading", "False", "False", "Reconciling", "0 of 2 pods serve", "nothing is up yet"),
    (seen(pod("a"), pod("b", ready=False)), 2, "Loading", "False", "True", "Reconciling", "1 of 2 pods serve", "one was drained"),
    (seen(pod("a"), *OLD_PODS), 2, "RollingOut", "False", "True", "Reconciling", "2 before it", "old ones serve meanwhile"),
    (seen(pod("a"), pod("b"), OLD_PODS[0]), 2, "RollingOut", "False", "True", "Reconciling", "1 before it", "one old is left"),
    (seen(pod("a"), pod("b"), pod("x", revision=BEFORE, deleting=True)), 2, "Serving", "True", "True", None, "2 pods", "it ends"),
    (seen(BAD, *OLD_PODS), 2, "ProbeFailed", "False", "True", "Stalled", "2 pods of the revision before serve on", "a bad one"),
    (seen(BAD), 1, "ProbeFailed", "False", "False", "Stalled", "it is the probe", "a bad one from the start"),
    (seen(pod(ready=False, fault=Fault.MODEL)), 1, "ModelRefused", "False", "False", "Stalled", "it is the model", "wrong files"),
    (seen(pod(ready=False, fault=Fault.SERVER)), 1, "ServerFailed", "False", "False", "Reconciling", "the server", "it crashes"),
    (seen(pod(ready=False, fault=Fault.START)), 1, "PodsWait", "False", "False", "Reconciling", "the start", "no node"),
    (seen(pod("a", ready=False, fault=Fault.START), BAD), 2, "ProbeFailed", "False", "False", "Stalled", "probe", "worst first"),
    (seen(deployed=deployed(refused="quota")), 1, "PodsWait", "False", "False", "Reconciling", "quota", "pods are refused"),
    (seen(deployed=deployed(replicas=0)), 0, "Suspended", "False", "False", None, "Nothing runs", "it is suspended"),
    (seen(pod("a")), 0, "Suspended", "False", "True", None, "1 pod is ending", "it is being suspended"),
]


@pytest.mark.parametrize(("found", "replicas", "name", "ready", "up", "second", "words", "why"), SAID, ids=[s[-1] for s in SAID])
def test_what_it_says(
    found: Observed, replicas: int, name: str, ready: str, up: str, second: str | None, words: str, why: str
) -> None:
    said = {v.type: v for v in status.outcome(TARGET, replicas, found, {}, URL).conditions}
    assert (said["Ready"].reason, said["Ready"].status) == (name, ready), why
    assert said["Available"].status == up, why
    assert words in said["Ready"].message, why
    assert set(said) - {"Ready", "Available"} == ({second} if second else set()), why


# pods, traffic, reason
SHARES: list[tuple[tuple[ServingPod, ...], list[tuple[str, int, int]], str]] = [
    ((pod("a"), pod("b")), [(MODEL_DIGEST, 2, 100)], "one model has it all"),
    ((pod("a"), *OLD_PODS), [(OLD_DIGEST, 2, 67), (MODEL_DIGEST, 1, 33)], "shares follow the pods"),
]


@pytest.mark.parametrize(("pods", "shares", "reason"), SHARES, ids=[s[-1] for s in SHARES])
def test_traffic_is_told_by_what_the_pods_hold(
    pods: tuple[ServingPod, ...], shares: list[tuple[str, int, int]], reason: str
) -> None:
    assert [(t["digest"], t["pods"], t["percent"]) for t in status.traffic(pods)] == shares, reason


def test_a_model_without_a_digest_in_the_spec_has_the_one_that_its_pods_read() -> None:
    unknown = Target("claim://models/x", None, NOW)
    made = status.outcome(unknown, 1, seen(pod("a")), {}, URL)
    assert made.fields["model"] == {"uri": "claim://models/x", "digest": MODEL_DIGEST}


# revision that told, whether it is written, reason
SPEEDS = [(NOW, True, "it is of this revision"), (BEFORE, False, "a pod of the revision before tells of another model")]


@pytest.mark.parametrize(("revision", "written", "reason"), SPEEDS, ids=[s[-1] for s in SPEEDS])
def test_how_fast_it_answers_is_told_of_the_revision_that_serves(revision: str, written: bool, reason: str) -> None:
    found = seen(pod("a"), measured=Measured(500, 20), measured_revision=revision)
    made = desired_status({}, status.outcome(TARGET, 1, found, {}, URL), 1, ago(0))
    assert (made.get("probe") or {}).get("tokensPerSecond") == ("40.0" if written else None), reason
    assert problems(structural(ModelEndpointStatus), made) == []


def test_what_happened_is_told_once() -> None:
    bad, good = seen(BAD, *OLD_PODS), seen(pod("a"), pod("b"))
    first = status.outcome(TARGET, 2, bad, {}, URL)
    assert [(e.reason, e.type) for e in first.events] == [("ProbeFailed", "Warning")]
    held = desired_status({}, first, 1, ago(0))
    assert status.outcome(TARGET, 2, bad, held, URL).events == ()
    assert [(e.reason, e.type) for e in status.outcome(TARGET, 2, good, held, URL).events] == [("Serving", "Normal")]


def test_a_newer_model_that_is_not_served_is_told_of() -> None:
    noted = Target(TARGET.uri, TARGET.digest, NOW, "gpt", "2", "TrainingJob 'gpt' has not succeeded: Running")
    message = status.outcome(noted, 2, seen(pod("a"), pod("b")), {}, URL).conditions[0].message
    assert "nothing newer is served: TrainingJob 'gpt' has not succeeded: Running" in message


def test_while_there_is_no_model_what_serves_already_is_told_of() -> None:
    said = {v.type: v for v in status.waiting("TrainingJob 'b' does not exist", seen(*OLD_PODS), suspended=False).conditions}
    assert (said["Ready"].reason, said["Available"].status) == ("ModelNotReady", "True")


@pytest.mark.parametrize("case", SAID, ids=[s[-1] for s in SAID])
def test_what_is_written_is_what_the_crd_knows(case: tuple[Any, ...]) -> None:
    made = desired_status({}, status.outcome(TARGET, case[1], case[0], {}, URL), 1, ago(0))
    assert problems(structural(ModelEndpointStatus), made) == []
