"""The endpoint as OpenAI's own client sees it, and what that client never does: bad bytes, leaving early, crowding."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from serve_support import DIGEST, NAME, Running, eventually, make_model, serving

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("http")
    # A context in which an answer takes long enough to be left, crowded or counted.
    folder = make_model(root / "model", context=4096)
    with serving(folder, root, {"maxBatch": "4", "maxConcurrency": "2", "maxQueue": "1", "maxTokens": "4000"}) as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


def metric(server: Running, name: str) -> float:
    found = [line for line in server.get("/metrics")[1].splitlines() if line.startswith(name + " ")]
    return float(found[0].split()[-1]) if found else 0.0


def test_the_client_completes_a_prompt_and_counts_tokens(client: openai.OpenAI) -> None:
    answer = client.completions.create(model=NAME, prompt="the water", max_tokens=12, temperature=0)
    assert answer.object == "text_completion"
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12


def test_a_streamed_answer_is_the_whole_one_in_pieces(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": NAME, "prompt": "水車 and", "max_tokens": 30, "seed": 5, "n": 3}
    whole = client.completions.create(**asked)
    texts, ends, usage = {0: "", 1: "", 2: ""}, {}, None
    for chunk in client.completions.create(**asked, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            texts[choice.index] += choice.text
            ends[choice.index] = choice.finish_reason
    assert texts == {choice.index: choice.text for choice in whole.choices}
    assert len(set(texts.values())) == 3
    assert ends == {choice.index: choice.finish_reason for choice in whole.choices}
    assert usage == whole.usage


def test_the_client_chats_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=NAME, messages=HELLO, max_completion_tokens=10, temperature=0)
    stream = list(client.chat.completions.create(model=NAME, messages=HELLO, max_tokens=10, temperature=0, stream=True))
    assert whole.object == "chat.completion"
    assert whole.choices[0].message.role == stream[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in stream if chunk.choices[0].finish_reason] == ["length"]
    assert all(chunk.usage is None for chunk in stream)


def test_a_stop_string_ends_the_answer_and_is_not_shown(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": NAME, "prompt": "the water", "max_tokens": 40, "seed": 1}
    text = client.completions.create(**asked).choices[0].text
    stop = text[20:22]
    cut = client.completions.create(**asked, stop=stop)
    assert cut.choices[0].finish_reason == "stop"
    assert cut.choices[0].text == text[: text.index(stop)]
    assert cut.usage is not None
    assert cut.usage.completion_tokens < 40


def test_a_seed_gives_the_same_answer_again_and_another_seed_another(client: openai.OpenAI) -> None:
    texts = [client.completions.create(model=NAME, prompt="a", max_tokens=20, seed=seed).choices[0].text for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


def test_prompts_may_be_echoed_token_ids_and_several(client: openai.OpenAI, server: Running) -> None:
    answer = client.completions.create(model=NAME, prompt=[[72, 73], [40]], max_tokens=2, echo=True, n=2, temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[0].text == answer.choices[1].text
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 8)
    assert server.complete("the water", max_tokens=1, echo=True)["choices"][0]["text"].startswith("the water")


def test_the_model_is_listed_with_its_digest_and_every_answer_names_it(client: openai.OpenAI) -> None:
    listed = client.models.list().data[0]
    assert (listed.id, listed.to_dict()["digest"], listed.to_dict()["context_length"]) == (NAME, DIGEST, 4096)
    assert client.models.retrieve(NAME).id == NAME
    raw = client.completions.with_raw_response.create(model=NAME, prompt="a", max_tokens=1, extra_headers={"x-request-id": "r-1"})
    assert (raw.headers["x-millrace-model-digest"], raw.headers["x-request-id"]) == (DIGEST, "r-1")


ERRORS = [
    ({"model": "gpt-4"}, openai.NotFoundError, "model_not_found", "model", "another model"),
    ({"temperature": 3}, openai.BadRequestError, None, "temperature", "beyond the range"),
    ({"logprobs": 2}, openai.BadRequestError, "unsupported_parameter", "logprobs", "not supported"),
    ({"extra_body": {"top_k": 3}}, openai.BadRequestError, "unknown_parameter", "top_k", "unknown"),
    ({"prompt": [99_999]}, openai.BadRequestError, None, "prompt", "a token that does not exist"),
    ({"prompt": "a " * 5000}, openai.BadRequestError, "context_length_exceeded", "prompt", "too long"),
    ({"max_tokens": 4001}, openai.BadRequestError, None, "max_tokens", "more than the endpoint gives"),
]


@pytest.mark.parametrize(("body", "error", "code", "param", "why"), ERRORS, ids=[case[-1] for case in ERRORS])
def test_the_client_understands_our_errors(
    client: openai.OpenAI, body: dict[str, Any], error: type[openai.APIStatusError], code: str | None, param: str, why: str
) -> None:
    with pytest.raises(error) as caught:
        client.completions.create(**{"model": NAME, "prompt": "a", **body})
    assert (caught.value.code, caught.value.param) == (code, param), why
    assert caught.value.request_id


RAW = [
    (b"{", 400, "half an object"),
    (b"[]", 400, "a list"),
    (b'{"model": "tiny", "prompt": "\\ud800"}', 400, "half a surrogate pair"),
    (b"\xff\xfe", 400, "no text"),
    (b"[" * 100_000, 400, "a tower of lists"),
    (b" " * (5 << 20), 413, "five mebibytes"),
]


@pytest.mark.parametrize(("body", "status", "why"), RAW, ids=[case[2] for case in RAW])
def test_a_bad_body_gets_an_error_in_the_same_shape(server: Running, body: bytes, status: int, why: str) -> None:
    found, answer = server.post("/v1/completions", body)
    assert found == status, why
    assert set(answer["error"]) == {"message", "type", "param", "code"}


def test_unknown_paths_and_methods_get_an_error_in_the_same_shape(server: Running) -> None:
    assert json.loads(server.get("/v1/embeddings")[1])["error"]["type"] == "invalid_request_error"
    assert server.get("/v1/completions")[0] == 405


def leave_early(server: Running) -> None:
    """Ask for a long stream, read its beginning and go."""
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        body = json.dumps({"model": NAME, "prompt": "a", "max_tokens": 4000, "stream": True, "seed": 1})
        raw.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        assert b"200 OK" in raw.recv(100)
        eventually(lambda: metric(server, "millrace_serve_batch_size") >= 1)


def test_a_client_that_leaves_frees_its_place_at_once(server: Running) -> None:
    leave_early(server)
    eventually(lambda: metric(server, "millrace_serve_running") == metric(server, "millrace_serve_batch_size") == 0)
    assert any(line["code"] == 499 and line["completion"] < 4000 for line in server.lines("request"))


def test_who_comes_beyond_the_queue_is_told_to_come_again(server: Running, client: openai.OpenAI) -> None:
    """Two run, one waits, the fourth is refused; the queue is empty again when they have gone."""
    stay = threading.Event()

    def hold() -> None:
        asked: Any = client.completions.create(model=NAME, prompt="a", max_tokens=4000, seed=3, stream=True)
        with asked:
            stay.wait(30)

    with ThreadPoolExecutor(3) as pool:
        held = [pool.submit(hold) for _ in range(3)]
        eventually(lambda: (metric(server, "millrace_serve_running"), metric(server, "millrace_serve_waiting")) == (2, 1))
        with pytest.raises(openai.RateLimitError, match="try again later") as caught:
            client.completions.create(model=NAME, prompt="a")
        assert caught.value.response.headers["retry-after"] == "1"
        stay.set()
        for one in held:
            one.result(30)
    eventually(lambda: metric(server, "millrace_serve_running") == 0)
    assert server.complete("a", max_tokens=1)["usage"]["completion_tokens"] == 1


def test_answers_over_http_are_the_same_alone_and_among_others(server: Running) -> None:
    asked = {"max_tokens": 40, "temperature": 0}
    prompts = ["the water", "a"]
    alone = [server.complete(prompt, **asked)["choices"] for prompt in prompts]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(3):
            assert list(pool.map(lambda prompt: server.complete(prompt, **asked)["choices"], prompts)) == alone


def test_the_log_has_a_json_line_for_each_request_and_never_its_text(server: Running) -> None:
    server.post("/v1/completions", {"model": NAME, "prompt": "confidential", "max_tokens": 2}, **{"x-request-id": "secret-1"})
    server.post("/v1/completions", {"model": NAME, "prompt": "a", "max_tokens": 1}, **{"x-request-id": "no good\t"})
    found = next(line for line in server.lines("request") if line["id"] == "secret-1")
    assert (found["path"], found["code"], found["completion"]) == ("/v1/completions", 200, 2)
    assert 0 < found["firstSeconds"] <= found["seconds"]
    assert "confidential" not in server.log.read_text()
    assert "no good" not in server.log.read_text()


def test_metrics_count_what_was_done(server: Running) -> None:
    name = 'millrace_serve_requests_total{code="200",path="/v1/completions"}'
    tokens = 'millrace_serve_tokens_total{kind="completion"}'
    first = "millrace_serve_time_to_first_token_seconds_count"
    before = [metric(server, each) for each in (name, tokens, first)]
    server.complete("a", max_tokens=3)
    assert [metric(server, each) for each in (name, tokens, first)] == [before[0] + 1, before[1] + 3, before[2] + 1]
    server.get("/nowhere/else")
    assert metric(server, 'millrace_serve_requests_total{code="404",path="other"}') >= 1


def test_an_answer_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", context=60_000, layers=1)
    with serving(folder, tmp_path, {"requestTimeoutSeconds": "1", "maxBatch": "1"}) as running:
        status, answer = running.post("/v1/completions", {"model": NAME, "prompt": "a", "max_tokens": 59_000, "seed": 1})
        assert (status, answer["error"]["code"]) == (504, "timeout")
        with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client, pytest.raises(openai.APIError):
            list(client.completions.create(model=NAME, prompt="a", max_tokens=59_000, seed=1, stream=True))
        assert running.get("/ready")[0] == 200
        eventually(lambda: metric(running, "millrace_serve_batch_size") == 0)
