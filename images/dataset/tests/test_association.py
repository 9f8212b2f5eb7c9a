"""Measures of association against their definitions, in exact fractions."""

import math
from collections import Counter, defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from millrace_dataset.quality.association import correlation_ratio, predictive_power

Work = Callable[..., dict[str, Any]]
PAIRS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(-50, 50)), min_size=1, max_size=40)


def groups(pairs: list[tuple[str, int]]) -> dict[str, list[int]]:
    made: dict[str, list[int]] = defaultdict(list)
    for name, value in pairs:
        made[name].append(value)
    return made


def ratio_by_definition(pairs: list[tuple[str, int]]) -> Fraction | None:
    """Square of eta: the sum over groups of n (mean - overall mean)^2, over the sum of (x - overall mean)^2."""
    values = [value for _, value in pairs]
    mean = Fraction(sum(values), len(values))
    total = sum((value - mean) ** 2 for value in values)
    between = sum(len(group) * (Fraction(sum(group), len(group)) - mean) ** 2 for group in groups(pairs).values())
    return Fraction(between) / total if total and len(groups(pairs)) > 1 else None


@pytest.mark.proves("06.7")
@given(PAIRS)
def test_the_correlation_ratio_is_that_of_the_definition(pairs: list[tuple[str, int]]) -> None:
    found = correlation_ratio((len(g), float(sum(g)), float(sum(v * v for v in g))) for g in groups(pairs).values())
    expected = ratio_by_definition(pairs)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert 0 <= found <= 1
        assert found == pytest.approx(math.sqrt(expected), abs=1e-6)


@pytest.mark.proves("06.7")
@given(PAIRS)
def test_it_is_pearsons_r_once_each_category_is_its_mean(pairs: list[tuple[str, int]]) -> None:
    """That encoding is the one that predicts the number best, which is why it is the one."""
    expected = ratio_by_definition(pairs)
    assume(expected)
    means = {name: Fraction(sum(g), len(g)) for name, g in groups(pairs).items()}
    xs, ys = [means[name] for name, _ in pairs], [Fraction(value) for _, value in pairs]
    mean = sum(ys) / len(ys)
    product = sum((x - mean) * (y - mean) for x, y in zip(xs, ys, strict=True))
    norms = sum((x - mean) ** 2 for x in xs) * sum((y - mean) ** 2 for y in ys)
    assert product**2 / norms == expected


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=1, max_size=60))
def test_predictive_power_is_the_share_of_errors_avoided(rows: list[tuple[str, str]]) -> None:
    classes = Counter(name for _, name in rows)
    base = classes.most_common(1)[0][1]
    found = predictive_power(Counter(rows))
    if len(rows) == base:
        assert found is None
        return
    by_value = {value: Counter(name for v, name in rows if v == value).most_common(1)[0][0] for value, _ in rows}
    errors = sum(by_value[value] != name for value, name in rows)
    assert found == pytest.approx(1 - errors / (len(rows) - base))
    assert 0 <= (found or 0) <= 1


@pytest.mark.proves("06.7")
def test_the_report_pairs_numbers_with_numbers_and_categories_and_no_others(work: Work, claims: Path) -> None:
    import json

    rows = [
        (n, -2 * n + 1, "low" if n < 50 else "high", "even" if n % 2 == 0 else "odd", f"2026-01-{n % 28 + 1:02d}")
        for n in range(100)
    ]
    (claims / "raw" / "a.csv").write_text("x,y,size,parity,day\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    answer = work(format="csv", quality={})
    found = json.loads((claims / "data" / answer["report"]["path"] / "report.json").read_text())
    by_pair = {(c["left"], c["right"]): (c["method"], c["value"]) for c in found["correlations"]}
    eta = math.sqrt(ratio_by_definition([(row[2], row[0]) for row in rows]) or 0)
    assert by_pair["x", "y"] == ("pearson", -1.0)
    assert by_pair["x", "size"] == ("correlationRatio", pytest.approx(eta, abs=1e-6))
    assert set(by_pair) == {("x", "y"), ("x", "size"), ("y", "size"), ("x", "parity"), ("y", "parity")}
    best = {c["column"]: c["with"] for c in found["mostCorrelated"]}
    assert (best["x"], best["y"], best["size"]) == ("y", "x", "x")
