"""Film-review sentences with the mean of people's ratings, out of the package that ships them; run while the image is built.

    python3 film_reviews.py vaderSentiment-3.3.2.tar.gz > film-reviews.tsv

The package vaderSentiment (MIT licence, C.J. Hutto) holds the data of Hutto and Gilbert, "VADER: A Parsimonious Rule-based Model
for Sentiment Analysis of Social Media Text" (ICWSM 2014): 10,605 sentences, each rated by at least 20 people from -4 to 4.
"""

import io
import sys
import tarfile
from pathlib import Path

INNER = "additional_resources/hutto_ICWSM_2014.tar.gz"
DATA = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


def sentences(package: Path) -> list[tuple[float, str]]:
    """Mean rating and sentence, each sentence once. Raises KeyError where the package holds no such data."""
    with tarfile.open(package) as outer:
        name = next((n for n in outer.getnames() if n.endswith(INNER)), INNER)
        inner = io.BytesIO(_content(outer, name))
    with tarfile.open(fileobj=inner) as data:
        lines = _content(data, DATA).decode("utf-8").splitlines()
    found: dict[str, float] = {}
    for line in lines:
        _, rating, text = line.split("\t", 2)
        found.setdefault(text.strip(), float(rating))
    return [(rating, text) for text, rating in found.items()]


def _content(archive: tarfile.TarFile, name: str) -> bytes:
    stream = archive.extractfile(name)
    if stream is None:
        raise KeyError(name)
    return stream.read()


if __name__ == "__main__":
    for rating, text in sentences(Path(sys.argv[1])):
        sys.stdout.write(f"{rating:.3f}\t{text}\n")
