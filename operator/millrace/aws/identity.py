"""Who calls are made as, without anything of botocore."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Identity:
    """Where, and as whom. `role_arn` "" is the operator's own identity; `endpoint_url` "" is AWS itself."""

    region: str
    role_arn: str = ""
    external_id: str = ""
    session_name: str = "millrace"
    endpoint_url: str = ""


@dataclass(frozen=True)
class Standing:
    """What the CloudAccount's status says that concerns whoever uses it."""

    account_id: str
    blocked: str = ""
    """Why nothing that costs may begin; "" where it may."""
    pod_role_arn: str = ""
    """Role that pods assume; "" where they have an identity of their own."""
    quota_increases: tuple[tuple[str, int], ...] = ()
    """Quotas that may be asked to be raised, and up to what."""
