"""What the server wants of whatever computes the tokens. Two do: `torch_engine` and `llama_engine`."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Message = Mapping[str, str]
HANG_SECONDS = 60.0


class EngineError(Exception):
    """The engine cannot go on with a generation, or at all."""


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. Temperature 0 is greedy; a seed is a whole number from 0; `limit` is in tokens, at least 1.

    `top_k` 0 lets all tokens be drawn.
    """

    limit: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    top_k: int = 0


@dataclass(frozen=True)
class Piece:
    """Some tokens as bytes, which may end inside a character. `finish` is set on the last piece: stop or length."""

    data: bytes
    tokens: int
    finish: str | None = None


@dataclass(frozen=True)
class ChatPrompt:
    """A conversation as the text that the model continues, and what else ends its turn."""

    text: str
    stops: tuple[str, ...] = ()


class Engine(Protocol):
    """A loaded model. Methods raise EngineError when it is broken; closing a generation frees its place at once."""

    context: int
    """Tokens that prompt and answer may have together."""
    vocabulary: int
    """Token ids are below this."""

    async def encode(self, text: str) -> list[int]:
        """Token ids of a text; never none, so that there is something to continue."""

    async def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""

    async def chat(self, messages: Sequence[Message]) -> ChatPrompt:
        """The conversation as the model's template, or the plain fallback, writes it."""

    def generate(self, prompt: Sequence[int], sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """Pieces as they are computed; the last one has `finish`."""

    def batch_size(self) -> int:
        """Generations that are computed together at this moment."""

    def alive(self) -> bool:
        """Whether the loop goes on: it is not dead, and has not stood still for HANG_SECONDS."""

    async def close(self) -> None:
        """End the loop and release the model."""


def plain_chat(messages: Sequence[Message]) -> ChatPrompt:
    """For models without a template: a line with the role's name before each message, and the assistant's turn begun."""
    names = {"system": "System", "developer": "System", "user": "User", "assistant": "Assistant"}
    turns = [f"{names[message['role']]}: {message['content']}\n" for message in messages]
    return ChatPrompt("".join(turns) + "Assistant:", ("\nUser:",))
