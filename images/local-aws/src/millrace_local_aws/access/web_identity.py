"""Tokens of an OpenID Connect provider, such as a cluster that issues them to ServiceAccounts.

The provider must be registered, the audience its client's, the token not expired. Signatures are not verified, as those of
requests are not (ADR 0007).
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from millrace_local_aws.wire.errors import AwsError

if TYPE_CHECKING:
    from millrace_local_aws.world import World


@dataclass(frozen=True)
class WebIdentity:
    """Who a provider of an account says that somebody is. `issuer` is without its scheme, as ARNs and condition keys have it."""

    issuer: str
    provider: str
    subject: str
    audience: str


def identified(world: World, token: str, account: str) -> WebIdentity:
    """By a token, for a role of this account. Raises InvalidIdentityToken or ExpiredTokenException."""
    claims = _claims(token)
    issuer = str(claims.get("iss", "")).partition("://")[2]
    provider = f"arn:aws:iam::{account}:oidc-provider/{issuer}"
    registered = world.store.table("iam.oidc-provider").get(account, provider)
    if registered is None:
        raise _invalid(f"No OpenIDConnect provider found in your account for {claims.get('iss')}")
    audiences = claims.get("aud", [])
    named = [audiences] if isinstance(audiences, str) else list(audiences)
    audience = next((a for a in named if a in registered["ClientIDList"]), None)
    if audience is None:
        raise _invalid("Incorrect token audience")
    now, until = int(world.clock.wall()), claims.get("exp", 0)
    if now >= float(until):
        message = f"Token expired: current date/time {now} must be before the expiration date/time {until}"
        raise AwsError("ExpiredTokenException", message, 400)
    return WebIdentity(issuer, provider, str(claims.get("sub", "")), audience)


def _claims(token: str) -> dict[str, Any]:
    try:
        _, body, _ = token.split(".")
        return dict(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))))
    except (ValueError, TypeError) as error:
        raise _invalid(f"The ID Token provided is not a valid JWT: {error}") from error


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidIdentityToken", message, 400)
