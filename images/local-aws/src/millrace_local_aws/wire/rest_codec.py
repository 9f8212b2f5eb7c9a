"""Where the REST protocols put members: path, query, headers, body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from millrace_local_aws.wire import json_codec, xml_codec
from millrace_local_aws.wire.incoming import Incoming, Outgoing
from millrace_local_aws.wire.query_codec import scalar

if TYPE_CHECKING:
    from millrace_local_aws.wire.models import OperationModel, Shape


def read(model: OperationModel, request: Incoming, labels: dict[str, str], *, xml: bool) -> dict[str, Any]:
    """The operation's input."""
    shape: Any = model.input_shape
    if shape is None:
        return {}
    out: dict[str, Any] = {}
    for name, member in shape.members.items():
        value = _located(member, name, request, labels)
        if value is not None:
            out[name] = value
    payload = shape.serialization.get("payload")
    if payload:
        _read_payload(shape.members[payload], payload, request, out, xml=xml)
    elif request.body:
        out.update(_body(shape, request.body, xml=xml))
    return out


def _located(member: Any, name: str, request: Incoming, labels: dict[str, str]) -> Any:
    key = member.serialization.get("name", name)
    match member.serialization.get("location"):
        case "uri":
            return None if key not in labels else scalar(member.type_name, labels[key])
        case "querystring":
            return _from_query(member, key, request)
        case "header":
            return _from_header(member, request.headers.get(key))
        case "headers":
            low = key.lower()
            return {
                header[len(key) :]: text for header, text in request.headers.items() if header.lower().startswith(low)
            } or None
        case _:
            return None


def _from_query(member: Any, key: str, request: Incoming) -> Any:
    if member.type_name == "list":
        return [scalar(member.member.type_name, text) for name, text in request.pairs if name == key] or None
    text = request.query.get(key)
    return None if text is None else scalar(member.type_name, text)


def _from_header(member: Any, text: str | None) -> Any:
    if text is None:
        return None
    if member.type_name == "list":
        return [scalar(member.member.type_name, part.strip()) for part in text.split(",")]
    return scalar(member.type_name, text)


def _read_payload(member: Any, name: str, request: Incoming, out: dict[str, Any], *, xml: bool) -> None:
    if request.stream is not None:
        return
    if member.type_name == "blob":
        out[name] = request.body
    elif member.type_name == "string":
        out[name] = request.body.decode()
    elif request.body:
        out[name] = _body(member, request.body, xml=xml)


def _body(shape: Shape, raw: bytes, *, xml: bool) -> Any:
    return xml_codec.read(shape, xml_codec.parse(raw)) if xml else json_codec.read(shape, json_codec.body(raw))


def write(model: OperationModel, result: dict[str, Any], *, xml: bool) -> Outgoing:
    """The answer; a streamed payload is left to the caller."""
    answer = Outgoing(status=int(model.http.get("responseCode", 200)))
    shape: Any = model.output_shape
    if shape is None:
        return answer
    for name, member in shape.members.items():
        if result.get(name) is not None and "location" in member.serialization:
            _write_located(answer, member, name, result[name])
    payload = shape.serialization.get("payload")
    if payload:
        _write_payload(answer, shape.members[payload], payload, result.get(payload), xml=xml)
    elif any("location" not in member.serialization for member in shape.members.values()):
        _write_body(answer, shape, shape.name.removesuffix("Output"), result, xml=xml)
    return answer


def _write_located(answer: Outgoing, member: Any, name: str, value: Any) -> None:
    key = member.serialization.get("name", name)
    match member.serialization["location"]:
        case "headers":
            answer.headers |= {key + suffix: header_text(text) for suffix, text in value.items()}
        case "header":
            written = ",".join(value) if member.type_name == "list" else xml_codec.text(member, value)
            answer.headers[key] = header_text(written)
        case "statusCode":
            answer.status = int(value)


def header_text(value: str) -> str:
    """Header values carry no line breaks and nothing outside Latin-1."""
    return value if value.isascii() and value.isprintable() else quote(value, safe=" ")


def _write_payload(answer: Outgoing, member: Any, name: str, value: Any, *, xml: bool) -> None:
    if value is None:
        return
    if member.type_name == "blob" and isinstance(value, bytes):
        answer.body = value
    elif member.type_name == "string":
        answer.body = value.encode()
    elif member.type_name == "structure":
        _write_body(answer, member, member.serialization.get("name", name), value, xml=xml)


def _write_body(answer: Outgoing, shape: Any, root: str, value: dict[str, Any], *, xml: bool) -> None:
    if not xml:
        answer.headers.setdefault("Content-Type", "application/json")
        located = {name for name, member in shape.members.items() if "location" in member.serialization}
        answer.body = json_codec.dumps(
            json_codec.write(shape, {name: item for name, item in value.items() if name not in located})
        )
        return
    answer.headers.setdefault("Content-Type", "application/xml")
    namespace = (shape.serialization.get("xmlNamespace") or {}).get("uri", "http://s3.amazonaws.com/doc/2006-03-01/")
    document = xml_codec.element(root, xml_codec.inner(shape, value), namespace)
    answer.body = b'<?xml version="1.0" encoding="UTF-8"?>\n' + document.encode()
