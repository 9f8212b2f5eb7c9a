"""Decides what a Dataset needs next. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

from millrace.api.v1alpha1.dataset import DatasetSpec
from millrace.engine.conditions import is_true
from millrace.engine.errors import Refused, Waiting
from millrace.kube import pods

Object = dict[str, Any]
_DECISIVE = {"source", "format", "columns", "split", "publish", "quality", "conversations", "transform", "layout"}
"""Fields of the spec that decide what is published."""


class SourceNotFound(Waiting):
    """The ConfigMap of an inline source is not there, or nothing in S3."""


class ComparedNotReady(Waiting):
    """A Dataset that the rows are compared with is not there, or not Ready."""


@dataclass(frozen=True)
class Compared:
    """Another Dataset as it is published: what the worker is told of it, and the claims that it lies on."""

    name: str
    digest: str
    files: tuple[Object, ...] = ()
    claims: tuple[str, ...] = ()

    @property
    def in_s3(self) -> bool:
        """Whether a worker needs an identity at AWS to read it."""
        return any("uri" in file for file in self.files)

    @property
    def task(self) -> Object:
        """In the words of the worker's contract."""
        return {"name": self.name, "digest": self.digest, "files": list(self.files)}


@dataclass(frozen=True)
class Observed:
    """What exists for one fingerprint.

    `report` is the worker's termination message once it ended, `verdict` that of the reader of what it published, or what S3
    says of it; `trouble` says what keeps the pod of either from running.
    """

    fingerprint: str
    job: Object | None = None
    report: Object | None = None
    trouble: str | None = None
    percent: int | None = None
    others: tuple[Object, ...] = ()
    """Jobs of other fingerprints, and readers of other workers: they are not wanted any more."""
    reader: Object | None = None
    verdict: Object | None = None
    again: bool = False
    """What made the worker fail may be mended by now."""

    @property
    def job_name(self) -> str | None:
        """Name of the Job that runs: the reader's after the worker's."""
        running = self.reader or self.job
        return None if running is None else str(running["metadata"]["name"])

    @property
    def jobs(self) -> tuple[Object, ...]:
        """Worker and reader, those that are there."""
        return tuple(job for job in (self.job, self.reader) if job is not None)


class Step(Enum):
    """What comes next."""

    NOTHING = "nothing"
    """What the status says holds, and is stored: no worker is wanted."""
    START = "start"
    WAIT = "wait"
    READ_BACK = "read back"
    """The worker is done: another pod reads what it published."""
    PUBLISH = "publish"
    FAIL = "fail"
    TRY_AGAIN = "try again"


def fingerprint(spec: DatasetSpec, source_version: str) -> str:
    """Names what the content is computed from: 12 hexadecimal digits. Resources and policies do not matter to it.

    Without defaults: a field that a later version of the operator adds must not make every Dataset be read again.
    """
    decisive = spec.model_dump(mode="json", by_alias=True, include=_DECISIVE, exclude_defaults=True)
    text = json.dumps([decisive, source_version], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def compared(own: str, format_: str, name: str, found: Object | None) -> Compared:
    """A Dataset to compare with. Raises ComparedNotReady, and Refused for one that can never be compared with."""
    spec, status = (found or {}).get("spec") or {}, (found or {}).get("status") or {}
    if found is None:
        raise ComparedNotReady(f"Dataset {name!r} of spec.quality.compareWith does not exist")
    if (why := _never(own, format_, spec)) is not None:
        raise Refused(f"Dataset {name!r} of spec.quality.compareWith cannot be compared with: {why}")
    if not is_true(found, "Ready") or not status.get("splits"):
        raise ComparedNotReady(f"Dataset {name!r} of spec.quality.compareWith is not Ready")
    parts = status["splits"]
    return Compared(name, status["digest"], tuple(map(_file, parts)), tuple(p["claim"] for p in parts if p.get("claim")))


def _never(own: str, format_: str, spec: Object) -> str | None:
    if spec.get("format") != format_:
        return f"it is {spec.get('format')}, and this one {format_}"
    if not spec.get("publish"):
        return "it publishes nothing; give it spec.publish"
    if spec.get("layout"):
        return "it publishes a layout and not its rows; compare with a Dataset without spec.layout"
    others = (spec.get("quality") or {}).get("compareWith") or ()
    return "it waits for this one itself" if any(other["name"] == own for other in others) else None


def _file(part: Object) -> Object:
    place = {"uri": part["uri"]} if part.get("uri") else {"path": pods.under(pods.claim_root(part["claim"]), part["path"])}
    return {**place, "digest": part["digest"]}


def next_step(status: Object, observed: Observed) -> Step:
    """What comes next for a Dataset that is neither suspended nor being deleted.

    What was published stays so: its worker's pod, and the report with it, may be gone before the Job is.
    """
    if status.get("sourceFingerprint") == observed.fingerprint:
        return Step.NOTHING
    if observed.report is None:
        return Step.START if observed.job is None else Step.WAIT
    return _after(observed, observed.report)


def _after(observed: Observed, report: Object) -> Step:
    """What comes after the worker; what it only looked at in its place needs no reader."""
    if not report.get("ok"):
        return Step.TRY_AGAIN if observed.again else Step.FAIL
    if not report.get("splits"):
        return Step.PUBLISH
    if observed.verdict is None:
        return Step.READ_BACK if observed.reader is None else Step.WAIT
    return Step.PUBLISH if observed.verdict.get("ok") else Step.FAIL
