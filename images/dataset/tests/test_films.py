"""Film sentences as conversations: balanced, drawn by a seed, and never in both parts."""

import io
import json
import runpy
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millrace_dataset.films import ASKED, HELD_BACK, label_of

Work = Callable[..., dict[str, Any]]
SCRIPT = Path(__file__).parents[1] / "corpora/film_reviews.py"
CLASSES = {"very negative", "negative", "neutral", "positive", "very positive"}


def packed(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the image's build leaves, of a package made up of two hundred sentences and one that stands there twice."""
    rows = [f"{n}\t{(n % 41 - 20) / 5}\tFilm {n} was – so-so" for n in range(200)]
    rows += [f"200\t2.08\t{HELD_BACK}    and in the best way.", "201\t1.0\tFilm 7 was – so-so"]
    data = packed({"hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt": "\r\n".join(rows).encode()})
    package = tmp_path / "package.tar.gz"
    package.write_bytes(packed({"vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz": data}))
    found = runpy.run_path(str(SCRIPT))["sentences"](package)
    assert len(found) == 201, "each sentence once"
    assert found[7] == (-2.6, "Film 7 was – so-so"), "its first rating"
    (tmp_path / "film-reviews.tsv").write_text("".join(f"{rating}\t{text}\n" for rating, text in found))
    monkeypatch.setenv("MILLRACE_CORPORA", str(tmp_path))
    return tmp_path


def drawn(work: Work, claims: Path, **parameters: str) -> list[tuple[str, str]]:
    rules = {
        "messages": "messages",
        "roles": {"system": "System", "user": "User", "assistant": "Chatbot"},
        "trailingUser": "Reject",
        "prettyPrinted": "Reject",
        "minimum": 1,
        "tooFew": "Refuse",
        "maxTokens": None,
    }
    source = {"generated": {"name": "film-sentiment", "parameters": parameters}}
    answer = work(source=source, format="jsonl", conversations=rules)
    assert answer["ok"], answer
    lines = (claims / "data" / answer["splits"]["data"]["path"]).read_text().splitlines()
    said = [json.loads(line)["messages"] for line in lines]
    assert all(one[1]["content"].startswith(ASKED) for one in said)
    return [(one[1]["content"].removeprefix(ASKED), one[2]["content"]) for one in said]


def test_a_part_holds_as_many_of_each_class_as_there_are(work: Work, claims: Path, shipped: Path) -> None:
    found = drawn(work, claims, rows="50")
    assert set(Counter(label for _, label in found)) == CLASSES
    assert max(Counter(label for _, label in found).values()) - min(Counter(label for _, label in found).values()) <= 1


def test_the_parts_share_no_sentence_and_neither_has_the_one_that_is_asked(work: Work, claims: Path, shipped: Path) -> None:
    train = {text for text, _ in drawn(work, claims, rows="150")}
    evaluation = {text for text, _ in drawn(work, claims, rows="30", evaluation="1")}
    assert train & evaluation == set()
    assert not any(text.startswith(HELD_BACK) for text in train | evaluation)


def test_the_seed_draws_which(work: Work, claims: Path, shipped: Path) -> None:
    first = drawn(work, claims, rows="20", seed="1")
    assert first == drawn(work, claims, rows="20", seed="1") != drawn(work, claims, rows="20", seed="2")


def test_more_than_there_is_cannot_be_had(work: Work, shipped: Path) -> None:
    answer = work(source={"generated": {"name": "film-sentiment", "parameters": {"rows": "5000"}}}, format="jsonl")
    assert answer["reason"] == "BadParameter"
    assert "rows may be 1" in answer["message"]


EDGES = [
    (4, "very positive"),
    (2, "very positive"),
    (1.99, "positive"),
    (0.5, "positive"),
    (0, "neutral"),
    (-0.5, "neutral"),
    (-0.51, "negative"),
    (-2, "negative"),
    (-2.01, "very negative"),
]


@pytest.mark.parametrize(("rating", "label"), EDGES)
def test_the_mean_rating_decides_the_class(rating: float, label: str) -> None:
    assert label_of(rating) == label
