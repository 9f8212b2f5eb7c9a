"""Says where a value is not what a structural schema allows; what the API server would prune or refuse."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "object": dict, "array": list
}  # fmt: skip


def problems(schema: Object, value: Any, path: str = "status") -> list[str]:
    """Paths of unknown fields, missing ones, nulls and wrong types; [] where the value fits."""
    if not isinstance(value, _TYPES[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean"):
        return [f"{path}: {value!r} is no {schema['type']}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{path}: {value!r} is none of {schema['enum']}"]
    if isinstance(value, list):
        return [p for n, item in enumerate(value) for p in problems(schema["items"], item, f"{path}[{n}]")]
    if isinstance(value, dict):
        return _object_problems(schema, value, path)
    return []


def _object_problems(schema: Object, value: Object, path: str) -> list[str]:
    known: Object = schema.get("properties", {})
    other = schema.get("additionalProperties")
    found = [f"{path}.{name}: missing" for name in schema.get("required", ()) if name not in value]
    for name, inner in value.items():
        of_field = known.get(name, other)
        found += problems(of_field, inner, f"{path}.{name}") if of_field else [f"{path}.{name}: unknown"]
    return found
