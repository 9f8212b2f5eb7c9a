"""Condition reasons that every kind shares. A kind's own are in its status.py; docs/reasons has a generated page for each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reason:
    """A documented reason: what it means, and what the reader does next."""

    name: str
    meaning: str
    next_step: str

    def __str__(self) -> str:
        return self.name


RETRYING = Reason(
    "RetryingAfterError",
    "A call failed in a way that usually passes; it is repeated with growing pauses.",
    "Wait. If it stays for minutes, read the message: it holds the last error; the operator's log has the pass.",
)
INTERNAL_ERROR = Reason(
    "InternalError",
    "The operator met an error that it does not know; it keeps trying.",
    "Look at the operator's log for the pass id and report it with the log lines.",
)
DENIED = Reason(
    "PermissionDenied",
    "The API server refused a call (missing RBAC, a quota, or an admission plugin), or AWS did (a missing IAM action).",
    "Grant what the message names, or change the quota or policy; the object goes on by itself. status.missingIAMActions of the "
    "CloudAccount has all that AWS refused.",
)
REFUSED = Reason(
    "InvalidSpec",
    "What the spec leads to is refused as invalid.",
    "Change the spec as the message says.",
)
NAME_CONFLICT = Reason(
    "NameConflict",
    "A name that is needed is taken by an object that Millrace did not make.",
    "Rename or delete that object, or rename this one.",
)
SUSPENDED = Reason(
    "Suspended",
    "spec.suspend is true: what ran was freed, results are kept.",
    "Set spec.suspend to false to go on.",
)
DELETING = Reason(
    "Deleting",
    "The object is being deleted and what it made is being taken down.",
    "Wait; the message says what is still there.",
)

QUOTA_EXCEEDED = Reason(
    "QuotaExceeded",
    "A limit of the AWS account is reached: the object waits, as in a queue, until there is room.",
    "Wait for others to end, or ask for more of the quota that the message names (AWS Service Quotas); with quotaIncreases of "
    "the CloudAccount Millrace asks, and the message says how it stands.",
)
NOT_SUBSCRIBED = Reason(
    "NotSubscribed",
    "The AWS account has not subscribed to the product that the spec names.",
    "Subscribe to it in AWS Marketplace with an administrator of the account; the object goes on by itself: at once where the "
    "CloudAccount listens to events in us-east-1, else within a quarter of an hour, or when millrace.dev/reconcile-at is set.",
)
ACCOUNT_NOT_READY = Reason(
    "AccountNotReady",
    "The CloudAccount that the object uses does not exist or is not Ready.",
    "Read the CloudAccount's own conditions; the object goes on by itself when it becomes Ready.",
)
BUDGET_EXCEEDED = Reason(
    "BudgetExceeded",
    "The CloudAccount's budget of this month is spent and its policy is Block: nothing that costs may begin.",
    "Raise spec.budget of the CloudAccount, or wait for the next month; what runs already runs on.",
)

SHARED = (
    RETRYING,
    INTERNAL_ERROR,
    DENIED,
    REFUSED,
    NAME_CONFLICT,
    SUSPENDED,
    DELETING,
    QUOTA_EXCEEDED,
    NOT_SUBSCRIBED,
    ACCOUNT_NOT_READY,
    BUDGET_EXCEEDED,
)
