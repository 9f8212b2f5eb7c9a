"""POST /invocations as the containers of Text Generation Inference take it, in which SageMaker's hub serves language models.

Source of names, limits, defaults and words: its router, version 2.0 (router/src/lib.rs, server.rs and validation.rs). Names that
neither knows are passed over; what it knows and this server does not do is refused, unless its value changes nothing.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millrace_serve.answers import Choice, event
from millrace_serve.problems import ApiError
from millrace_serve.requests import MAX_STOPS, Request

PATH = "/invocations"
DEFAULT_TOKENS = 100
NOT_DONE: Mapping[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "repetition_penalty": (1,),
    "frequency_penalty": (0,),
    "typical_p": (),
    "watermark": (False,),
    "decoder_input_details": (False,),
    "top_n_tokens": (0,),
    "grammar": (),
    "adapter_id": (),
}
"""With the values that change nothing."""


@dataclass(frozen=True)
class Generation:
    """What is to be continued, and how. `truncate` 0 reads the whole of `inputs`; `seed` None where nothing is drawn."""

    inputs: str
    common: Request
    truncate: int
    full_text: bool
    details: bool
    seed: int | None

    def fitted(self, ids: Sequence[int], context: int) -> list[int]:
        """The tokens to continue; raises ApiError where they and the answer do not fit."""
        kept, limit = list(ids[-self.truncate :]), self.common.limit or DEFAULT_TOKENS
        if len(kept) + limit > context:
            given = f"Given: {len(kept)} `inputs` tokens and {limit} `max_new_tokens`"
            raise invalid(f"`inputs` tokens + `max_new_tokens` must be <= {context}. {given}")
        return kept


def read_generation(body: Any, most_tokens: int) -> Generation:
    """A request; raises ApiError. `most_tokens` 0 is no limit."""
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), str):
        raise invalid("`inputs` must be a string")
    if not body["inputs"]:
        raise invalid("`inputs` cannot be empty")
    given = body.get("parameters")
    if not isinstance(given, dict | None):
        raise invalid("`parameters` must be an object")
    # Without parameters at all the answer is drawn; with some, only where they say so.
    told = {name: value for name, value in (given or {"do_sample": True}).items() if value is not None}
    _check_done(told)
    drawn, seed = _is_drawn(told), _seed(told)
    return Generation(
        inputs=body["inputs"],
        common=_common(told, most_tokens, drawn, seed, _flag(body, "stream")),
        truncate=_positive(told, "truncate", 0),
        full_text=_flag(told, "return_full_text", default=True),
        details=_flag(told, "details"),
        seed=seed if drawn else None,
    )


def invalid(message: str) -> ApiError:
    """What the container says to a request that it will not answer."""
    return ApiError(422, f"Input validation error: {message}", code="validation")


def _check_done(told: Mapping[str, Any]) -> None:
    for name in sorted(NOT_DONE.keys() & told.keys()):
        if told[name] not in NOT_DONE[name]:
            raise invalid(f"`{name}` is not supported by this server")


def _common(told: Mapping[str, Any], most_tokens: int, drawn: bool, seed: int, stream: bool) -> Request:
    limit = _positive(told, "max_new_tokens", DEFAULT_TOKENS)
    if most_tokens and limit > most_tokens:
        raise invalid(f"`max_new_tokens` must be <= {most_tokens}. Given: {limit}")
    return Request(
        limit=limit,
        most=most_tokens,
        temperature=_temperature(told) if drawn else 0.0,
        top_p=_top_p(told),
        top_k=_positive(told, "top_k", 0),
        seed=seed,
        n=1,
        stops=_stops(told),
        stop_shown=True,
        stream=stream,
        include_usage=False,
    )


def _is_drawn(told: Mapping[str, Any]) -> bool:
    """Whether tokens are drawn: it is said, or a value is given that only drawing has a use for."""
    return _flag(told, "do_sample") or _temperature(told) != 1 or _top_p(told) != 1 or "top_k" in told


def _temperature(told: Mapping[str, Any]) -> float:
    value = _number(told, "temperature")
    if value <= 0:
        raise invalid("`temperature` must be strictly positive")
    return value


def _top_p(told: Mapping[str, Any]) -> float:
    value = _number(told, "top_p")
    if "top_p" in told and not 0 < value < 1:
        raise invalid("`top_p` must be > 0.0 and < 1.0")
    return value


def _number(told: Mapping[str, Any], name: str) -> float:
    value = told.get(name, 1.0)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise invalid(f"`{name}` must be a number")
    return float(value)


def _positive(told: Mapping[str, Any], name: str, default: int) -> int:
    value = told.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 31:
        raise invalid(f"`{name}` must be strictly positive")
    return value


def _flag(told: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    value = told.get(name, default)
    if not isinstance(value, bool):
        raise invalid(f"`{name}` must be true or false")
    return value


def _seed(told: Mapping[str, Any]) -> int:
    value = told.get("seed", secrets.randbits(64))
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 64:
        raise invalid("`seed` must be a whole number of 64 bits")
    return value


def _stops(told: Mapping[str, Any]) -> tuple[str, ...]:
    stops = told.get("stop", [])
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise invalid("`stop` must be a list of strings, none of them empty")
    if len(stops) > MAX_STOPS:
        raise invalid(f"`stop` supports up to {MAX_STOPS} stop sequences. Given: {len(stops)}")
    return tuple(stops)


@dataclass(frozen=True)
class GeneratedShape:
    """How the answer looks; `answers.Shape` is OpenAI's."""

    asked: Generation

    def whole(self, choices: Sequence[Choice], prompt_tokens: int) -> list[dict[str, Any]]:
        """A list of one, as the container has it. Single tokens are not told."""
        (choice,) = choices
        told = {"generated_text": self._text(choice)}
        return [told | {"details": {**self._details(choice), "prefill": [], "tokens": []}} if self.asked.details else told]

    def begins(self, choices: Sequence[Choice]) -> bytes:
        """Nothing before the first token."""
        return b""

    def grows(self, choice: Choice, text: str) -> bytes:
        """One event for each piece of text; the last one has the whole text. Ids and probabilities of tokens are not told."""
        ended = choice.finish is not None
        return event(
            {
                "index": choice.tokens,
                "token": {"text": text, "special": not text},
                "generated_text": self._text(choice) if ended else None,
                "details": self._details(choice) if ended and self.asked.details else None,
            }
        )

    def ends(self, choices: Sequence[Choice], prompt_tokens: int) -> bytes:
        """Nothing after the last token."""
        return b""

    def _text(self, choice: Choice) -> str:
        return (self.asked.inputs if self.asked.full_text else "") + choice.text

    def _details(self, choice: Choice) -> dict[str, Any]:
        return {"finish_reason": self._finish(choice), "generated_tokens": choice.tokens, "seed": self.asked.seed}

    def _finish(self, choice: Choice) -> str:
        if choice.finish != "stop":
            return "length"
        return "stop_sequence" if choice.text.endswith(self.asked.common.stops or ("\0",)) else "eos_token"


def failure(error: ApiError) -> ApiError:
    """An error of this server as the container would say it."""
    if error.code == "validation":
        return error
    kinds = {429: (429, "overloaded", "Model is overloaded"), 500: (424, "generation", "Request failed during generation: {}")}
    status, kind, words = kinds.get(error.status, (error.status, "validation" if error.status < 500 else "generation", "{}"))
    return ApiError(status, words.format(error.message), code=kind, wait=error.retry_after)


def failure_body(error: ApiError) -> dict[str, Any]:
    """The JSON of `failure`."""
    return {"error": error.message, "error_type": error.code}
