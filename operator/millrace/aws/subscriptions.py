"""What stays when everything that was made is gone: nobody but a person ends a subscription of AWS Marketplace. Pure."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
STAYS = "SubscriptionStays"


def left(product_arn: str | None, account: Object | None) -> str:
    """What is to be said of it; "" where nothing was used but what is the account's own. `account` is the CloudAccount."""
    own = str(((account or {}).get("status") or {}).get("accountID") or "")
    if not product_arn or not own or product_arn.split(":")[4] == own:
        return ""
    return f"Nothing of it runs or bills any more; the subscription to {product_arn} stays: end it on AWS Marketplace"
