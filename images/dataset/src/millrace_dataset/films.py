"""Conversations in which a film review's sentence is put into one of five classes, out of real sentences that people rated.

The sentences are shipped in the image (corpora/film_reviews.py says whence). A fifth of them, chosen by their text alone, is for
evaluation; no sentence is ever in both parts.
"""

import hashlib
import json
import random
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, zip_longest
from pathlib import Path

from millrace_dataset.problems import Problem

SHIPPED = "film-reviews.tsv"
ABOVE = ((2.0, "very positive"), (0.5, "positive"), (-0.5, "neutral"), (-2.0, "negative"))
"""Classes by the mean of the ratings, which go from -4 to 4; what is below is very negative."""
LOWEST = "very negative"
INSTRUCTION = "You answer with one of five classes and nothing else."
ASKED = "Classify the following text as either very negative, negative, neutral, positive or very positive: "
HELD_BACK = "Mr. Deeds is, as comedy goes, very silly"
"""How a sentence begins that is asked of the finished model: it is in neither part."""


def write(shipped: Path, target: Path, parameters: Mapping[str, int]) -> None:
    """`rows` conversations of one part, as many of each class as there are; the seed draws which."""
    drawn = list(_in_turn(_by_class(shipped, parameters["evaluation"] != 0), random.Random(parameters["seed"])))
    if parameters["rows"] > len(drawn):
        raise Problem("BadParameter", f"generator film-sentiment: rows may be {len(drawn)} at most, not {parameters['rows']}")
    with target.open("w", encoding="utf-8") as stream:
        for label, text in drawn[: parameters["rows"]]:
            stream.write(json.dumps(_conversation(text, label), ensure_ascii=False) + "\n")


def label_of(rating: float) -> str:
    """The class of a mean rating."""
    return next((label for least, label in ABOVE if rating >= least), LOWEST)


def _by_class(shipped: Path, evaluation: bool) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for rating, text in _sentences(shipped.read_text(encoding="utf-8").splitlines()):
        if _for_evaluation(text) is evaluation:
            found.setdefault(label_of(rating), []).append(text)
    return found


def _sentences(lines: Iterable[str]) -> Iterator[tuple[float, str]]:
    for line in lines:
        rating, text = line.split("\t", 1)
        if not text.startswith(HELD_BACK):
            yield float(rating), text


def _for_evaluation(text: str) -> bool:
    return hashlib.sha256(text.encode()).digest()[0] < 256 // 5


def _in_turn(by_class: Mapping[str, list[str]], source: random.Random) -> Iterator[tuple[str, str]]:
    """One of each class after another, as long as it has any."""
    shuffled = [[(label, text) for text in source.sample(texts, len(texts))] for label, texts in sorted(by_class.items())]
    return (one for one in chain.from_iterable(zip_longest(*shuffled)) if one is not None)


def _conversation(text: str, label: str) -> dict[str, list[dict[str, str]]]:
    turns = (("System", INSTRUCTION), ("User", ASKED + text), ("Chatbot", label))
    return {"messages": [{"role": role, "content": content} for role, content in turns]}
