"""Prices by region, use and type: a dated table with its sources (prices.json), and what a deployment puts over it.

It exists so that a manifest's cost can be told before it runs. What no source states is not in it: such a type has no price,
which is never the same as costing nothing. The file of a deployment (a mounted ConfigMap) is read anew when it changes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

_FILE = "prices.json"
TRAINING = "sagemaker-training"
HOSTING = "sagemaker-hosting"

Table = Mapping[str, Mapping[str, Mapping[str, Decimal]]]
"""Region, use, type: US dollars an hour."""


class PricesBroken(Exception):
    """A table does not hold what this module expects; the message names the file and the place."""


@dataclass
class Prices:
    """The shipped table under a deployment's own; `file` "" is none."""

    file: str = ""
    _read: tuple[float, Table] | None = field(default=None)

    def hourly(self, region: str, use: str, type_: str) -> Decimal | None:
        """US dollars an hour, or None where it has no price. Raises PricesBroken."""
        for table in (self._own(), shipped()):
            found = table.get(region, {}).get(use, {}).get(type_)
            if found is not None:
                return found
        return None

    def _own(self) -> Table:
        """Read anew when it changed: the kubelet swaps a mounted ConfigMap under our feet."""
        path = Path(self.file)
        if not self.file or not path.exists():
            return {}
        changed = path.stat().st_mtime
        if self._read is None or self._read[0] != changed:
            self._read = (changed, parse(path.read_text(encoding="utf-8"), self.file))
        return self._read[1]


def about() -> dict[str, Any]:
    """Date, sources, unit and assumptions of the shipped table."""
    return {key: value for key, value in _document().items() if key != "prices"}


@cache
def shipped() -> Table:
    """The table that the operator comes with."""
    return parse(json.dumps(_document()), _FILE)


@cache
def _document() -> dict[str, Any]:
    return dict(json.loads(resources.files(__package__).joinpath(_FILE).read_text(encoding="utf-8")))


def parse(text: str, name: str) -> Table:
    """A table from its JSON; figures are decimal strings. Raises PricesBroken."""
    try:
        prices = json.loads(text)["prices"]
        return {
            region: {use: {t: _price(p, name, region, use, t) for t, p in types.items()} for use, types in uses.items()}
            for region, uses in prices.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PricesBroken(f"{name} has no table `prices` by region, use and type: {type(error).__name__}: {error}") from error


def _price(value: Any, name: str, *place: str) -> Decimal:
    try:
        price = Decimal(value) if isinstance(value, str) else Decimal("NaN")
    except InvalidOperation:
        price = Decimal("NaN")
    if not (price.is_finite() and price >= 0):
        raise PricesBroken(f"{name}: {' '.join(place)}: {value!r} is no decimal number in quotes")
    return price
