"""Decides what a Dataset needs next. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

from millrace.api.v1alpha1.dataset import DatasetSpec
from millrace.engine.errors import Waiting

Object = dict[str, Any]


class SourceNotFound(Waiting):
    """The ConfigMap of an inline source is not there."""


@dataclass(frozen=True)
class Observed:
    """What exists for one fingerprint.

    `report` is the worker's termination message once it ended; `trouble` says what keeps its pod from running.
    """

    fingerprint: str
    job: Object | None = None
    report: Object | None = None
    trouble: str | None = None
    percent: int | None = None
    others: tuple[Object, ...] = ()
    """Jobs of other fingerprints: they are not wanted any more."""

    @property
    def job_name(self) -> str | None:
        """Name of the worker's Job."""
        return None if self.job is None else str(self.job["metadata"]["name"])


class Step(Enum):
    """What comes next."""

    SUSPEND = "suspend"
    NOTHING = "nothing"
    """What the status says holds, and is stored: no worker is wanted."""
    START = "start"
    WAIT = "wait"
    PUBLISH = "publish"
    FAIL = "fail"


def fingerprint(spec: DatasetSpec, source_version: str) -> str:
    """Names what the content is computed from: 12 hexadecimal digits. Resources and policies do not matter to it.

    Without defaults: a field that a later version of the operator adds must not make every Dataset be read again.
    """
    decisive = spec.model_dump(
        mode="json", by_alias=True, include={"source", "format", "columns", "split", "publish"}, exclude_defaults=True
    )
    text = json.dumps([decisive, source_version], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def next_step(spec: DatasetSpec, status: Object, observed: Observed) -> Step:
    """What comes next for a Dataset that is not being deleted.

    What was published stays so: its worker's pod, and the report with it, may be gone before the Job is.
    """
    if spec.suspend:
        return Step.SUSPEND
    if status.get("sourceFingerprint") == observed.fingerprint:
        return Step.NOTHING
    if observed.report is not None:
        return Step.PUBLISH if observed.report.get("ok") else Step.FAIL
    return Step.START if observed.job is None else Step.WAIT
