"""Data that can be had without any source: real text shipped in the image, and seeded synthetic text and tables.

A registry by name, so that an unknown generator or parameter is refused with the list of what exists.
"""

import bisect
import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from millrace_dataset import films, survey
from millrace_dataset.problems import Problem

DEFAULT_CORPORA = "/usr/share/millrace/corpora"
MAX_BYTES = 64 << 30
MAX_ROWS = 1 << 30
ONSETS = ("b", "br", "c", "d", "f", "g", "gr", "l", "m", "n", "p", "r", "s", "st", "t", "th", "v", "w")
VOWELS = ("a", "e", "i", "o", "u", "ea", "ou")
CODAS = ("", "", "n", "r", "s", "t", "ll", "nd")


@dataclass(frozen=True)
class Generator:
    """A named generator: the format it makes, its parameters with defaults, and what writes the file."""

    format: str
    defaults: Mapping[str, int]
    write: Callable[[Path, Mapping[str, int]], None]


def generate(name: str, parameters: Mapping[str, str], format: str, target: Path) -> None:
    """Write a generator's data to `target`; Problem(UnknownGenerator or BadParameter) lists what is allowed."""
    generator = GENERATORS.get(name)
    if generator is None:
        raise Problem("UnknownGenerator", f"no generator {name!r}: use one of {', '.join(sorted(GENERATORS))}")
    if format != generator.format:
        raise Problem("BadParameter", f"generator {name} makes format {generator.format}, not {format}")
    generator.write(target, _parameters(name, generator, parameters))


def _parameters(name: str, generator: Generator, given: Mapping[str, str]) -> dict[str, int]:
    values = dict(generator.defaults)
    for key, text in given.items():
        if key not in values:
            allowed = ", ".join(sorted(values)) or "none"
            raise Problem("BadParameter", f"generator {name} has no parameter {key!r}; it takes: {allowed}")
        values[key] = _integer(name, key, text)
    return values


def _integer(name: str, key: str, text: str) -> int:
    limit = {"bytes": MAX_BYTES, "rows": MAX_ROWS}.get(key)
    try:
        value = int(text)
    except ValueError as error:
        raise Problem("BadParameter", f"generator {name}: {key} must be an integer, not {text!r}") from error
    if limit is not None and not 1 <= value <= limit:
        raise Problem("BadParameter", f"generator {name}: {key} must be from 1 to {limit}, not {value}")
    return value


def _shipped(name: str) -> Path:
    """A file that the image's build leaves; Problem(SourceMissing) where it did not."""
    shipped = Path(os.environ.get("MILLRACE_CORPORA", DEFAULT_CORPORA)) / name
    if not shipped.is_file():
        raise Problem("SourceMissing", f"{shipped} is not in this image: build it from images/dataset/Dockerfile")
    return shipped


def _debian_text(target: Path, _: Mapping[str, int]) -> None:
    shutil.copyfile(_shipped("debian-text.txt"), target)


def _film_sentiment(target: Path, parameters: Mapping[str, int]) -> None:
    films.write(_shipped(films.SHIPPED), target, parameters)


def _markov_text(target: Path, parameters: Mapping[str, int]) -> None:
    left = parameters["bytes"]
    with target.open("wb") as stream:
        for sentence in _sentences(random.Random(parameters["seed"])):
            line = f"{sentence}\n".encode()[:left]
            stream.write(line)
            left -= len(line)
            if not left:
                return


def _sentences(source: random.Random) -> Iterator[str]:
    """Sentences of an order-1 Markov chain over invented words: each word allows 12 followers with falling weights."""
    words = sorted({_word(source) for _ in range(3000)})
    followers = [source.sample(range(len(words)), 12) for _ in words]
    weights = list(accumulate(1.0 / rank for rank in range(1, 13)))
    state = source.randrange(len(words))
    while True:
        chosen = []
        for _ in range(source.randint(5, 18)):
            chosen.append(words[state])
            state = followers[state][bisect.bisect(weights, source.random() * weights[-1])]
        yield f"{' '.join(chosen).capitalize()}."


def _word(source: random.Random) -> str:
    syllables = source.choice((1, 2, 2, 3))
    return "".join(source.choice(ONSETS) + source.choice(VOWELS) for _ in range(syllables)) + source.choice(CODAS)


def _csv_table(target: Path, parameters: Mapping[str, int]) -> None:
    """A binary classification table: `label` is true in about one row of ten and depends on amount, age and region."""
    source = random.Random(parameters["seed"])
    with target.open("w", encoding="utf-8", newline="") as stream:
        stream.write("id,amount,age,region,label\n")
        for row in range(parameters["rows"]):
            amount, age = source.lognormvariate(3.5, 1.0), source.randint(18, 90)
            region = source.choice(("north", "south", "east", "west"))
            score = amount / 60 + (age > 70) + (region == "west") + source.gauss(0, 0.5)
            stream.write(f"{row + 1},{amount:.2f},{age},{region},{str(score > 2.9).lower()}\n")


GENERATORS: Mapping[str, Generator] = {
    "debian-text": Generator("text", {}, _debian_text),
    "film-sentiment": Generator("jsonl", {"rows": 120, "seed": 0, "evaluation": 0}, _film_sentiment),
    "markov-text": Generator("text", {"bytes": 1 << 20, "seed": 0}, _markov_text),
    "workplace-survey": Generator("csv", {"rows": 1259, "seed": 0}, survey.write),
    "csv-table": Generator("csv", {"rows": 1000, "seed": 0}, _csv_table),
}
