"""Whether a value is what the model says: type, required, enum, length and range, pattern, one member of a union.

Used on every request (the client's fault) and on every answer (ours). Messages are worded as AWS words them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from millrace_local_aws.wire.patterns import matches

if TYPE_CHECKING:
    from millrace_local_aws.wire.models import Shape

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "character": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
    "blob": (bytes, bytearray),
    "list": (list, tuple),
    "map": (dict,),
    "structure": (dict,),
}


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]


def _fault(value: Any, path: str, constraint: str) -> str:
    return f"Value {value!r} at '{path}' failed to satisfy constraint: Member must {constraint}"


def violations(shape: Shape, value: Any, path: str = "") -> Iterator[str]:
    """Every fault of the value, in the model's order."""
    expected = _TYPES[shape.type_name]
    if getattr(shape, "is_document_type", False):
        return
    if shape.serialization.get("streaming") or shape.serialization.get("eventstream"):
        return
    if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
        yield _fault(value, path, f"be of type {shape.type_name}")
        return
    yield from _CHECKS.get(shape.type_name, _none)(shape, value, path)


def _none(shape: Any, value: Any, path: str) -> Iterator[str]:
    return iter(())


def _string(shape: Any, value: str, path: str) -> Iterator[str]:
    yield from _length(shape, value, path)
    if shape.enum and value not in shape.enum:
        yield _fault(value, path, f"satisfy enum value set: [{', '.join(shape.enum)}]")
    pattern = shape.metadata.get("pattern")
    if pattern and not matches(pattern, value):
        yield _fault(value, path, f"satisfy regular expression pattern: {pattern}")


def _length(shape: Any, value: Any, path: str) -> Iterator[str]:
    limits = shape.metadata
    if "min" in limits and len(value) < limits["min"]:
        yield _fault(value, path, f"have length greater than or equal to {limits['min']}")
    if "max" in limits and len(value) > limits["max"]:
        yield _fault(value, path, f"have length less than or equal to {limits['max']}")


def _number(shape: Any, value: float, path: str) -> Iterator[str]:
    limits = shape.metadata
    if "min" in limits and value < limits["min"]:
        yield _fault(value, path, f"have value greater than or equal to {limits['min']}")
    if "max" in limits and value > limits["max"]:
        yield _fault(value, path, f"have value less than or equal to {limits['max']}")


def _list(shape: Any, value: list[Any], path: str) -> Iterator[str]:
    yield from _length(shape, value, path)
    for index, item in enumerate(value, 1):
        yield from violations(shape.member, item, f"{path}.{index}.member")


def _map(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    yield from _length(shape, value, path)
    for key, item in value.items():
        yield from violations(shape.key, key, f"{path}.key")
        yield from violations(shape.value, item, f"{path}.{key}.value")


def _structure(shape: Any, value: dict[str, Any], path: str) -> Iterator[str]:
    prefix = f"{path}." if path else ""
    for name in shape.required_members:
        if value.get(name) is None:
            yield _fault(None, prefix + _lower(name), "not be null").replace("Value None", "Value null")
    if shape.is_tagged_union and len([item for item in value.values() if item is not None]) != 1:
        yield _fault(sorted(value), path, "have exactly one member set")
    for name, item in value.items():
        member = shape.members.get(name)
        if member is None:
            yield _fault(name, prefix + _lower(name), "be a member of the model")
        elif item is not None:
            yield from violations(member, item, prefix + _lower(name))


_CHECKS: dict[str, Callable[[Any, Any, str], Iterator[str]]] = {
    "string": _string,
    "integer": _number,
    "long": _number,
    "float": _number,
    "double": _number,
    "blob": _length,
    "list": _list,
    "map": _map,
    "structure": _structure,
}


def summary(faults: list[str]) -> str:
    """AWS's sentence about one fault or several."""
    noun = "error" if len(faults) == 1 else "errors"
    return f"{len(faults)} validation {noun} detected: {'; '.join(faults)}"
