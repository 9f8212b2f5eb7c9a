"""What requests may say: each refusal names its parameter, and what changes nothing is let through."""

from typing import Any

import pytest

from millrace_serve.engine import plain_chat
from millrace_serve.generation import room
from millrace_serve.problems import ApiError
from millrace_serve.requests import read_chat, read_completion

HELLO = [{"role": "user", "content": "hello"}]


def completion(most: int = 0, **body: Any) -> Any:
    return read_completion({"model": "m", "prompt": "hello", **body}, "m", most)


def chat(most: int = 0, **body: Any) -> Any:
    return read_chat({"model": "m", "messages": HELLO, **body}, "m", most)


REFUSED = [
    ({"temperature": 2.1}, "temperature", None, "beyond OpenAI's range"),
    ({"temperature": "1"}, "temperature", None, "a number in a string is no number"),
    ({"temperature": True}, "temperature", None, "Python takes true for 1, JSON does not"),
    ({"temperature": float("nan")}, "temperature", None, "NaN compares with nothing"),
    ({"top_p": -0.1}, "top_p", None, "no probability"),
    ({"max_tokens": 0}, "max_tokens", None, "an answer without tokens"),
    ({"max_tokens": 1.5}, "max_tokens", None, "half a token"),
    ({"n": 0}, "n", None, "no answer"),
    ({"n": 129}, "n", None, "more answers than OpenAI gives"),
    ({"seed": 1 << 63}, "seed", None, "more than 64 bits"),
    ({"stop": ""}, "stop", None, "an empty string stops everything"),
    ({"stop": ["a"] * 5}, "stop", None, "more than four"),
    ({"stop": 3}, "stop", None, "no text"),
    ({"stream": 1}, "stream", None, "a number is no truth"),
    ({"stream_options": {"include_usage": True}}, "stream_options", None, "options of a stream that is not asked for"),
    ({"stream": True, "stream_options": {"speed": 1}}, "stream_options", None, "an option that does not exist"),
    ({"model": None}, "model", "missing_required_parameter", "no model"),
    ({"max_token": 5}, "max_token", "unknown_parameter", "a misspelt name would change the answer in silence"),
    ({"top_k": 5}, "top_k", "unknown_parameter", "another server's parameter would change the answer"),
    ({"presence_penalty": 0.5}, "presence_penalty", "unsupported_parameter", "it would change the answer"),
    ({"logprobs": 0}, "logprobs", "unsupported_parameter", "completions take 0 for: of the chosen tokens"),
    ({"logit_bias": {"5": 1}}, "logit_bias", "unsupported_parameter", "it would change the answer"),
    ({"tools": [{"type": "function"}]}, "tools", "unsupported_parameter", "it would change the answer"),
    ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter", "it would change the answer"),
]


@pytest.mark.parametrize("read", [completion, chat])
@pytest.mark.parametrize(("body", "param", "code", "why"), REFUSED, ids=[case[3] for case in REFUSED])
def test_a_bad_parameter_is_refused_by_name(read: Any, body: dict[str, Any], param: str, code: str | None, why: str) -> None:
    with pytest.raises(ApiError) as caught:
        read(**body)
    error = caught.value.body()["error"]
    assert (caught.value.status, error["param"], error["code"]) == (400, param, code), why
    assert error["type"] == "invalid_request_error"
    assert param in error["message"]


HARMLESS = [
    ({"user": "u-1", "metadata": {"a": "b"}, "store": False}, "says nothing about the answer"),
    ({"presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {}}, "the values that mean none"),
    ({"logprobs": None, "tools": None, "response_format": None, "unheard_of": None}, "null is not given"),
    ({"tool_choice": "auto", "response_format": {"type": "text"}, "best_of": 1}, "the defaults, spelt out"),
]


@pytest.mark.parametrize("read", [completion, chat])
@pytest.mark.parametrize(("body", "why"), HARMLESS, ids=[case[1] for case in HARMLESS])
def test_what_changes_nothing_is_let_through(read: Any, body: dict[str, Any], why: str) -> None:
    assert read(seed=1, **body) == read(seed=1), why


PROMPTS = [
    ("text", ("text",), "one text"),
    (["a", "b"], ("a", "b"), "several texts"),
    ([1, 2], ([1, 2],), "one prompt of token ids"),
    ([[1], [2, 3]], ([1], [2, 3]), "several prompts of token ids"),
    ("", ("",), "nothing at all: OpenAI begins a text then"),
]


@pytest.mark.parametrize(("given", "expected", "why"), PROMPTS, ids=[case[2] for case in PROMPTS])
def test_prompts_come_in_four_forms(given: Any, expected: Any, why: str) -> None:
    assert completion(prompt=given).prompts == expected, why


@pytest.mark.parametrize("prompt", [5, [], [[]], [1, "a"], [True], [[1], 2], {"text": "a"}], ids=repr)
def test_other_prompts_are_refused(prompt: Any) -> None:
    with pytest.raises(ApiError, match="prompt must be"):
        completion(prompt=prompt)


def test_many_prompts_times_many_choices_are_refused_with_the_number() -> None:
    with pytest.raises(ApiError, match="at most 128, not 150"):
        completion(prompt=["a"] * 50, n=3)


MESSAGES = [
    ([], "messages", "none"),
    ("hello", "messages", "no list"),
    (["hello"], "messages[0]", "no object"),
    ([{"role": "tool", "content": "5"}], "messages[0].role", "a role that this server has no place for"),
    ([{"role": "user"}], "messages[0].content", "nothing said"),
    ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content", "a picture"),
    ([*HELLO, {"role": "assistant", "content": "", "tool_calls": [{}]}], "messages[1].tool_calls", "the call of a tool"),
]


@pytest.mark.parametrize(("messages", "param", "why"), MESSAGES, ids=[case[2] for case in MESSAGES])
def test_a_bad_message_is_refused_by_its_place(messages: Any, param: str, why: str) -> None:
    with pytest.raises(ApiError) as caught:
        chat(messages=messages)
    assert caught.value.param == param, why


def test_the_parts_of_a_message_are_joined() -> None:
    parts = [{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}]
    assert chat(messages=[{"role": "user", "content": parts}]).messages == ({"role": "user", "content": "hello"},)


def test_another_model_does_not_exist_here() -> None:
    with pytest.raises(ApiError, match="this endpoint serves 'm'") as caught:
        completion(model="gpt-4")
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")


def test_a_chat_may_name_its_limit_in_either_way_but_not_both() -> None:
    assert chat(max_tokens=5).common.limit == chat(max_completion_tokens=5).common.limit == 5
    with pytest.raises(ApiError, match="not both"):
        chat(max_tokens=5, max_completion_tokens=6)


def test_the_endpoint_s_own_limit_is_named() -> None:
    with pytest.raises(ApiError, match="at most 10 tokens, not 11"):
        completion(most=10, max_tokens=11)


ROOM = [
    (10, 5, 0, 20, 5, "what was asked for"),
    (15, 5, 0, 20, 5, "just fits"),
    (10, None, 0, 20, 10, "all that is left"),
    (10, None, 3, 20, 3, "all that the endpoint allows"),
    (19, None, 0, 20, 1, "the last token"),
]


@pytest.mark.parametrize(("prompt", "limit", "most", "context", "expected", "why"), ROOM, ids=[case[-1] for case in ROOM])
def test_an_answer_has_the_room_that_is_left(
    prompt: int, limit: int | None, most: int, context: int, expected: int, why: str
) -> None:
    assert room(prompt, chat(most, max_tokens=limit).common, context, "messages") == expected, why


@pytest.mark.parametrize(
    ("prompt", "limit", "param"),
    [(20, None, "messages"), (25, 3, "messages"), (16, 5, "max_tokens")],
    ids=["no token left", "a prompt longer than the context", "too much asked for"],
)
def test_what_does_not_fit_is_refused_with_the_numbers(prompt: int, limit: int | None, param: str) -> None:
    with pytest.raises(ApiError, match=f"context is 20 tokens, but the prompt has {prompt}") as caught:
        room(prompt, chat(max_tokens=limit).common, 20, "messages")
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", param)


def test_a_conversation_without_template_is_plain_lines() -> None:
    prompt = plain_chat([{"role": "system", "content": "Be short."}, *HELLO])
    assert prompt.text == "System: Be short.\nUser: hello\nAssistant:"
    assert prompt.stops == ("\nUser:",)
