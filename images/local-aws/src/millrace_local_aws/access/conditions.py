"""The Condition block of a policy statement."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from millrace_local_aws.wire.scalars import time_from

Context = Mapping[str, Any]


@cache
def _wildcard(pattern: str, *, fold: bool = False) -> re.Pattern[str]:
    text = "".join({"*": ".*", "?": "."}.get(char) or re.escape(char) for char in pattern)
    return re.compile(text, re.DOTALL | (re.IGNORECASE if fold else 0))


def like(pattern: str, value: str, *, fold: bool = False) -> bool:
    """AWS's wildcards: * for any run, ? for one character."""
    return _wildcard(pattern, fold=fold).fullmatch(value) is not None


def arn_like(pattern: str, value: str) -> bool:
    """Wildcards within each of an ARN's six parts."""
    wanted, found = pattern.split(":", 5), value.split(":", 5)
    return len(wanted) == len(found) and all(like(part, there) for part, there in zip(wanted, found, strict=True))


def _in_network(wanted: str, value: str) -> bool:
    return ipaddress.ip_address(value) in ipaddress.ip_network(wanted, strict=False)


_TESTS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": lambda wanted, value: wanted == value,
    "StringEqualsIgnoreCase": lambda wanted, value: wanted.lower() == value.lower(),
    "StringLike": like,
    "ArnEquals": arn_like,
    "ArnLike": arn_like,
    "NumericEquals": lambda wanted, value: float(value) == float(wanted),
    "NumericLessThan": lambda wanted, value: float(value) < float(wanted),
    "NumericLessThanEquals": lambda wanted, value: float(value) <= float(wanted),
    "NumericGreaterThan": lambda wanted, value: float(value) > float(wanted),
    "NumericGreaterThanEquals": lambda wanted, value: float(value) >= float(wanted),
    "DateEquals": lambda wanted, value: time_from(value) == time_from(wanted),
    "DateLessThan": lambda wanted, value: time_from(value) < time_from(wanted),
    "DateLessThanEquals": lambda wanted, value: time_from(value) <= time_from(wanted),
    "DateGreaterThan": lambda wanted, value: time_from(value) > time_from(wanted),
    "DateGreaterThanEquals": lambda wanted, value: time_from(value) >= time_from(wanted),
    "Bool": lambda wanted, value: wanted.lower() == value.lower(),
    "IpAddress": _in_network,
}
_NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
    "NotIpAddress": "IpAddress",
}
OPERATORS = frozenset(_TESTS) | frozenset(_NEGATED) | {"Null"}


def listed(value: Any) -> list[str]:
    """One value or a list of them, as text."""
    items = value if isinstance(value, list) else [value]
    return [str(item).lower() if isinstance(item, bool) else str(item) for item in items]


def base_operator(operator: str) -> str:
    """Without its quantifier and IfExists."""
    return operator.rpartition(":")[2].removesuffix("IfExists")


def _values(context: Context, key: str) -> list[str] | None:
    found = next((value for name, value in context.items() if name.lower() == key.lower()), None)
    return None if found is None else listed(found)


def _filled(text: str, context: Context) -> str:
    return re.sub(r"\$\{([\w:./-]+)\}", lambda found: (_values(context, found[1]) or [found[0]])[0], text)


def _holds(operator: str, key: str, wanted: list[str], context: Context) -> bool:
    base, values = base_operator(operator), _values(context, key)
    if base == "Null":
        return (values is None) == (wanted[0].lower() == "true")
    if not values:
        return operator.endswith("IfExists") or operator.startswith("ForAllValues:") or base in _NEGATED
    negated = base in _NEGATED
    test = _TESTS[_NEGATED.get(base, base)]
    outcomes = [any(test(_filled(one, context), value) for one in wanted) != negated for value in values]
    return any(outcomes) if operator.startswith("ForAnyValue:") else all(outcomes)


def satisfied(block: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    """Whether all conditions of the block hold."""
    return all(_holds(operator, key, listed(wanted), context) for operator, keys in block.items() for key, wanted in keys.items())
