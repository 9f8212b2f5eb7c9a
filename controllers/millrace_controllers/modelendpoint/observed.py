"""What was seen of an endpoint, in the words that plan.py and status.py use: no Kubernetes object gets past this module."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Fault(Enum):
    """What keeps a pod from getting requests."""

    PROBE = "probe"
    """Its answer to the golden request was not as expected."""
    MODEL = "model"
    """The model is not there or is not the one that was asked for."""
    SERVER = "server"
    """The server ended, or did not become ready in time."""
    START = "start"
    """It cannot start yet: no node, no image, no volume."""


@dataclass(frozen=True)
class Trouble:
    """What is wrong with a pod, or with making one, in one sentence."""

    fault: Fault
    message: str


@dataclass(frozen=True)
class ServingPod:
    """One pod of the endpoint. `digest` is of the model as its own reader found it."""

    name: str
    revision: str
    ready: bool = False
    deleting: bool = False
    digest: str | None = None
    trouble: Trouble | None = None


@dataclass(frozen=True)
class Deployed:
    """The Deployment: what its pods are made from, how many are asked for, and its generation."""

    name: str
    revision: str
    replicas: int
    generation: int
    refused: str | None = None
    """Why the API server refuses its pods."""


@dataclass(frozen=True)
class Measured:
    """What the answer to the golden request took, and how many tokens it says that it has; None where it does not say."""

    milliseconds: int
    tokens: int | None = None


@dataclass(frozen=True)
class Observed:
    """Everything that exists for an endpoint."""

    deployed: Deployed | None = None
    pods: tuple[ServingPod, ...] = ()
    complete: bool = True
    """Service and disruption budget are there."""
    measured: Measured | None = None
    """By the pod that told last."""
    measured_revision: str = ""
    """The revision of that pod."""

    def of(self, revision: str) -> tuple[ServingPod, ...]:
        """Pods of a revision that are to stay."""
        return tuple(p for p in self.pods if p.revision == revision and not p.deleting)

    @property
    def serving(self) -> tuple[ServingPod, ...]:
        """Pods that get requests, of whatever revision."""
        return tuple(p for p in self.pods if p.ready and not p.deleting)


@dataclass(frozen=True)
class Target:
    """The model that is to be served, and the revision that it makes with the spec."""

    uri: str
    digest: str | None
    revision: str
    training_job: str | None = None
    run_id: str | None = None
    note: str | None = None
    """Why a newer model is not served yet."""
    version: str | None = None
    """Of a hub model; None while it is not known."""
    algorithm: str | None = None
    """ARN of the algorithm that made it, where its own container serves it."""


class Stage(Enum):
    """Where a SageMaker endpoint is in its life."""

    MISSING = "missing"
    CREATING = "creating"
    SERVING = "serving"
    UPDATING = "updating"
    """To another configuration, or to another number of instances; the one before serves."""
    ROLLING_BACK = "rolling back"
    MIXED = "mixed"
    """An update and the return from it failed: what serves is of both configurations, and costs."""
    FAILED = "failed"
    DELETING = "deleting"


@dataclass(frozen=True)
class Hosted:
    """A SageMaker endpoint as it was found; `config` is the configuration that serves, `pending` the one that it changes to."""

    name: str
    stage: Stage = Stage.MISSING
    state: str = ""
    """EndpointStatus, as SageMaker says it."""
    arn: str = ""
    config: str = ""
    pending: str = ""
    instance_type: str = ""
    instances: int = 0
    desired: int = 0
    failure: str = ""
    changed: datetime | None = None


@dataclass(frozen=True)
class Memory:
    """What the status remembers of one revision, because SageMaker does not tell it."""

    passed_over: tuple[tuple[str, str], ...] = ()
    """Instance types that could not be had, and what was said."""
    updating_to: str = ""
    """Configuration that an update was begun to."""
    probed: str = ""
    """Configuration that answered the golden request, and which request that was."""
    scaled: str = ""
    """Scaling that was last set."""


@dataclass(frozen=True)
class Answer:
    """What came of the golden request."""

    fits: bool
    said: str
    measured: Measured | None = None
