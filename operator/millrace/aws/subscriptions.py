"""Subscriptions of AWS Marketplace, which nobody but a person begins and ends: who waits for one, and what stays. Pure."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
STAYS = "SubscriptionStays"
AWAITED = "marketplace-subscriptions"
"""Id of what is waited for, in events.toml: an agreement's event does not name its product, so it wakes all who wait for one."""
_REASON = "NotSubscribed"
_SELDOM, _SOON = 900.0, 300.0


def awaited(obj: Object) -> tuple[str, ...]:
    """The things outside that wake an object which waits for a subscription; none for others."""
    told = (obj.get("status") or {}).get("conditions") or ()
    return (AWAITED,) if any(c.get("reason") == _REASON for c in told) else ()


def look_again(waited: float) -> float:
    """Seconds until it is looked at without an event: after as long again as it has waited, within bounds."""
    return min(_SELDOM, max(_SOON, waited))


def left(product_arn: str | None, account: Object | None) -> str:
    """What is to be said of it; "" where nothing was used but what is the account's own. `account` is the CloudAccount."""
    own = str(((account or {}).get("status") or {}).get("accountID") or "")
    if not product_arn or not own or product_arn.split(":")[4] == own:
        return ""
    return f"Nothing of it runs or bills any more; the subscription to {product_arn} stays: end it on AWS Marketplace"
