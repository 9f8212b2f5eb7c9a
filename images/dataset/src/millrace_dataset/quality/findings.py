"""Judges what was measured: a severity for each finding, and which gates are shut. Pure."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from millrace_dataset.problems import Problem
from millrace_dataset.quality.facts import Measured
from millrace_dataset.request import Gate

SEVERITIES = ("high", "medium", "low")
LIMITS: dict[str, tuple[float, float, float]] = {
    "MissingValues": (0.5, 0.05, 0.0),
    "DuplicateRows": (0.1, 0.01, 0.0),
    "ConstantColumn": (1.0, 0.5, 0.0),
    "Outliers": (0.2, 0.05, 0.01),
    "InvalidValues": (0.05, 0.01, 0.0),
    "ClassImbalance": (0.98, 0.9, 0.8),
    "TargetLeakage": (0.98, 0.95, 0.9),
    "SharedRows": (0.01, 0.0, 0.0),
}
"""The share above which a finding is high, medium and low."""
REASONS = {
    "MissingValues": "TooManyMissingValues",
    "DuplicateRows": "TooManyDuplicates",
    "ConstantColumn": "ConstantColumns",
    "Outliers": "TooManyOutliers",
    "InvalidValues": "TooManyInvalidValues",
    "ClassImbalance": "ClassesImbalanced",
    "TargetLeakage": "TargetLeaks",
    "SharedRows": "TooManySharedRows",
}
_SAYS = {
    "MissingValues": "{share} of its values are missing",
    "DuplicateRows": "{share} of the rows repeat another",
    "ConstantColumn": "it has one value at most",
    "Outliers": "{share} of its values lie beyond 1.5 interquartile ranges",
    "InvalidValues": "{share} of its values are of another type",
    "ClassImbalance": "{share} of the rows are of one class",
    "TargetLeakage": "alone it avoids {share} of the errors in predicting the target",
    "SharedRows": "{share} of the rows are in it, too",
}


@dataclass(frozen=True)
class Finding:
    """A check's measure of a column (None: of all rows), in [0, 1]; severity None where it is of no concern. `dataset` is
    another Dataset that the rows were compared with."""

    check: str
    column: str | None
    value: float
    dataset: str | None = None

    @property
    def severity(self) -> str | None:
        """By LIMITS."""
        pairs = zip(SEVERITIES, LIMITS[self.check], strict=True)
        return next((name for name, limit in pairs if self.value > limit), None)

    @property
    def says(self) -> str:
        """One plain sentence."""
        sentence = _SAYS[self.check].format(share=percent(self.value))
        if self.dataset is not None:
            return f"Dataset {self.dataset!r}: {sentence}"
        return sentence if self.column is None else f"column {self.column!r}: {sentence}"


def percent(share: float) -> str:
    """A share as people read it; never `0 %` nor `100 %` for what is neither."""
    if 0 < share < 0.001:
        return "less than 0.1 %"
    if 0.999 < share < 1:
        return "more than 99.9 %"
    return f"{100 * share:.1f} %".replace(".0 %", " %")


def measures(found: Measured) -> tuple[Finding, ...]:
    """Every check of every column, of concern or not; the worst come first."""
    made = [*_columns(found), *_rows(found), *_target(found)]
    return tuple(sorted(made, key=lambda f: (_rank(f), -f.value, f.check, f.column or f.dataset or "")))


def _columns(found: Measured) -> Iterator[Finding]:
    for column in found.columns:
        yield Finding("MissingValues", column.name, column.missing_share)
        if column.constant:
            yield Finding("ConstantColumn", column.name, 1.0)
        if column.numbers is not None:
            yield Finding("Outliers", column.name, column.outlier_share)
    for invalid in found.invalid:
        yield Finding("InvalidValues", invalid.column, invalid.count / found.total)


def _rows(found: Measured) -> Iterator[Finding]:
    yield Finding("DuplicateRows", None, found.duplicates / found.rows if found.rows else 0.0)
    for other in found.shared:
        yield Finding("SharedRows", None, other.rows / found.rows if found.rows else 0.0, other.dataset)


def _target(found: Measured) -> Iterator[Finding]:
    if found.target is None:
        return
    if rows := sum(count for _, count in found.target.classes):
        yield Finding("ClassImbalance", found.target.name, found.target.classes[0][1] / rows)
    for feature, score in found.power:
        yield Finding("TargetLeakage", feature, score)


def _rank(finding: Finding) -> int:
    return len(SEVERITIES) if finding.severity is None else SEVERITIES.index(finding.severity)


def concerns(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """Those that have a severity."""
    return tuple(finding for finding in findings if finding.severity is not None)


def counts(findings: tuple[Finding, ...]) -> dict[str, int]:
    """How many of each severity."""
    seen = Counter(finding.severity for finding in findings)
    return {severity: seen[severity] for severity in SEVERITIES}


def shut(gates: tuple[Gate, ...], findings: tuple[Finding, ...]) -> Problem | None:
    """The first shut gate's reason, and all that shut gates have to say; None where every gate is open."""
    broken = [(gate, finding) for gate in gates for finding in findings if _breaks(gate, finding)]
    if not broken:
        return None
    said = dict.fromkeys(f"{finding.says}, the limit is {_limit(gate)}" for gate, finding in broken)
    return Problem(REASONS[broken[0][0].check], "; ".join(said))


def _breaks(gate: Gate, finding: Finding) -> bool:
    if gate.check != finding.check or gate.column not in {None, finding.column}:
        return False
    return Decimal(repr(finding.value)) > gate.above


def _limit(gate: Gate) -> str:
    return "none" if gate.check == "ConstantColumn" else percent(float(gate.above))
