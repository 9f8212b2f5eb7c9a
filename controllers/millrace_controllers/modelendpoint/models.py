"""Which model an endpoint is to serve. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from millrace.api.v1alpha1.modelendpoint import ModelEndpointSpec
from millrace.engine.conditions import find
from millrace_controllers.modelendpoint.observed import Target

Object = dict[str, Any]


class ModelNotReady(Exception):
    """The TrainingJob that makes the model is not there or has not succeeded."""


@dataclass(frozen=True)
class _Model:
    uri: str
    digest: str | None
    training_job: str | None = None
    run_id: str | None = None


def target(spec: ModelEndpointSpec, status: Object, lookup: Callable[[str], Object | None]) -> Target:
    """The model to serve now. Raises ModelNotReady while there has never been one.

    A TrainingJob that runs again moves nothing before it has succeeded: until then what was resolved last stays.
    """
    reference = spec.model.training_job_ref
    if reference is None:
        return _with_revision(spec, _Model(str(spec.model.uri), spec.model.digest))
    job = lookup(reference.name)
    if (made := _made_by(reference.name, job)) is not None:
        return _with_revision(spec, made)
    why = _why_not(reference.name, job)
    if (pinned := _pinned(reference.name, status)) is not None:
        return _with_revision(spec, pinned, why)
    raise ModelNotReady(why)


def _made_by(name: str, job: Object | None) -> _Model | None:
    status = (job or {}).get("status") or {}
    model, ended = status.get("model"), find(status.get("conditions"), "Succeeded")
    if not model or ended is None or ended["status"] != "True":
        return None
    return _Model(model["uri"], model["digest"], name, status.get("runID") or None)


def _why_not(name: str, job: Object | None) -> str:
    if job is None:
        return f"TrainingJob {name!r} does not exist"
    ended = find((job.get("status") or {}).get("conditions"), "Succeeded")
    return f"TrainingJob {name!r} has not succeeded: {ended['reason'] if ended else 'nobody has looked at it yet'}"


def _pinned(name: str, status: Object) -> _Model | None:
    held = status.get("model")
    if not held or held.get("trainingJob") != name:
        return None
    return _Model(held["uri"], held.get("digest"), name, held.get("runID"))


def _with_revision(spec: ModelEndpointSpec, model: _Model, note: str | None = None) -> Target:
    return Target(model.uri, model.digest, revision(spec, model.uri, model.digest), model.training_job, model.run_id, note)


def revision(spec: ModelEndpointSpec, uri: str, digest: str | None) -> str:
    """Names what the pods are made from: 12 hexadecimal digits. How many there are does not matter to it.

    Without defaults: a field that a later version of the operator adds must not roll over every endpoint.
    """
    decisive = spec.model_dump(
        mode="json", by_alias=True, include={"kubernetes", "probe", "service_account_name"}, exclude_defaults=True
    )
    (decisive.get("kubernetes") or {}).pop("replicas", None)
    text = json.dumps([decisive, uri, digest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
