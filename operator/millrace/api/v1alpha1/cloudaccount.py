"""CloudAccount: which AWS account, as whom, and within what budget."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millrace.api.common import CommonStatus, Decimal, DeletionPolicy, Model, RoleARN, cel, exactly_one
from millrace.api.resource import AGE, Column, Kind, summary_columns

AccountID = Annotated[str, Field(pattern=r"^[0-9]{12}$")]
EVENTS = ("managed", "queueURL")


class ManagedEvents(Model):
    """Millrace makes the rule and the queue."""


class AccountEvents(Model):
    """How changes of state are heard of; without it, and whenever events are lost, listings tell within a minute."""

    model_config = {"json_schema_extra": cel(exactly_one(*EVENTS))}

    managed: ManagedEvents | None = Field(
        default=None, description="Millrace makes an EventBridge rule and an SQS queue in the account, and removes them."
    )
    queue_url: Annotated[str, Field(max_length=1024, pattern=r"^https?://[^\s]+$")] | None = Field(
        default=None,
        alias="queueURL",
        description="An SQS queue that a rule of yours sends EventBridge events to; Millrace empties it.",
    )


class Budget(Model):
    """What the objects that use this account may cost in a calendar month (UTC), by Millrace's own reckoning."""

    monthly_usd: Decimal = Field(alias="monthlyUSD", description="US dollars a month.")
    on_exceeded: Literal["Warn", "Block"] = Field(
        default="Warn", description="Warn says so; Block also lets nothing begin that costs. What runs is never stopped by it."
    )


class QuotaIncrease(Model):
    """A quota that Millrace may ask AWS to raise."""

    quota: str = Field(
        min_length=1,
        max_length=128,
        pattern=r"^[^']+$",
        description="Name of the quota of SageMaker, as refusals and Service Quotas have it: ml.g5.12xlarge for endpoint usage.",
    )
    up_to: int = Field(ge=1, le=10000, description="Largest value that may be asked for.")


class CloudAccountSpec(Model):
    """Desired account."""

    model_config = {
        "json_schema_extra": cel(
            (
                "!has(self.roleARN) || !has(oldSelf.roleARN) || self.roleARN.split(':')[4] == oldSelf.roleARN.split(':')[4]",
                "the account of `roleARN` may not change: what was made in the old one would be lost; make a new object",
            ),
            (
                "!has(self.roleARN) || !has(self.expectedAccountID) || self.roleARN.split(':')[4] == self.expectedAccountID",
                "`roleARN` is a role of another account than `expectedAccountID`",
            ),
        )
    }

    suspend: bool = Field(default=False, description="Make no call in this account's name; what runs in it runs on.")
    deletion_policy: DeletionPolicy = Field(
        default="Delete", description="What becomes of the managed rule and queue when the object is deleted."
    )
    region: Annotated[str, Field(max_length=32, pattern=r"^[a-z]{2,4}(-[a-z]+)+-[0-9]+$")] = Field(
        description="Region of every call.",
        json_schema_extra=cel(("self == oldSelf", "`region` may not change: what was made in the old one would be lost")),
    )
    expected_account_id: AccountID | None = Field(
        default=None,
        alias="expectedAccountID",
        description="The account that it must be; another answer of STS stops everything.",
    )
    role_arn: RoleARN | None = Field(
        default=None,
        alias="roleARN",
        description="Role to assume, always with the external id in status.trust; the operator's own identity by default.",
    )
    pod_role_arn: RoleARN | None = Field(
        default=None,
        alias="podRoleARN",
        description="Role that pods assume with their ServiceAccount's token where they read or write S3 themselves; by default "
        "they come with an identity of their own, as EKS Pod Identity or IRSA give it.",
    )
    endpoint_url: Annotated[str, Field(max_length=1024, pattern=r"^https?://[^\s/]+/?$")] | None = Field(
        default=None,
        alias="endpointURL",
        description="Where calls go instead of AWS; only where the operator was installed with aws.customEndpoints.",
    )
    events: AccountEvents | None = Field(default=None, description="How changes of state are heard of.")
    budget: Budget | None = Field(default=None, description="What the objects that use this account may cost.")
    quota_increases: list[QuotaIncrease] | None = Field(
        default=None,
        max_length=64,
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["quota"]},
        description="Quotas that AWS is asked to raise when something waits for one: as far as it needs, once, and never any "
        "other.",
    )


class Trust(Model):
    """What the role's trust policy needs."""

    external_id: str = Field(alias="externalID", description="Value of sts:ExternalId: cluster id and namespace.")


class MissingAction(Model):
    """An IAM action that AWS refused."""

    action: str = Field(description="The action, as in a policy.")
    identity: str | None = Field(default=None, description="Who lacks it, where AWS says so.")


class AccountCosts(Model):
    """Costs of the objects that use this account, by the operator's price table."""

    month: str = Field(description="The calendar month that monthUSD is of.")
    month_usd: Decimal = Field(alias="monthUSD", description="US dollars accrued in the month, deleted objects included.")
    accrued_usd: Decimal = Field(
        alias="accruedUSD", description="US dollars accrued by the objects that exist, since each began."
    )
    hourly_usd: Decimal = Field(alias="hourlyUSD", description="US dollars an hour while everything stays as it is.")
    objects: int = Field(description="Objects that use this account.")
    unpriced: int = Field(default=0, description="Objects of these that run something without a price.")


class EventsStatus(Model):
    """What is listened to."""

    queue_url: str = Field(alias="queueURL", description="The queue.")
    last_event_time: str | None = Field(
        default=None, json_schema_extra={"format": "date-time"}, description="When an event last came, to the minute."
    )


class CloudAccountStatus(CommonStatus):
    """Who it turned out to be, and how it stands."""

    account_id: str | None = Field(default=None, alias="accountID", description="The AWS account, as STS says.")
    identity_arn: str | None = Field(default=None, alias="identityARN", description="Who calls are made as, as STS says.")
    trust: Trust | None = Field(default=None, description="What the role's trust policy needs.")
    missing_iam_actions: list[MissingAction] | None = Field(
        default=None,
        max_length=64,
        alias="missingIAMActions",
        description="What AWS refused to any object that uses this account, and has not granted since.",
    )
    costs: AccountCosts | None = Field(default=None, description="Costs of the objects that use this account.")
    events: EventsStatus | None = Field(default=None, description="What is listened to.")


KIND = Kind(
    name="CloudAccount",
    plural="cloudaccounts",
    short_names=("ca",),
    spec=CloudAccountSpec,
    status=CloudAccountStatus,
    summary="Ready",
    description="Which AWS account objects of the namespace use, as whom, how its events are heard, and what it may cost.",
    columns=(
        *summary_columns("Ready"),
        Column("Account", ".status.accountID", description="The AWS account."),
        Column("Region", ".spec.region", description="Region of every call."),
        Column("Month", ".status.costs.monthUSD", description="US dollars accrued in this calendar month."),
        Column("Hourly", ".status.costs.hourlyUSD", description="US dollars an hour."),
        Column(
            "Permitted",
            '.status.conditions[?(@.type=="Permitted")].status',
            description="False while IAM refuses calls of any object that uses the account.",
            priority=1,
        ),
        Column("Identity", ".status.identityARN", description="Who calls are made as.", priority=1),
        AGE,
    ),
)
