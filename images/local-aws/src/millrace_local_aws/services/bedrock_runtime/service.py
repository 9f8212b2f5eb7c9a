"""The service: InvokeModel with each family's own bodies, Converse with one for all, whole or as streams."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

from millrace_local_aws.service import Call, Input, Service
from millrace_local_aws.services.bedrock.service import invalid
from millrace_local_aws.services.bedrock_runtime import asking, quotas
from millrace_local_aws.services.bedrock_runtime.families import FAMILIES, Asked, Family, Told, check_turns
from millrace_local_aws.services.bedrock_runtime.targets import Target, resolve
from millrace_local_aws.wire import event_stream
from millrace_local_aws.wire.errors import NotServed

RUNTIME = Service("bedrock-runtime", "bedrock", signing="bedrock", throttled=("ThrottlingException", 429))
_STREAM = {"Content-Type": "application/vnd.amazon.eventstream"}
_UNSERVED = ("guardrailConfig", "toolConfig", "additionalModelRequestFields", "promptVariables", "outputConfig")
_DEFAULT_TOKENS = 512


def _arn(call: Call, request: Input) -> str:
    name = str(request["modelId"])
    return name if name.startswith("arn:") else f"arn:aws:bedrock:{call.region}::foundation-model/{name}"


def _body(call: Call, request: Input) -> tuple[Target, Family, Asked]:
    if request.get("guardrailIdentifier"):
        raise NotServed("bedrock-runtime", "InvokeModel with a guardrail")
    target = resolve(call, request["modelId"])
    family = FAMILIES[target.base.family]
    return target, family, family.read(bytes(request.get("body", b"")), target.base.id, target.base.most_tokens)


@RUNTIME.operation("InvokeModel", resource=_arn)
async def invoke_model(call: Call, request: Input) -> dict[str, Any]:
    target, family, asked = _body(call, request)
    told, milliseconds = await _answered(call, target, asked)
    counted = {"Input-Token-Count": told.read, "Output-Token-Count": told.written, "Invocation-Latency": milliseconds}
    return {
        "body": json.dumps(family.whole(told, target.base.id, asked), ensure_ascii=False).encode(),
        "contentType": "application/json",
        "_headers": {f"X-Amzn-Bedrock-{name}": str(value) for name, value in counted.items()},
    }


async def _answered(call: Call, target: Target, asked: Asked) -> tuple[Told, int]:
    """All of the answer, and how many milliseconds it took; its tokens are settled."""
    reserved, began, used = quotas.reserve(call.world, call.scope, target, asked), time.perf_counter(), 0
    try:
        told = await asking.whole(call, target, asked)
        used = told.read + told.written
    finally:
        quotas.settle(call.world, call.scope, target, reserved, used)
    return told, int((time.perf_counter() - began) * 1000)


@RUNTIME.operation("InvokeModelWithResponseStream", resource=_arn)
async def invoke_model_with_response_stream(call: Call, request: Input) -> dict[str, Any]:
    target, family, asked = _body(call, request)
    stream = await _streamed(call, target, asked, lambda parts: _chunks(parts, family, target.base.id))
    return {"contentType": "application/json", "body": {}, "_stream": stream, "_headers": _STREAM}


async def _streamed(call: Call, target: Target, asked: Asked, frames: Any) -> AsyncIterator[bytes]:
    """The answer's frames. What is refused before the first one is an ordinary error."""
    reserved = quotas.reserve(call.world, call.scope, target, asked)
    try:
        answer = await asking.ask(call, target, asked, stream=True)
    except BaseException:
        quotas.settle(call.world, call.scope, target, reserved, 0)
        raise
    return _settled(call, target, reserved, asking.parts(answer), frames)


async def _settled(call: Call, target: Target, reserved: float, parts: AsyncIterator[Told], frames: Any) -> AsyncIterator[bytes]:
    used = 0

    async def counted() -> AsyncIterator[Told]:
        nonlocal used
        async for told in parts:
            used += told.read + told.written
            yield told

    try:
        async for frame in frames(counted()):
            yield frame
    except (ConnectionError, ValueError) as error:
        text = json.dumps({"message": str(error), "originalStatusCode": 500, "originalMessage": str(error)})
        yield event_stream.exception("modelStreamErrorException", text.encode())
    finally:
        quotas.settle(call.world, call.scope, target, reserved, used)


async def _chunks(parts: AsyncIterator[Told], family: Family, model: str) -> AsyncIterator[bytes]:
    for body in family.begins(Told("", 0, 0, None), model):
        yield _chunk(body)
    async for told in parts:
        bodies: Iterable[dict[str, Any]] = family.grows(told) if told.finish is None else family.ends(told)
        for body in bodies:
            if told.finish is not None:
                body |= _last(body, told)
            yield _chunk(body)


def _last(body: dict[str, Any], told: Told) -> dict[str, Any]:
    """What Bedrock itself adds to the chunk that ends an answer."""
    ending = (
        body.get("type") == "message_stop" or "is_finished" in body or body.get("stop_reason") or body.get("completionReason")
    )
    if not (ending or "metadata" in body):
        return {}
    return {"amazon-bedrock-invocationMetrics": {"inputTokenCount": told.read, "outputTokenCount": told.written}}


def _chunk(body: dict[str, Any]) -> bytes:
    data = base64.b64encode(json.dumps(body, ensure_ascii=False).encode()).decode()
    return event_stream.event("chunk", json.dumps({"bytes": data}).encode(), "application/json")


# Converse


def _conversation(request: Input, limit: int) -> Asked:
    """Text alone; raises as Bedrock does."""
    for member in _UNSERVED:
        if request.get(member):
            raise NotServed("bedrock-runtime", f"Converse with {member}")
    system = [{"role": "system", "content": _texts([block])} for block in request.get("system", [])]
    messages = [{"role": one["role"], "content": _texts(one["content"])} for one in request.get("messages", [])]
    config = request.get("inferenceConfig") or {}
    most = config.get("maxTokens", min(limit, _DEFAULT_TOKENS))
    if most > limit:
        raise invalid(
            f"The maximum tokens you requested exceeds the model limit of {limit}. Try again with a maximum tokens value that"
            f" is lower than {limit}."
        )
    return Asked(
        check_turns(system + messages), most, config.get("temperature"), config.get("topP"), config.get("stopSequences", [])
    )


def _texts(blocks: list[dict[str, Any]]) -> str:
    if any("text" not in block for block in blocks):
        raise NotServed("bedrock-runtime", "Converse with content that is not text")
    return "\n".join(str(block["text"]) for block in blocks)


def _reason(told: Told) -> str:
    return "max_tokens" if told.finish == "length" else "end_turn"


def _usage(told: Told) -> dict[str, int]:
    return {"inputTokens": told.read, "outputTokens": told.written, "totalTokens": told.read + told.written}


@RUNTIME.operation("Converse", resource=_arn, action="InvokeModel")
async def converse(call: Call, request: Input) -> dict[str, Any]:
    target = resolve(call, request["modelId"])
    told, milliseconds = await _answered(call, target, _conversation(request, target.base.most_tokens))
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": told.text}]}},
        "stopReason": _reason(told),
        "usage": _usage(told),
        "metrics": {"latencyMs": milliseconds},
    }


@RUNTIME.operation("ConverseStream", resource=_arn, action="InvokeModelWithResponseStream")
async def converse_stream(call: Call, request: Input) -> dict[str, Any]:
    target = resolve(call, request["modelId"])
    stream = await _streamed(call, target, _conversation(request, target.base.most_tokens), _talk)
    return {"stream": {}, "_stream": stream, "_headers": _STREAM}


async def _talk(parts: AsyncIterator[Told]) -> AsyncIterator[bytes]:
    """Converse's events."""
    began = time.perf_counter()
    yield _event("messageStart", {"role": "assistant"})
    async for told in parts:
        if told.finish is None:
            yield _event("contentBlockDelta", {"delta": {"text": told.text}, "contentBlockIndex": 0})
            continue
        yield _event("contentBlockStop", {"contentBlockIndex": 0})
        yield _event("messageStop", {"stopReason": _reason(told)})
        metrics = {"latencyMs": int((time.perf_counter() - began) * 1000)}
        yield _event("metadata", {"usage": _usage(told), "metrics": metrics})


def _event(kind: str, body: dict[str, Any]) -> bytes:
    return event_stream.event(kind, json.dumps(body, ensure_ascii=False).encode(), "application/json")


@RUNTIME.operation("CountTokens", resource=_arn)
async def count_tokens(call: Call, request: Input) -> dict[str, Any]:
    """Free of charge, and of quotas."""
    target, given = resolve(call, request["modelId"]), request["input"]
    if "converse" in given:
        asked = _conversation(given["converse"], target.base.most_tokens)
    else:
        family = FAMILIES[target.base.family]
        asked = family.read(bytes(given["invokeModel"]["body"]), target.base.id, target.base.most_tokens)
    return {"inputTokens": await asking.count(call, target, asked)}
