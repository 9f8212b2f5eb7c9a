"""Event patterns: what EventBridge matches events with."""

from __future__ import annotations

import ipaddress
import json
import operator
from collections.abc import Callable, Mapping
from typing import Any

from millrace_local_aws.access.conditions import like
from millrace_local_aws.wire.errors import AwsError

_MISSING = object()
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FILTERS = frozenset({"prefix", "suffix", "anything-but", "exists", "numeric", "equals-ignore-case", "wildcard", "cidr"})


def parsed(text: str) -> dict[str, Any]:
    """A pattern, or InvalidEventPatternException."""
    try:
        pattern = json.loads(text)
    except ValueError as error:
        raise _invalid("Source: JSON") from error
    if not isinstance(pattern, dict) or not pattern:
        raise _invalid("Empty patterns are not allowed")
    _check(pattern)
    return pattern


def _invalid(why: str) -> AwsError:
    return AwsError("InvalidEventPatternException", f"Event pattern is not valid. Reason: {why}", 400)


def _check(pattern: Mapping[str, Any]) -> None:
    for name, wanted in pattern.items():
        if name == "$or":
            for one in wanted:
                _check(one)
        elif isinstance(wanted, dict):
            _check(wanted)
        elif not isinstance(wanted, list):
            raise _invalid(f'"{name}" must be an object or an array')
        else:
            for one in wanted:
                _check_filter(one)


def _check_filter(one: Any) -> None:
    if isinstance(one, dict) and (len(one) != 1 or not set(one) <= _FILTERS):
        raise _invalid(f"Unrecognized match type {next(iter(one), '')}")


def matches(pattern: Mapping[str, Any], event: Any) -> bool:
    """Whether all parts of the pattern are met."""
    for name, wanted in pattern.items():
        if name == "$or":
            if not any(matches(one, event) for one in wanted):
                return False
            continue
        value = event.get(name, _MISSING) if isinstance(event, dict) else _MISSING
        if isinstance(wanted, dict):
            nested = value if isinstance(value, list) else [value if value is not _MISSING else {}]
            if not any(matches(wanted, one) for one in nested):
                return False
        elif not any(_one(one, value) for one in wanted):
            return False
    return True


def _one(wanted: Any, value: Any) -> bool:
    if isinstance(wanted, dict) and "exists" in wanted:
        return bool(wanted["exists"]) == (value is not _MISSING)
    if value is _MISSING:
        return False
    values = value if isinstance(value, list) else [value]
    return any(_scalar(wanted, one) for one in values)


def _scalar(wanted: Any, value: Any) -> bool:
    if not isinstance(wanted, dict):
        return (type(wanted) is type(value) and bool(wanted == value)) or _same_number(wanted, value)
    (kind, argument), *_ = wanted.items()
    return _KINDS[kind](argument, value)


def _same_number(wanted: Any, value: Any) -> bool:
    numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (wanted, value))
    return numbers and float(wanted) == float(value)


def _affix(argument: Any, value: Any, test: Callable[[str, str], bool]) -> bool:
    if not isinstance(value, str):
        return False
    if isinstance(argument, dict):
        return test(value.lower(), str(argument["equals-ignore-case"]).lower())
    return test(value, argument)


def _anything_but(argument: Any, value: Any) -> bool:
    if isinstance(argument, dict):
        (kind, inner), *_ = argument.items()
        return not any(_KINDS[kind](one, value) for one in (inner if isinstance(inner, list) else [inner]))
    return not any(_scalar(one, value) for one in (argument if isinstance(argument, list) else [argument]))


def _numeric(argument: list[Any], value: Any) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    pairs = zip(argument[::2], argument[1::2], strict=True)
    return all(_COMPARE[sign](value, limit) for sign, limit in pairs)


def _cidr(argument: str, value: Any) -> bool:
    try:
        return ipaddress.ip_address(value) in ipaddress.ip_network(argument, strict=False)
    except ValueError:
        return False


_KINDS: dict[str, Callable[[Any, Any], bool]] = {
    "prefix": lambda argument, value: _affix(argument, value, str.startswith),
    "suffix": lambda argument, value: _affix(argument, value, str.endswith),
    "equals-ignore-case": lambda argument, value: isinstance(value, str) and value.lower() == str(argument).lower(),
    "wildcard": lambda argument, value: isinstance(value, str) and like(str(argument), value),
    "anything-but": _anything_but,
    "numeric": _numeric,
    "cidr": _cidr,
}
