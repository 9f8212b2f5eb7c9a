"""How much one column says of another. Pure.

Pearson's r for two numbers; the correlation ratio for a number and a category: the r of the number with each category replaced
by its mean, which of all encodings predicts the number best; Goodman and Kruskal's lambda for what predicts a class.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping


def correlation_ratio(groups: Iterable[tuple[int, float, float]]) -> float | None:
    """sqrt(SS between groups / SS total) in [0, 1] from each group's (count, sum, sum of squares); None without variance.

    Sums of numbers far from zero lose digits: give them about a common mean.
    """
    kept = [(count, total, squares) for count, total, squares in groups if count]
    rows, whole = sum(group[0] for group in kept), math.fsum(group[1] for group in kept)
    if not rows:
        return None
    centre = whole * whole / rows
    overall = math.fsum(group[2] for group in kept) - centre
    between = math.fsum(total * total / count for count, total, _ in kept) - centre
    if overall <= 0 or len(kept) < 2 or overall <= 1e-12 * math.fsum(group[2] for group in kept):
        return None
    return math.sqrt(min(1.0, max(0.0, between / overall)))


def pearson(value: float | None) -> float | None:
    """DuckDB's corr() within [-1, 1]; None where a column is constant."""
    return None if value is None or math.isnan(value) else max(-1.0, min(1.0, value))


def predictive_power(counts: Mapping[tuple[object, object], int]) -> float | None:
    """Goodman and Kruskal's lambda in [0, 1] from rows by (value, class): the share of the errors of always naming the
    commonest class that naming each value's commonest class avoids. None where there is one class."""
    classes: dict[object, int] = defaultdict(int)
    best: dict[object, int] = defaultdict(int)
    for (value, name), rows in counts.items():
        classes[name] += rows
        best[value] = max(best[value], rows)
    base, rows = max(classes.values(), default=0), sum(classes.values())
    return None if rows == base else (sum(best.values()) - base) / (rows - base)
