"""The JSON protocols' bodies, read and written along the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from millrace_local_aws.wire.errors import BadRequest
from millrace_local_aws.wire.scalars import blob_from, blob_to, time_from, time_to

if TYPE_CHECKING:
    from millrace_local_aws.wire.models import Shape


def body(raw: bytes) -> Any:
    """The JSON value of a body; nothing is an empty object."""
    if not raw:
        return {}
    try:
        return json.loads(raw)
    except ValueError as error:
        raise BadRequest("The body is not JSON") from error


def read(shape: Shape, value: Any) -> Any:
    """A JSON value as the shape has it; members the model does not know are dropped, as AWS drops them."""
    if value is None:
        return None
    return _READERS.get(shape.type_name, _same)(shape, value)


def _same(shape: Any, value: Any) -> Any:
    return value


def _read_structure(shape: Any, value: Any) -> Any:
    if not isinstance(value, dict) or shape.is_document_type:
        return value
    out: dict[str, Any] = {}
    for name, member in shape.members.items():
        raw = value.get(member.serialization.get("name", name))
        if raw is not None:
            out[name] = read(member, raw)
    return out


def _read_list(shape: Any, value: Any) -> Any:
    return [read(shape.member, item) for item in value] if isinstance(value, list) else value


def _read_map(shape: Any, value: Any) -> Any:
    return {key: read(shape.value, item) for key, item in value.items()} if isinstance(value, dict) else value


_READERS: dict[str, Callable[[Any, Any], Any]] = {
    "structure": _read_structure,
    "list": _read_list,
    "map": _read_map,
    "blob": lambda shape, value: blob_from(value) if isinstance(value, str) else value,
    "timestamp": lambda shape, value: time_from(value),
}


def write(shape: Shape, value: Any) -> Any:
    """A value of the shape as JSON has it."""
    return _WRITERS.get(shape.type_name, _same)(shape, value)


def _write_structure(shape: Any, value: Any) -> Any:
    if shape.is_document_type:
        return value
    known = shape.members
    return {
        known[name].serialization.get("name", name): write(known[name], item)
        for name, item in value.items()
        if item is not None and name in known
    }


_WRITERS: dict[str, Callable[[Any, Any], Any]] = {
    "structure": _write_structure,
    "list": lambda shape, value: [write(shape.member, item) for item in value],
    "map": lambda shape, value: {key: write(shape.value, item) for key, item in value.items()},
    "blob": lambda shape, value: blob_to(value),
    "timestamp": lambda shape, value: time_to(value, shape.serialization.get("timestampFormat", "unixTimestamp")),
}


def dumps(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
