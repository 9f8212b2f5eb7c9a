"""Names, ARNs and ids in AWS's forms."""

from __future__ import annotations

import secrets
import string
import uuid

UPPER = string.ascii_uppercase + "234567"


def arn(service: str, region: str, account: str, resource: str, partition: str = "aws") -> str:
    return f"arn:{partition}:{service}:{region}:{account}:{resource}"


def unique(prefix: str, length: int = 17) -> str:
    """As IAM's: a prefix and upper-case letters."""
    return prefix + "".join(secrets.choice(UPPER) for _ in range(length))


def version() -> str:
    """An S3 version's id."""
    return secrets.token_urlsafe(24)


def new_uuid() -> str:
    return str(uuid.uuid4())
