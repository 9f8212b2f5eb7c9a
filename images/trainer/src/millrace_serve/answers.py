"""Answers in OpenAI's shape, whole or in chunks. Pure."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

DONE = b"data: [DONE]\n\n"


@dataclass
class Choice:
    """One answer: its text so far, why it ended, and how many tokens it took."""

    index: int
    text: str = ""
    finish: str | None = None
    tokens: int = 0


@dataclass(frozen=True)
class Shape:
    """How one request's answers look."""

    id: str
    model: str
    chat: bool
    fingerprint: str
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: Sequence[Choice], prompt_tokens: int) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        kind = "chat.completion" if self.chat else "text_completion"
        return self._envelope(kind, [self._whole(choice) for choice in choices]) | {"usage": usage(choices, prompt_tokens)}

    def chunk(self, index: int, text: str, finish: str | None, include_usage: bool) -> bytes:
        """A server-sent event with more of a choice, or with its end."""
        return self._event([self._part(index, {"content": text} if text else {}, text, finish)], include_usage)

    def role(self, index: int, include_usage: bool) -> bytes:
        """The event with which a chat's choice begins."""
        return self._event([self._part(index, {"role": "assistant", "content": ""}, "", None)], include_usage)

    def usage(self, choices: Sequence[Choice], prompt_tokens: int) -> bytes:
        """The last event where the request asked for usage: no choices, only the counts."""
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        return event(self._envelope(kind, []) | {"usage": usage(choices, prompt_tokens)})

    def _event(self, choices: list[dict[str, Any]], include_usage: bool) -> bytes:
        content = self._envelope("chat.completion.chunk" if self.chat else "text_completion", choices)
        return event(content | {"usage": None} if include_usage else content)

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        named = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        return {**named, "system_fingerprint": self.fingerprint, "choices": choices}

    def _whole(self, choice: Choice) -> dict[str, Any]:
        ended = {"index": choice.index, "finish_reason": choice.finish, "logprobs": None}
        if self.chat:
            return {**ended, "message": {"role": "assistant", "content": choice.text, "refusal": None}}
        return {**ended, "text": choice.text}

    def _part(self, index: int, delta: dict[str, str], text: str, finish: str | None) -> dict[str, Any]:
        ended = {"index": index, "finish_reason": finish, "logprobs": None}
        return {**ended, "delta": delta} if self.chat else {**ended, "text": text}


def usage(choices: Sequence[Choice], prompt_tokens: int) -> dict[str, int]:
    """Token counts over all choices; a prompt counts once, however many choices continue it."""
    completion = sum(choice.tokens for choice in choices)
    return {"prompt_tokens": prompt_tokens, "completion_tokens": completion, "total_tokens": prompt_tokens + completion}


def event(content: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"
