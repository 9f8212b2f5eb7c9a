"""What specs say of pods, in every kind that makes some."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millrace.api.common import Model, Quantity

PullPolicy = Literal["Always", "IfNotPresent", "Never"]


class EnvVar(Model):
    """An environment variable of the program's container."""

    name: str = Field(min_length=1, max_length=253, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Name.")
    value: str = Field(default="", max_length=8192, description="Value.")


class PodResources(Model):
    """Resources of one pod."""

    cpu: Quantity = Field(default="1", description="CPU.")
    memory: Quantity = Field(default="2Gi", description="Memory request and limit.")
    gpus: int = Field(default=0, ge=0, le=64, description="nvidia.com/gpu per pod.")


class Toleration(Model):
    """As core/v1 Toleration."""

    key: str | None = Field(default=None, max_length=253, description="Taint key.")
    operator: Literal["Exists", "Equal"] = Field(default="Equal", description="How the key is matched.")
    value: str | None = Field(default=None, max_length=253, description="Taint value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(default=None, description="Taint effect.")


class PodPlacement(Model):
    """Where the pods may run."""

    node_selector: dict[str, Annotated[str, Field(max_length=253)]] | None = Field(
        default=None, max_length=32, description="Labels that the nodes must have."
    )
    tolerations: list[Toleration] | None = Field(default=None, max_length=32, description="Taints that are tolerated.")
