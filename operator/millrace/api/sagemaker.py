"""What kinds with a member on SageMaker share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from millrace.api.common import Model

InstanceType = Annotated[str, Field(max_length=64, pattern=r"^ml\.[a-z0-9-]+\.[a-z0-9-]+$")]
InstanceTypes = Annotated[list[InstanceType], Field(min_length=1, max_length=8)]
"""In the order in which they are tried."""
NetworkID = Annotated[str, Field(min_length=1, max_length=32, pattern=r"^[-0-9a-zA-Z]+$")]


class Vpc(Model):
    """The network that the instances are in."""

    subnets: list[NetworkID] = Field(min_length=1, max_length=16, description="Subnets.")
    security_group_ids: list[NetworkID] = Field(
        alias="securityGroupIDs", min_length=1, max_length=5, description="Security groups."
    )


class PassedOver(Model):
    """An instance type that could not be had."""

    instance_type: str = Field(description="The instance type.")
    reason: str = Field(max_length=512, description="What AWS said.")


class Licence(Model):
    """The licence of a gated model, and who accepted it."""

    model_id: str = Field(alias="modelID", description="The hub's model.")
    version: str = Field(description="Its version in the hub.")
    uri: str | None = Field(default=None, description="Where the hub says that the licence is.")
    accepted_by: str | None = Field(
        default=None, description="Field manager that set acceptEULA: a program such as kubectl or a GitOps tool, not a person."
    )
    accepted_at: str | None = Field(
        default=None,
        json_schema_extra={"format": "date-time"},
        description="When that manager last wrote, as of the first use of the model.",
    )


class JumpStartModel(Model):
    """A model of SageMaker's public hub."""

    model_id: str = Field(
        alias="modelID",
        max_length=63,
        pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$",
        description="Name in the hub, such as huggingface-llm-falcon2-11b.",
    )
    version: Annotated[str, Field(max_length=14, pattern=r"^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}$")] | None = Field(
        default=None,
        description="Version in the hub; where none is named an endpoint takes the newest when it is first made, and keeps it.",
    )
    accept_eula: bool = Field(
        default=False, alias="acceptEULA", description="Accept the licence of a gated model; others do without."
    )
