"""Answers, whole or in chunks, in OpenAI's shape; `invocations` has another. Pure."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

DONE = b"data: [DONE]\n\n"


@dataclass
class Choice:
    """One answer: its text so far, why it ended, and how many tokens it took."""

    index: int
    text: str = ""
    finish: str | None = None
    tokens: int = 0


class Look(Protocol):
    """How one request's answers look. A choice's `text` is all of its text so far, what `grows` is told of included."""

    def whole(self, choices: Sequence[Choice], prompt_tokens: int) -> Any:
        """The body of an answer that is not streamed."""

    def begins(self, choices: Sequence[Choice]) -> bytes:
        """Server-sent events before all text."""

    def grows(self, choice: Choice, text: str) -> bytes:
        """With more of a choice, its end, or both."""

    def ends(self, choices: Sequence[Choice], prompt_tokens: int) -> bytes:
        """After all choices have ended."""


@dataclass(frozen=True)
class Shape:
    """OpenAI's Look."""

    id: str
    model: str
    chat: bool
    fingerprint: str
    include_usage: bool = False
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, choices: Sequence[Choice], prompt_tokens: int) -> dict[str, Any]:
        """The body of an answer that is not streamed."""
        kind = "chat.completion" if self.chat else "text_completion"
        return self._envelope(kind, [self._whole(choice) for choice in choices]) | {"usage": usage(choices, prompt_tokens)}

    def begins(self, choices: Sequence[Choice]) -> bytes:
        """A chat's choices begin with a role."""
        begun = [self._part(choice.index, {"role": "assistant", "content": ""}, "", None) for choice in choices]
        return b"".join(self._event(part) for part in begun) if self.chat else b""

    def grows(self, choice: Choice, text: str) -> bytes:
        """Text and end are events of their own, as clients expect of OpenAI."""
        told = self._event(self._part(choice.index, {"content": text}, text, None)) if text else b""
        return told + (self._event(self._part(choice.index, {}, "", choice.finish)) if choice.finish else b"")

    def ends(self, choices: Sequence[Choice], prompt_tokens: int) -> bytes:
        """Where the request asked for usage, an event without choices and with the counts; then the mark of the end."""
        if not self.include_usage:
            return DONE
        return event(self._envelope(self._kind(), []) | {"usage": usage(choices, prompt_tokens)}) + DONE

    def _kind(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _event(self, part: dict[str, Any]) -> bytes:
        content = self._envelope(self._kind(), [part])
        return event(content | {"usage": None} if self.include_usage else content)

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
