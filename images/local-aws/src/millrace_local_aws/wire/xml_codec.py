"""XML bodies, read and written along the model (rest-xml, and the answers of query)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

from millrace_local_aws.wire.errors import BadRequest
from millrace_local_aws.wire.query_codec import scalar
from millrace_local_aws.wire.scalars import blob_to, time_to

if TYPE_CHECKING:
    from millrace_local_aws.wire.models import Shape


def parse(raw: bytes) -> ElementTree.Element:
    """The root of a document. Entities are refused: nobody needs them here, and they can be made to grow."""
    if b"<!DOCTYPE" in raw:
        raise BadRequest("The XML you provided was not well-formed", "MalformedXML")
    try:
        return ElementTree.fromstring(raw)
    except ElementTree.ParseError as error:
        raise BadRequest("The XML you provided was not well-formed or did not validate", "MalformedXML") from error


def _tag(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2]


def read(shape: Any, node: ElementTree.Element) -> Any:
    """An element as the shape has it."""
    match shape.type_name:
        case "structure":
            return _read_structure(shape, node)
        case "list":
            return [read(shape.member, child) for child in node]
        case "map":
            return dict(_read_entry(shape, entry) for entry in node)
        case kind:
            return scalar(kind, node.text or "")


def _read_entry(shape: Any, entry: ElementTree.Element) -> tuple[Any, Any]:
    parts = {_tag(child): child for child in entry}
    key = read(shape.key, parts[shape.key.serialization.get("name", "key")])
    return key, read(shape.value, parts[shape.value.serialization.get("name", "value")])


def _read_structure(shape: Any, node: ElementTree.Element) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, member in shape.members.items():
        if "location" in member.serialization:
            continue
        if member.serialization.get("xmlAttribute"):
            local = member.serialization["name"].rpartition(":")[2]
            found = next((text for key, text in node.attrib.items() if key.rpartition("}")[2] == local), None)
            if found is not None:
                out[name] = found
            continue
        children = [child for child in node if _tag(child) == _element_name(name, member)]
        if children and member.type_name == "list" and member.serialization.get("flattened"):
            out[name] = [read(member.member, child) for child in children]
        elif children:
            out[name] = read(member, children[0])
    return out


def _element_name(name: str, member: Any) -> str:
    own: str = member.serialization.get("name", name)
    if member.type_name == "list" and member.serialization.get("flattened"):
        inner: str = member.member.serialization.get("name", own)
        return inner
    return own


def element(name: str, content: str, namespace: str | None = None, attributes: str = "") -> str:
    """One element around content that is XML already."""
    space = f" xmlns={quoteattr(namespace)}" if namespace else ""
    return f"<{name}{space}{attributes}>{content}</{name}>"


def write(shape: Shape, name: str, value: Any) -> str:
    """A value of the shape as an element of that name."""
    kind: Any = shape
    match shape.type_name:
        case "structure":
            return element(name, "".join(_members(kind, value)), attributes=_attributes(kind, value))
        case "list":
            return _write_list(kind, name, value)
        case "map":
            return element(name, "".join(_entries(kind, value)))
        case _:
            return element(name, escape(text(shape, value)))


def text(shape: Any, value: Any) -> str:
    """A scalar's text in XML and in headers."""
    match shape.type_name:
        case "boolean":
            return "true" if value else "false"
        case "timestamp":
            header = shape.serialization.get("location") == "header"
            return str(time_to(value, shape.serialization.get("timestampFormat", "rfc822" if header else "iso8601")))
        case "blob":
            return blob_to(value)
        case _:
            return str(value)


def _attributes(shape: Any, value: dict[str, Any]) -> str:
    out = ""
    for name, member in shape.members.items():
        if member.serialization.get("xmlAttribute") and value.get(name) is not None:
            prefix = member.serialization["name"].partition(":")[0]
            space = (shape.serialization.get("xmlNamespace") or {}).get("uri", "http://www.w3.org/2001/XMLSchema-instance")
            out += f" xmlns:{prefix}={quoteattr(space)} {member.serialization['name']}={quoteattr(str(value[name]))}"
    return out


def _members(shape: Any, value: dict[str, Any]) -> Iterable[str]:
    for name, member in shape.members.items():
        item = value.get(name)
        if item is None or "location" in member.serialization or member.serialization.get("xmlAttribute"):
            continue
        yield write(member, _element_name(name, member), item)


def inner(shape: Any, value: dict[str, Any]) -> str:
    """A structure's members without an element around them."""
    return "".join(_members(shape, value))


def _write_list(shape: Any, name: str, value: list[Any]) -> str:
    if shape.serialization.get("flattened"):
        return "".join(write(shape.member, name, item) for item in value)
    item_name = shape.member.serialization.get("name", "member")
    return element(name, "".join(write(shape.member, item_name, item) for item in value))


def _entries(shape: Any, value: dict[str, Any]) -> Iterable[str]:
    key_name, value_name = shape.key.serialization.get("name", "key"), shape.value.serialization.get("name", "value")
    for key, item in value.items():
        yield element("entry", write(shape.key, key_name, key) + write(shape.value, value_name, item))
