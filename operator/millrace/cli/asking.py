"""Puts a question to an endpoint by the API server's proxy to its Service, and writes the answer as it comes."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from millrace.cli.cluster import Connection, Target, connected, kind_named
from millrace.cli.problems import Exit, Problem
from millrace.engine.conditions import find
from millrace.kube.errors import ApiError, Forbidden

Object = dict[str, Any]
_DONE = "[DONE]"


@dataclass(frozen=True)
class Question:
    """What is asked, and how."""

    text: str
    system: str = ""
    complete: bool = False
    max_tokens: int = 256
    temperature: float = 0.0

    @property
    def path(self) -> str:
        """Where it is sent."""
        return "/v1/completions" if self.complete else "/v1/chat/completions"

    def body(self, model: str) -> Object:
        """What is sent."""
        how: Object = {"model": model, "max_tokens": self.max_tokens, "temperature": self.temperature, "stream": True}
        if self.complete:
            return {**how, "prompt": f"{self.system}{self.text}"}
        before = [{"role": "system", "content": self.system}] if self.system else []
        return {**how, "messages": [*before, {"role": "user", "content": self.text}]}


async def show(target: Target, name: str, question: Question) -> None:
    """Write the answer to standard output. Raises Problem where there is none."""
    async with connected(target) as connection:
        obj = await connection.get(kind_named("modelendpoint"), name)
        _check(obj)
        try:
            await _written(_pieces(connection, obj, question))
        except Forbidden:
            raise
        except ApiError as error:
            raise _refused(obj, error) from error


def _check(obj: Object) -> None:
    name, serving = obj["metadata"]["name"], obj["spec"].get("kubernetes") or {}
    if serving.get("protocol", "OpenAI") != "OpenAI":
        raise Problem(
            f"modelendpoint/{name} does not speak OpenAI's protocol", f"Ask it at {(obj.get('status') or {}).get('url')}."
        )
    conditions = (obj.get("status") or {}).get("conditions")
    available = find(conditions, "Available")
    if available is None or available["status"] != "True":
        why = find(conditions, "Ready") or {"reason": "Pending", "message": "the operator has said nothing yet"}
        raise Problem(
            f"modelendpoint/{name} does not answer: {why['reason']}: {why['message']}",
            f"`millrace wait modelendpoint/{name}` waits until it does.",
        )


def proxied(namespace: str, kind: str, name: str, port: int | str, path: str) -> str:
    """The path by which the API server leads to a Service or pod."""
    return f"/api/v1/namespaces/{namespace}/{kind}/http:{name}:{port}/proxy{path}"


async def _pieces(connection: Connection, obj: Object, question: Question) -> AsyncIterator[str]:
    """Pieces of the answer. Raises ApiError, and Problem for what the server says in the middle of it."""
    metadata = obj["metadata"]
    path = proxied(metadata["namespace"], "services", metadata["name"], "http", question.path)
    model = await _model(connection, obj)
    async for line in connection.client.lines("POST", path, question.body(model)):
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == _DONE:
            return
        yield _text(json.loads(data), question)


async def _model(connection: Connection, obj: Object) -> str:
    """A server that is not ours has its own name for what it serves."""
    metadata = obj["metadata"]
    if not (obj["spec"].get("kubernetes") or {}).get("image"):
        return str(metadata["name"])
    path = proxied(metadata["namespace"], "services", metadata["name"], "http", "/v1/models")
    listed = await connection.client.raw("GET", path)
    models = listed.get("data") or [{"id": metadata["name"]}]
    return str(models[0]["id"])


def _text(piece: Object, question: Question) -> str:
    if "error" in piece:
        raise Problem(f"the server broke off: {piece['error'].get('message')}", "Its log says more: millrace logs.")
    choice: Object = next(iter(piece.get("choices") or ()), {})
    said = choice.get("text") if question.complete else (choice.get("delta") or {}).get("content")
    return str(said or "")


async def _written(pieces: AsyncIterator[str]) -> None:
    async for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def _refused(obj: Object, error: ApiError) -> Problem:
    name = obj["metadata"]["name"]
    if error.status in {0, 502, 503, 504}:
        return Problem(f"modelendpoint/{name} does not answer: {error.message}", f"`millrace status {name}` says why.")
    if error.status == 429:
        return Problem(f"modelendpoint/{name} has too much to do: {error.message}", "Ask again, or add replicas.")
    return Problem(f"modelendpoint/{name} refuses: {error.message}", "", Exit.FAILED)
