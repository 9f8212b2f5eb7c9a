"""Every operation that is served, through boto3's own serializer and parser: what one writes the other reads, unchanged.

The table is what is registered; inputs and outputs are generated from AWS's models with every member filled in.
"""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from botocore.awsrequest import prepare_request_dict
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from multidict import CIMultiDict

from millrace_local_aws.service import Service
from millrace_local_aws.services.autoscaling import AUTOSCALING
from millrace_local_aws.services.bedrock import BEDROCK
from millrace_local_aws.services.bedrock_runtime import RUNTIME as BEDROCK_RUNTIME
from millrace_local_aws.services.cloudwatch import CLOUDWATCH
from millrace_local_aws.services.comprehend import COMPREHEND
from millrace_local_aws.services.events import EVENTS
from millrace_local_aws.services.iam import IAM
from millrace_local_aws.services.logs import LOGS
from millrace_local_aws.services.quotas import QUOTAS
from millrace_local_aws.services.s3 import S3
from millrace_local_aws.services.sagemaker import SAGEMAKER
from millrace_local_aws.services.sagemaker_runtime import RUNTIME
from millrace_local_aws.services.sqs import SQS
from millrace_local_aws.services.sts import STS
from millrace_local_aws.wire import protocols, rest_routes
from millrace_local_aws.wire.incoming import Incoming
from millrace_local_aws.wire.models import service_model

BASE = (S3, SQS, STS, IAM, EVENTS, LOGS, CLOUDWATCH, QUOTAS)
SERVICES = (*BASE, SAGEMAKER, RUNTIME, AUTOSCALING, COMPREHEND, BEDROCK, BEDROCK_RUNTIME)
MOMENT = datetime.datetime(2026, 1, 31, 10, 20, 30, tzinfo=datetime.UTC)
SCALARS: dict[str, Any] = {
    "string": "a-text",
    "character": "c",
    "boolean": True,
    "integer": 7,
    "long": 8,
    "float": 1.5,
    "double": 2.5,
    "timestamp": MOMENT,
    "blob": b"bytes",
}
# Their XML or bodies are not what the model says; tests of their own have them.
SPECIAL = {("s3", "GetBucketLocation"), ("s3", "GetBucketPolicy"), ("s3", "PutBucketPolicy")}


def filled(shape: Any, depth: int = 0, seen: tuple[str, ...] = ()) -> Any:
    """A value of the shape with every member, as deep as it does not repeat itself."""
    if shape.type_name == "string" and shape.enum:
        return shape.enum[0]
    if shape.type_name in SCALARS:
        return SCALARS[shape.type_name]
    if shape.name in seen:
        return None
    inner = (*seen, shape.name)
    if shape.type_name == "list":
        value = filled(shape.member, depth + 1, inner)
        return [] if value is None else [value]
    if shape.type_name == "map":
        value = filled(shape.value, depth + 1, inner)
        return {} if value is None else {filled(shape.key, depth + 1, inner): value}
    names = list(shape.members)[:1] if shape.is_tagged_union else list(shape.members)
    values = {name: filled(shape.members[name], depth + 1, inner) for name in names}
    return {name: value for name, value in values.items() if value is not None and value not in ([], {})}


def plain(value: Any) -> Any:
    """Times as seconds, streams as bytes."""
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def cases() -> list[Any]:
    return [
        pytest.param(service, name, id=f"{service.name}-{name}")
        for service in SERVICES
        for name in sorted(service.operations)
        if (service.name, name) not in SPECIAL
    ]


def protocol_of(service: Service) -> str:
    """The one that boto3 speaks, of those that are understood here."""
    spoken = service_model(service.name).metadata.get("protocols") or [service_model(service.name).metadata["protocol"]]
    return str(next(one for one in spoken if "cbor" not in one))


@pytest.mark.parametrize(("service", "name"), cases())
def test_a_request_arrives_as_boto3_has_sent_it(service: Service, name: str) -> None:
    model, protocol = service_model(service.name).operation_model(name), protocol_of(service)
    sent = filled(model.input_shape) if model.input_shape else {}
    raw = create_serializer(protocol, False).serialize_to_request(sent, model)
    prepare_request_dict(raw, endpoint_url="http://localhost")
    target = raw["url"].removeprefix("http://localhost")
    request = Incoming.of(raw["method"], target, CIMultiDict({k: str(v) for k, v in raw["headers"].items()}), "127.0.0.1")
    body = raw["body"]
    if protocol == "query":
        request.form = {key: str(value) for key, value in body.items()}
    else:
        request.body = body.encode() if isinstance(body, str) else bytes(body or b"")
    labels: dict[str, str] = {}
    if protocol.startswith("rest-"):
        found = rest_routes.find(service.name, request)
        assert found is not None
        assert found[0] == name, "another operation's path"
        labels = found[1]
    else:
        assert raw["headers"].get("X-Amz-Target") == (f"{service.target}.{name}" if protocol == "json" else None)
    assert protocols.protocol_of(model, request) == protocol
    assert protocols.read(protocol, model, request, labels) == plain(sent)


@pytest.mark.parametrize(("service", "name"), cases())
def test_an_answer_is_read_by_boto3_as_it_was_given(service: Service, name: str) -> None:
    model, protocol = service_model(service.name).operation_model(name), protocol_of(service)
    given = filled(model.output_shape) if model.output_shape else {}
    if model.has_event_stream_output:
        streams = [name for name, member in model.output_shape.members.items() if member.serialization.get("eventstream")]
        given.pop(streams[0])
    answer = protocols.write(protocol, model, plain(given), "request")
    response = {"status_code": answer.status, "headers": CIMultiDict(answer.headers), "body": answer.body}
    if model.has_event_stream_output:
        return
    read = create_parser(protocol).parse(response, model.output_shape)
    read.pop("ResponseMetadata")
    if model.has_streaming_output:
        read[model.output_shape.serialization["payload"]] = answer.body
    assert read == given
