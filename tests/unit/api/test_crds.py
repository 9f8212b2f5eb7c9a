"""What the generated CRDs must be for the API server to take them, and for users to understand them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from millrace.api.common import Model, exactly_one, same_member
from millrace.api.resource import Kind
from millrace.api.schema import crd, structural
from millrace.engine.registry import controllers

Object = dict[str, Any]
KINDS = [c.kind for c in controllers()]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=[k.name for k in KINDS])
ALLOWED = {
    "type", "description", "enum", "pattern", "format", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
    "minProperties", "maxProperties", "default", "items", "properties", "additionalProperties", "required",
    "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
}  # fmt: skip


def version(kind: Kind) -> Object:
    return dict(crd(kind)["spec"]["versions"][0])


def root(kind: Kind) -> Object:
    return dict(version(kind)["schema"]["openAPIV3Schema"])


def nodes(schema: Object, path: str = "") -> Iterator[tuple[str, Object]]:
    """Every schema within a schema, with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from nodes(schema["additionalProperties"], f"{path}{{}}")


def of_path(schema: Object, path: str) -> Object | None:
    """What a path names: .a.b, a[?(…)] stands for any item."""
    for name in re.sub(r"\[\?\([^)]*\)\]", "[]", path).removeprefix(".").split("."):
        many = name.endswith("[]")
        found = schema.get("properties", {}).get(name.removesuffix("[]"))
        if found is None:
            return None
        schema = found["items"] if many else found
    return schema


@every_kind
def test_a_schema_is_structural(kind: Kind) -> None:
    for path, node in nodes(root(kind)):
        assert set(node) <= ALLOWED, f"{path}: {set(node) - ALLOWED}"
        assert node.get("type") in {"object", "array", "string", "integer", "number", "boolean"}, path
        assert not ("properties" in node and "additionalProperties" in node), path
        if node["type"] == "array":
            assert "items" in node, path


@every_kind
def test_every_field_is_described(kind: Kind) -> None:
    own = {p: n for p, n in nodes(root(kind)) if p and not p.endswith(("[]", "{}"))}
    for path, node in own.items():
        if path not in {".apiVersion", ".kind", ".metadata", ".spec", ".status"}:
            assert node.get("description", "").endswith("."), f"{path} has no sentence of its own"


@every_kind
def test_every_pattern_is_one_that_go_understands(kind: Kind) -> None:
    for path, node in nodes(root(kind)):
        if "pattern" in node:
            re.compile(node["pattern"])
            assert not re.search(r"\(\?[=!<]|\\[1-9]", node["pattern"]), (
                f"{path}: RE2 knows neither lookaround nor backreferences"
            )
            assert node["pattern"].startswith("^"), f"{path}: unanchored, it would allow anything around"
            assert node["pattern"].endswith("$"), path


@every_kind
def test_every_default_is_allowed_by_its_own_schema(kind: Kind) -> None:
    for path, node in nodes(root(kind)):
        if "default" not in node or path == ".status":
            continue
        default = node["default"]
        if "enum" in node:
            assert default in node["enum"], path
        if "pattern" in node:
            assert re.search(node["pattern"], default), path
        if "minimum" in node:
            assert default >= node["minimum"], path


@every_kind
def test_no_object_has_a_default_for_it_could_not_be_told_from_a_choice(kind: Kind) -> None:
    with_default = [p for p, n in nodes(root(kind)) if n["type"] == "object" and "default" in n]
    assert with_default == [".status"]


# -- CEL -----------------------------------------------------------------------------------------------------------------


def rules(kind: Kind) -> Iterator[tuple[str, Object, Object]]:
    """Path, the schema that a rule is on, the rule."""
    for path, node in nodes(root(kind)):
        for rule in node.get("x-kubernetes-validations", ()):
            yield path, node, rule


def balanced(text: str) -> bool:
    bare = re.sub(r"'[^']*'", "''", text)
    open_: list[str] = []
    for letter in bare:
        if letter in "([{":
            open_.append(letter)
        elif letter in ")]}" and (not open_ or f"{open_.pop()}{letter}" not in {"()", "[]", "{}"}):
            return False
    return not open_ and "'" not in bare.replace("''", "")


@every_kind
def test_every_rule_is_well_formed_and_says_what_to_do(kind: Kind) -> None:
    for path, _, rule in rules(kind):
        assert balanced(rule["rule"]), f"{path}: {rule['rule']}"
        assert "self" in rule["rule"], path
        assert len(rule["message"]) > 15, path
        assert not rule["message"].endswith("."), "the API server puts its own words around it"


@every_kind
def test_every_rule_names_fields_that_exist(kind: Kind) -> None:
    for path, node, rule in rules(kind):
        for dotted in re.findall(r"\b(?:self|oldSelf)((?:\.[a-zA-Z0-9]+)+)(?!\w*\()", re.sub(r"'[^']*'", "''", rule["rule"])):
            parts = dotted.strip(".").split(".")
            if parts[0] == "metadata":
                continue
            found: Object | None = node
            for part in parts:
                if found is not None and found["type"] in {"string", "array"}:
                    break  # a method, as startsWith
                found = (found or {}).get("properties", {}).get(part)
                assert found is not None, f"{path}: {rule['rule']} names {dotted}"


@every_kind
def test_what_rules_walk_is_bounded_or_the_api_server_refuses_the_cost(kind: Kind) -> None:
    """A rule's cost is estimated from the largest value that the schema allows."""
    spec = root(kind)["properties"]["spec"]
    for path, node in nodes(spec, ".spec"):
        if node["type"] == "array":
            assert "maxItems" in node, path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path
    for path, node, rule in rules(kind):
        if node["type"] == "string" and "self" in rule["rule"]:
            assert "maxLength" in node, path


@every_kind
def test_the_length_of_a_name_is_bounded_for_the_names_made_from_it(kind: Kind) -> None:
    told = [r["rule"] for r in root(kind)["x-kubernetes-validations"]]
    assert "size(self.metadata.name) <= 40" in told


def test_rules_of_a_union() -> None:
    rule, message = exactly_one("a", "b")
    assert rule == "[has(self.a), has(self.b)].filter(x, x).size() == 1"
    assert "`a`, `b`" in message
    assert exactly_one("a")[0] == "has(self.a)"
    assert same_member("a", "b")[0] == "has(self.a) == has(oldSelf.a) && has(self.b) == has(oldSelf.b)"


# -- status and columns --------------------------------------------------------------------------------------------------


@every_kind
def test_a_status_begins_as_one_that_nobody_has_observed(kind: Kind) -> None:
    status = root(kind)["properties"]["status"]
    assert status["default"] == {"observedGeneration": -1}, "kstatus takes an empty status for Current"
    assert version(kind)["subresources"] == {"status": {}}
    conditions = status["properties"]["conditions"]
    assert (conditions["x-kubernetes-list-type"], conditions["x-kubernetes-list-map-keys"]) == ("map", ["type"])


@every_kind
def test_every_column_shows_a_field_that_exists_with_its_type(kind: Kind) -> None:
    for column in version(kind)["additionalPrinterColumns"]:
        if column["jsonPath"] == ".metadata.creationTimestamp":
            continue
        found = of_path(root(kind), column["jsonPath"])
        assert found is not None, column["name"]
        assert found["type"] == column["type"], column["name"]


@every_kind
def test_the_first_columns_tell_the_story(kind: Kind) -> None:
    names = [c["name"] for c in version(kind)["additionalPrinterColumns"]]
    assert names[:2] == [kind.summary, "Reason"]
    assert names[-1] == "Age"


@every_kind
def test_a_kind_is_in_the_category_and_stored_in_one_version(kind: Kind) -> None:
    made = crd(kind)
    assert made["metadata"]["name"] == f"{kind.plural}.millrace.dev"
    assert made["spec"]["names"]["categories"] == ["millrace"]
    assert made["spec"]["scope"] == "Namespaced"
    json.dumps(made)


def test_every_progress_field_is_a_field_of_its_status() -> None:
    for controller in controllers():
        known = structural(controller.kind.status)["properties"]
        assert controller.progress_fields <= known.keys(), controller.kind.name


# -- the translation itself ----------------------------------------------------------------------------------------------


def test_a_field_that_could_be_two_things_is_refused_with_its_branches() -> None:
    class Either(BaseModel):
        x: int | str

    with pytest.raises(ValueError, match="must have one type"):
        structural(Either)  # type: ignore[arg-type]


def test_an_exclusive_bound_becomes_an_inclusive_one() -> None:
    from pydantic import Field

    class Bounded(BaseModel):
        x: int = Field(gt=0, lt=10)

    assert structural(Bounded)["properties"]["x"] == {"type": "integer", "minimum": 1, "maximum": 9}  # type: ignore[arg-type]


def test_rules_of_a_type_and_of_its_field_are_both_kept() -> None:
    from pydantic import Field

    from millrace.api.common import Model, cel

    class Inner(Model):
        model_config = {"json_schema_extra": cel(("self.a > 0", "of the type"))}  # noqa: RUF012
        a: int = 1

    class Outer(Model):
        inner: Inner | None = Field(default=None, json_schema_extra=cel(("self.a < 9", "of the field")), description="Own words.")

    made = structural(Outer)["properties"]["inner"]
    assert [r["message"] for r in made["x-kubernetes-validations"]] == ["of the type", "of the field"]
    assert made["description"] == "Own words."
    assert made["type"] == "object"


def test_a_map_whose_keys_have_a_pattern_is_refused_before_the_api_server_would_drop_its_content() -> None:
    class Tagged(Model):
        tags: dict[Annotated[str, Field(pattern="^a")], str] = Field(description="Tags.")

    with pytest.raises(TypeError, match="give the map a CEL rule"):
        structural(Tagged)
