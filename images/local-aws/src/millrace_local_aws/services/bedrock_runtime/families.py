"""The bodies that each family of models reads and writes, as its vendor's pages of the Bedrock user guide have them. Pure.

https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html
"""

from __future__ import annotations

import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

from millrace_local_aws.wire.errors import AwsError, NotServed

Body = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What is to be answered: a conversation, its last turn the user's. `most` is how many tokens the answer may have."""

    messages: list[dict[str, str]]
    most: int
    temperature: float | None = None
    top_p: float | None = None
    stops: list[str] = field(default_factory=list)

    def characters(self) -> int:
        return sum(len(message["content"]) for message in self.messages)


@dataclass(frozen=True)
class Told:
    """An answer, or what there is of it so far. `finish` is `stop` or `length`, None while it goes on."""

    text: str
    read: int
    written: int
    finish: str | None


def malformed(message: str) -> AwsError:
    return AwsError("ValidationException", f"Malformed input request: {message}, please reformat your input and try again.", 400)


class Family(ABC):
    """One form of bodies. `known` are the members that a request may have."""

    known: ClassVar[frozenset[str]]
    served_once: ClassVar[dict[str, tuple[Any, ...]]] = {}
    """Members that are known and change what nobody here can change, with the values that change nothing."""

    def read(self, raw: bytes, model: str, limit: int) -> Asked:
        """A request; raises ValidationException. `limit` is the model's own."""
        try:
            body = json.loads(raw)
        except ValueError as error:
            raise malformed("the body is not JSON") from error
        if not isinstance(body, dict):
            raise malformed("expected type: JSONObject")
        for name, value in body.items():
            if name not in self.known:
                raise malformed(f"#: extraneous key [{name}] is not permitted")
            if name in self.served_once and value not in self.served_once[name]:
                raise NotServed("bedrock-runtime", f"a body with {name}")
        asked = self.asked(body)
        if not 1 <= asked.most <= limit:
            raise malformed(f"the number of tokens to generate must be between 1 and {limit}, not {asked.most}")
        return asked

    @abstractmethod
    def asked(self, body: Body) -> Asked:
        """A body whose members are known."""

    @abstractmethod
    def whole(self, told: Told, model: str, asked: Asked) -> Body:
        """The answer."""

    @abstractmethod
    def begins(self, told: Told, model: str) -> Iterator[Body]:
        """Chunks before all text."""

    @abstractmethod
    def grows(self, told: Told) -> Iterator[Body]:
        """Chunks of more text."""

    @abstractmethod
    def ends(self, told: Told) -> Iterator[Body]:
        """Chunks after all text."""


def _text(body: Body, name: str) -> str:
    if not isinstance(body.get(name), str) or not body[name]:
        raise malformed(f"#: required key [{name}] not found or not a string")
    return str(body[name])


def _number(body: Body, name: str, most: float = 1.0) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
        raise malformed(f"#/{name}: {value} is not a number from 0 to {most:g}")
    return float(value)


def _whole(body: Body, name: str, default: int) -> int:
    value = body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise malformed(f"#/{name}: expected type: Integer")
    return value


def _strings(body: Body, name: str) -> list[str]:
    value = body.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise malformed(f"#/{name}: expected type: JSONArray of strings")
    return value


def _one_turn(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


class Cohere(Family):
    """Command and Command Light."""

    known = frozenset(
        {
            "prompt",
            "max_tokens",
            "temperature",
            "p",
            "k",
            "stop_sequences",
            "return_likelihoods",
            "stream",
            "num_generations",
            "truncate",
        }
    )
    served_once: ClassVar[dict[str, tuple[Any, ...]]] = {
        "num_generations": (1,),
        "return_likelihoods": ("NONE",),
        "k": (0,),
        "truncate": ("NONE",),
    }

    def asked(self, body: Body) -> Asked:
        prompt, limits = _text(body, "prompt"), (_number(body, "temperature", 5.0), _number(body, "p"))
        return Asked(_one_turn(prompt), _whole(body, "max_tokens", 20), *limits, _strings(body, "stop_sequences"))

    def _finish(self, told: Told) -> str:
        return "MAX_TOKENS" if told.finish == "length" else "COMPLETE"

    def whole(self, told: Told, model: str, asked: Asked) -> Body:
        generation = {"finish_reason": self._finish(told), "id": secrets.token_hex(16), "text": told.text}
        return {"generations": [generation], "id": secrets.token_hex(16), "prompt": asked.messages[0]["content"]}

    def begins(self, told: Told, model: str) -> Iterator[Body]:
        return iter(())

    def grows(self, told: Told) -> Iterator[Body]:
        yield {"index": 0, "is_finished": False, "text": told.text}

    def ends(self, told: Told) -> Iterator[Body]:
        yield {"finish_reason": self._finish(told), "index": 0, "is_finished": True}


class Titan(Family):
    """Titan Text."""

    known = frozenset({"inputText", "textGenerationConfig"})

    def asked(self, body: Body) -> Asked:
        config = body.get("textGenerationConfig") or {}
        unknown = sorted(set(config) - {"maxTokenCount", "temperature", "topP", "stopSequences"})
        if unknown:
            raise malformed(f"#/textGenerationConfig: extraneous key [{unknown[0]}] is not permitted")
        limits = (_number(config, "temperature"), _number(config, "topP"))
        return Asked(
            _one_turn(_text(body, "inputText")), _whole(config, "maxTokenCount", 512), *limits, _strings(config, "stopSequences")
        )

    def _finish(self, told: Told) -> str:
        return "LENGTH" if told.finish == "length" else "FINISH"

    def whole(self, told: Told, model: str, asked: Asked) -> Body:
        result = {"tokenCount": told.written, "outputText": told.text, "completionReason": self._finish(told)}
        return {"inputTextTokenCount": told.read, "results": [result]}

    def begins(self, told: Told, model: str) -> Iterator[Body]:
        return iter(())

    def _chunk(self, told: Told, reason: str | None) -> Body:
        counted = {"inputTextTokenCount": told.read or None, "totalOutputTextTokenCount": told.written or None}
        return {"outputText": told.text, "index": 0, "completionReason": reason} | counted

    def grows(self, told: Told) -> Iterator[Body]:
        yield self._chunk(told, None)

    def ends(self, told: Told) -> Iterator[Body]:
        yield self._chunk(told, self._finish(told))


class Llama(Family):
    """Meta's Llama."""

    known = frozenset({"prompt", "max_gen_len", "temperature", "top_p"})

    def asked(self, body: Body) -> Asked:
        limits = (_number(body, "temperature"), _number(body, "top_p"))
        return Asked(_one_turn(_text(body, "prompt")), _whole(body, "max_gen_len", 512), *limits)

    def whole(self, told: Told, model: str, asked: Asked) -> Body:
        counted = {"prompt_token_count": told.read, "generation_token_count": told.written}
        return {"generation": told.text, **counted, "stop_reason": told.finish}

    def begins(self, told: Told, model: str) -> Iterator[Body]:
        return iter(())

    def grows(self, told: Told) -> Iterator[Body]:
        yield {
            "generation": told.text,
            "prompt_token_count": told.read or None,
            "generation_token_count": None,
            "stop_reason": None,
        }

    def ends(self, told: Told) -> Iterator[Body]:
        counted = {"prompt_token_count": told.read, "generation_token_count": told.written}
        yield {"generation": told.text, **counted, "stop_reason": told.finish}


class Claude(Family):
    """Anthropic's messages."""

    known = frozenset(
        {
            "anthropic_version",
            "anthropic_beta",
            "max_tokens",
            "messages",
            "system",
            "temperature",
            "top_p",
            "top_k",
            "stop_sequences",
            "tools",
            "tool_choice",
            "metadata",
        }
    )
    served_once: ClassVar[dict[str, tuple[Any, ...]]] = {
        "tools": ([],),
        "tool_choice": ({"type": "none"},),
        "top_k": (),
        "anthropic_beta": ([],),
    }
    version = "bedrock-2023-05-31"

    def asked(self, body: Body) -> Asked:
        if body.get("anthropic_version") != self.version:
            raise malformed(f"anthropic_version: must be '{self.version}'")
        if "max_tokens" not in body:
            raise malformed("max_tokens: Field required")
        limits = (_number(body, "temperature"), _number(body, "top_p"))
        return Asked(_turns(body), _whole(body, "max_tokens", 0), *limits, _strings(body, "stop_sequences"))

    def _finish(self, told: Told) -> str:
        return "max_tokens" if told.finish == "length" else "end_turn"

    def _message(self, told: Told, model: str, content: list[Body], finish: str | None) -> Body:
        return {
            "id": f"msg_bdrk_{secrets.token_hex(12)}",
            "type": "message",
            "role": "assistant",
            "model": model.removeprefix("anthropic.").partition("-v")[0],
            "content": content,
            "stop_reason": finish,
            "stop_sequence": None,
            "usage": {"input_tokens": told.read, "output_tokens": told.written},
        }

    def whole(self, told: Told, model: str, asked: Asked) -> Body:
        return self._message(told, model, [{"type": "text", "text": told.text}], self._finish(told))

    def begins(self, told: Told, model: str) -> Iterator[Body]:
        yield {"type": "message_start", "message": self._message(told, model, [], None)}
        yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}

    def grows(self, told: Told) -> Iterator[Body]:
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": told.text}}

    def ends(self, told: Told) -> Iterator[Body]:
        yield {"type": "content_block_stop", "index": 0}
        delta = {"stop_reason": self._finish(told), "stop_sequence": None}
        yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": told.written}}
        yield {"type": "message_stop"}


def _turns(body: Body) -> list[dict[str, str]]:
    """Claude's system text and messages, whose content is a text or a list of blocks."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise malformed("messages: at least one message is required")
    system = [{"role": "system", "content": _flat(body["system"])}] if body.get("system") else []
    return check_turns(system + [{"role": str(one.get("role")), "content": _flat(one.get("content"))} for one in messages])


def _flat(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise malformed("messages: content must be a string or a list of content blocks")
    if any("text" not in block for block in content):
        raise NotServed("bedrock-runtime", "content that is not text")
    return "".join(str(block["text"]) for block in content)


def check_turns(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """User and assistant take turns, and the user begins; raises ValidationException."""
    turns = [message["role"] for message in messages if message["role"] != "system"]
    if not turns or turns[0] != "user":
        raise AwsError(
            "ValidationException",
            "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
            400,
        )
    if any(first == second for first, second in pairwise(turns)):
        raise AwsError(
            "ValidationException",
            "A conversation must alternate between user and assistant roles. Make sure the"
            " conversation alternates between user and assistant roles and try again.",
            400,
        )
    if not all(message["content"].strip() for message in messages):
        raise AwsError("ValidationException", "The text field in a content block must not be blank.", 400)
    return messages


class Nova(Family):
    """Amazon Nova: Converse's names."""

    known = frozenset({"schemaVersion", "messages", "system", "inferenceConfig", "toolConfig"})
    served_once: ClassVar[dict[str, tuple[Any, ...]]] = {"toolConfig": ()}

    def asked(self, body: Body) -> Asked:
        config = body.get("inferenceConfig") or {}
        limits = (_number(config, "temperature"), _number(config, "topP"))
        most = _whole(config, "maxTokens", _whole(config, "max_new_tokens", 512))
        return Asked(_turns(body), most, *limits, _strings(config, "stopSequences"))

    def _usage(self, told: Told) -> Body:
        return {"inputTokens": told.read, "outputTokens": told.written, "totalTokens": told.read + told.written}

    def _finish(self, told: Told) -> str:
        return "max_tokens" if told.finish == "length" else "end_turn"

    def whole(self, told: Told, model: str, asked: Asked) -> Body:
        message = {"content": [{"text": told.text}], "role": "assistant"}
        return {"output": {"message": message}, "stopReason": self._finish(told), "usage": self._usage(told)}

    def begins(self, told: Told, model: str) -> Iterator[Body]:
        yield {"messageStart": {"role": "assistant"}}

    def grows(self, told: Told) -> Iterator[Body]:
        yield {"contentBlockDelta": {"delta": {"text": told.text}, "contentBlockIndex": 0}}

    def ends(self, told: Told) -> Iterator[Body]:
        yield {"contentBlockStop": {"contentBlockIndex": 0}}
        yield {"messageStop": {"stopReason": self._finish(told)}}
        yield {"metadata": {"usage": self._usage(told)}}


FAMILIES: dict[str, Family] = {"cohere": Cohere(), "titan": Titan(), "llama": Llama(), "claude": Claude(), "nova": Nova()}
