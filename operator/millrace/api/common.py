"""Types that several kinds share: the base model, conditions, references and the fields every spec and status has.

A field's Python name is snake_case; its API name is camelCase unless an alias says otherwise (acronyms keep their capitals:
`runID`, `roleARN`). Rules that the schema cannot express are CEL expressions, attached with :func:`cel`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

GROUP = "millrace.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
MAX_NAME_LENGTH = 40


class Model(BaseModel):
    """Base of every API type: immutable, camelCase on the wire, unknown fields ignored on reading (the schema prunes them)."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


def cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """`json_schema_extra` for a model or field: pairs of a CEL expression and the message shown when it is false."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


def exactly_one(*names: str) -> tuple[str, str]:
    """The rule that exactly one member of a union is set."""
    present = ", ".join(f"has(self.{name})" for name in names)
    quoted = ", ".join(f"`{name}`" for name in names)
    if len(names) == 1:
        return f"has(self.{names[0]})", f"{quoted} must be set"
    return f"[{present}].filter(x, x).size() == 1", f"exactly one of {quoted} must be set"


def same_member(*names: str) -> tuple[str, str]:
    """The rule that which member of a union is set never changes."""
    same = " && ".join(f"has(self.{name}) == has(oldSelf.{name})" for name in names)
    return same, f"which of {', '.join(f'`{name}`' for name in names)} is set may not change: make a new object"


Name = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
ClaimName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]
RelativePath = Annotated[
    str,
    Field(
        max_length=512,
        json_schema_extra=cel(
            (
                "!self.startsWith('/') && !self.split('/').exists(p, p == '..')",
                "must be relative and may not contain '..'",
            )
        ),
    ),
]
Decimal = Annotated[str, Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?$")]
Quantity = Annotated[str, Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$")]
Image = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\s]+$")]
KmsKeyID = Annotated[str, Field(min_length=1, max_length=2048)]
RoleARN = Annotated[str, Field(max_length=2048, pattern=r"^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+$")]
DeletionPolicy = Literal["Delete", "Retain"]
TagValue = Annotated[str, Field(max_length=256, pattern=r"^[\w .:/=+@-]*$")]
S3Uri = Annotated[str, Field(max_length=1024, pattern=r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\s]*)?$")]


class ClaimPath(Model):
    """A place on a PersistentVolumeClaim of the same namespace."""

    name: ClaimName = Field(description="Name of the PersistentVolumeClaim.")
    path: RelativePath = Field(default="", description="Folder on the claim, relative to its root.")


class ObjectReference(Model):
    """A reference to another Millrace object of the same namespace."""

    name: Annotated[str, Field(min_length=1, max_length=MAX_NAME_LENGTH)] = Field(description="Name of the object.")


class KeyReference(Model):
    """One key of a ConfigMap or Secret of the same namespace."""

    name: ClaimName = Field(description="Name of the ConfigMap or Secret.")
    key: str = Field(default="", max_length=253, description="Key to use; all keys when empty.")


class Condition(Model):
    """A Kubernetes condition, as metav1.Condition."""

    type: str = Field(max_length=64, description="Condition type.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(min_length=1, max_length=64, description="CamelCase reason; docs/reasons has a page for each.")
    message: str = Field(default="", max_length=4096, description="One plain sentence.")
    last_transition_time: str = Field(
        default="", json_schema_extra={"format": "date-time"}, description="When the status last changed."
    )
    observed_generation: int = Field(default=0, description="Generation of the spec that this condition is about.")


class CommonSpec(Model):
    """Fields of every kind's spec."""

    suspend: bool = Field(default=False, description="Free whatever runs or bills, and keep results.")
    deletion_policy: DeletionPolicy = Field(
        default="Delete", description="What becomes of what runs or bills when the object is deleted."
    )
    data_policy: DeletionPolicy = Field(
        default="Retain", description="What becomes of data (models, checkpoints, volumes) when the object is deleted."
    )
    service_account_name: ClaimName = Field(default="default", description="ServiceAccount of the pods that are made.")


class AccountSpec(CommonSpec):
    """Field of kinds that have members on AWS."""

    account_ref: ObjectReference | None = Field(
        default=None, description="CloudAccount of the same namespace that members on AWS use; `default` by default."
    )

    @property
    def account(self) -> str:
        """Name of the CloudAccount."""
        return self.account_ref.name if self.account_ref else "default"


class CloudSpec(AccountSpec):
    """Fields of kinds that make things on AWS."""

    tags: dict[str, TagValue] | None = Field(
        default=None,
        max_length=40,
        json_schema_extra=cel(
            (
                r"self.all(k, k.matches('^[A-Za-z0-9_ .:/=+@-]{1,128}$'))",
                "names have 1 to 128 letters, digits, blanks or _ . : / = + @ -",
            )
        ),
        description="Tags of what is made on AWS, beside Millrace's own.",
    )


class Cost(Model):
    """What it costs by the operator's price table; what has no price is left out, and is not nothing."""

    estimated_usd: Decimal | None = Field(default=None, alias="estimatedUSD", description="US dollars at most, as limited.")
    hourly_usd: Decimal | None = Field(default=None, alias="hourlyUSD", description="US dollars an hour while it is up.")
    accrued_usd: Decimal | None = Field(default=None, alias="accruedUSD", description="US dollars so far.")
    accrued_at: str | None = Field(
        default=None,
        json_schema_extra={"format": "date-time"},
        description="When accruedUSD was last reckoned, where it grows on.",
    )


class CommonStatus(Model):
    """Fields of every kind's status."""

    observed_generation: int = Field(default=-1, description="Generation of the spec that this status describes.")
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=32,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        description="Latest observations.",
    )
    external_id: str | None = Field(default=None, alias="externalID", description="Name or ARN of the thing that runs.")
    start_time: str | None = Field(default=None, json_schema_extra={"format": "date-time"}, description="When work first began.")
    completion_time: str | None = Field(
        default=None, json_schema_extra={"format": "date-time"}, description="When the object became final."
    )
    last_reconcile_at: str | None = Field(
        default=None, description="Value of the annotation millrace.dev/reconcile-at that was last honoured."
    )
