"""From text to token ids: a byte-level BPE trained on the training text, and ids in a file that ranks map into memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from millrace_trainer.problems import Problem

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = np.ndarray[tuple[int], np.dtype[np.uint32]]

END_OF_TEXT = "<|endoftext|>"
TRAINING_BYTES = 64 << 20  # a tokenizer learns nothing new from more
BLOCK_BYTES = 1 << 20
WALK = 512


def text_blocks(path: Path, limit: int | None = None) -> Iterator[str]:
    """A text file in blocks of whole lines of about a mebibyte; Problem(InputMissing or InputUnreadable) names the file."""
    try:
        with path.open(encoding="utf-8") as stream:
            passed = 0
            while (limit is None or passed < limit) and (lines := stream.readlines(BLOCK_BYTES)):
                block = "".join(lines)
                passed += len(block)
                yield block
    except FileNotFoundError as error:
        raise Problem("InputMissing", f"{path} does not exist: check the Dataset and the claim") from error
    except UnicodeDecodeError as error:
        raise Problem("InputUnreadable", f"{path} is not UTF-8 text: publish it as a Dataset of format text") from error
    except OSError as error:
        raise Problem("InputUnreadable", f"{path} cannot be read: {error.strerror}") from error


def train_tokenizer(path: Path, vocabulary: int) -> str:
    """Train a byte-level BPE with at most `vocabulary` entries on a text file; returns tokenizer.json's content."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(text_blocks(path, TRAINING_BYTES), trainer)
    return str(tokenizer.to_str())


def load_tokenizer(content: str) -> "Tokenizer":
    """A tokenizer from tokenizer.json's content."""
    from tokenizers import Tokenizer

    return Tokenizer.from_str(content)


def encode_file(tokenizer: "Tokenizer", path: Path, target: Path) -> Ids:
    """Encode a text file into `target` (little-endian 32 bit ids) in bounded memory, and map it."""
    temporary = target.with_name(f".{target.name}.tmp")
    with temporary.open("wb") as stream:
        for block in text_blocks(path):
            # Lines are encoded in parallel; each is a pre-token boundary, so the ids are those of the whole block.
            for line in tokenizer.encode_batch_fast(block.splitlines(keepends=True)):
                stream.write(np.asarray(line.ids, dtype="<u4").tobytes())
    temporary.replace(target)
    return map_ids(target)


def map_ids(path: Path) -> Ids:
    """Map a file of ids; an empty file (which cannot be mapped) is an empty array."""
    if path.stat().st_size == 0:
        return np.zeros(0, dtype=np.uint32)
    return cast("Ids", np.memmap(path, dtype="<u4", mode="r"))


def mock_ids(count: int, vocabulary: int, seed: int) -> Ids:
    """Ids of a seeded source with structure (noisy affine walks), so that mock training has something to learn."""
    source = np.random.default_rng(seed)
    walks = -(-count // WALK)
    ids = source.integers(0, vocabulary, (walks, WALK), dtype=np.uint32)  # where the noise is, a walk starts anew
    walking = source.random((walks, WALK)) > 0.2
    for place in range(1, WALK):
        followed = (5 * ids[:, place - 1] + 7) % vocabulary
        ids[:, place] = np.where(walking[:, place], followed, ids[:, place])
    flat: Ids = ids.reshape(-1)[:count]
    return flat
