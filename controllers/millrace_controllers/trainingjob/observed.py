"""What was seen of a run, in the words that plan.py and status.py use: no Kubernetes object gets past this module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from millrace.engine.progress import Push

Object = dict[str, Any]


class JobState(Enum):
    """Where an attempt's Job is."""

    MISSING = "missing"
    SUSPENDED = "suspended"
    ACTIVE = "active"
    COMPLETE = "complete"
    FAILED = "failed"
    DELETING = "deleting"


@dataclass(frozen=True)
class Exit:
    """How a container ended, and when. `report` is its termination message where that is a report."""

    code: int
    reason: str
    message: str
    report: Object | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class RankPod:
    """One pod of an attempt."""

    index: int
    name: str
    node: str | None = None
    scheduled: bool = False
    running: bool = False
    deleting: bool = False
    deleted_at: datetime | None = None
    """When its deletion began."""
    disrupted: str | None = None
    exit: Exit | None = None
    preflight: Exit | None = None

    @property
    def crash(self) -> Exit | None:
        """How the program or the preflight failed, if it did."""
        return next((e for e in (self.exit, self.preflight) if e is not None and e.code != 0), None)


@dataclass(frozen=True)
class CloudJob:
    """A managed service's job, in the service's own words. `phase` is the secondary status."""

    arn: str
    phase: str = ""
    message: str = ""
    failure: str = ""
    started: bool = False
    metrics: Mapping[str, float] = field(default_factory=dict)
    model_uri: str = ""
    instance_type: str = ""
    already_done: bool = False
    """The output holds the record of this very run."""


@dataclass(frozen=True)
class Attempt:
    """One attempt: its Job, its pods, and what keeps them from running.

    `age_seconds` counts from when the pods could first be made (after a queue's admission).
    """

    number: int
    nodes: int
    job: JobState = JobState.MISSING
    job_name: str | None = None
    pods: tuple[RankPod, ...] = ()
    age_seconds: float = 0.0
    refusal: str | None = None
    stuck: str | None = None
    invalid_image: str | None = None
    unschedulable: str | None = None
    failure: str | None = None
    image_digest: str | None = None
    cloud: CloudJob | None = None

    @property
    def already_done(self) -> bool:
        """Whether the preflight, or whoever looks in its place, found the record of this very run."""
        if self.cloud is not None:
            return self.cloud.already_done
        said = [p.preflight.report for p in self.pods if p.preflight and p.preflight.report]
        return any(report.get("reason") == "AlreadyDone" for report in said)

    @property
    def all_started(self) -> bool:
        """Whether the whole group runs; a short program may end on one rank before it is seen to run on another."""
        if self.cloud is not None:
            return self.cloud.started
        return len(self.pods) >= self.nodes and all(p.running or (p.exit is not None and p.exit.code == 0) for p in self.pods)

    @property
    def all_ended_well(self) -> bool:
        """Whether every rank has ended with exit code 0."""
        return len(self.pods) >= self.nodes and all(p.exit is not None and p.exit.code == 0 for p in self.pods)


@dataclass(frozen=True)
class Verification:
    """The reader pod: its report once it has ended."""

    uid: str
    report: Object | None = None
    trouble: str | None = None


@dataclass(frozen=True)
class ResolvedInput:
    """An input pinned to what will be read."""

    name: str
    claim: str
    path: str
    """Path on the claim, or the uri where there is no claim."""
    format: str = ""
    dataset: str | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Observed:
    """All of a run."""

    current: Attempt
    leftovers: tuple[str, ...] = ()
    """Names of pods and Jobs of attempts that are over, without pods on nodes that do not answer."""
    verification: Verification | None = None
    inputs: tuple[ResolvedInput, ...] = ()
    missing_input: str | None = None
    pushes: Mapping[int, Push] = field(default_factory=dict)
    procs_per_node: int = 1
    monotonic: float = 0.0
    """The clock of the pushes, now."""
    board_since: float = 0.0
    bad_nodes: Mapping[str, str] = field(default_factory=dict)
    """Nodes of this attempt that are not healthy, and why."""
    instance_type: str = ""
    """Of the attempt that runs or is next, where somebody else's instances are paid for."""
    prices: Mapping[str, Decimal] = field(default_factory=dict)
    """US dollars an hour of an attempt on an instance type; those that nobody knows are not in it."""
    estimated: Decimal | None = None
    """US dollars that the run costs at most, where its time is limited."""

    @property
    def hourly(self) -> Decimal | None:
        """US dollars an hour while the attempt runs; None where nobody knows."""
        return self.prices.get(self.instance_type)

    def newest_push(self, pod: RankPod) -> Push | None:
        """The newest report of any process of a pod."""
        own = [p for rank, p in self.pushes.items() if rank // self.procs_per_node == pod.index]
        return max(own, key=lambda p: p.received, default=None)
