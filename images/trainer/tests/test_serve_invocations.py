"""SageMaker's container contract: /ping, and /invocations as the containers that JumpStart's language models run in take it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serve_support import Running, make_model, serving

from millrace_serve.answers import Choice
from millrace_serve.invocations import GeneratedShape, failure, failure_body, read_generation
from millrace_serve.problems import ApiError, StartProblem
from millrace_serve.settings import from_environ, on_sagemaker, read_settings

PROMPT = "the water"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("invocations")
    with serving(make_model(root / "model"), root, {"maxBatch": "2", "maxTokens": "100"}) as running:
        yield running


def ask(server: Running, inputs: Any = PROMPT, /, **parameters: Any) -> tuple[int, Any]:
    return server.post("/invocations", {"inputs": inputs, "parameters": parameters})


def generated(server: Running, **parameters: Any) -> str:
    status, answer = ask(server, **parameters)
    assert status == 200, answer
    return str(answer[0]["generated_text"])


def test_ping_says_whether_requests_are_accepted(server: Running) -> None:
    assert server.get("/ping")[0] == 200


def test_an_answer_is_a_list_of_one_text_that_begins_with_the_input(server: Running) -> None:
    status, answer = server.post("/invocations", {"inputs": PROMPT})
    assert (status, list(answer[0])) == (200, ["generated_text"])
    assert answer[0]["generated_text"].startswith(PROMPT)


def test_the_input_is_left_out_where_that_is_asked(server: Running) -> None:
    whole = generated(server, max_new_tokens=8, seed=1, do_sample=True)
    assert generated(server, max_new_tokens=8, seed=1, do_sample=True, return_full_text=False) == whole.removeprefix(PROMPT)
    assert len(whole) > len(PROMPT)


@pytest.mark.parametrize("limit", [1, 2, 30])
def test_an_answer_has_no_more_tokens_than_asked_for(server: Running, limit: int) -> None:
    details = ask(server, max_new_tokens=limit, do_sample=True, details=True, seed=3)[1][0]["details"]
    assert details == {"finish_reason": "length", "generated_tokens": limit, "seed": 3, "prefill": [], "tokens": []}


def test_without_a_limit_there_are_a_hundred_tokens(server: Running) -> None:
    assert ask(server, details=True)[1][0]["details"]["generated_tokens"] == 100


def test_a_seed_gives_the_same_text_again_and_another_seed_another(server: Running) -> None:
    texts = [generated(server, max_new_tokens=20, seed=seed, do_sample=True, top_p=0.9, temperature=0.6) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


DRAWN: list[tuple[dict[str, Any], bool, str]] = [
    ({}, False, "parameters that say nothing of drawing"),
    ({"do_sample": False}, False, "it is said that nothing is drawn"),
    ({"temperature": 1.0}, False, "a temperature that changes nothing"),
    ({"do_sample": True}, True, "it is said"),
    ({"temperature": 0.6}, True, "a temperature has a use in drawing only"),
    ({"top_p": 0.9}, True, "and so has top_p"),
    ({"top_k": 10}, True, "and top_k"),
]


@pytest.mark.parametrize(("parameters", "drawn", "why"), DRAWN, ids=[case[2] for case in DRAWN])
def test_tokens_are_drawn_where_a_parameter_says_so(parameters: dict[str, Any], drawn: bool, why: str) -> None:
    asked = read_generation({"inputs": "a", "parameters": {"seed": 4, **parameters}}, 0)
    assert (asked.common.temperature > 0, asked.seed) == (drawn, 4 if drawn else None), why


def test_without_parameters_tokens_are_drawn() -> None:
    assert read_generation({"inputs": "a"}, 0).common.temperature == 1


def test_of_one_token_to_choose_from_the_likeliest_is_drawn(server: Running) -> None:
    greedy = generated(server, max_new_tokens=20, do_sample=False)
    assert {generated(server, max_new_tokens=20, top_k=1, seed=seed) for seed in (1, 2)} == {greedy}
    assert generated(server, max_new_tokens=20, top_k=50, seed=1) != greedy


def test_a_stop_string_ends_the_answer_and_is_its_end(server: Running) -> None:
    whole = generated(server, max_new_tokens=30, return_full_text=False)
    stop = whole[10:12]
    status, answer = ask(server, max_new_tokens=30, return_full_text=False, stop=[stop], details=True)
    assert (status, answer[0]["generated_text"]) == (200, whole[: whole.index(stop) + 2])
    assert answer[0]["details"]["finish_reason"] == "stop_sequence"


def test_of_a_truncated_input_its_end_is_read(server: Running) -> None:
    parameters: dict[str, Any] = {"max_new_tokens": 12, "return_full_text": False}
    end = ask(server, "the water", **parameters)
    tokens = ask(server, "the water", max_new_tokens=1, truncate=1, return_full_text=False)
    assert tokens == ask(server, "a long way before the water", max_new_tokens=1, truncate=1, return_full_text=False)
    assert end != ask(server, "r", **parameters), "the whole of it is read otherwise"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"temperature": 0.0}, "`temperature` must be strictly positive"),
    ({"temperature": -1}, "`temperature` must be strictly positive"),
    ({"top_p": 1.2}, "`top_p` must be > 0.0 and < 1.0"),
    ({"top_p": 1}, "`top_p` must be > 0.0 and < 1.0"),
    ({"top_k": 0}, "`top_k` must be strictly positive"),
    ({"max_new_tokens": 0}, "`max_new_tokens` must be strictly positive"),
    ({"max_new_tokens": 101}, "`max_new_tokens` must be <= 100. Given: 101"),
    ({"max_new_tokens": "8"}, "`max_new_tokens` must be strictly positive"),
    ({"seed": -1}, "`seed` must be a whole number of 64 bits"),
    ({"stop": ["a"] * 5}, "`stop` supports up to 4 stop sequences. Given: 5"),
    ({"do_sample": "yes"}, "`do_sample` must be true or false"),
    ({"repetition_penalty": 1.2}, "`repetition_penalty` is not supported by this server"),
    ({"grammar": {"type": "regex", "value": "a"}}, "`grammar` is not supported by this server"),
]


@pytest.mark.parametrize(("parameters", "why"), REFUSED, ids=[str(case[0]) for case in REFUSED])
def test_a_bad_parameter_is_refused_in_the_containers_words(server: Running, parameters: dict[str, Any], why: str) -> None:
    assert ask(server, **parameters) == (422, {"error": f"Input validation error: {why}", "error_type": "validation"})


BODIES: list[tuple[Any, int, str]] = [
    ({"inputs": ""}, 422, "`inputs` cannot be empty"),
    ({"inputs": ["a"]}, 422, "`inputs` must be a string"),
    ({"parameters": {}}, 422, "`inputs` must be a string"),
    ({"inputs": "a", "parameters": []}, 422, "`parameters` must be an object"),
    ({"inputs": "a " * 400}, 422, "`inputs` tokens + `max_new_tokens` must be <= 128"),
    (b"{", 400, "the body is not JSON"),
]


@pytest.mark.parametrize(("body", "status", "why"), BODIES, ids=[case[2] for case in BODIES])
def test_a_body_that_is_no_request_is_refused_with_the_reason(server: Running, body: Any, status: int, why: str) -> None:
    found, answer = server.post("/invocations", body)
    assert (found, answer["error_type"]) == (status, "validation")
    assert why in answer["error"]


def test_names_that_nobody_knows_are_passed_over_and_nulls_are_not_given(server: Running) -> None:
    assert ask(server, max_new_tokens=1, num_beams=4, top_p=None, repetition_penalty=1.0)[0] == 200


def test_a_stream_has_the_text_in_pieces_and_then_the_whole(server: Running) -> None:
    parameters = {"max_new_tokens": 12, "seed": 5, "do_sample": True, "details": True}
    whole = generated(server, **parameters)
    body = {"inputs": PROMPT, "parameters": parameters, "stream": True}
    status, text = server._open(server_request(server, body))
    events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line]
    assert status == 200
    assert PROMPT + "".join(event["token"]["text"] for event in events) == whole
    assert [event["generated_text"] for event in events] == [None] * (len(events) - 1) + [whole]
    assert events[-1]["details"]["generated_tokens"] == 12
    assert len(events) > 3


def server_request(server: Running, body: Any) -> Any:
    import urllib.request

    return urllib.request.Request(f"{server.url}/invocations", json.dumps(body).encode())


ERRORS = [
    (ApiError(429, "7 wait"), 429, "overloaded", "as when too many wait"),
    (ApiError(500, "llama.cpp: no"), 424, "generation", "the engine broke"),
    (ApiError(504, "too long"), 504, "generation", "it took too long"),
]


@pytest.mark.parametrize(("error", "status", "kind", "why"), ERRORS, ids=[case[3] for case in ERRORS])
def test_other_errors_have_the_containers_shape_too(error: ApiError, status: int, kind: str, why: str) -> None:
    told = failure(error)
    assert (told.status, failure_body(told)["error_type"]) == (status, kind), why


def test_an_answer_that_the_model_ended_says_so() -> None:
    asked = read_generation({"inputs": "a", "parameters": {"details": True, "stop": ["b"]}}, 0)
    (told,) = GeneratedShape(asked).whole([Choice(0, "c", "stop", 1)], 1)
    assert told["details"]["finish_reason"] == "eos_token"


def test_what_sagemaker_brought_is_served_and_else_what_the_image_has(tmp_path: Path) -> None:
    image = {"MILLRACE_MODEL_DIR": "/models/own", "MILLRACE_MODEL_NAME": "own"}
    empty = read_settings(on_sagemaker(image, tmp_path))
    assert (empty.model_dir, empty.model_name, empty.port) == (Path("/models/own"), "own", 8080)
    (tmp_path / "model.gguf").touch()
    assert read_settings(on_sagemaker(image, tmp_path)).model_dir == tmp_path
    bare = read_settings(on_sagemaker({"SAGEMAKER_BIND_TO_PORT": "9000"}, tmp_path / "missing"))
    assert (bare.model_dir, bare.model_name, bare.port) == (tmp_path / "missing", "model", 9000)


def test_another_argument_is_refused() -> None:
    with pytest.raises(StartProblem, match="not 'train'"):
        from_environ(["train"])
