"""Requests in OpenAI's shape, read strictly: what would change the answer and is not supported is refused by name.

Source of names and limits: OpenAI's API reference for completions and chat completions.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from millrace_serve.engine import Message
from millrace_serve.problems import ApiError, bad

MAX_CHOICES = 128
MAX_STOPS = 4
ROLES = ("system", "developer", "user", "assistant")
COMMON = frozenset(
    {"model", "temperature", "top_p", "n", "stream", "stream_options", "stop", "seed", "max_tokens"}
)  # what both requests read
NEUTRAL = frozenset({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "parallel_tool_calls"})
# Known to OpenAI, and harmless with one of these values only. None always is harmless.
UNSUPPORTED: Mapping[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "suffix": ("",),
    "best_of": (1,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": ("none",),
    "verbosity": (),
    "web_search_options": (),
}

Prompt = str | list[int]


@dataclass(frozen=True)
class Request:
    """What both kinds of request have in common.

    `limit` is the number of tokens asked for, None where the request names none; `most` is what the endpoint allows, 0 for any.
    With `stop_shown` a stop string is part of the answer that it ends.
    """

    limit: int | None
    most: int
    temperature: float
    top_p: float
    seed: int
    n: int
    stops: tuple[str, ...]
    stream: bool
    include_usage: bool
    top_k: int = 0
    stop_shown: bool = False


@dataclass(frozen=True)
class Completion:
    """POST /v1/completions."""

    common: Request
    prompts: tuple[Prompt, ...]
    echo: bool


@dataclass(frozen=True)
class Chat:
    """POST /v1/chat/completions."""

    common: Request
    messages: tuple[Message, ...]


def read_completion(body: Any, model: str, most_tokens: int) -> Completion:
    """A request to continue prompts; raises ApiError. `most_tokens` 0 is no limit."""
    content = _checked(body, model, {"prompt", "echo"})
    common = _common(content, _whole(content, "max_tokens", 16, least=1), most_tokens)
    prompts = _prompts(content.get("prompt", ""))
    if len(prompts) * common.n > MAX_CHOICES:
        raise bad("n", f"prompts times n must be at most {MAX_CHOICES}, not {len(prompts) * common.n}")
    return Completion(common, prompts, _flag(content, "echo"))


def read_chat(body: Any, model: str, most_tokens: int) -> Chat:
    """A conversation to go on with; raises ApiError. `most_tokens` 0 is no limit."""
    content = _checked(body, model, {"messages", "max_completion_tokens"})
    newer, older = _whole(content, "max_completion_tokens", None, least=1), _whole(content, "max_tokens", None, least=1)
    if newer is not None and older is not None:
        raise bad("max_tokens", "give max_completion_tokens or max_tokens, not both")
    return Chat(_common(content, newer or older, most_tokens), _messages(content.get("messages")))


def _checked(body: Any, model: str, own: set[str]) -> dict[str, Any]:
    """The body without nulls, its names and model checked."""
    if not isinstance(body, dict):
        raise ApiError(400, "the body must be a JSON object")
    content = {name: value for name, value in body.items() if value is not None}
    for name, value in content.items():
        _check_name(name, value, own)
    _check_model(content.get("model"), model)
    return content


def _check_name(name: str, value: Any, own: set[str]) -> None:
    if name in COMMON or name in NEUTRAL or name in own:
        return
    if name not in UNSUPPORTED:
        raise bad(name, f"unknown parameter {name!r}", "unknown_parameter")
    if not any(value == harmless and isinstance(value, bool) == isinstance(harmless, bool) for harmless in UNSUPPORTED[name]):
        raise bad(name, f"parameter {name!r} is not supported by this server", "unsupported_parameter")


def _check_model(given: Any, model: str) -> None:
    if not isinstance(given, str):
        raise bad("model", f"name the model: this endpoint serves {model!r}", "missing_required_parameter")
    if given != model:
        message = f"the model {given!r} does not exist here: this endpoint serves {model!r}"
        raise ApiError(404, message, param="model", code="model_not_found")


def _common(content: Mapping[str, Any], limit: int | None, most_tokens: int) -> Request:
    if limit is not None and most_tokens and limit > most_tokens:
        raise bad("max_tokens", f"this endpoint answers with at most {most_tokens} tokens, not {limit}")
    stream = _flag(content, "stream")
    return Request(
        limit=limit,
        most=most_tokens,
        temperature=_number(content, "temperature", 0, 2),
        top_p=_number(content, "top_p", 0, 1),
        seed=_seed(content),
        n=_whole(content, "n", 1, least=1, most=MAX_CHOICES) or 1,
        stops=_stops(content.get("stop", [])),
        stream=stream,
        include_usage=_include_usage(content, stream),
    )


def _whole(content: Mapping[str, Any], name: str, default: int | None, least: int, most: int = 1 << 31) -> int | None:
    value = content.get(name, default)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most):
        raise bad(name, f"{name} must be a whole number from {least} to {most}, not {value!r}")
    return value


def _number(content: Mapping[str, Any], name: str, least: float, most: float) -> float:
    value = content.get(name, 1.0)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value <= most:
        raise bad(name, f"{name} must be a number from {least:g} to {most:g}, not {value!r}")
    return float(value)


def _flag(content: Mapping[str, Any], name: str) -> bool:
    value = content.get(name, False)
    if not isinstance(value, bool):
        raise bad(name, f"{name} must be true or false, not {value!r}")
    return value


def _seed(content: Mapping[str, Any]) -> int:
    value = content.get("seed")
    if value is None:
        return secrets.randbits(64)
    if not isinstance(value, int) or isinstance(value, bool) or not -(1 << 63) <= value < 1 << 63:
        raise bad("seed", f"seed must be a whole number of 64 bits, not {value!r}")
    return value % (1 << 64)


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops) or len(stops) > MAX_STOPS:
        raise bad("stop", f"stop must be a string or a list of at most {MAX_STOPS} strings, none of them empty")
    return tuple(stops)


def _include_usage(content: Mapping[str, Any], stream: bool) -> bool:
    options = content.get("stream_options")
    if options is None:
        return False
    if not stream:
        raise bad("stream_options", "stream_options is for requests with stream: true")
    if not isinstance(options, dict) or set(options) - {"include_usage", "include_obfuscation"}:
        raise bad("stream_options", "stream_options may have include_usage and nothing else")
    return _flag({name: value for name, value in options.items() if value is not None}, "include_usage")


def _prompts(value: Any) -> tuple[Prompt, ...]:
    """A string, token ids, or a list of either."""
    if _is_text(value) or _are_ids(value):
        return (value,)
    if isinstance(value, list) and value and all(_is_text(prompt) or _are_ids(prompt) for prompt in value):
        return tuple(value)
    raise bad("prompt", "prompt must be a string, a list of token ids, or a list of such prompts")


def _is_text(value: Any) -> bool:
    """A string, and one that UTF-8 has bytes for: JSON may hold halves of surrogate pairs. UnicodeEncodeError for those."""
    return isinstance(value, str) and bool(value.encode() or True)


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, int) and not isinstance(item, bool) for item in value)


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list) or not value:
        raise bad("messages", "messages must be a list with at least one message")
    return tuple(_message(message, f"messages[{place}]") for place, message in enumerate(value))


def _message(value: Any, place: str) -> Message:
    if not isinstance(value, dict):
        raise bad(place, f"{place} must be an object")
    for name, content in value.items():
        if name not in {"role", "content", "name"} and content not in (None, [], {}):
            raise bad(f"{place}.{name}", f"{place}.{name} is not supported by this server", "unsupported_parameter")
    if value.get("role") not in ROLES:
        raise bad(f"{place}.role", f"{place}.role must be one of {', '.join(ROLES)}, not {value.get('role')!r}")
    return {"role": value["role"], "content": _content(value.get("content"), f"{place}.content")}


def _content(value: Any, place: str) -> str:
    """A string, or the joined text of content parts."""
    if _is_text(value):
        return str(value)
    parts = value if isinstance(value, list) else []
    texts = [part["text"] for part in parts if isinstance(part, dict) and part.get("type") == "text" and "text" in part]
    if not parts or len(texts) != len(parts) or not all(_is_text(text) for text in texts):
        raise bad(place, f"{place} must be text or a list of text parts")
    return "".join(texts)
