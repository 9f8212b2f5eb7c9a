"""Which model an endpoint is to serve. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
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
    algorithm: str | None = None


def target(spec: ModelEndpointSpec, status: Object, lookup: Callable[[str], Object | None]) -> Target:
    """The model to serve now. Raises ModelNotReady while there has never been one.

    A TrainingJob that runs again moves nothing before it has succeeded: until then what was resolved last stays.
    """
    reference = spec.model.training_job_ref
    if reference is None:
        return _named(spec, status)
    job = lookup(reference.name)
    if (made := _made_by(reference.name, job)) is not None:
        return _with_revision(spec, made)
    why = _why_not(reference.name, job)
    if (pinned := _pinned(reference.name, status)) is not None:
        return _with_revision(spec, pinned, why)
    raise ModelNotReady(why)


def _named(spec: ModelEndpointSpec, status: Object) -> Target:
    """A model that the spec names by itself."""
    model = spec.model
    if model.marketplace is not None:
        return _with_revision(spec, _Model(model.marketplace.model_package_arn, None))
    if model.jump_start is not None:
        return of_version(spec, model.jump_start.version or _pinned_version(model.jump_start.model_id, status))
    return _with_revision(spec, _Model(str(model.uri), model.digest))


def of_version(spec: ModelEndpointSpec, version: str | None) -> Target:
    """A model of the hub; without a version the newest one is to be asked for."""
    assert spec.model.jump_start is not None, "only asked for a model of the hub"
    return replace(_with_revision(spec, _Model(_hub_uri(spec.model.jump_start.model_id, version or ""), None)), version=version)


def _hub_uri(model_id: str, version: str) -> str:
    return f"jumpstart://{model_id}/{version}"


def _pinned_version(model_id: str, status: Object) -> str | None:
    """The version that was the newest when the endpoint was made: a newer one in the hub changes nothing by itself."""
    before, _, version = str((status.get("model") or {}).get("uri", "")).rpartition("/")
    return version if version and before == _hub_uri(model_id, "")[:-1] else None


def _made_by(name: str, job: Object | None) -> _Model | None:
    status = (job or {}).get("status") or {}
    model, ended = status.get("model"), find(status.get("conditions"), "Succeeded")
    if not model or ended is None or ended["status"] != "True":
        return None
    algorithm = (((job or {}).get("spec") or {}).get("sageMaker") or {}).get("algorithm") or {}
    return _Model(model["uri"], model["digest"], name, status.get("runID") or None, algorithm.get("algorithmARN"))


def _why_not(name: str, job: Object | None) -> str:
    if job is None:
        return f"TrainingJob {name!r} does not exist"
    ended = find((job.get("status") or {}).get("conditions"), "Succeeded")
    return f"TrainingJob {name!r} has not succeeded: {ended['reason'] if ended else 'nobody has looked at it yet'}"


def _pinned(name: str, status: Object) -> _Model | None:
    held = status.get("model")
    if not held or held.get("trainingJob") != name:
        return None
    return _Model(held["uri"], held.get("digest"), name, held.get("runID"), held.get("algorithmARN"))


def _with_revision(spec: ModelEndpointSpec, model: _Model, note: str | None = None) -> Target:
    made = revision(spec, model.uri, model.digest)
    packaged = model.algorithm if spec.sage_maker and spec.sage_maker.image is None else None
    return Target(model.uri, model.digest, made, model.training_job, model.run_id, note, algorithm=packaged)


def revision(spec: ModelEndpointSpec, uri: str, digest: str | None) -> str:
    """Names what the pods are made from: 12 hexadecimal digits. How many there are does not matter to it.

    Without defaults: a field that a later version of the operator adds must not roll over every endpoint.
    """
    within = {"sage_maker"} if spec.sage_maker else {"kubernetes", "probe", "service_account_name"}
    decisive = spec.model_dump(mode="json", by_alias=True, include=within, exclude_defaults=True)
    for member in ("kubernetes", "sageMaker"):
        (decisive.get(member) or {}).pop("replicas", None)
    text = json.dumps([decisive, uri, digest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
