"""The engine for models that our trainer exports: our own network, our own batching, on CPU or GPU."""

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from millrace_serve.batching import Batcher, Generation
from millrace_serve.engine import ChatPrompt, EngineError, Message, Piece, Sampling, plain_chat
from millrace_serve.gpt2 import Cache, Network
from millrace_serve.problems import StartProblem
from millrace_serve.sampling import Logits
from millrace_serve.settings import Parameters, cpus
from millrace_serve.vocabulary import Vocabulary

LONG_TEXT = 4096


class Model:
    """Network, cache and vocabulary as the batching thread wants them (batching.Stepper)."""

    def __init__(self, folder: Path, parameters: Parameters) -> None:
        device = choose_device(parameters.device)
        torch.set_num_threads(parameters.threads or cpus())
        self.vocabulary = Vocabulary(folder)
        self._network = Network(folder, device)
        self.slots = parameters.maxBatch
        self.context = choose_context(parameters.contextLength, self._network.shape.positions)
        self._every = device == "cuda"
        self._cache = Cache(self._network.shape, self.slots, self.context, device)
        self._check_vocabulary()

    @torch.inference_mode()
    def prefill(self, ids: list[int], slot: int, start: int) -> Logits:
        """Read part of a prompt; the logits after its last token."""
        return self._known(self._network.prefill(ids, slot, start, self._cache)[None])[0]

    @torch.inference_mode()
    def decode(self, ids: list[int], rows: list[tuple[int, int]]) -> list[Logits]:
        """One more token at each (slot, position); on a GPU every slot takes part, which costs it nothing."""
        reach = max(position for _, position in rows) + 1
        if not self._every:
            return self._known(self._network.decode(ids, rows, reach, self._cache))
        return self._decode_every(dict(zip(rows, ids, strict=True)), reach)

    def data(self, token: int) -> bytes:
        """The bytes of a token."""
        return self.vocabulary.data(token)

    def ends(self, token: int) -> bool:
        """Whether a token ends the text."""
        return token == self.vocabulary.end

    def _decode_every(self, tokens: dict[tuple[int, int], int], reach: int) -> list[Logits]:
        # A slot that takes no part writes to its last position, which no prompt reaches and an answer writes before it reads.
        used = {slot: (slot, position) for slot, position in tokens}
        rows = [used.get(slot, (slot, self.context - 1)) for slot in range(self.slots)]
        logits = self._network.decode([tokens.get(row, 0) for row in rows], rows, reach, self._cache)
        known = self._known(logits)
        return [known[slot] for slot, _ in tokens]

    def _known(self, logits: torch.Tensor) -> list[Logits]:
        """Logits of the tokens that the tokenizer knows: the embedding may have more rows."""
        return list(logits[:, : self.vocabulary.size].float().cpu().numpy())

    def _check_vocabulary(self) -> None:
        rows = self._network.shape.vocabulary
        if self.vocabulary.size > rows:
            raise StartProblem("ModelUnreadable", f"tokenizer.json has {self.vocabulary.size} tokens, the model {rows}")


def choose_device(wanted: str) -> str:
    """`cpu` or `cuda`; StartProblem(BadParameter) where a GPU was asked for and none is seen."""
    seen = wanted != "cpu" and torch.cuda.is_available()
    if wanted == "cuda" and not seen:
        raise StartProblem("BadParameter", "parameter device is cuda, but the pod sees no GPU: ask for one in resources")
    return "cuda" if seen else "cpu"


def choose_context(wanted: int, positions: int) -> int:
    """Tokens of a prompt and its answer; StartProblem(BadParameter) where the model has not as many positions."""
    if wanted > positions:
        raise StartProblem("BadParameter", f"parameter contextLength must be at most {positions}, which the model was made for")
    return wanted or positions


class TorchEngine:
    """engine.Engine over a Model; generations run in the batching thread and arrive in the event loop."""

    def __init__(self, folder: Path, model: Model, loop: asyncio.AbstractEventLoop) -> None:
        self._model, self._loop = model, loop
        self._template = _template(folder)
        self._queues: dict[Generation, asyncio.Queue[Piece | EngineError]] = {}
        self._batcher = Batcher(model, self._deliver)
        self.context, self.vocabulary = model.context, model.vocabulary.size

    async def encode(self, text: str) -> list[int]:
        """Token ids of a text; a long one is encoded beside the event loop."""
        if len(text) < LONG_TEXT:
            return self._model.vocabulary.encode(text)
        return await asyncio.to_thread(self._model.vocabulary.encode, text)

    async def decode(self, ids: Sequence[int]) -> str:
        """The text of token ids."""
        return b"".join(map(self._model.data, ids)).decode(errors="replace")

    async def chat(self, messages: Sequence[Message]) -> ChatPrompt:
        """The conversation as tokenizer_config.json's template writes it, else as plain lines."""
        return ChatPrompt(render(self._template, messages)) if self._template else plain_chat(messages)

    async def generate(self, prompt: Sequence[int], sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """Pieces of one token each."""
        generation = Generation(prompt, sampling)
        queue = self._queues[generation] = asyncio.Queue()
        try:
            self._batcher.submit(generation)
            while True:
                piece = await queue.get()
                if isinstance(piece, EngineError):
                    raise piece
                yield piece
                if piece.finish:
                    return
        finally:
            del self._queues[generation]
            self._batcher.cancel(generation)

    def batch_size(self) -> int:
        """Generations in the batch."""
        return self._batcher.running

    def alive(self) -> bool:
        """Whether steps go on."""
        return self._batcher.alive()

    async def close(self) -> None:
        """End the batching thread."""
        await asyncio.to_thread(self._batcher.close)

    def _deliver(self, pieces: list[tuple[Generation, Piece | EngineError]]) -> None:
        if pieces:
            with suppress(RuntimeError):  # the loop may have ended before this thread
                self._loop.call_soon_threadsafe(self._hand_out, pieces)

    def _hand_out(self, pieces: list[tuple[Generation, Piece | EngineError]]) -> None:
        for generation, piece in pieces:
            if generation in self._queues:
                self._queues[generation].put_nowait(piece)


async def load(folder: Path, parameters: Parameters) -> TorchEngine:
    """Load a model beside the event loop; StartProblem where it cannot be served."""
    try:
        model = await asyncio.to_thread(Model, folder, parameters)
    except torch.OutOfMemoryError as error:
        raise StartProblem("OutOfMemory", "model and cache do not fit the device: lower maxBatch or contextLength") from error
    return TorchEngine(folder, model, asyncio.get_running_loop())


def _template(folder: Path) -> str | None:
    with suppress(OSError, ValueError):
        found = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
        return found if isinstance(found, str) else None
    return None


def render(template: str, messages: Sequence[Message]) -> str:
    """A conversation by a Jinja template, as transformers would; EngineError where the template refuses it."""
    from jinja2 import TemplateError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    try:
        return environment.from_string(template).render(messages=messages, add_generation_prompt=True)
    except TemplateError as error:
        raise EngineError(f"the model's chat template refuses these messages: {error}") from error
