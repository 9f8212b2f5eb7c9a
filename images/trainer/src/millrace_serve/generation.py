"""One request's choices: as events while they grow, or whole. Knows engines and text, no HTTP."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from millrace_serve.answers import Choice
from millrace_serve.engine import Engine, Sampling
from millrace_serve.problems import bad
from millrace_serve.requests import Prompt, Request
from millrace_serve.text import Answer


@dataclass(frozen=True)
class Part:
    """More text of a choice, its end, or both."""

    choice: Choice
    text: str


@dataclass(frozen=True)
class Work:
    """What one request asks of the engine: each prompt, as ids and as the text to echo, continued `n` times."""

    request: Request
    prompts: tuple[tuple[int, ...], ...]
    echoes: tuple[str, ...]
    stops: tuple[str, ...]
    limits: tuple[int, ...]

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(map(len, self.prompts))

    def choices(self) -> list[Choice]:
        """The empty choices, in order of their index."""
        return [Choice(index) for index in range(len(self.prompts) * self.request.n)]


async def prepare(
    engine: Engine, request: Request, name: str, prompts: Sequence[Prompt], echo: bool = False, stops: tuple[str, ...] = ()
) -> Work:
    """Tokens and limits of a request whose parameter `name` has the prompts; ApiError where one of them cannot be continued."""
    ids = [tuple(await _ids(engine, prompt)) for prompt in prompts]
    limits = tuple(room(len(prompt), request, engine.context, name) for prompt in ids)
    echoes = [await _text(engine, prompt) if echo else "" for prompt in prompts]
    return Work(request, tuple(ids), tuple(echoes), (*request.stops, *stops), limits)


def room(prompt: int, request: Request, context: int, name: str) -> int:
    """Tokens that the answer may have: what was asked for, else all that fit and are allowed. ApiError where it does not fit."""
    if prompt + (request.limit or 1) <= context:
        return request.limit or min(context - prompt, request.most or context)
    wanted = f" and {request.limit} are asked for" if request.limit else ""
    message = f"this model's context is {context} tokens, but the prompt has {prompt}{wanted}: shorten the prompt or max_tokens"
    raise bad(name if prompt >= context else "max_tokens", message, "context_length_exceeded")


async def _ids(engine: Engine, prompt: Prompt) -> Sequence[int]:
    if isinstance(prompt, str):
        return await engine.encode(prompt)
    if not all(0 <= token < engine.vocabulary for token in prompt):
        raise bad("prompt", f"token ids must be from 0 to {engine.vocabulary - 1}")
    return prompt


async def _text(engine: Engine, prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else await engine.decode(prompt)


async def one(engine: Engine, work: Work, choice: Choice) -> AsyncGenerator[Part, None]:
    """The parts of one choice; it is complete when this ends. Leaving early gives the engine's place back."""
    place = choice.index // work.request.n
    if work.echoes[place]:
        yield Part(choice, work.echoes[place])
    answer = Answer(work.stops, stop_shown=work.request.stop_shown)
    async with aclosing(engine.generate(work.prompts[place], _sampling(work, choice.index))) as pieces:
        async for piece in pieces:
            choice.tokens += piece.tokens
            text = answer.feed(piece.data) + (answer.finish() if piece.finish else "")
            choice.finish = "stop" if answer.stopped else piece.finish
            if text or choice.finish:
                yield Part(choice, text)
            if choice.finish:
                return


def _sampling(work: Work, index: int) -> Sampling:
    """Choices of one request differ, and are the same again with the same seed."""
    request = work.request
    limit = work.limits[index // request.n]
    return Sampling(limit, request.temperature, request.top_p, request.seed + index, request.top_k)


async def parts(engine: Engine, work: Work, choices: Sequence[Choice]) -> AsyncGenerator[Part, None]:
    """The parts of all choices as they come; raises what the first that fails raises, and ends the others."""
    queue: asyncio.Queue[Part | BaseException | None] = asyncio.Queue()
    tasks = [asyncio.create_task(_pour(engine, work, choice, queue)) for choice in choices]
    try:
        left = len(tasks)
        while left:
            part = await queue.get()
            if isinstance(part, BaseException):
                raise part
            if part is None:
                left -= 1
            else:
                yield part
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pour(engine: Engine, work: Work, choice: Choice, queue: "asyncio.Queue[Part | BaseException | None]") -> None:
    try:
        async with aclosing(one(engine, work, choice)) as stream:
            async for part in stream:
                queue.put_nowait(part)
        queue.put_nowait(None)
    except Exception as error:  # raised again by who reads the queue
        queue.put_nowait(error)


def stream_of(engine: Engine, work: Work, choices: Sequence[Choice]) -> AsyncGenerator[Part, None]:
    """`parts`, without tasks in between where there is one choice, which is the common case."""
    return one(engine, work, choices[0]) if len(choices) == 1 else parts(engine, work, choices)
