"""What objects would cost, as `millrace plan` says it: by the price table that this command line has.

The region is that of the object's CloudAccount, from the same manifests or from the cluster; without it nothing has a price.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from millrace.aws import costs
from millrace.aws.costs import Estimate
from millrace.aws.resolve import ACCOUNTS, account_name
from millrace.cli.cluster import Connection, kind_named
from millrace.data.prices import Prices
from millrace.engine.controller import Controller
from millrace.kube.errors import ApiError
from millrace.kube.resources import of_kind

Object = dict[str, Any]


async def region_of(connection: Connection | None, obj: Object, planned: Iterable[Object]) -> str | None:
    """The region of the object's account: as planned, else as it is in the cluster. None where it is not known."""
    name, namespace = account_name(obj), obj["metadata"].get("namespace")
    for each in planned:
        metadata = each.get("metadata") or {}
        there = metadata.get("namespace") in {None, namespace}
        if each.get("kind") == "CloudAccount" and metadata.get("name") == name and there:
            return str((each.get("spec") or {}).get("region") or "") or None
    found = await _in_the_cluster(connection, namespace, name) if connection else None
    return str(found["spec"]["region"]) if found else None


async def _in_the_cluster(connection: Connection, namespace: str | None, name: str) -> Object | None:
    """Whoever may not look at accounts still gets a plan."""
    try:
        return await connection.client.find(of_kind(kind_named(ACCOUNTS).kind), namespace, name)
    except ApiError:
        return None


def lines(controller: Controller, obj: Object, region: str | None, prices: Prices) -> Iterator[str]:
    """What an object would cost; nothing for one that runs in the cluster."""

    def price(use: str, type_: str) -> Decimal | None:
        return prices.hourly(region, use, type_) if region else None

    made = controller.estimate(obj, price)
    if made is None:
        return
    if region is None:
        yield f"cost: not known, for the region of CloudAccount {account_name(obj)!r} is not"
        return
    yield from said(made, region)


def said(made: Estimate, region: str) -> Iterator[str]:
    """An estimate in words."""
    note = f" ({made.note})" if made.note else ""
    if not made.hourly:
        yield f"cost: not known, for the instance type is that of the hub's card{note}"
    for name, hourly in made.hourly:
        yield f"cost on {name}: " + (
            f"no price is known in {region}" if hourly is None else f"{_an_hour(hourly, made.times)}{note}"
        )
    if made.most is not None:
        yield f"cost in all: at most {costs.text(made.most)} USD, by {made.bound}"
    if made.warning:
        yield f"cost in all: not known: {made.warning}"


def _an_hour(hourly: Decimal, times: tuple[int, int]) -> str:
    least, most = (costs.text(hourly * count) for count in times)
    between = f"{least} to {most}" if times[0] != times[1] else least
    return f"{between} USD an hour"
