"""Laws that hold for every input: no row is lost, none is in two splits, fractions are met, csv round-trips."""

from collections import Counter
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from millrace_dataset.columns import type_of_text, widen
from millrace_dataset.problems import Problem
from millrace_dataset.request import Split
from millrace_dataset.splits import Histogram, bin_of, plan

FIELDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
KINDS = st.sampled_from([None, "integer", "number", "boolean", "string"])


@given(st.integers(30, 400), st.integers(0, 9), st.sampled_from(["0.5", "0.8", "0.9"]))
def test_a_stratum_of_distinct_rows_is_cut_at_its_fraction(rows: int, seed: int, fraction: str) -> None:
    split = Split({"train": Decimal(fraction), "test": 1 - Decimal(fraction)}, seed, None)
    histogram = Histogram()
    bins = [bin_of(str(row), seed) for row in range(rows)]
    for place in bins:
        histogram.add("", place)
    cut = plan(histogram, split)
    counts = Counter(cut.split_of("", place) for place in bins)
    heaviest = max(Counter(bins).values())
    assert abs(counts["train"] - float(fraction) * rows) <= heaviest


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 9))
def test_rows_with_the_same_key_share_a_split_or_the_split_is_refused(keys: list[int], seed: int) -> None:
    split = Split({"train": Decimal("0.5"), "validation": Decimal("0.5")}, seed, None)
    histogram = Histogram()
    for key in keys:
        histogram.add("", bin_of(str(key), seed))
    try:
        cut = plan(histogram, split)
    except Problem:
        return
    assert {cut.split_of("", bin_of(str(key), seed)) for key in keys} == {"train", "validation"}


@given(KINDS, KINDS, KINDS)
def test_widening_does_not_depend_on_order(a: str | None, b: str | None, c: str | None) -> None:
    assert widen(a, b) == widen(b, a)
    assert widen(widen(a, b), c) == widen(a, widen(b, c))


@given(st.integers())
def test_an_integer_is_an_integer(value: int) -> None:
    assert type_of_text(str(value)) == "integer"
