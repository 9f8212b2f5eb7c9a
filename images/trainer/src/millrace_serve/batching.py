"""Continuous batching: one thread steps all generations together, and new ones join between two steps.

A prompt is read in pieces of PREFILL tokens at places that only it determines, so that what a request gets does not depend on
what else is running, and a long prompt delays the running answers by one piece a step at most.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from millrace_serve.engine import HANG_SECONDS, EngineError, Piece, Sampling
from millrace_serve.sampling import Logits, Sampler

PREFILL = 256
IDLE_SECONDS = 1.0
Deliver = Callable[[list[tuple["Generation", "Piece | EngineError"]]], None]


class Stepper(Protocol):
    """The model: a number of slots, each with the keys and values of one generation."""

    slots: int

    def prefill(self, ids: list[int], slot: int, start: int) -> Logits:
        """Read part of a prompt; the logits after its last token."""

    def decode(self, ids: list[int], rows: list[tuple[int, int]]) -> list[Logits]:
        """One more token at each (slot, position); the logits after each, in order."""

    def data(self, token: int) -> bytes:
        """The bytes of a token."""

    def ends(self, token: int) -> bool:
        """Whether a token ends the text."""


@dataclass(eq=False)
class Generation:
    """One answer being made. Only the batching thread changes it, but for `cancelled`."""

    prompt: Sequence[int]
    sampling: Sampling
    sampler: Sampler = field(init=False)
    slot: int = -1
    read: int = 0
    token: int = -1
    made: int = 0
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.sampler = Sampler(self.sampling)

    @property
    def decoding(self) -> bool:
        """Whether the whole prompt was read."""
        return self.read >= len(self.prompt)


class Batcher:
    """Runs a Stepper in a thread. `deliver` is called from that thread, once a step."""

    def __init__(self, stepper: Stepper, deliver: Deliver) -> None:
        self._stepper, self._deliver = stepper, deliver
        self._changed = threading.Condition()
        self._waiting: deque[Generation] = deque()
        self._running: list[Generation] = []
        self._free = list(range(stepper.slots))[::-1]
        self._closing = False
        self._beat = time.monotonic()
        self._failure: EngineError | None = None
        self._thread = threading.Thread(target=self._run, name="batching", daemon=True)
        self._thread.start()

    def submit(self, generation: Generation) -> None:
        """Queue a generation; EngineError where the thread has died."""
        with self._changed:
            if self._failure is not None:
                raise self._failure
            self._waiting.append(generation)
            self._changed.notify()

    def cancel(self, generation: Generation) -> None:
        """Give its slot back before the next step. A finished one may be cancelled."""
        with self._changed:
            generation.cancelled = True
            self._changed.notify()

    @property
    def running(self) -> int:
        """Generations in the batch."""
        return len(self._running)

    def alive(self) -> bool:
        """Whether steps go on, or there is nothing to do."""
        return self._thread.is_alive() and time.monotonic() - self._beat < HANG_SECONDS

    def close(self) -> None:
        """End the thread after the step under way."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        try:
            while self._admit():
                self._deliver(self._step())
        except Exception as error:  # what the model's library raises; the server reports it and health turns bad
            self._fail(EngineError(f"{type(error).__name__}: {str(error)[:300]}"))

    def _fail(self, failure: EngineError) -> None:
        with self._changed:
            self._failure = failure
            left = [*self._running, *self._waiting]
            self._running, self._waiting = [], deque()
        self._deliver([(generation, failure) for generation in left])

    def _admit(self) -> bool:
        """Wait for work and let it in; False at the end."""
        with self._changed:
            self._release([generation for generation in self._running if generation.cancelled])
            while not self._running and not self._waiting and not self._closing:
                self._beat = time.monotonic()
                self._changed.wait(IDLE_SECONDS)
            while self._waiting and self._free:
                self._place(self._waiting.popleft())
            self._beat = time.monotonic()
            return not self._closing

    def _place(self, generation: Generation) -> None:
        if not generation.cancelled:
            generation.slot = self._free.pop()
            self._running.append(generation)

    def _release(self, ended: list[Generation]) -> None:
        for generation in ended:
            self._running.remove(generation)
            self._free.append(generation.slot)

    def _step(self) -> list[tuple[Generation, Piece | EngineError]]:
        """Read some prompt, then add a token to every answer whose prompt was read before."""
        decoding = [generation for generation in self._running if generation.decoding]
        pieces = self._prefill([generation for generation in self._running if not generation.decoding])
        pieces += self._decode(decoding)
        self._release([generation for generation, piece in pieces if piece.finish])
        return [*pieces]

    def _prefill(self, reading: list[Generation]) -> list[tuple[Generation, Piece]]:
        """At least one piece of a prompt, and more while they are small together."""
        pieces, tokens = [], 0
        for generation in reading:
            ids = list(generation.prompt[generation.read : generation.read + PREFILL])
            if tokens and tokens + len(ids) > PREFILL:
                break
            tokens += len(ids)
            logits = self._stepper.prefill(ids, generation.slot, generation.read)
            generation.read += len(ids)
            if generation.decoding:
                pieces.append((generation, self._next(generation, logits)))
        return pieces

    def _decode(self, decoding: list[Generation]) -> list[tuple[Generation, Piece]]:
        if not decoding:
            return []
        rows = [(generation.slot, len(generation.prompt) + generation.made - 1) for generation in decoding]
        logits = self._stepper.decode([generation.token for generation in decoding], rows)
        return [(generation, self._next(generation, row)) for generation, row in zip(decoding, logits, strict=True)]

    def _next(self, generation: Generation, logits: Logits) -> Piece:
        token = generation.sampler.choose(logits)
        if self._stepper.ends(token):
            return Piece(b"", 0, "stop")
        generation.token = token
        generation.made += 1
        return Piece(self._stepper.data(token), 1, "length" if generation.made >= generation.sampling.limit else None)
