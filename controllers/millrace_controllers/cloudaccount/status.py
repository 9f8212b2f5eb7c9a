"""What a CloudAccount says of itself: pure functions from what was observed to conditions and fields. Its reasons live here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from millrace.api.v1alpha1.cloudaccount import Budget
from millrace.aws.resolve import WITHIN_BUDGET
from millrace.engine import conditions, reasons
from millrace.engine.clock import stamp
from millrace.engine.errors import MillraceError, Waiting
from millrace.engine.outcome import Event, Outcome, Verdict
from millrace.engine.reasons import Reason
from millrace_controllers.cloudaccount.plan import (
    AccountMismatch,
    ClusterUnknown,
    Costs,
    EndpointNotAllowed,
    Heard,
    Observed,
    OwnIdentityNotAllowed,
)

Object = dict[str, Any]


class Action(Protocol):
    """An IAM action that was denied."""

    @property
    def action(self) -> str:
        """As in a policy."""
        ...

    @property
    def identity(self) -> str:
        """Who lacks it; "" where AWS does not say."""
        ...


Missing = Sequence[Action]

AUTHENTICATED = Reason("Authenticated", "AWS said who calls are made as; objects may use the account.", "Nothing.")
CONNECTING = Reason(
    "Connecting",
    "AWS is about to be asked who calls are made as.",
    "Wait; if the role refuses, give its trust policy the external id of status.trust.",
)
ACCOUNT_MISMATCH = Reason(
    "AccountMismatch",
    "AWS says that it is another account than the one expected; nothing is done in it.",
    "Correct spec.expectedAccountID or spec.roleARN, or the operator's own role; for another account make a new object.",
)
ENDPOINT_NOT_ALLOWED = Reason(
    "EndpointNotAllowed",
    "spec.endpointURL is set, and the operator was installed without aws.customEndpoints.",
    "Remove spec.endpointURL, or have the chart installed with aws.customEndpoints: true.",
)
OWN_IDENTITY_NOT_ALLOWED = Reason(
    "OwnIdentityNotAllowed",
    "spec.roleARN is missing, and the operator was installed with aws.ownIdentity: false.",
    "Name a role in spec.roleARN whose trust policy has the external id of status.trust.",
)
CLUSTER_UNKNOWN = Reason(
    "ClusterUnknown",
    "The external id cannot be told: the operator may not read the namespace kube-system, and aws.clusterID is not set.",
    "Set the chart's value aws.clusterID to any text that is this cluster's alone and never changes.",
)
NOTHING_DENIED = Reason("NothingDenied", "No call of any object that uses the account is refused by IAM.", "Nothing.")
ACTIONS_DENIED = Reason(
    "ActionsDenied",
    "IAM refused calls of objects that use the account.",
    "Allow the actions of status.missingIAMActions to the role; the objects go on by themselves.",
)
LISTENING = Reason("Listening", "Events of the account are listened to; changes are seen at once.", "Nothing.")
NOT_LISTENING = Reason(
    "NotListening",
    "Events cannot be listened to; changes are seen by listings, within a minute.",
    "Read the message; mend the queue, the rule or the permission.",
)
WITHIN = Reason("WithinBudget", "What the objects cost this month is within spec.budget.", "Nothing.")
IN_USE = Reason(
    "InUse",
    "The CloudAccount is being deleted, but objects that use it still need it to take their own things down.",
    "Delete the objects that the message names first, or let them use another account.",
)
REASONS = (
    AUTHENTICATED, CONNECTING, ACCOUNT_MISMATCH, ENDPOINT_NOT_ALLOWED, OWN_IDENTITY_NOT_ALLOWED, CLUSTER_UNKNOWN, NOTHING_DENIED,
    ACTIONS_DENIED, LISTENING, NOT_LISTENING, WITHIN, IN_USE,
)  # fmt: skip

_NAMED: tuple[tuple[type[MillraceError], Reason], ...] = (
    (AccountMismatch, ACCOUNT_MISMATCH),
    (EndpointNotAllowed, ENDPOINT_NOT_ALLOWED),
    (OwnIdentityNotAllowed, OWN_IDENTITY_NOT_ALLOWED),
    (ClusterUnknown, CLUSTER_UNKNOWN),
)
AT_ONCE = 0.1
LOOK_AGAIN = 300.0
_SOON = 60.0


def connecting(trust: Object) -> Outcome:
    """Before the first call."""
    message = "AWS is about to be asked who calls are made as"
    return Outcome(_not_yet(CONNECTING, message), {"trust": trust}, requeue_after=AT_ONCE)


def suspended() -> Outcome:
    """No call is made."""
    verdict = Verdict("Ready", "False", reasons.SUSPENDED.name, "No call is made in this account's name")
    return Outcome((verdict,), {"events": None})


def ready(
    old: Object,
    observed: Observed,
    missing: Missing,
    cost: Costs,
    heard: Heard | None,
    deaf: MillraceError | None,
    budget: Budget | None,
) -> Outcome:
    """AWS said who we are."""
    message = f"Calls are made as {observed.arn} in account {observed.account_id}"
    verdicts = [Verdict("Ready", "True", AUTHENTICATED.name, message), permitted(missing)]
    verdicts += listening(heard, deaf) + within(cost, budget)
    fields = {
        "accountID": observed.account_id,
        "identityARN": observed.arn,
        "externalID": observed.arn,
        "missingIAMActions": listed(missing),
        "costs": cost.fields,
        "events": _events(old, heard) if deaf is None else old.get("events"),
    }
    return Outcome(tuple(verdicts), fields, _told(old, verdicts), requeue_after=LOOK_AGAIN if deaf is None else _SOON)


def permitted(missing: Missing) -> Verdict:
    """Whether IAM refuses anything."""
    if not missing:
        return Verdict("Permitted", "True", NOTHING_DENIED.name, "Nothing is refused by IAM")
    actions = sorted({m.action for m in missing})
    return Verdict("Permitted", "False", ACTIONS_DENIED.name, f"IAM refuses {', '.join(actions)}")


def listening(heard: Heard | None, deaf: MillraceError | None) -> list[Verdict]:
    """No condition where the spec says nothing of events."""
    if deaf is not None:
        return [Verdict("Listening", "False", NOT_LISTENING.name, deaf.message)]
    return [Verdict("Listening", "True", LISTENING.name, f"Events come by {heard.queue_url}")] if heard else []


def within(cost: Costs, budget: Budget | None) -> list[Verdict]:
    """No condition where there is no budget. The message tells no changing figure: status.costs does."""
    if budget is None:
        return []
    if not cost.over_budget:
        return [Verdict(WITHIN_BUDGET, "True", WITHIN.name, f"The month is within {budget.monthly_usd} USD")]
    then = "nothing that costs may begin" if budget.on_exceeded == "Block" else "work goes on"
    return [
        Verdict(
            WITHIN_BUDGET, "False", reasons.BUDGET_EXCEEDED.name, f"The month has cost {budget.monthly_usd} USD or more: {then}"
        )
    ]


def listed(missing: Missing) -> list[Object] | None:
    """The status field."""
    made = [{"action": m.action, **({"identity": m.identity} if m.identity else {})} for m in missing]
    return made[:64] or None


def _events(old: Object, heard: Heard | None) -> Object | None:
    """What an operator before this one heard stays known."""
    if heard is None:
        return None
    before = old.get("events") or {}
    last = stamp(heard.last) if heard.last else before.get("lastEventTime")
    return {"queueURL": heard.queue_url, **({"lastEventTime": last} if last else {})}


def _told(old: Object, verdicts: Sequence[Verdict]) -> tuple[Event, ...]:
    """An Event for what turned bad."""
    before = {c["type"]: c["status"] for c in old.get("conditions") or ()}
    turned = (v for v in verdicts if v.status == "False" and before.get(v.type) != "False")
    return tuple(Event(v.reason, v.message, "Warning") for v in turned)


def refused(old: Object, error: MillraceError, missing: Missing) -> Outcome:
    """AWS, or the installer, says no."""
    verdicts = explain({}, error) or conditions.for_error("Ready", error)
    after = error.after if isinstance(error, Waiting) else None
    before = conditions.find(old.get("conditions"), "Ready") or {}
    told = () if before.get("reason") == verdicts[0].reason else (Event(verdicts[0].reason, error.message, "Warning"),)
    return Outcome((*verdicts, permitted(missing)), {"missingIAMActions": listed(missing)}, told, requeue_after=after)


def in_use(old: Object, names: str) -> Outcome:
    """Being deleted, and still needed: for those who need it nothing changes."""
    message = f"Still used by {names}"
    kept = tuple(v for v in conditions.held(old) if v.type not in {"Reconciling", "Stalled"})
    return Outcome((*kept, Verdict("Reconciling", "True", IN_USE.name, message)), requeue_after=5)


def explain(obj: Object, error: BaseException) -> tuple[Verdict, ...] | None:
    """Conditions for the errors that only this kind can name.

    One that passes by itself does not take Ready away: objects that use the account would all stop for a call that is repeated in
    a moment.
    """
    for type_, reason in _NAMED:
        if isinstance(error, type_):
            return _stopped(reason, error.message) if not isinstance(error, Waiting) else _not_yet(reason, error.message)
    return conditions.unharmed(obj, "Ready", error)


def _not_yet(reason: Reason, message: str) -> tuple[Verdict, ...]:
    return Verdict("Ready", "False", reason.name, message), Verdict("Reconciling", "True", reason.name, message)


def _stopped(reason: Reason, message: str) -> tuple[Verdict, ...]:
    return Verdict("Ready", "False", reason.name, message), Verdict("Stalled", "True", reason.name, message)
