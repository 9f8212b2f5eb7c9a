"""The classifier: logistic regression on weighted words and pairs of words, with scikit-learn, which is loaded when first needed.

What is learnt is kept as plain arrays and lists, so that another version of the library reads it as this one does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from millrace_local_aws.services.comprehend.documents import Corpus

_SEED = 20_171_127
_HELD_OUT = 0.1
_FEATURES = 20_000
_CERTAIN = 30.0
"""The logit of a label that every document has, or none."""
_THRESHOLD = 0.5


@dataclass(frozen=True)
class Trained:
    """What a training found out. `matrix` is confusion_matrix.json."""

    trained: int
    tested: int
    metrics: dict[str, float]
    matrix: dict[str, Any]


@dataclass(frozen=True)
class Model:
    """A linear model over weighted words."""

    mode: str
    labels: list[str]
    vectorizer: Any
    weights: Any
    offsets: Any

    def scores(self, texts: Sequence[str]) -> Any:
        """Probabilities, a row a text, a column a label."""
        from scipy.special import expit, softmax

        logits = self.vectorizer.transform(texts) @ self.weights.T + self.offsets
        return expit(logits) if self.mode == "MULTI_LABEL" else softmax(logits, axis=1)

    def predicted(self, texts: Sequence[str]) -> list[list[tuple[str, float]]]:
        """Each text's labels with their scores, likeliest first."""
        rows = self.scores(texts)
        return [sorted(zip(self.labels, map(float, row), strict=True), key=lambda one: (-one[1], one[0])) for row in rows]


def train(corpus: Corpus, test: Corpus | None, mode: str, folder: Path) -> Trained:
    """Learn, measure on what was held out, and keep the model in a folder."""
    learnt, held = _split(corpus, mode) if test is None else (corpus, test)
    model = _fit(learnt, mode, sorted(corpus.counts()))
    metrics, matrix = evaluate(model, held)
    save(model, folder)
    return Trained(len(learnt.texts), len(held.texts), metrics, matrix)


def measure(model: Model, corpus: Corpus, test: Corpus | None) -> dict[str, float]:
    """Another model's metrics on the documents that a training with this data is measured on."""
    return evaluate(model, test if test is not None else _split(corpus, model.mode)[1])[0]


def _split(corpus: Corpus, mode: str) -> tuple[Corpus, Corpus]:
    """A tenth is held out, of each label where a document has one; the same tenth every time."""
    from sklearn.model_selection import train_test_split

    strata = [labels[0] for labels in corpus.labels] if mode == "MULTI_CLASS" else None
    order = list(range(len(corpus.texts)))
    learnt, held = train_test_split(order, test_size=_HELD_OUT, random_state=_SEED, stratify=strata)
    return _chosen(corpus, learnt), _chosen(corpus, held)


def _chosen(corpus: Corpus, numbers: list[int]) -> Corpus:
    return Corpus([corpus.texts[number] for number in numbers], [corpus.labels[number] for number in numbers])


def _vectorizer(vocabulary: dict[str, int] | None = None) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    # Words of one letter count, too: some languages have many, and the library leaves them out.
    return TfidfVectorizer(
        ngram_range=(1, 2),
        sublinear_tf=True,
        max_features=None if vocabulary else _FEATURES,
        vocabulary=vocabulary,
        token_pattern=r"(?u)\w+",
    )


def _fit(corpus: Corpus, mode: str, labels: list[str]) -> Model:
    import numpy

    vectorizer = _vectorizer()
    rows = vectorizer.fit_transform(corpus.texts)
    if mode == "MULTI_CLASS":
        weights, offsets = _one_of(rows, [each[0] for each in corpus.labels], labels)
    else:
        found = [_yes_or_no(rows, [label in each for each in corpus.labels]) for label in labels]
        weights = numpy.vstack([weight for weight, _ in found])
        offsets = numpy.array([offset for _, offset in found])
    return Model(mode, labels, vectorizer, weights, offsets)


def _regression() -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=10.0, max_iter=2000)


def _one_of(rows: Any, wanted: list[str], labels: list[str]) -> tuple[Any, Any]:
    """A row of weights a label; of two labels the first one has none, and the softmax is the sigmoid."""
    import numpy

    fitted = _regression().fit(rows, wanted)
    if list(fitted.classes_) != labels:
        raise ValueError("a label has no document to learn from")
    if len(labels) > 2:
        return fitted.coef_, fitted.intercept_
    return numpy.vstack([numpy.zeros_like(fitted.coef_), fitted.coef_]), numpy.array([0.0, fitted.intercept_[0]])


def _yes_or_no(rows: Any, wanted: list[bool]) -> tuple[Any, float]:
    import numpy

    if len(set(wanted)) == 1:
        return numpy.zeros(rows.shape[1]), _CERTAIN if wanted[0] else -_CERTAIN
    fitted = _regression().fit(rows, wanted)
    return fitted.coef_[0], float(fitted.intercept_[0])


def evaluate(model: Model, held: Corpus) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics as DescribeDocumentClassifier has them, and the confusion matrix."""
    import numpy

    scores = model.scores(held.texts)
    known = {label: place for place, label in enumerate(model.labels)}
    actual = numpy.zeros(scores.shape, dtype=int)
    for row, labels in enumerate(held.labels):
        actual[row, [known[label] for label in labels if label in known]] = 1
    if model.mode == "MULTI_LABEL":
        predicted = (scores > _THRESHOLD).astype(int)
    else:
        predicted = numpy.eye(len(known), dtype=int)[scores.argmax(axis=1)]
    return _metrics(model.mode, actual, predicted), _matrix(model, actual, predicted)


def _metrics(mode: str, actual: Any, predicted: Any) -> dict[str, float]:
    from sklearn.metrics import hamming_loss, precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(actual, predicted, average="macro", zero_division=0)
    micro = precision_recall_fscore_support(actual, predicted, average="micro", zero_division=0)
    # "The number of labels that were correctly recognized by the total number of labels": AWS's own definition.
    right = float((actual * predicted).sum() / max(1, actual.sum()))
    named = {"Accuracy": right, "Precision": precision, "Recall": recall, "F1Score": f1}
    named |= {"MicroPrecision": micro[0], "MicroRecall": micro[1], "MicroF1Score": micro[2]}
    if mode == "MULTI_CLASS":  # one label a document: a wrong one is one fault, not two
        named["HammingLoss"] = hamming_loss(actual.argmax(axis=1), predicted.argmax(axis=1))
    else:
        named["HammingLoss"] = hamming_loss(actual, predicted)
    return {name: float(value) for name, value in named.items()}


def _matrix(model: Model, actual: Any, predicted: Any) -> dict[str, Any]:
    """Rows are what documents are, columns what they were taken for; in multi-label mode one of no and yes a label."""
    from sklearn.metrics import confusion_matrix, multilabel_confusion_matrix

    if model.mode == "MULTI_LABEL":
        found = multilabel_confusion_matrix(actual, predicted)
    else:
        found = confusion_matrix(actual.argmax(axis=1), predicted.argmax(axis=1), labels=range(len(model.labels)))
    kind = model.mode.lower()
    return {"type": kind, "confusion_matrix": found.tolist(), "labels": model.labels, "all_labels": model.labels}


def save(model: Model, folder: Path) -> None:
    """The model's words last: a folder without them is none."""
    import numpy

    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"weights": model.weights, "offsets": model.offsets, "idf": model.vectorizer.idf_}
    numpy.savez_compressed(folder / "arrays.npz", **arrays)
    words = sorted(model.vectorizer.vocabulary_, key=model.vectorizer.vocabulary_.get)
    text = json.dumps({"mode": model.mode, "labels": model.labels, "words": words}, ensure_ascii=False)
    (folder / "model.json").write_text(text, encoding="utf-8")


@lru_cache(maxsize=16)
def load(folder: Path) -> Model:
    """A model that was saved; its folder is never written again."""
    import numpy

    told = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    with numpy.load(folder / "arrays.npz") as arrays:
        vectorizer = _vectorizer({word: place for place, word in enumerate(told["words"])})
        vectorizer.idf_ = arrays["idf"]
        return Model(told["mode"], told["labels"], vectorizer, arrays["weights"], arrays["offsets"])
