"""What things cost: before they run, while they run, and what has come together. Decimals; text in the API. Pure.

None is "has no price" and stays so through every sum: a cost that is not known must not look like none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

Object = dict[str, Any]
_CENT = Decimal("0.01")
_HOUR = Decimal(3600)


def text(amount: Decimal) -> str:
    """As the API has it: to the cent, or to a ten-thousandth where it is less than a dollar."""
    step = _CENT if amount >= 1 or amount == 0 else Decimal("0.0001")
    return format(amount.quantize(step, ROUND_HALF_UP), "f")


def amount(value: str | None) -> Decimal | None:
    """What a status field says."""
    return None if value is None else Decimal(value)


def of_time(hourly: Decimal | None, seconds: float) -> Decimal | None:
    """What running for so long costs."""
    return None if hourly is None else hourly * Decimal(str(round(seconds, 3))) / _HOUR


def at_most(hourly: Sequence[Decimal | None], seconds: int | None) -> Decimal | None:
    """What so much time costs on the dearest of several things; None where the time has no limit, or one of them no price."""
    known = [price for price in hourly if price is not None]
    return of_time(max(known), seconds) if seconds is not None and known and len(known) == len(hourly) else None


@dataclass(frozen=True)
class Estimate:
    """What an object would cost before it is made: an hour on each thing that it may run on, at least and at most."""

    hourly: tuple[tuple[str, Decimal | None], ...]
    """What it runs on, in the order of trying, and US dollars an hour; None where it has no price."""
    times: tuple[int, int] = (1, 1)
    """How many of it there are, at least and at most."""
    most: Decimal | None = None
    """US dollars in all at most."""
    bound: str = ""
    """The limit that `most` follows from."""
    note: str = ""
    warning: str = ""
    """What of the spec does not hold."""


def fields(hourly: Decimal | None, *, estimated: Decimal | None = None, accrued: Decimal | None = None) -> Object | None:
    """The status field `cost`; what has no price is left out of it."""
    told = {"estimatedUSD": estimated, "hourlyUSD": hourly, "accruedUSD": accrued}
    return {name: text(value) for name, value in told.items() if value is not None} or None


def exceeds(accrued: Decimal | None, limit: str | None) -> bool:
    """Whether a run has cost more than its `limits.maxCostUSD`; what has no price exceeds nothing."""
    return accrued is not None and limit is not None and accrued >= Decimal(limit)


@dataclass(frozen=True)
class Ledger:
    """What the objects of one account have cost in a month. `counted` is the accrued cost of each live object that is in it."""

    month: str
    total: Decimal
    counted: Mapping[str, Decimal]


def advanced(ledger: Ledger | None, status: Object | None, accrued: Mapping[str, Decimal], now: datetime) -> Ledger:
    """The ledger after another look at the objects' accrued costs, by uid.

    `status` is the account's costs as last written: where there is no ledger (the operator is new) what the objects have accrued
    in all since then is the month's too. An object that is gone leaves what it cost in the total.
    """
    month = now.strftime("%Y-%m")
    if ledger is None:
        total = _since_written(status, accrued, month)
    else:
        grown = sum((_growth(ledger.counted.get(uid, Decimal(0)), cost) for uid, cost in accrued.items()), Decimal(0))
        total = grown + (ledger.total if ledger.month == month else Decimal(0))
    return Ledger(month, total, dict(accrued))


def _growth(before: Decimal, cost: Decimal) -> Decimal:
    """A cost that fell is that of a new run, which began at nothing."""
    return cost - before if cost >= before else cost


def _since_written(status: Object | None, accrued: Mapping[str, Decimal], month: str) -> Decimal:
    now_all = sum(accrued.values(), Decimal(0))
    if not status:
        return now_all
    grown = max(Decimal(0), now_all - Decimal(status["accruedUSD"]))
    return grown + (Decimal(status["monthUSD"]) if status["month"] == month else Decimal(0))


def accrued_by_uid(objects: Iterable[Object]) -> dict[str, Decimal]:
    """What objects say of themselves."""
    told = ((o["metadata"]["uid"], amount(_cost(o).get("accruedUSD"))) for o in objects)
    return {uid: cost for uid, cost in told if cost is not None}


def hourly_of(objects: Iterable[Object]) -> Decimal:
    """What they cost an hour, those that have a price."""
    return sum((amount(_cost(o).get("hourlyUSD")) or Decimal(0) for o in objects), Decimal(0))


def _cost(obj: Object) -> Object:
    return (obj.get("status") or {}).get("cost") or {}
