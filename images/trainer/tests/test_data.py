"""The order of the data: a function of the global step alone, whatever the number of ranks."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from trainer_support import text

from millrace_trainer.config import GPTConfig
from millrace_trainer.data import Batches, Windows, unigram_loss, validation_windows
from millrace_trainer.tokens import encode_file, load_tokenizer, mock_ids, train_tokenizer

CONFIG = GPTConfig(sequenceLength=8, microBatchSize=2, globalBatchSize=8)
IDS = np.arange(1000, dtype=np.uint32)


def global_batches(world: int, first: int, count: int) -> list[list[int]]:
    """The first token of every window of each step, sorted, over all ranks."""
    per_step = CONFIG.globalBatchSize // (CONFIG.microBatchSize * world)
    streams = [iter(Batches(Windows(IDS, 8, 1), CONFIG, rank, world, first)) for rank in range(world)]
    return [
        sorted(int(row[0]) for stream in streams for batch in islice(stream, per_step) for row in batch) for _ in range(count)
    ]


@pytest.mark.parametrize("world", [2, 4])
def test_each_step_reads_the_same_windows_on_any_number_of_ranks(world: int) -> None:
    assert global_batches(1, 0, 40) == global_batches(world, 0, 40)


def test_a_stream_started_at_a_step_goes_on_where_an_unbroken_one_would_be() -> None:
    assert global_batches(2, 17, 20) == global_batches(2, 0, 37)[17:]


def test_an_epoch_reads_each_window_once_and_the_next_one_in_another_order() -> None:
    windows = Windows(IDS, 8, 1)
    first = [int(windows[index][0]) for index in range(windows.count)]
    second = [int(windows[windows.count + index][0]) for index in range(windows.count)]
    assert len(set(first)) == len(first)
    assert all(len(windows[index]) == 9 for index in range(2 * windows.count))
    assert first != second


@pytest.mark.parametrize("count", [9, 10, 16, 17, 24, 25])
def test_short_data_gives_whole_windows(count: int) -> None:
    windows = Windows(IDS[:count], 8, 3)
    for index in range(50):
        assert windows[index].tolist() == list(range(int(windows[index][0]), int(windows[index][0]) + 9))


def test_validation_windows_cover_their_tokens_without_repeating_a_target() -> None:
    windows = validation_windows(IDS[:100], replace(CONFIG, validationTokens=48))
    assert windows.shape == (6, 9)
    assert windows[:, 1:].flatten().tolist() == list(range(1, 49))


def test_the_unigram_baseline_of_a_uniform_source_is_its_size() -> None:
    ids = np.tile(np.arange(16, dtype=np.uint32), 5000)
    windows = validation_windows(ids, CONFIG)
    assert unigram_loss(ids, windows, 16) == pytest.approx(np.log(16), rel=1e-6)


def test_text_survives_the_tokenizer_byte_for_byte(tmp_path: Path) -> None:
    source = tmp_path / "text"
    source.write_text(text(200) + "Größe 漢字 \t\n\n  end")
    tokenizer = load_tokenizer(train_tokenizer(source, 300))
    ids = encode_file(tokenizer, source, tmp_path / "ids")
    assert ids.max() < 300
    assert tokenizer.decode(ids.tolist()) == source.read_text()


def test_training_the_tokenizer_again_gives_the_same_one(tmp_path: Path) -> None:
    source = tmp_path / "text"
    source.write_text(text(300))
    assert train_tokenizer(source, 320) == train_tokenizer(source, 320)


def test_mock_ids_depend_on_the_seed_alone() -> None:
    ids = mock_ids(5000, 300, 1)
    assert len(ids) == 5000
    assert ids.max() < 300
    assert np.array_equal(ids, mock_ids(5000, 300, 1))
    assert not np.array_equal(ids, mock_ids(5000, 300, 2))
    assert len(np.unique(ids)) > 250
