"""The query protocol's form, read along the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millrace_local_aws.wire.errors import BadRequest
from millrace_local_aws.wire.scalars import blob_from, time_from

if TYPE_CHECKING:
    from millrace_local_aws.wire.models import Shape

Form = dict[str, str]


def read(shape: Shape, form: Form, prefix: str = "") -> Any:
    """None where the form has nothing under the prefix."""
    match shape.type_name:
        case "structure":
            return _structure(shape, form, prefix)
        case "list":
            return _list(shape, form, prefix)
        case "map":
            return _map(shape, form, prefix)
        case kind:
            text = form.get(prefix)
            return None if text is None else scalar(kind, text)


def scalar(kind: str, text: str) -> Any:
    """One value from its text, as forms, headers, queries and XML write it."""
    try:
        return _SCALARS[kind](text) if kind in _SCALARS else text
    except ValueError as error:
        raise BadRequest(f"{text!r} is not a value of type {kind}", "MalformedInput") from error


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


_SCALARS: dict[str, Any] = {
    "boolean": _boolean,
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "timestamp": time_from,
    "blob": blob_from,
}


def _under(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def _structure(shape: Any, form: Form, prefix: str) -> dict[str, Any] | None:
    if prefix and not any(key.startswith(prefix + ".") for key in form):
        return None
    out = {}
    for name, member in shape.members.items():
        value = read(member, form, _under(prefix, member.serialization.get("name", name)))
        if value is not None:
            out[name] = value
    return out


def _list(shape: Any, form: Form, prefix: str) -> list[Any] | None:
    if form.get(prefix) == "":
        return []
    stem = prefix if shape.serialization.get("flattened") else f"{prefix}.{shape.member.serialization.get('name', 'member')}"
    out: list[Any] = []
    while (value := read(shape.member, form, f"{stem}.{len(out) + 1}")) is not None:
        out.append(value)
    return out or None


def _map(shape: Any, form: Form, prefix: str) -> dict[str, Any] | None:
    stem = prefix if shape.serialization.get("flattened") else f"{prefix}.entry"
    key_name, value_name = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
    out: dict[str, Any] = {}
    while (key := read(shape.key, form, f"{stem}.{len(out) + 1}.{key_name}")) is not None:
        out[key] = read(shape.value, form, f"{stem}.{len(out) + 1}.{value_name}")
    return out or None
