"""Continuous batching: who joins when, that slots come back, and that nobody's answer depends on who else is there."""

import asyncio
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serve_support import CONTEXT, eventually, make_model

from millrace_serve.batching import PREFILL, Batcher, Generation
from millrace_serve.engine import EngineError, Piece, Sampling
from millrace_serve.gate import Gate
from millrace_serve.problems import ApiError

WORDS = 7
END = 6


class Counting:
    """A model whose next token is the last one plus one; it records its calls and can be held up."""

    def __init__(self, slots: int = 2) -> None:
        self.slots = slots
        self.calls: list[tuple[str, Any]] = []
        self.planned = 0
        self.turn = threading.Semaphore(0)
        self.broken = False

    def prefill(self, ids: list[int], slot: int, start: int) -> Any:
        self._step("prefill", (slot, start, len(ids)))
        return self._after(ids[-1])

    def decode(self, ids: list[int], rows: list[tuple[int, int]]) -> list[Any]:
        self._step("decode", rows)
        return [self._after(token) for token in ids]

    def data(self, token: int) -> bytes:
        return bytes([97 + token])

    def ends(self, token: int) -> bool:
        return token == END

    def _step(self, name: str, what: Any) -> None:
        self.planned += 1
        assert self.turn.acquire(timeout=20)
        if self.broken:
            raise RuntimeError("out of paper")
        self.calls.append((name, what))

    def _after(self, token: int) -> Any:
        return np.eye(WORDS, dtype=np.float32)[(token + 1) % WORDS]


class Running:
    """A batcher and what it delivered."""

    def __init__(self, model: Counting) -> None:
        self.model = model
        self.delivered: dict[Generation, list[Piece | EngineError]] = defaultdict(list)
        self.batcher = Batcher(model, self._keep)

    def _keep(self, pieces: list[tuple[Generation, Piece | EngineError]]) -> None:
        for generation, piece in pieces:
            self.delivered[generation].append(piece)

    def ask(self, *prompt: int, limit: int = 100) -> Generation:
        generation = Generation(prompt, Sampling(limit, temperature=0))
        self.batcher.submit(generation)
        return generation

    def text(self, generation: Generation) -> str:
        return b"".join(piece.data for piece in self.delivered[generation] if isinstance(piece, Piece)).decode()

    def finish(self, generation: Generation) -> str | None:
        last = self.delivered[generation][-1:]
        return last[0].finish if last and isinstance(last[0], Piece) else None

    def steps(self, count: int) -> list[tuple[str, Any]]:
        """Let the model be called so many times more, and return those calls, when the call after them is planned."""
        before = len(self.model.calls)
        self.model.turn.release(count)
        eventually(lambda: self.model.planned > before + count)
        return self.model.calls[before:]

    def end(self) -> None:
        self.model.turn.release(1000)
        self.batcher.close()


@pytest.fixture
def running() -> Any:
    made = Running(Counting())
    yield made
    made.end()


def test_an_answer_ends_with_the_end_of_text_or_with_its_limit(running: Running) -> None:
    stopped, limited = running.ask(0), running.ask(0, limit=2)
    running.model.turn.release(100)
    eventually(lambda: running.finish(stopped) is not None and running.finish(limited) is not None)
    assert (running.text(stopped), running.finish(stopped)) == ("bcdef", "stop")
    assert (running.text(limited), running.finish(limited)) == ("bc", "length")


def test_a_new_request_joins_between_two_steps_of_one_that_runs(running: Running) -> None:
    first = running.ask(0)
    assert running.steps(2) == [("prefill", (0, 0, 1)), ("decode", [(0, 1)])]
    second = running.ask(0, 1)
    # The step under way was planned before the second came.
    assert running.steps(4) == [("decode", [(0, 2)]), ("prefill", (1, 0, 2)), ("decode", [(0, 3)]), ("decode", [(0, 4), (1, 2)])]
    running.model.turn.release(100)
    eventually(lambda: running.finish(first) is not None and running.finish(second) is not None)
    assert (running.text(first), running.text(second)) == ("bcdef", "cdef")


def test_a_request_beyond_the_slots_waits_for_the_first_that_is_free(running: Running) -> None:
    asked = [running.ask(4), running.ask(0), running.ask(3)]
    running.model.turn.release(100)
    eventually(lambda: all(running.finish(generation) for generation in asked))
    assert [running.text(generation) for generation in asked] == ["f", "bcdef", "ef"]
    assert asked[2].slot == asked[0].slot


def test_a_cancelled_request_gives_its_slot_back_before_the_next_step(running: Running) -> None:
    first, _, third = running.ask(0), running.ask(0), running.ask(5)
    running.steps(2)
    running.batcher.cancel(first)
    running.model.turn.release(100)
    eventually(lambda: running.finish(third) is not None)
    assert third.slot == first.slot
    assert running.finish(first) is None


def test_a_request_that_is_cancelled_while_it_waits_is_never_computed(running: Running) -> None:
    asked = [running.ask(0), running.ask(0), running.ask(3)]
    running.batcher.cancel(asked[2])
    running.model.turn.release(100)
    eventually(lambda: running.finish(asked[0]) is not None and running.batcher.running == 0)
    assert running.delivered[asked[2]] == []


def test_a_long_prompt_is_read_in_pieces_between_the_others_steps(running: Running) -> None:
    running.ask(0, limit=50)
    running.steps(2)
    running.ask(*([0] * (2 * PREFILL + 3)))
    calls = running.steps(8)
    assert [what for name, what in calls if name == "prefill"] == [(1, 0, PREFILL), (1, PREFILL, PREFILL), (1, 2 * PREFILL, 3)]
    places = [index for index, (name, _) in enumerate(calls) if name == "prefill"]
    assert all(calls[place + 1][0] == "decode" for place in places)


def test_a_model_that_fails_fails_every_request_and_the_health(running: Running) -> None:
    asked = [running.ask(0), running.ask(0), running.ask(0)]
    running.model.broken = True
    running.model.turn.release(1)
    eventually(lambda: all(running.delivered[generation] for generation in asked))
    assert all("out of paper" in str(running.delivered[generation][-1]) for generation in asked)
    eventually(lambda: not running.batcher.alive())
    with pytest.raises(EngineError, match="out of paper"):
        running.ask(0)


def test_health_turns_bad_when_a_step_never_ends(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    running.ask(0)
    assert running.batcher.alive()
    late = time.monotonic() + 61
    monkeypatch.setattr("millrace_serve.batching.time.monotonic", lambda: late)
    assert not running.batcher.alive()


def test_the_gate_lets_in_as_many_as_it_should_in_order_and_refuses_the_rest() -> None:
    async def scene() -> list[str]:
        gate, order = Gate(most=1, queue=2), []

        async def visit(name: str) -> None:
            async with gate.place(asyncio.get_running_loop().time() + 20):
                order.append(name)
                await asyncio.sleep(0)

        visits = [asyncio.create_task(visit(name)) for name in "abc"]
        await asyncio.sleep(0)
        assert (gate.running, gate.waiting) == (1, 2)
        with pytest.raises(ApiError) as caught:
            await visit("d")
        assert (caught.value.status, caught.value.retry_after) == (429, 1)
        await asyncio.gather(*visits)
        assert (gate.running, gate.waiting) == (0, 0)
        return order

    assert asyncio.run(scene()) == ["a", "b", "c"]


@pytest.mark.parametrize("granted", [False, True], ids=["while it waits", "in the moment of its turn"])
def test_who_leaves_the_queue_leaves_no_hole(granted: bool) -> None:
    async def scene() -> tuple[int, int]:
        gate = Gate(most=1, queue=5)
        end = asyncio.get_running_loop().time() + 20

        async def visit() -> None:
            async with gate.place(end):
                pass

        async with gate.place(end):
            leaving = asyncio.create_task(visit())
            await asyncio.sleep(0)
            if not granted:
                leaving.cancel()
                await asyncio.wait({leaving})
        leaving.cancel()
        await asyncio.wait({leaving})
        await visit()
        return gate.running, gate.waiting

    assert asyncio.run(scene()) == (0, 0)


def test_waiting_ends_at_the_deadline() -> None:
    async def scene() -> None:
        gate, loop = Gate(most=1, queue=5), asyncio.get_running_loop()
        async with gate.place(loop.time() + 20):
            with pytest.raises(TimeoutError):
                async with gate.place(loop.time() + 0.01):
                    pass
        assert (gate.running, gate.waiting) == (0, 0)

    asyncio.run(scene())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "model", layers=3, width=64)


PROMPTS = ["the water", "stone and grain", "Grüße", "a", "mill " * 12, "race", "水車", "falls slowly down", "the"]


async def answers(folder: Path, batch: int, sampling: Sampling, at_once: bool) -> list[bytes]:
    from millrace_serve.settings import Parameters
    from millrace_serve.torch_engine import load

    engine = await load(folder, Parameters(maxBatch=batch, threads=1))

    async def answer(prompt: str) -> bytes:
        return b"".join([piece.data async for piece in engine.generate(await engine.encode(prompt), sampling)])

    try:
        if at_once:
            return await asyncio.gather(*map(answer, PROMPTS))
        return [await answer(prompt) for prompt in PROMPTS]
    finally:
        await engine.close()


@pytest.mark.parametrize("sampling", [Sampling(40, temperature=0), Sampling(40, seed=3), Sampling(40, 0.7, 0.9, 11)], ids=repr)
def test_an_answer_is_the_same_alone_and_among_others(folder: Path, sampling: Sampling) -> None:
    alone = asyncio.run(answers(folder, 1, sampling, at_once=False))
    assert asyncio.run(answers(folder, 9, sampling, at_once=True)) == alone
    assert asyncio.run(answers(folder, 4, sampling, at_once=True)) == alone
    assert len(set(alone)) > 5


@pytest.mark.parametrize("threads", [1, 2])
def test_logits_do_not_depend_on_the_batch_in_a_single_bit(folder: Path, threads: int) -> None:
    from millrace_serve.settings import Parameters
    from millrace_serve.torch_engine import Model

    model = Model(folder, Parameters(maxBatch=7, threads=threads))
    prompts = [model.vocabulary.encode(prompt) for prompt in PROMPTS[:7]]
    for slot, prompt in enumerate(prompts):
        model.prefill(prompt, slot, 0)
    rows = [(slot, len(prompt)) for slot, prompt in enumerate(prompts)]
    together = model.decode([5] * 7, rows)
    alone = [model.decode([5], [row])[0] for row in rows]
    backwards = model.decode([5] * 7, rows[::-1])[::-1]
    for one, two, three in zip(together, alone, backwards, strict=True):
        assert np.array_equal(one, two)
        assert np.array_equal(one, three)


def test_the_network_computes_what_transformers_computes(folder: Path) -> None:
    """Another implementation, given the same files: a prompt in two pieces, then single tokens, beside one plain pass."""
    import torch
    from transformers import GPT2LMHeadModel

    from millrace_serve.settings import Parameters
    from millrace_serve.torch_engine import Model

    model = Model(folder, Parameters(maxBatch=3, threads=1))
    ids = [place * 37 % model.vocabulary.size for place in range(CONTEXT)]
    with torch.no_grad():
        expected = GPT2LMHeadModel.from_pretrained(folder).eval()(torch.tensor([ids])).logits[0, :, : model.vocabulary.size]
    assert model.prefill(ids[:20], 1, 0) == pytest.approx(expected[19].numpy(), abs=1e-3)
    assert model.prefill(ids[20:50], 1, 20) == pytest.approx(expected[49].numpy(), abs=1e-3)
    for place in range(50, CONTEXT):
        assert model.decode([ids[place]], [(1, place)])[0] == pytest.approx(expected[place].numpy(), abs=1e-3)


def test_the_bytes_of_tokens_make_up_the_text_again(folder: Path) -> None:
    from millrace_serve.vocabulary import Vocabulary

    vocabulary = Vocabulary(folder)
    text = "Grüße an\tdie 水車 🌊\n\x00"
    assert b"".join(map(vocabulary.data, vocabulary.encode(text))).decode() == text
    assert vocabulary.end is not None
    assert vocabulary.data(vocabulary.end) == vocabulary.data(vocabulary.size + 5) == b""
    assert vocabulary.encode("") == [vocabulary.end]
