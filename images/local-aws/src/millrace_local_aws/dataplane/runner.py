"""The port between SageMaker's control plane and whatever runs its containers.

A runner starts and stops; what happens comes back through `Reports`, in the event loop's thread. All of a task is plain data, so
that a runner can be somewhere else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

UNHEALTHY = (
    "The primary container for production variant {variant} did not pass the ping health check. Please check CloudWatch logs for"
    " this endpoint."
)


@dataclass(frozen=True)
class Channel:
    """One input: where it lies in S3 and how it is described to the container."""

    name: str
    bucket: str
    prefix: str
    description: Mapping[str, Any]


@dataclass(frozen=True)
class TrainingTask:
    """One attempt of a training job. `id` is unique among all attempts; `checkpoints` is (bucket, prefix, local path)."""

    id: str
    job: str
    account: str
    region: str
    image: str
    entrypoint: tuple[str, ...]
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    hyperparameters: Mapping[str, str]
    instance_type: str
    instances: int
    channels: tuple[Channel, ...]
    output: tuple[str, str]
    checkpoints: tuple[str, str, str] | None
    isolated: bool = False


@dataclass(frozen=True)
class EndpointTask:
    """One variant's container. `model` is (bucket, key) of an archive, or (bucket, prefix/) of files, or None."""

    id: str
    endpoint: str
    variant: str
    account: str
    region: str
    image: str
    environment: Mapping[str, str]
    model: tuple[str, str] | None
    instance_type: str


@dataclass(frozen=True)
class Answer:
    """What a container answers; `body` comes as it is made."""

    status: int
    headers: Mapping[str, str]
    body: AsyncIterator[bytes]


@dataclass(frozen=True)
class Ended:
    """How a training container ended: its exit code, and what it wrote to /opt/ml/output/failure."""

    exit_code: int
    failure: str | None = None
    lost: bool = False
    metrics: Mapping[str, float] = field(default_factory=dict)


class Reports(Protocol):
    """What a runner tells the control plane."""

    def log(self, task: str, lines: list[str]) -> None:
        """The training container, or the variant's, wrote these lines."""

    def training_ended(self, task: str, ended: Ended) -> None:
        """After all files were stored in S3."""

    def endpoint_ready(self, task: str) -> None:
        """/ping answered 200."""

    def endpoint_failed(self, task: str, reason: str) -> None:
        """It never will."""


class Runner(ABC):
    """Runs containers. Tasks go by their ids; an unknown id is no error."""

    @abstractmethod
    def start_training(self, task: TrainingTask) -> None:
        """Inputs and checkpoints are there before the container starts, its output is in S3 before it is reported ended."""

    @abstractmethod
    def stop_training(self, task: str, *, kill: bool = False) -> None:
        """SIGTERM, or SIGKILL; then it is reported as ended."""

    @abstractmethod
    def start_endpoint(self, task: EndpointTask) -> None:
        """Reported ready, or failed."""

    @abstractmethod
    def stop_endpoint(self, task: str) -> None:
        """For good."""

    @abstractmethod
    async def invoke(self, task: str, body: bytes, headers: Mapping[str, str], path: str = "/invocations") -> Answer:
        """Raises ConnectionError where no container answers."""

    def knows(self, task: str) -> bool:
        """Whether it still has this training task; asked after a restart."""
        return False

    async def close(self) -> None:
        """Stop all that runs here."""
        return
