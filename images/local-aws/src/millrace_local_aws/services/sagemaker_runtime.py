"""InvokeEndpoint: what a client sends reaches the container's /invocations, and what it answers comes back."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from typing import Any

from millrace_local_aws.dataplane.runner import Answer
from millrace_local_aws.service import Call, Input, Service
from millrace_local_aws.services import cloudwatch
from millrace_local_aws.services.sagemaker import endpoint_life
from millrace_local_aws.services.sagemaker.service import arn_of, table
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire import event_stream
from millrace_local_aws.wire.errors import AwsError, NotServed

RUNTIME = Service("sagemaker-runtime", "sagemaker", signing="sagemaker", invalid="ValidationError")


def endpoint_arn(call: Call, request: Input) -> str:
    return arn_of(call, "endpoint", str(request["EndpointName"]))


def _endpoint(call: Call, name: str) -> Record:
    record = table(call.world, "endpoint").get(call.scope, name)
    if record is None or record["EndpointStatus"] in ("Creating", "Failed", "Deleting"):
        raise AwsError("ValidationError", f"Endpoint {name} of account {call.account} not found.", 400)
    return record


def _variant(request: Input, record: Record) -> Record:
    """The one asked for, or one drawn by the weights."""
    variants: list[Record] = record["_variants"]
    wanted = request.get("TargetVariant")
    if wanted is not None:
        found = [one for one in variants if one["VariantName"] == wanted]
        if not found:
            raise AwsError("ValidationError", f"Variant {wanted} not found for request", 400)
        return found[0]
    return random.choices(variants, [max(one["CurrentWeight"], 0.0) or 1e-9 for one in variants])[0]


def _headers(request: Input) -> dict[str, str]:
    headers = {"Content-Type": request.get("ContentType", "application/octet-stream")}
    if "Accept" in request:
        headers["Accept"] = request["Accept"]
    if "CustomAttributes" in request:
        headers["X-Amzn-SageMaker-Custom-Attributes"] = request["CustomAttributes"]
    return headers


def _count(call: Call, endpoint: str, variant: str) -> None:
    dimensions = {"EndpointName": endpoint, "VariantName": variant}
    cloudwatch.put(call.world, call.scope, "AWS/SageMaker", "Invocations", dimensions, 1.0)


def _model_error(call: Call, name: str, status: int, text: str) -> AwsError:
    group = f"{endpoint_life.LOG_GROUP}/{name}"
    message = (
        f'Received {"client" if status < 500 else "server"} error ({status}) from primary with message "{text}". See {group} in'
        f" account {call.account} for more information."
    )
    arn = call.world.logs.group_arn(call.scope, group)
    return AwsError("ModelError", message, 424, OriginalStatusCode=status, OriginalMessage=text, LogStreamArn=arn)


async def _invoked(call: Call, request: Input) -> tuple[Answer, str]:
    for member in ("InferenceComponentName", "TargetModel", "TargetContainerHostname"):
        if member in request:
            raise NotServed("sagemaker-runtime", f"InvokeEndpoint with {member}")
    name = request["EndpointName"]
    record = _endpoint(call, name)
    variant = _variant(request, record)
    task = endpoint_life.task_id(call.scope, record, record["_generation"], variant["VariantName"])
    _count(call, name, variant["VariantName"])
    # The container may take long; what is written so far must not wait for it.
    call.world.store.commit()
    try:
        answer = await call.world.runner.invoke(task, request.get("Body", b""), _headers(request))
    except ConnectionError as error:
        raise _model_error(call, name, 503, str(error)) from error
    if answer.status >= 300:
        text = b"".join([chunk async for chunk in answer.body]).decode(errors="replace")
        raise _model_error(call, name, answer.status, text)
    return answer, variant["VariantName"]


def _content_type(answer: Answer) -> str:
    return next((value for name, value in answer.headers.items() if name.lower() == "content-type"), "application/octet-stream")


@RUNTIME.operation("InvokeEndpoint", resource=endpoint_arn)
async def invoke_endpoint(call: Call, request: Input) -> dict[str, Any]:
    answer, variant = await _invoked(call, request)
    body = b"".join([chunk async for chunk in answer.body])
    return {"Body": body, "ContentType": _content_type(answer), "InvokedProductionVariant": variant}


@RUNTIME.operation("InvokeEndpointWithResponseStream", resource=endpoint_arn, action="InvokeEndpoint")
async def invoke_endpoint_with_response_stream(call: Call, request: Input) -> dict[str, Any]:
    answer, variant = await _invoked(call, request)
    return {
        "ContentType": _content_type(answer),
        "InvokedProductionVariant": variant,
        # What the stream carries; its frames are made as the container answers.
        "Body": {},
        "_stream": _parts(answer),
        "_headers": {"Content-Type": "application/vnd.amazon.eventstream"},
    }


async def _parts(answer: Answer) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.body:
            yield event_stream.event("PayloadPart", chunk)
    except ConnectionError as error:
        text = json.dumps({"Message": str(error), "ErrorCode": "ModelInvocationTimeExceeded"})
        yield event_stream.exception("ModelStreamError", text.encode())
