"""The four protocols: how a request is read, an answer and an error written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from millrace_local_aws.wire import json_codec, query_codec, rest_codec, xml_codec
from millrace_local_aws.wire.errors import AwsError
from millrace_local_aws.wire.incoming import Incoming, Outgoing
from millrace_local_aws.wire.models import error_shape

if TYPE_CHECKING:
    from millrace_local_aws.wire.models import OperationModel


def protocol_of(model: OperationModel, request: Incoming) -> str:
    """The protocol this request speaks; a service may speak several."""
    metadata = model.service_model.metadata
    spoken = metadata.get("protocols") or [metadata["protocol"]]
    if "X-Amz-Target" in request.headers and "json" in spoken:
        return "json"
    return "query" if request.form and "query" in spoken else str(next(p for p in spoken if "cbor" not in p))


def likely(request: Incoming, signing: str | None) -> str:
    """The protocol of a request whose operation is not known yet, or never will be: errors must be readable."""
    if "X-Amz-Target" in request.headers:
        return "json"
    if request.form:
        return "ec2" if signing == "ec2" else "query"
    return "rest-xml" if signing in (None, "s3") else "rest-json"


def read(protocol: str, model: OperationModel, request: Incoming, labels: dict[str, str]) -> dict[str, Any]:
    """The operation's input as plain data, not validated yet."""
    shape = model.input_shape
    if protocol.startswith("rest-"):
        return rest_codec.read(model, request, labels, xml=protocol == "rest-xml")
    if shape is None:
        return {}
    found = (
        query_codec.read(shape, request.form) if protocol == "query" else json_codec.read(shape, json_codec.body(request.body))
    )
    return found if isinstance(found, dict) else {}


def write(protocol: str, model: OperationModel, result: dict[str, Any], request_id: str) -> Outgoing:
    """The answer."""
    if protocol.startswith("rest-"):
        return rest_codec.write(model, result, xml=protocol == "rest-xml")
    if protocol == "query":
        return _write_query(model, result, request_id)
    version = model.service_model.metadata.get("jsonVersion", "1.0")
    body = json_codec.write(model.output_shape, result) if model.output_shape else {}
    return Outgoing(200, {"Content-Type": f"application/x-amz-json-{version}"}, json_codec.dumps(body))


def _write_query(model: OperationModel, result: dict[str, Any], request_id: str) -> Outgoing:
    shape: Any = model.output_shape
    content = ""
    if shape is not None:
        wrapper = shape.serialization.get("resultWrapper", f"{model.name}Result")
        content = xml_codec.element(wrapper, xml_codec.inner(shape, result))
    content += f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    document = xml_codec.element(f"{model.name}Response", content, model.service_model.metadata.get("xmlNamespace"))
    return Outgoing(200, {"Content-Type": "text/xml"}, document.encode())


def write_error(protocol: str, service: str, error: AwsError, request_id: str) -> Outgoing:
    """The error, under the name and status that the model gives it."""
    shape: Any = error_shape(service, error.code)
    modelled = (shape.metadata.get("error") or {}) if shape is not None else {}
    status = error.status or modelled.get("httpStatusCode") or 400
    if protocol in ("json", "rest-json"):
        return _json_error(shape, service, error, status)
    code = modelled.get("code", error.code)
    if protocol == "query":
        kind = "Sender" if status < 500 else "Receiver"
        inner = f"<Type>{kind}</Type>" + _leaves({"Code": code, "Message": error.message})
        document = f"<ErrorResponse><Error>{inner}</Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        return Outgoing(status, {"Content-Type": "text/xml"}, document.encode())
    if protocol == "ec2":
        inner = f"<Errors><Error>{_leaves({'Code': code, 'Message': error.message})}</Error></Errors>"
        document = f"<Response>{inner}<RequestID>{request_id}</RequestID></Response>"
        return Outgoing(status, {"Content-Type": "text/xml"}, document.encode())
    leaves = {"Code": code, "Message": error.message, **error.members, "RequestId": request_id}
    document = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{_leaves(leaves)}</Error>'
    return Outgoing(status, {"Content-Type": "application/xml"}, document.encode())


def _leaves(values: dict[str, Any]) -> str:
    return "".join(xml_codec.element(name, escape(str(value))) for name, value in values.items())


def _json_error(shape: Any, service: str, error: AwsError, status: int) -> Outgoing:
    name = shape.name if shape is not None else error.code
    body = {"__type": name, "message": error.message, "Message": error.message, **error.members}
    headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-ErrorType": name}
    if service == "sqs":
        headers["x-amzn-query-error"] = f"{SQS_CODES.get(name, name)};{'Sender' if status < 500 else 'Receiver'}"
    return Outgoing(status, headers, json_codec.dumps(body))


# The codes of the old query protocol, which clients of the JSON one still see.
SQS_CODES = {
    name: f"AWS.SimpleQueueService.{code}"
    for name, code in {
        "QueueDoesNotExist": "NonExistentQueue",
        "BatchEntryIdsNotDistinct": "BatchEntryIdsNotDistinct",
        "BatchRequestTooLong": "BatchRequestTooLong",
        "EmptyBatchRequest": "EmptyBatchRequest",
        "InvalidBatchEntryId": "InvalidBatchEntryId",
        "TooManyEntriesInBatchRequest": "TooManyEntriesInBatchRequest",
        "QueueDeletedRecently": "QueueDeletedRecently",
        "MessageNotInflight": "MessageNotInflight",
        "PurgeQueueInProgress": "PurgeQueueInProgress",
        "UnsupportedOperation": "UnsupportedOperation",
    }.items()
} | {"QueueNameExists": "QueueAlreadyExists"}
