"""From a CloudAccount object to the identity that calls are made as, if the settings and its status let them. Pure.

Whoever uses an account checks all of it anew: a status of yesterday may be Ready by settings that hold no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from millrace.api.v1alpha1.cloudaccount import KIND, CloudAccountSpec
from millrace.aws.errors import AccountNotReady, EndpointRefused, OwnIdentityRefused
from millrace.aws.identity import Identity, Standing
from millrace.aws.settings import AwsSettings

Object = dict[str, Any]
ACCOUNTS = KIND.plural
WITHIN_BUDGET = "WithinBudget"
"""Condition of a CloudAccount: False once the month has cost more than its budget."""


def account_name(obj: Object) -> str:
    """Name of the CloudAccount that an object uses, as the API server gives it; of a parsed spec `account` is the same."""
    return str((obj["spec"].get("accountRef") or {}).get("name") or "default")


@dataclass(frozen=True)
class Resolved:
    """Who to be, and how the account stands."""

    identity: Identity
    standing: Standing


def resolve(obj: Object, settings: AwsSettings, cluster_id: str, *, must_be_ready: bool) -> Resolved:
    """Raises AccountNotReady, EndpointRefused or OwnIdentityRefused."""
    spec = CloudAccountSpec.model_validate(obj["spec"])
    name = obj["metadata"]["name"]
    check(spec, settings)
    if must_be_ready and (why := _not_ready(obj, spec)):
        raise AccountNotReady(f"CloudAccount {name!r} {why}")
    return Resolved(identity(obj, spec, settings, cluster_id), standing(obj, spec))


def check(spec: CloudAccountSpec, settings: AwsSettings) -> None:
    """What the installer does not allow. Raises EndpointRefused or OwnIdentityRefused."""
    if spec.endpoint_url and not settings.custom_endpoints:
        raise EndpointRefused("spec.endpointURL is set, but the operator is installed without aws.customEndpoints")
    if not spec.role_arn and not settings.own_identity:
        raise OwnIdentityRefused("spec.roleARN must be set: the operator is installed without aws.ownIdentity")


def identity(obj: Object, spec: CloudAccountSpec, settings: AwsSettings, cluster_id: str) -> Identity:
    """Who to be. A role is never assumed without the external id. Raises AccountNotReady."""
    namespace = obj["metadata"]["namespace"]
    if spec.role_arn and not cluster_id:
        raise AccountNotReady(
            "the external id is not known: let the operator read the namespace kube-system, or set aws.clusterID"
        )
    return Identity(
        region=spec.region,
        role_arn=spec.role_arn or "",
        external_id=external_id(cluster_id, namespace) if spec.role_arn else "",
        session_name=f"millrace-{namespace}"[:64],
        endpoint_url=spec.endpoint_url or settings.endpoint_url,
    )


def external_id(cluster_id: str, namespace: str) -> str:
    """Nobody chooses it: a tenant who names another's role cannot send the id that the role's policy asks for."""
    return f"{cluster_id}/{namespace}"


def standing(obj: Object, spec: CloudAccountSpec) -> Standing:
    """What the status says that concerns whoever uses the account."""
    status = obj.get("status") or {}
    over = _condition(obj, WITHIN_BUDGET)
    blocks = spec.budget is not None and spec.budget.on_exceeded == "Block"
    why = f"CloudAccount {obj['metadata']['name']!r}: {over.get('message')}" if over.get("status") == "False" and blocks else ""
    increases = tuple((each.quota, each.up_to) for each in spec.quota_increases or ())
    return Standing(str(status.get("accountID") or ""), why, spec.pod_role_arn or "", increases)


def concerns_users(obj: Object) -> tuple[Any, ...]:
    """What of a CloudAccount those that use it depend on; its costs, which change all the time, are not."""
    metadata = obj["metadata"]
    states = tuple(_condition(obj, type_).get("status") for type_ in ("Ready", WITHIN_BUDGET))
    return metadata.get("generation"), bool(metadata.get("deletionTimestamp")), *states


def _not_ready(obj: Object, spec: CloudAccountSpec) -> str:
    if spec.suspend:
        return "is suspended"
    ready = _condition(obj, "Ready")
    if ready.get("status") == "True" and ready.get("observedGeneration") == obj["metadata"].get("generation"):
        return ""
    return f"is not Ready: {ready['message']}" if ready.get("message") else "is not Ready"


def _condition(obj: Object, type_: str) -> Object:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == type_), {})
