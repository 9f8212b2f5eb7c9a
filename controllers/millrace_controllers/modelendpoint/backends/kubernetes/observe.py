"""Reads Deployments and pods into observations. Pure."""

from __future__ import annotations

from typing import Any

from millrace.kube import pods
from millrace_controllers.modelendpoint.backends.kubernetes.manifests import GOLDEN, MODEL, REVISION, SERVE
from millrace_controllers.modelendpoint.observed import Deployed, Fault, ServingPod, Trouble

Object = dict[str, Any]


def deployed(found: Object | None) -> Deployed | None:
    """The Deployment; None where there is none or it is going."""
    if found is None or found["metadata"].get("deletionTimestamp"):
        return None
    metadata = found["metadata"]
    refused = pods.condition(found, "ReplicaFailure")
    return Deployed(
        name=metadata["name"],
        revision=_revision(found),
        replicas=int(found["spec"].get("replicas", 1)),
        generation=int(metadata.get("generation") or 0),
        refused=str(refused.get("message")) if refused is not None and refused["status"] == "True" else None,
    )


def _revision(found: Object) -> str:
    return str((found["metadata"].get("labels") or {}).get(REVISION, ""))


def serving_pod(found: Object) -> ServingPod:
    """One pod; what is wrong with it is asked only while it gets no requests."""
    ready = pods.is_condition(found, "Ready")
    return ServingPod(
        name=found["metadata"]["name"],
        revision=_revision(found),
        ready=ready,
        deleting=bool(found["metadata"].get("deletionTimestamp")),
        digest=_digest(found),
        trouble=None if ready else trouble(found),
    )


def _digest(found: Object) -> str | None:
    """The model's as the pod's reader found it; a model within an image has the image's."""
    reader = pods.report(pods.termination(found, MODEL))
    if reader is not None:
        return str(reader["digest"]) if reader.get("ok") else None
    server = _status(found, SERVE)
    _, _, digest = str((server or {}).get("imageID") or "").rpartition("@")
    return digest or None


def trouble(found: Object) -> Trouble | None:
    """What keeps a pod from becoming ready, the most telling first."""
    reader, golden = pods.report(pods.termination(found, MODEL)), pods.report(pods.termination(found, GOLDEN))
    if reader is not None and not reader.get("ok"):
        return Trouble(Fault.MODEL, str(reader.get("message")))
    if golden is not None and not golden.get("ok"):
        return Trouble(Fault.PROBE, str(golden.get("message")))
    return _not_started(found) or _ended(found)


def _not_started(found: Object) -> Trouble | None:
    why = pods.obstacle(found, f"pod {found['metadata']['name']}")
    return Trouble(Fault.START, why) if why else None


def _ended(found: Object) -> Trouble | None:
    ended = pods.termination(found, SERVE)
    if ended is None:
        return None
    said = f"the server of pod {found['metadata']['name']} ended with exit code {ended.get('exitCode')}: {_last_words(ended)}"
    return Trouble(Fault.SERVER, said)


def _last_words(ended: Object) -> str:
    """Servers that know the contract leave JSON with a message; of others the log's last line tells most."""
    if (told := pods.last_words(ended)) is not None and "message" in told:
        return str(told["message"])
    lines = [line.strip() for line in str(ended.get("message") or "").splitlines() if line.strip()]
    return lines[-1] if lines else str(ended.get("reason") or "without a word")


def _status(found: Object, container: str) -> Object | None:
    return next((c for c in (found.get("status") or {}).get("containerStatuses") or () if c["name"] == container), None)
