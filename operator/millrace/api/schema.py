"""Makes CustomResourceDefinitions from the typed models.

pydantic's JSON schema uses `$ref`, `anyOf` with null and titles; a CRD wants a structural schema: everything inline, no null
branches, defaults only where they are static. This module is that translation and nothing more.
"""

from __future__ import annotations

from typing import Any

from millrace.api.common import MAX_NAME_LENGTH, Model
from millrace.api.resource import Column, Kind

Schema = dict[str, Any]

_KEPT = (
    "type", "description", "enum", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
)  # fmt: skip


def crd(kind: Kind) -> Schema:
    """The CustomResourceDefinition of a kind, as a manifest."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{kind.group}"},
        "spec": {
            "group": kind.group,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": list(kind.short_names),
                "categories": ["millrace"],
            },
            "versions": [_version(kind)],
        },
    }


def _version(kind: Kind) -> Schema:
    return {
        "name": kind.version,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [_column(c) for c in kind.columns],
        "schema": {"openAPIV3Schema": _root(kind)},
    }


def _column(column: Column) -> Schema:
    made: Schema = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.description:
        made["description"] = column.description
    if column.priority:
        made["priority"] = column.priority
    return made


def _root(kind: Kind) -> Schema:
    status = structural(kind.status)
    status["default"] = {"observedGeneration": -1}
    name_rule = {
        "rule": f"size(self.metadata.name) <= {MAX_NAME_LENGTH}",
        "message": f"metadata.name must be at most {MAX_NAME_LENGTH} characters: children's names are made from it",
    }
    return {
        "type": "object",
        "description": kind.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural(kind.spec),
            "status": status,
        },
        "x-kubernetes-validations": [name_rule, *({"rule": r, "message": m} for r, m in kind.rules)],
    }


def structural(model: type[Model]) -> Schema:
    """The structural schema of a model: references inlined, nothing that the API server refuses."""
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _walk(raw, raw.get("$defs", {}))


def _walk(node: Schema, defs: Schema) -> Schema:
    node = _resolved(node, defs)
    if "patternProperties" in node:
        raise TypeError("a structural schema has no patterns for keys: give the map a CEL rule instead")
    made: Schema = {key: node[key] for key in _KEPT if key in node}
    made.update({key: value for key, value in node.items() if key.startswith("x-kubernetes-")})
    if "const" in node:
        made["enum"] = [node["const"]]
    if _static_default(node):
        made["default"] = node["default"]
    if "items" in node:
        made["items"] = _walk(node["items"], defs)
    if isinstance(node.get("additionalProperties"), dict):
        made["additionalProperties"] = _walk(node["additionalProperties"], defs)
    if "properties" in node:
        made["properties"] = {name: _walk(child, defs) for name, child in node["properties"].items()}
        if node.get("required"):
            made["required"] = list(node["required"])
    return _integer_bounds(made)


def _resolved(node: Schema, defs: Schema) -> Schema:
    """Follow references and drop the null branch of an optional field; what the field itself says wins."""
    while "$ref" in node or "anyOf" in node or "allOf" in node:
        own = {k: v for k, v in node.items() if k not in {"$ref", "anyOf", "allOf"}}
        if "$ref" in node:
            target = defs[node["$ref"].rsplit("/", 1)[-1]]
        else:
            target = _only_branch(node.get("anyOf") or node["allOf"])
        rules = [*target.get("x-kubernetes-validations", []), *own.get("x-kubernetes-validations", [])]
        node = {**target, **own}
        if rules:
            node["x-kubernetes-validations"] = rules
    return node


def _only_branch(branches: list[Schema]) -> Schema:
    real = [b for b in branches if b.get("type") != "null"]
    if len(real) != 1:
        raise ValueError(f"a CRD field must have one type: {branches}")
    return real[0]


def _static_default(node: Schema) -> bool:
    """Objects get no default: a defaulted union member could not be told from a chosen one. Nor does "" where it is no value."""
    default = node.get("default")
    if default == "" and "format" in node:
        return False
    return default is not None and default != [] and not isinstance(default, dict)


def _integer_bounds(node: Schema) -> Schema:
    """OpenAPI 3.0 knows exclusive bounds as booleans only; integers say the same with an inclusive bound."""
    for exclusive, inclusive, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
        if exclusive in node:
            node[inclusive] = node.pop(exclusive) + step
    return node
