"""Answers to typed errors; names that stay within what Kubernetes takes; the parts of pods that kinds share."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.api.common import MAX_NAME_LENGTH
from millrace.api.v1alpha1.trainingjob import KIND
from millrace.kube import errors, labels, orphans, pods
from millrace.kube.pods import Mount
from millrace.kube.resources import JOBS, NODES, PODS, of_kind
from support import builders

Object = dict[str, Any]

# status, reason, type, why
ANSWERS: list[tuple[int, str, type[errors.ApiError], str]] = [
    (400, "BadRequest", errors.Invalid, "the request itself is wrong"),
    (401, "Unauthorized", errors.ApiError, "a token that has run out is renewed by itself"),
    (403, "Forbidden", errors.Forbidden, "RBAC, a quota or a webhook"),
    (404, "NotFound", errors.NotFound, "it is not there"),
    (409, "AlreadyExists", errors.AlreadyExists, "a create of a name that is taken"),
    (409, "Conflict", errors.Conflict, "somebody wrote first"),
    (410, "Expired", errors.ApiError, "a list that took too long begins anew"),
    (422, "Invalid", errors.Invalid, "the object does not validate"),
    (429, "TooManyRequests", errors.Throttled, "slow down"),
    (500, "InternalError", errors.Unavailable, "broken"),
    (503, "", errors.Unavailable, "starting"),
    (504, "Timeout", errors.Unavailable, "too slow"),
]


@pytest.mark.parametrize(("status", "reason", "type_", "why"), ANSWERS, ids=[f"{a[0]} {a[1]}" for a in ANSWERS])
def test_an_answer_becomes_a_typed_error(status: int, reason: str, type_: type[errors.ApiError], why: str) -> None:
    error = errors.from_answer(status, {"reason": reason, "message": "the words of the server"}, None)
    assert type(error) is type_, why
    assert (error.status, error.reason, str(error)) == (status, reason, "the words of the server")


@pytest.mark.parametrize(("header", "after"), [("7", 7.0), (None, 1.0), ("", 1.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 1.0)])
def test_a_throttled_answer_carries_its_pause(header: str | None, after: float) -> None:
    error = errors.from_answer(429, {}, header)
    assert isinstance(error, errors.Throttled)
    assert (error.after, error.message) == (after, "HTTP 429")


# -- names and labels ----------------------------------------------------------------------------------------------------

LONGEST = builders.training_job(name="a" * MAX_NAME_LENGTH)


def test_the_longest_name_still_makes_a_host_name_for_the_last_rank_of_the_999th_attempt() -> None:
    job = labels.child_name(LONGEST, 999)
    assert len(f"{job}-4095") <= 63, "the host name of rank 4095"
    assert len(labels.child_name(LONGEST, 999, "verify")) <= 63
    assert len(labels.child_name(LONGEST, pods.SWEEP)) <= 63


def test_a_childs_name_is_a_function_of_name_uid_and_parts_alone() -> None:
    job = builders.training_job()
    assert labels.child_name(job, 3) == "gpt-111111-3"
    assert labels.child_name(builders.training_job(metadata={"uid": "1-2-3-4-5-6-7"}), 1) == "gpt-123456-1"


def test_children_are_marked_and_take_over_nothing_of_their_owners_labels() -> None:
    owner = builders.training_job(metadata={"labels": {"app.kubernetes.io/instance": "argo", "argocd.argoproj.io/x": "y"}})
    made = labels.child_labels(owner, "train", 4)
    assert made[labels.OWNER_UID] == builders.UID
    assert (made[labels.KIND], made[labels.NAME], made[labels.ATTEMPT]) == ("TrainingJob", "gpt", "4")
    assert "app.kubernetes.io/instance" not in made
    assert not any(k.startswith("argocd") for k in made)
    assert labels.ATTEMPT not in labels.child_labels(owner, "volume")
    assert all(len(v) <= 63 for v in made.values())


def test_only_the_controller_owns() -> None:
    owner = builders.training_job()
    child = {"metadata": {"ownerReferences": [labels.owner_reference(owner)]}}
    assert labels.is_owned_by(child, builders.UID)
    assert not labels.is_owned_by(child, "another")
    assert not labels.is_owned_by({"metadata": {"ownerReferences": [{"uid": builders.UID}]}}, builders.UID)
    assert not labels.is_owned_by({"metadata": {}}, builders.UID)


# resource, namespace, name, subresource, path
PATHS = [
    (PODS, "ns", "p", None, "/api/v1/namespaces/ns/pods/p"),
    (PODS, None, None, None, "/api/v1/pods"),
    (NODES, "ns", "n", None, "/api/v1/nodes/n"),
    (JOBS, "ns", None, None, "/apis/batch/v1/namespaces/ns/jobs"),
    (of_kind(KIND), "ns", "t", "status", "/apis/millrace.dev/v1alpha1/namespaces/ns/trainingjobs/t/status"),
]


@pytest.mark.parametrize("row", PATHS, ids=[p[-1] for p in PATHS])
def test_a_resource_knows_its_path(row: Any) -> None:
    resource, namespace, name, subresource, path = row
    assert resource.path(namespace, name, subresource) == path


# -- claims --------------------------------------------------------------------------------------------------------------

CLAIMS = st.from_regex(r"\A[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?\Z")


@given(st.sets(CLAIMS, min_size=2, max_size=4))
def test_every_claim_has_a_volume_name_of_its_own_that_kubernetes_takes(claims: set[str]) -> None:
    names = [v["name"] for v in pods.claim_volumes(Mount(c, f"/{c}") for c in sorted(claims))]
    assert len(set(names)) == len(claims)
    for name in names:
        assert len(name) <= 63
        assert "." not in name
        assert name == name.strip("-")


def test_claims_that_differ_in_a_dot_alone_are_two_volumes() -> None:
    first, second = (v["name"] for v in pods.claim_volumes([Mount("a.b", "/1"), Mount("a-b", "/2")]))
    assert first != second


def test_volumes_and_mounts_of_a_claim_go_together() -> None:
    mounts = [Mount("data.set", "/d", read_only=True), Mount("out", "/o")]
    volumes, mounted = pods.claim_volumes(mounts), pods.claim_mounts(mounts)
    assert [v["name"] for v in volumes] == [m["name"] for m in mounted]
    assert [v["persistentVolumeClaim"] for v in volumes] == [
        {"claimName": "data.set", "readOnly": True},
        {"claimName": "out", "readOnly": False},
    ]


def test_a_claim_is_mounted_once_and_writable_where_anybody_writes() -> None:
    reads, writes = Mount("c", "/c", read_only=True), Mount("c", "/c")
    assert pods.unique([reads, writes]) == (writes,)
    assert pods.unique([writes, reads]) == (writes,)
    assert pods.unique([reads, reads]) == (reads,)


@pytest.mark.parametrize(("path", "seen"), [("", "/c"), (".", "/c"), ("a/b", "/c/a/b"), ("./a//b/", "/c/a/b")])
def test_a_path_on_a_claim_is_below_its_mount(path: str, seen: str) -> None:
    assert pods.under("/c", path) == seen


# -- states of pods ------------------------------------------------------------------------------------------------------

OWNER = builders.training_job()


def waits(reason: str, group: str = "containerStatuses") -> Object:
    status = {group: [builders.container(waiting={"reason": reason, "message": "m"})]}
    return builders.pod(OWNER, status=status)


# pod, waits for, why
WAITS = [
    (builders.pod(OWNER), None, "nothing is known yet"),
    (waits("ContainerCreating"), None, "the ordinary start"),
    (waits("PodInitializing"), None, "the preflight runs"),
    (waits("ImagePullBackOff"), "ImagePullBackOff", "an image that is not there"),
    (waits("CreateContainerConfigError", "initContainerStatuses"), "CreateContainerConfigError", "a Secret that is not there"),
    (waits("CrashLoopBackOff", "initContainerStatuses"), None, "a sidecar that starts again stops nobody"),
    (builders.running_pod(OWNER), None, "it runs"),
]


@pytest.mark.parametrize(("pod", "reason", "why"), WAITS, ids=[w[-1] for w in WAITS])
def test_a_pod_waits_for_what_somebody_must_mend(pod: Object, reason: str | None, why: str) -> None:
    assert (pods.waiting(pod) or {}).get("reason") == reason, why


def test_a_container_has_ended_also_when_it_was_started_again_since() -> None:
    again = builders.container(running={})
    again["lastState"] = {"terminated": {"exitCode": 3}}
    pod = builders.pod(OWNER, status={"containerStatuses": [again]})
    assert pods.termination(pod, "train") == {"exitCode": 3}
    assert pods.termination(pod, "other") is None
    assert pods.termination(builders.running_pod(OWNER), "train") is None


def test_conditions_are_found_by_type() -> None:
    pod = builders.pod(OWNER, status={"conditions": [builders.condition("Ready", "False")]})
    assert pods.condition(pod, "Ready") is not None
    assert not pods.is_condition(pod, "Ready")
    assert not pods.is_condition(builders.pod(OWNER), "Ready")


def test_roles_and_attempts_are_read_from_labels() -> None:
    assert (pods.role(builders.pod(OWNER)), pods.attempt_of(builders.pod(OWNER, attempt=7))) == ("train", 7)
    assert (pods.role({"metadata": {}}), pods.attempt_of({"metadata": {}})) == ("", 0)


# -- one-shot Jobs -------------------------------------------------------------------------------------------------------


def restricted(pod: Object) -> list[str]:
    """What keeps a pod spec from the Pod Security level `restricted`, as its documentation lists it."""
    wrong = []
    own = pod["securityContext"]
    if own.get("runAsNonRoot") is not True or own["seccompProfile"]["type"] != "RuntimeDefault":
        wrong.append("pod")
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        context = container["securityContext"]
        if context["allowPrivilegeEscalation"] or context["capabilities"].get("drop") != ["ALL"]:
            wrong.append(container["name"])
    return wrong


def test_a_sweep_is_a_restricted_pod_that_is_not_tried_again_after_its_answer() -> None:
    job = pods.sweep_job(OWNER, "operator:1", (Mount("c", "/millrace/claims/c"),), ["/millrace/claims/c/gpt"], "default")
    spec = job["spec"]["template"]["spec"]
    assert restricted(spec) == []
    assert spec["automountServiceAccountToken"] is False
    assert json.loads(spec["containers"][0]["env"][0]["value"]) == {"paths": ["/millrace/claims/c/gpt"]}
    assert {v["name"] for v in spec["volumes"]} == {m["name"] for m in spec["containers"][0]["volumeMounts"]}
    final = job["spec"]["podFailurePolicy"]["rules"][-1]
    assert (final["action"], final["onExitCodes"]["values"]) == ("FailJob", [1])
    assert final["onExitCodes"]["containerName"] == spec["containers"][0]["name"]
    assert job["metadata"]["ownerReferences"][0]["uid"] == builders.UID


def test_pull_secrets_are_named_only_where_there_are_some() -> None:
    def made(secrets: tuple[str, ...]) -> Object:
        container = {"name": "worker"}
        job = pods.one_shot_job(OWNER, "n", "worker", container, [], service_account="default", pull_secrets=secrets)
        return dict(job["spec"]["template"]["spec"])

    assert "imagePullSecrets" not in made(())
    assert made(("a", "b"))["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]


# -- orphans -------------------------------------------------------------------------------------------------------------


class Patches:
    def __init__(self, error: Exception | None = None) -> None:
        self.bodies: list[Object] = []
        self.error = error

    async def patch(self, resource: Any, namespace: str, name: str, body: Object) -> Object:
        if self.error:
            raise self.error
        self.bodies.append(body)
        return body


async def test_a_child_is_orphaned_only_as_it_was_seen() -> None:
    client = Patches()
    await orphans.orphan(client, JOBS, builders.job(OWNER))  # type: ignore[arg-type]
    assert client.bodies == [{"metadata": {"resourceVersion": "20", "ownerReferences": None}}]


async def test_a_child_without_owner_or_one_that_is_gone_is_orphaned_already() -> None:
    client = Patches()
    await orphans.orphan(client, JOBS, builders.job(OWNER, metadata={"ownerReferences": None}))  # type: ignore[arg-type]
    assert client.bodies == []
    await orphans.orphan(Patches(errors.NotFound(404, "", "gone")), JOBS, builders.job(OWNER))  # type: ignore[arg-type]


async def test_somebody_elses_write_in_between_is_a_conflict() -> None:
    with pytest.raises(errors.Conflict):
        await orphans.orphan(Patches(errors.Conflict(409, "", "x")), JOBS, builders.job(OWNER))  # type: ignore[arg-type]
