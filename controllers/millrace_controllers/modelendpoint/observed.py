"""What was seen of an endpoint, in the words that plan.py and status.py use: no Kubernetes object gets past this module."""

from __future__ import annotations

from dataclasses import dataclass
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
class Observed:
    """Everything that exists for an endpoint."""

    deployed: Deployed | None = None
    pods: tuple[ServingPod, ...] = ()
    complete: bool = True
    """Service and disruption budget are there."""

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
