"""Who signed: a key names an account's root, a user or a role's session.

A key of twelve digits is the root of that account, so that tests need no set-up; a key that nobody made is the root of the
default account, unless IAM is enforced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millrace_local_aws.wire.errors import AwsError
from millrace_local_aws.wire.sigv4 import Signed

if TYPE_CHECKING:
    from millrace_local_aws.world import World

DEFAULT_ACCOUNT = "123456789012"


@dataclass(frozen=True)
class Principal:
    """Kind is root, user, role or anonymous; `name` is the user's or role's."""

    kind: str
    account: str
    arn: str
    unique_id: str
    name: str = ""
    session_policy: str | None = None

    def names(self) -> tuple[tuple[str, str], ...]:
        """What a resource's or a trust policy may call it."""
        own = [("AWS", self.arn), ("AWS", self.account), ("AWS", f"arn:aws:iam::{self.account}:root")]
        if self.kind == "role":
            own.append(("AWS", f"arn:aws:iam::{self.account}:role/{self.name}"))
        return tuple(own)


def root(account: str) -> Principal:
    return Principal("root", account, f"arn:aws:iam::{account}:root", account)


ANONYMOUS = Principal("anonymous", "anonymous", "*", "anonymous")


def _session(record: dict[str, Any], signed: Signed, world: World) -> Principal:
    if world.clock.wall() >= record["expires"]:
        raise AwsError("ExpiredToken", "The security token included in the request is expired", 403)
    if signed.token != record["token"]:
        raise AwsError("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
    return Principal("role", record["account"], record["arn"], record["id"], record["role"], record.get("policy"))


def principal(world: World, signed: Signed) -> Principal:
    """Of a request's signature."""
    key = signed.key
    if key is None:
        return ANONYMOUS
    session = world.store.table("sts.session").get("", key)
    if session is not None:
        return _session(session, signed, world)
    made = world.store.table("iam.access-key").get("", key)
    if made is not None and made["Status"] == "Active":
        user = world.store.table("iam.user").get(made["account"], made["UserName"]) or {}
        return Principal("user", made["account"], user.get("Arn", ""), user.get("UserId", ""), made["UserName"])
    if key.isdigit() and len(key) == 12:
        return root(key)
    if made is not None or key.startswith("ASIA") or world.settings.enforce_iam:
        raise AwsError("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
    return root(DEFAULT_ACCOUNT)
