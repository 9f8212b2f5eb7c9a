"""Costs: what is not known stays unknown, and a month's sum loses nothing that was told."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from millrace.aws import costs
from millrace.aws.costs import Ledger, advanced

D = Decimal
NOVEMBER = datetime(2026, 11, 21, tzinfo=UTC)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)

# amount, text
TEXTS = [
    ("0", "0.00"),
    ("0.00012345", "0.0001"),
    ("0.7364", "0.7364"),
    ("1.515", "1.52"),
    ("1234567.891", "1234567.89"),
    ("1E+3", "1000.00"),
]


@pytest.mark.parametrize(("value", "text"), TEXTS)
def test_money_is_text_without_exponents(value: str, text: str) -> None:
    assert costs.text(D(value)) == text


def test_what_has_no_price_is_left_out_and_not_zero() -> None:
    assert costs.of_time(None, 3600) is None
    assert costs.fields(None) is None
    assert costs.fields(D("1.515"), accrued=costs.of_time(D("1.515"), 1800)) == {"hourlyUSD": "1.52", "accruedUSD": "0.7575"}


# accrued, limit, exceeds, why
LIMITS = [
    (D("9.99"), "10", False, "below"),
    (D(10), "10.00", True, "at the limit is over it: it cannot be taken back"),
    (None, "10", False, "nobody knows what it costs"),
    (D(10), None, False, "no limit"),
]


@pytest.mark.parametrize(("accrued", "limit", "over", "why"), LIMITS)
def test_a_limit_is_kept(accrued: Decimal | None, limit: str | None, over: bool, why: str) -> None:
    assert costs.exceeds(accrued, limit) is over, why


STATUS = {"month": "2026-11", "monthUSD": "7.00", "accruedUSD": "5.00", "hourlyUSD": "1.00", "objects": 2}

# ledger, status, accrued, now, total, why
LEDGERS = [
    (None, None, {}, NOVEMBER, "0", "an account that nobody uses"),
    (None, None, {"a": D(3)}, NOVEMBER, "3", "a first look counts what is there"),
    (Ledger("2026-11", D(3), {"a": D(3)}), None, {"a": D(5)}, NOVEMBER, "5", "what an object grew by"),
    (Ledger("2026-11", D(5), {"a": D(5)}), None, {"b": D(1)}, NOVEMBER, "6", "what a deleted object cost stays"),
    (
        Ledger("2026-11", D(5), {"a": D(5)}),
        None,
        {"a": D(1)},
        NOVEMBER,
        "6",
        "a new run counts anew from zero, and takes nothing back",
    ),
    (Ledger("2026-11", D(5), {"a": D(5)}), None, {"a": D(6)}, DECEMBER, "1", "a new month begins with what came since"),
    (None, STATUS, {"a": D(6)}, NOVEMBER, "8.00", "after a restart: what came since the status was written"),
    (None, STATUS, {"a": D(2)}, NOVEMBER, "7.00", "after a restart: an object is gone, nothing is taken back"),
    (None, STATUS, {"a": D(6)}, DECEMBER, "1.00", "after a restart in another month"),
]


@pytest.mark.parametrize(("ledger", "status", "accrued", "now", "total", "why"), LEDGERS)
def test_a_month_adds_up(
    ledger: Ledger | None, status: dict[str, str] | None, accrued: dict[str, Decimal], now: datetime, total: str, why: str
) -> None:
    made = advanced(ledger, status, accrued, now)
    assert made.total == D(total), why
    assert made.month == now.strftime("%Y-%m")
    assert made.counted == accrued


def test_objects_that_tell_no_cost_are_left_out_of_the_sums() -> None:
    told = {"metadata": {"uid": "a"}, "status": {"cost": {"accruedUSD": "1.50", "hourlyUSD": "0.50"}}}
    silent = {"metadata": {"uid": "b"}, "status": {}}
    assert costs.accrued_by_uid([told, silent]) == {"a": D("1.50")}
    assert costs.hourly_of([told, silent]) == D("0.50")
