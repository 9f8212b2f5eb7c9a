"""The report as JSON, and the few words of it that fit into a status. Pure."""

from typing import Any

from millrace_dataset.quality.facts import Correlation, Facts, Measured
from millrace_dataset.quality.findings import LIMITS, Finding, concerns, counts
from millrace_dataset.request import Request

MAX_WORST = 8
MAX_VALUES_SHOWN = 30
METHODS = {
    "outliers": "values beyond 1.5 interquartile ranges from the quartiles (Tukey); quartiles are t-digest estimates",
    "distinct": "exact for text with at most 1,000 values, else a HyperLogLog estimate",
    "pearson": "numbers with numbers, over rows where both are there",
    "correlationRatio": "numbers with categories: sqrt(SS between / SS total), which is Pearson's r once each category is "
    "encoded by its mean; categories with categories are not supported in linear mode, other types are ignored",
    "predictivePower": "classes: Goodman and Kruskal's lambda over the feature's values or deciles; a number: the "
    "correlation with it; features with fewer than 5 rows a value are left out",
    "duplicates": "rows that repeat an earlier one in every column",
    "shared": "rows that the other Dataset has, too, the same in every column",
}


def document(request: Request, digest: str, found: Measured, findings: tuple[Finding, ...]) -> dict[str, Any]:
    """report.json: everything, with the rules by which it was found; no times, so that equal data makes equal reports."""
    return {
        "schema": 1,
        "dataset": request.name,
        "namespace": request.namespace,
        "digest": digest,
        "mode": mode(found),
        "rows": found.total,
        "measuredRows": found.rows,
        "duplicateRows": found.duplicates,
        "shared": [vars(other) for other in found.shared],
        "missingShare": _short(found.missing_share),
        "findings": [finding_of(finding) for finding in concerns(findings)],
        "severities": {check: dict(zip(("high", "medium", "low"), limits, strict=True)) for check, limits in LIMITS.items()},
        "columns": [_column(column) for column in found.columns],
        "invalid": [vars(invalid) for invalid in found.invalid],
        "correlations": [vars(each) | {"value": _short(each.value)} for each in found.correlations],
        "mostCorrelated": [_strongest(name, best) for name, best in sorted(found.most_correlated().items())],
        "target": _target(found),
        "preview": {"columns": [column.name for column in found.columns], "rows": [list(row) for row in found.preview]},
        "methods": METHODS,
    }


def summary(found: Measured, findings: tuple[Finding, ...]) -> dict[str, Any]:
    """What status holds; bounded."""
    told: dict[str, Any] = {
        "mode": mode(found),
        "measuredRows": found.rows,
        "duplicateRows": found.duplicates,
        "missingShare": _decimal(found.missing_share),
        "findings": counts(findings),
        "worst": [_worst(finding) for finding in concerns(findings)[:MAX_WORST]],
    }
    if found.shared:
        told["shared"] = [vars(other) for other in found.shared]
    if found.target is not None:
        told["problemType"] = found.target.problem
        if found.power:
            told["bestFeature"] = {"column": found.power[0][0][:253], "power": _decimal(found.power[0][1])}
    return told


def mode(found: Measured) -> str:
    """Sampled or Full."""
    return "Sampled" if found.sampled else "Full"


def finding_of(finding: Finding) -> dict[str, Any]:
    """A finding in the report."""
    told = {"check": finding.check, "column": finding.column, "dataset": finding.dataset, "value": _short(finding.value)}
    return {**told, "severity": finding.severity, "says": finding.says}


def _worst(finding: Finding) -> dict[str, Any]:
    told = {"check": finding.check, "severity": str(finding.severity).capitalize(), "value": _decimal(finding.value)}
    about = {"column": finding.column and finding.column[:253], "dataset": finding.dataset}
    return {**told, **{key: value for key, value in about.items() if value is not None}}


def _column(column: Facts) -> dict[str, Any]:
    told: dict[str, Any] = {
        "name": column.name,
        "type": column.type,
        "missing": column.missing,
        "missingShare": _short(column.missing_share),
        "distinct": column.distinct,
        "constant": column.constant,
        "values": [{"value": value, "rows": rows} for value, rows in column.values[:MAX_VALUES_SHOWN]],
    }
    if column.numbers is not None:
        numbers = column.numbers
        told["numbers"] = {
            "min": numbers.low,
            "max": numbers.high,
            "mean": numbers.mean,
            "deviation": numbers.deviation,
            "quartiles": list(numbers.quartiles),
            "fences": list(numbers.fences),
            "outliers": numbers.outliers,
            "histogram": list(numbers.histogram),
        }
    return told


def _strongest(name: str, best: Correlation) -> dict[str, Any]:
    other = best.right if best.left == name else best.left
    return {"column": name, "with": other, "method": best.method, "value": _short(best.value)}


def _target(found: Measured) -> dict[str, Any] | None:
    if found.target is None:
        return None
    return {
        "column": found.target.name,
        "problemType": found.target.problem,
        "classes": [{"value": value, "rows": rows} for value, rows in found.target.classes[:MAX_VALUES_SHOWN]],
        "features": [{"column": name, "power": _short(score)} for name, score in found.power],
    }


def _short(value: float) -> float:
    return round(value, 6)


def _decimal(value: float) -> str:
    """Money and shares are text in an API."""
    return f"{value:.4f}"
