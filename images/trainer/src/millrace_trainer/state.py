"""What a checkpoint holds and how it gets to disk: training waits for a copy in memory, not for the disk.

Every rank writes its random state at once (some kilobytes). The model and optimizer, equal on all ranks, are copied
by rank 0 and written, hashed and committed in a thread, so that a checkpoint costs training little more than a copy.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from millrace_trainer.checkpoint import Pointer, Store
from millrace_trainer.files import FileEntry, fsync_file, hash_file
from millrace_trainer.history import History
from millrace_trainer.problems import Problem
from millrace_trainer.ranks import Ranks

SHARED = "training.pt"
OnCommit = Callable[[Pointer], None]


@dataclass(frozen=True)
class Shared:
    """The state all ranks share: weights, optimizer state, curve so far, tokenizer, and who saved it."""

    network: dict[str, Any]
    optimizer: dict[str, Any]
    history: dict[str, Any]
    tokenizer: str | None
    world: int
    step: int


def rank_file(rank: int) -> str:
    """The name of a rank's own file in a checkpoint."""
    return f"rank-{rank:05d}.pt"


def random_state() -> dict[str, Any]:
    """All random generators of this process, in types that load without executing code."""
    kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put all random generators where `random_state` found them."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    random.setstate(state["python"])


def seed_everything(seed: int, rank: int, step: int) -> None:
    """Random states for a rank that has none to restore; another rank or step has another state."""
    mixed = int(np.random.SeedSequence([seed, rank, step]).generate_state(1)[0])
    random.seed(mixed)
    np.random.seed(mixed)
    torch.manual_seed(mixed)


def to_memory(value: Any) -> Any:
    """A deep copy with every tensor on the CPU, which training can no longer change."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: to_memory(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_memory(item) for item in value)
    return value


def load_shared(store: Store, pointer: Pointer) -> Shared:
    """Read a verified checkpoint's shared state into memory."""
    return Shared(**_load(store.root / pointer.path / SHARED))


def load_random_state(store: Store, pointer: Pointer, rank: int) -> dict[str, Any]:
    """Read a rank's random state."""
    state: dict[str, Any] = _load(store.root / pointer.path / rank_file(rank))
    return state


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for a file it cannot understand
        raise Problem("CheckpointUnreadable", f"{path} cannot be loaded ({error}): restore it") from error


def save_durably(value: Any, path: Path) -> FileEntry:
    """torch.save, on disk when this returns; the entry is of what can be read back."""
    torch.save(value, path)
    fsync_file(path)
    return hash_file(path)


class Saver:
    """Takes checkpoints; `save` is collective, one write is under way at most."""

    def __init__(self, store: Store, ranks: Ranks, on_commit: OnCommit) -> None:
        self._store, self._ranks, self._on_commit = store, ranks, on_commit
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def save(
        self, step: int, network: nn.Module, optimizer: torch.optim.Optimizer, history: History, tokenizer: str | None
    ) -> None:
        """Begin a checkpoint of a finished step on all ranks; raises the fault of the write before, if it had one."""
        self.wait()
        folder = self._ranks.from_first(self._begin(step) if self._ranks.rank == 0 else None)
        assert folder is not None
        name = rank_file(self._ranks.rank)
        written = self._ranks.gather((name, self._own(folder / name)))
        if self._ranks.rank == 0:
            shared = Shared(
                to_memory(network.state_dict()),
                to_memory(optimizer.state_dict()),
                history.to_state(),
                tokenizer,
                self._ranks.world,
                step,
            )
            self._thread = threading.Thread(target=self._finish, args=(step, folder, shared, dict(written)))
            self._thread.start()

    def wait(self) -> None:
        """Wait for the write under way, and raise what went wrong with it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raise what went wrong with a write, without waiting for one."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def _begin(self, step: int) -> Path:
        try:
            return self._store.begin(step)
        except OSError as error:
            raise self._unwritable(error) from error

    def _own(self, path: Path) -> FileEntry:
        try:
            return save_durably(random_state(), path)
        except (OSError, RuntimeError) as error:
            raise self._unwritable(error) from error

    def _finish(self, step: int, folder: Path, shared: Shared, files: dict[str, FileEntry]) -> None:
        try:
            files[SHARED] = save_durably(vars(shared), folder / SHARED)
            self._on_commit(self._store.commit(step, folder, files))
        except Problem as problem:
            self._failure = problem
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            self._failure = self._unwritable(error)

    def _unwritable(self, error: Exception) -> Problem:
        return Problem("OutputNotWritable", f"a checkpoint cannot be written under {self._store.root}: {error}; check the claim")
