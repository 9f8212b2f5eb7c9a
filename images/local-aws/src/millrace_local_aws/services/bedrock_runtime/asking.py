"""Asking a container: the serve contract's completions and chat completions, which count tokens as the model does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

from millrace_local_aws.dataplane.runner import Answer
from millrace_local_aws.service import Call
from millrace_local_aws.services.bedrock import containers
from millrace_local_aws.services.bedrock_runtime.families import Asked, Told
from millrace_local_aws.services.bedrock_runtime.targets import Target
from millrace_local_aws.wire.errors import AwsError

CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
LIMITS = (256, 64, 16)
"""A small model on a CPU writes no more than the first; an answer that does not fit its context is asked for shorter."""
HOTTEST = 2.0
"""Cohere's temperatures go further than the containers'."""
SHORTEST = 32
"""Characters: what was tuned has the shortest context of all, and reads the end of a conversation that does not fit."""
TOO_LONG = "context_length_exceeded"
_STOPS = 4
"""As many as the containers take."""


def request(target: Target, asked: Asked, *, stream: bool) -> tuple[str, dict[str, Any]]:
    """Path and body: what was tuned goes on in the form that it was tuned on, the others take the conversation."""
    common: dict[str, Any] = {"model": containers.MODEL, "max_tokens": asked.most}
    heat = None if asked.temperature is None else min(asked.temperature, HOTTEST)
    told = {"temperature": heat, "top_p": asked.top_p}
    common |= {name: value for name, value in told.items() if value is not None}
    if stream:
        common |= {"stream": True, "stream_options": {"include_usage": True}}
    stops = {"stop": asked.stops[:_STOPS]} if asked.stops else {}
    if target.tuned is None:
        return CHAT, common | {"messages": asked.messages} | stops
    if target.tuned == "CONTINUED_PRE_TRAINING":
        return PLAIN, common | {"prompt": "\n".join(message["content"] for message in asked.messages)} | stops
    turns = "".join(f"{message['role']}: {' '.join(message['content'].split())}\n" for message in asked.messages)
    return PLAIN, common | {"prompt": f"{turns}assistant:", "stop": ["\n", *asked.stops][:_STOPS]}


def _refused(status: int, body: bytes) -> AwsError:
    """A container's no, as Bedrock says it."""
    try:
        found = json.loads(body)["error"]
        message, code = str(found["message"]), found.get("code")
    except (ValueError, KeyError, TypeError, AttributeError):
        message, code = body.decode(errors="replace")[:500], None
    if code == TOO_LONG:
        return AwsError("ValidationException", "Input is too long for requested model.", 400)
    if status == 429:
        return AwsError("ThrottlingException", "Too many requests, please wait before trying again.", 429)
    if status in (400, 422):
        return AwsError("ValidationException", message, 400)
    told = f"The model returned the following errors: {message}"
    return AwsError("ModelErrorException", told, 424, originalStatusCode=status, resourceName=containers.MODEL)


async def _whole(answer: Answer) -> bytes:
    return b"".join([chunk async for chunk in answer.body])


async def ask(call: Call, target: Target, asked: Asked, *, stream: bool = False) -> Answer:
    """The container's answer, whose status is good."""
    try:
        task = await target.task(call.world, call.scope)
    except TimeoutError as error:
        raise AwsError("ModelNotReadyException", "The model is not ready for inference.", 429) from error
    except ConnectionError as error:
        raise AwsError("ServiceUnavailableException", str(error), 503) from error
    # The container may take long; what is written so far must not wait for it.
    call.world.store.commit()
    tries = [request(target, wanted, stream=stream) for wanted in _attempts(target, asked)]
    return await _first(call, task, tries)


def _attempts(target: Target, asked: Asked) -> Iterator[Asked]:
    """What may fit, the longest answer first."""
    limits = sorted({min(limit, asked.most) for limit in LIMITS}, reverse=True)
    yield from (replace(asked, most=limit) for limit in limits)
    text = "\n".join(message["content"] for message in asked.messages)
    while target.tuned and len(text) > SHORTEST:
        text = text[len(text) // 2 :]
        yield replace(asked, messages=[{"role": "user", "content": text}], most=limits[-1])


async def _first(call: Call, task: str, tries: list[tuple[str, dict[str, Any]]]) -> Answer:
    """The answer to the first request that fits."""
    for place, (path, body) in enumerate(tries, 1):
        try:
            answer = await call.world.runner.invoke(task, json.dumps(body).encode(), {"Content-Type": "application/json"}, path)
        except ConnectionError as error:
            raise _refused(503, str(error).encode()) from error
        if answer.status < 300:
            return answer
        said = await _whole(answer)
        if TOO_LONG.encode() not in said or place == len(tries):
            raise _refused(answer.status, said)
    raise AssertionError("a request asks for a token at least")


async def whole(call: Call, target: Target, asked: Asked) -> Told:
    """All of an answer."""
    raw = await _whole(await ask(call, target, asked))
    try:
        found = json.loads(raw)
        choice, usage = found["choices"][0], found["usage"]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
        return Told(text, usage["prompt_tokens"], usage["completion_tokens"], choice["finish_reason"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise _refused(500, f"the container's answer cannot be read ({type(error).__name__}: {error})".encode()) from error


async def parts(answer: Answer) -> AsyncIterator[Told]:
    """Pieces of text as they come, and at last the counts with no text."""
    finish, read, written = "stop", 0, 0
    async for event in _events(answer):
        if event.get("error"):
            raise ConnectionError(str(event["error"].get("message", event["error"])))
        usage = event.get("usage") or {}
        read, written = usage.get("prompt_tokens", read), usage.get("completion_tokens", written)
        for choice in event.get("choices", []):
            finish = choice.get("finish_reason") or finish
            text = choice["delta"].get("content", "") if "delta" in choice else choice.get("text", "")
            if text:
                yield Told(text, 0, 0, None)
    yield Told("", read, written, finish)


async def _events(answer: Answer) -> AsyncIterator[dict[str, Any]]:
    """Server-sent events; the last one is not JSON."""
    buffer = b""
    async for chunk in answer.body:
        buffer += chunk
        *lines, buffer = buffer.split(b"\n\n")
        for line in lines:
            data = line.removeprefix(b"data: ").strip()
            if data and data != b"[DONE]":
                yield json.loads(data)


async def count(call: Call, target: Target, asked: Asked) -> int:
    """Tokens of the input, as the model counts them: an answer of one token tells."""
    return (await whole(call, target, Asked(asked.messages, 1))).read
