"""Kubernetes quantities as exact integers, because shared memory is added to a limit and a sum of strings is no sum."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

MIB = 1024**2
GIB = 1024**3
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?")
_FACTORS = {
    "m": Decimal("0.001"),
    **{unit: Decimal(1000**power) for power, unit in enumerate(("", "k", "M", "G", "T", "P"))},
    **{unit: Decimal(1024**power) for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), start=1)},
}


def millicores(quantity: str) -> int:
    """CPU in thousandths of a core, rounded up as the API server does. Raises ValueError for what is no quantity."""
    return _ceiling(_value(quantity) * 1000)


def in_bytes(quantity: str) -> int:
    """Memory in bytes, rounded up. Raises ValueError for what is no quantity."""
    return _ceiling(_value(quantity))


def cpu(amount: int) -> str:
    """Millicores as a quantity."""
    return f"{amount}m"


def memory(amount: int) -> str:
    """Bytes as a quantity: Mi where that is exact, else plain bytes."""
    return f"{amount // MIB}Mi" if amount % MIB == 0 else str(amount)


def _value(quantity: str) -> Decimal:
    parsed = _QUANTITY.fullmatch(quantity)
    if parsed is None:
        raise ValueError(f"{quantity!r} is no quantity")
    number, unit = parsed.groups(default="")
    return Decimal(number) * _FACTORS[unit]


def _ceiling(value: Decimal) -> int:
    return int(value.to_integral_value(rounding=ROUND_CEILING))
