"""What is asked of the rows before they are published: the transform, as the operator writes it into the request."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from millrace_dataset.problems import Problem

FEWER = ("Fail", "UseAll")


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

    @property
    def settings(self) -> dict[str, Any]:
        """What decides about the result, for its digest."""
        return asdict(self)


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
