"""What is asked of the rows before they are published, as the operator writes it into the request: transform and layout."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from millrace_dataset.problems import Problem

FEWER = ("Fail", "UseAll")
BEDROCK_FIELDS = {"FineTuning": ("prompt", "completion"), "ContinuedPretraining": ("input",)}
LANGUAGES = ("en", "es", "de", "it", "fr", "pt")


@dataclass(frozen=True)
class Sample:
    """So many rows, drawn by a seed; `fewer` says what becomes of a source that has not so many."""

    rows: int
    seed: int
    fewer: str


@dataclass(frozen=True)
class Transform:
    """What is done to the rows, in this order."""

    drop: tuple[str, ...]
    rename: tuple[tuple[str, str], ...]
    truncate: tuple[tuple[str, int], ...]
    sample: Sample | None


def transform_of(value: Mapping[str, Any] | None) -> Transform | None:
    """The request's `transform`; raises Problem(BadParameter) that names the field."""
    if value is None:
        return None
    rename = tuple(sorted((str(old), str(new)) for old, new in (value.get("rename") or {}).items()))
    drop = tuple(str(name) for name in value.get("drop") or ())
    for old, _ in rename:
        if old in drop:
            raise Problem("BadParameter", f"transform drops and renames {old!r}: do one of them")
    truncate = tuple((str(cut["column"]), int(cut["characters"])) for cut in value.get("truncate") or ())
    return Transform(drop, rename, truncate, _sample(value.get("sample")))


def _sample(value: Mapping[str, Any] | None) -> Sample | None:
    if value is None:
        return None
    sample = Sample(int(value["rows"]), int(value["seed"]), str(value["fewer"]))
    if sample.rows < 1 or sample.fewer not in FEWER:
        raise Problem("BadParameter", f"transform.sample: rows must be 1 or more, and fewer one of {', '.join(FEWER)}")
    return sample


@dataclass(frozen=True)
class Bedrock:
    """Lines that a model of Bedrock is customized on; `max_tokens` is for one line, None for any length."""

    customization: str
    max_tokens: int | None

    format = "jsonl"

    @property
    def fields(self) -> tuple[str, ...]:
        """The keys of a line."""
        return BEDROCK_FIELDS[self.customization]


@dataclass(frozen=True)
class Comprehend:
    """Documents that a classifier of Comprehend learns from; `label` and `text` are columns."""

    label: str
    text: str
    classes: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    mode: str
    delimiter: str
    language: str | None
    language_column: str | None
    minimum: int
    recommended: int

    format = "csv"


Layout = Bedrock | Comprehend


def layout_of(value: Mapping[str, Any] | None) -> Layout | None:
    """The request's `layout`; raises Problem(BadParameter) that names the field."""
    if value is None:
        return None
    bedrock, comprehend = value.get("bedrock"), value.get("comprehend")
    if (bedrock is None) == (comprehend is None):
        raise Problem("BadParameter", "layout must have exactly one of bedrock, comprehend")
    return _comprehend(comprehend) if comprehend is not None else _bedrock(bedrock or {})


def _bedrock(value: Mapping[str, Any]) -> Bedrock:
    asked, limit = str(value["customization"]), value.get("maxTokens")
    if asked not in BEDROCK_FIELDS:
        raise Problem("BadParameter", f"layout.bedrock.customization must be one of {', '.join(BEDROCK_FIELDS)}, not {asked!r}")
    return Bedrock(asked, int(limit) if limit else None)


def _comprehend(value: Mapping[str, Any]) -> Comprehend:
    classes = tuple(str(name) for name in value["classes"])
    labels = tuple(sorted((str(old), str(new)) for old, new in (value.get("labels") or {}).items()))
    for _, new in labels:
        if new not in classes:
            raise Problem("BadParameter", f"layout.comprehend.labels leads to {new!r}, which is none of the classes")
    if value.get("language") not in {None, *LANGUAGES}:
        raise Problem("BadParameter", f"layout.comprehend.language must be one of {', '.join(LANGUAGES)}")
    return Comprehend(
        label=str(value["label"]),
        text=str(value["text"]),
        classes=classes,
        labels=labels,
        mode=str(value["mode"]),
        delimiter=str(value["delimiter"]),
        language=value.get("language"),
        language_column=value.get("languageColumn"),
        minimum=int(value["minimum"]),
        recommended=int(value["recommended"]),
    )
