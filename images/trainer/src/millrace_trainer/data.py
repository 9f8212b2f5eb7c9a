"""The data of a run and the order in which it is read.

Which window a rank reads next is a pure function of the global step, so a resumed run, even with another number of
ranks, goes on with exactly the windows the first one would have read; there is no position to save.
"""

import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from millrace_trainer.config import GPTConfig
from millrace_trainer.context import Context
from millrace_trainer.problems import Problem
from millrace_trainer.ranks import Ranks
from millrace_trainer.tokens import Ids, encode_file, load_tokenizer, map_ids, mock_ids, train_tokenizer

HELD_OUT = 20  # without a validation input, one part in this many of the training text, its end, is held out


@dataclass(frozen=True)
class Corpus:
    """Token ids to train on and to validate on, and the tokenizer (tokenizer.json's content; None for mock data)."""

    train: Ids
    validation: Ids
    tokenizer: str | None


def load_corpus(config: GPTConfig, context: Context, ranks: Ranks, tokenizer: str | None) -> Corpus:
    """Make or read the corpus, the same on every rank; `tokenizer` is a checkpoint's, which must not change."""
    if config.data == "mock":
        ids = mock_ids(config.mockTokens, config.vocabSize, config.seed)
        return _checked(Corpus(*_hold_out(ids), None), config)
    train = context.input_path("train")
    if train is None:
        raise Problem("InputMissing", "the job has no input named train: add one, or set parameter data to mock")
    tokenizer = ranks.from_first(tokenizer or (train_tokenizer(train, config.vocabSize) if ranks.rank == 0 else ""))
    encoded = _encode(context, ranks, tokenizer)
    if "validation" in encoded:
        return _checked(Corpus(encoded["train"], encoded["validation"], tokenizer), config)
    return _checked(Corpus(*_hold_out(encoded["train"]), tokenizer), config)


def _encode(context: Context, ranks: Ranks, tokenizer: str) -> dict[str, Ids]:
    """Rank 0 of each pod encodes into the pod's temporary folder; the others map what it wrote."""
    names = [name for name in ("train", "validation") if context.input_path(name)]
    folder = Path(tempfile.mkdtemp(prefix="millrace-tokens-")) if context.local_rank == 0 else Path()
    if context.local_rank == 0:
        loaded = load_tokenizer(tokenizer)
        for name in names:
            encode_file(loaded, context.input_path(name) or Path(), folder / name)
    folders = ranks.gather(folder)
    mine = folders[context.rank - context.local_rank]
    encoded = {name: map_ids(mine / name) for name in names}
    ranks.barrier()
    if context.local_rank == 0:  # mapped everywhere, so the names can go; a killed pod leaves nothing for the next
        for name in names:
            os.unlink(folder / name)
        folder.rmdir()
    return encoded


def _hold_out(ids: Ids) -> tuple[Ids, Ids]:
    cut = len(ids) - len(ids) // HELD_OUT
    return ids[:cut], ids[cut:]


def _checked(corpus: Corpus, config: GPTConfig) -> Corpus:
    for name, ids in (("train", corpus.train), ("validation", corpus.validation)):
        if len(ids) <= config.sequenceLength:
            raise Problem(
                "InputUnreadable",
                f"input {name} has {len(ids)} tokens, fewer than one window of {config.sequenceLength + 1}: "
                "give more text or a smaller sequenceLength",
            )
    return corpus


class Windows:
    """All windows of an epoch in a seeded order, each epoch with another order and another offset."""

    def __init__(self, ids: Ids, length: int, seed: int) -> None:
        self._ids, self._length, self._seed = ids, length, seed
        fitting = (len(ids) - 1) // length
        self.count = max(1, fitting - 1)
        self._slack = length if fitting > 1 else len(ids) - length
        self._epoch = -1

    def __getitem__(self, index: int) -> Tensor:
        """The window (length + 1 ids, int64) that is number `index` of the endless sequence."""
        epoch, place = divmod(index, self.count)
        if epoch != self._epoch:
            source = np.random.default_rng([self._seed, epoch])
            self._order, self._offset = source.permutation(self.count), int(source.integers(self._slack))
            self._epoch = epoch
        start = self._offset + int(self._order[place]) * self._length
        return torch.from_numpy(self._ids[start : start + self._length + 1].astype(np.int64))


class Batches(IterableDataset[Tensor]):
    """One rank's micro-batches (micro batch, length + 1) from a step on, without end."""

    def __init__(self, windows: Windows, config: GPTConfig, rank: int, world: int, first_step: int) -> None:
        self._windows, self._config = windows, config
        self._rank, self._world, self._first_step = rank, world, first_step

    def __iter__(self) -> Iterator[Tensor]:
        micro, stride = self._config.microBatchSize, self._config.microBatchSize * self._world
        position = self._first_step * self._config.globalBatchSize
        while True:  # each global batch is dealt out micro-batch by micro-batch, rank by rank
            first = position + self._rank * micro
            yield torch.stack([self._windows[first + index] for index in range(micro)])
            position += stride


def validation_windows(ids: Ids, config: GPTConfig) -> Tensor:
    """The first `validationTokens` of the validation ids as windows (n, length + 1) that overlap by one id only."""
    length = config.sequenceLength
    count = min((len(ids) - 1) // length, math.ceil(config.validationTokens / length))
    stacked = np.stack([ids[index * length : (index + 1) * length + 1] for index in range(count)])
    return torch.from_numpy(stacked.astype(np.int64))


def unigram_loss(train: Ids, windows: Tensor, vocabulary: int) -> float:
    """What knowing only how frequent each token is would score on the same targets, in nats per token."""
    counts = np.ones(vocabulary)
    for start in range(0, len(train), 1 << 22):
        counts += np.bincount(train[start : start + (1 << 22)].astype(np.int64), minlength=vocabulary)
    log_probability = np.log(counts) - math.log(counts.sum())
    return float(-log_probability[windows[:, 1:].numpy()].mean())
