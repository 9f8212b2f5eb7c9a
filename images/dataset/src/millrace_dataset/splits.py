"""Seeded splits in bounded memory.

Each row has a point in [0, 1) that depends on its content and the seed alone, so equal rows always meet in one split.
A histogram of the points, per stratum, gives thresholds that hit the wanted fractions without holding rows.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from millrace_dataset.problems import Problem
from millrace_dataset.request import Split

BIN_BITS = 14
BINS = 1 << BIN_BITS
MAX_STRATA = 1000
BLOCK_LINES = 64
MIN_BLOCKS = 200


def bin_of(key: str, seed: int) -> int:
    """The bin, in [0, BINS), of a block of text under a seed; a table's rows take the first bits of their key (`parts`)."""
    digest = hashlib.blake2b(key.encode(), digest_size=8, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "big") % BINS


def block_lines(lines: int) -> int:
    """Lines kept together when text is split: language modelling needs context, a small file needs many blocks."""
    return max(1, min(BLOCK_LINES, lines // MIN_BLOCKS))


@dataclass
class Histogram:
    """Rows per stratum and bin, filled in the first pass."""

    counts: dict[str, Counter[int]] = field(default_factory=dict)

    def add(self, stratum: str, bin: int, rows: int = 1) -> None:
        """Count rows; more than MAX_STRATA strata are Problem(BadParameter)."""
        if stratum not in self.counts:
            if len(self.counts) >= MAX_STRATA:
                raise Problem(
                    "BadParameter", f"split.stratifyBy names a column with more than {MAX_STRATA} values: use a category"
                )
            self.counts[stratum] = Counter()
        self.counts[stratum][bin] += rows


@dataclass(frozen=True)
class Plan:
    """For each stratum, the upper bin bound (exclusive) of each split in order; what the second pass asks."""

    names: tuple[str, ...]
    bounds: Mapping[str, tuple[int, ...]]

    def split_of(self, stratum: str, bin: int) -> str:
        """The split that a row of this stratum and bin belongs to."""
        for name, bound in zip(self.names, self.bounds[stratum], strict=True):
            if bin < bound:
                return name
        return self.names[-1]


def plan(histogram: Histogram, split: Split) -> Plan:
    """Choose thresholds so that every stratum is cut as near to the fractions as whole bins allow."""
    names = tuple(split.fractions)
    targets = _cumulative([split.fractions[name] for name in names])
    bounds = {stratum: _bounds(counts, targets) for stratum, counts in histogram.counts.items()}
    result = Plan(names, bounds)
    _check_none_empty(histogram, result)
    return result


def _cumulative(fractions: list[Decimal]) -> list[Decimal]:
    total = Decimal(0)
    sums = []
    for fraction in fractions:
        total += fraction
        sums.append(total)
    return sums


def _bounds(counts: Counter[int], targets: list[Decimal]) -> tuple[int, ...]:
    total = sum(counts.values())
    bounds, passed, bins = [], 0, sorted(counts)
    position = 0
    for target in targets[:-1]:
        wanted = target * total
        while position < len(bins) and abs(passed + counts[bins[position]] - wanted) <= abs(passed - wanted):
            passed += counts[bins[position]]
            position += 1
        bounds.append(bins[position] if position < len(bins) else BINS)
    return (*bounds, BINS)


def _check_none_empty(histogram: Histogram, made: Plan) -> None:
    rows: Counter[str] = Counter()
    for stratum, counts in histogram.counts.items():
        for place, count in counts.items():
            rows[made.split_of(stratum, place)] += count
    for name in made.names:
        if not rows[name]:
            raise Problem("BadParameter", f"split.{name} would be empty: the source has too few distinct rows for that fraction")
