"""What was measured of a table, before anybody judges it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from millrace_dataset.table import Invalid


@dataclass(frozen=True)
class Numbers:
    """Of a column of numbers. Quartiles are estimates (t-digest); `histogram` counts equal steps from `low` to `high`."""

    low: float
    high: float
    mean: float
    deviation: float
    deciles: tuple[float, ...]
    quartiles: tuple[float, float, float]
    outliers: int = 0
    histogram: tuple[int, ...] = ()

    @property
    def fences(self) -> tuple[float, float]:
        """Tukey's: a value beyond them, 1.5 interquartile ranges from the quartiles, is an outlier."""
        spread = 1.5 * (self.quartiles[2] - self.quartiles[0])
        return self.quartiles[0] - spread, self.quartiles[2] + spread


@dataclass(frozen=True)
class Facts:
    """Of any column. `distinct` is an estimate (HyperLogLog) unless `values` holds them all, by falling count."""

    name: str
    type: str
    rows: int
    missing: int
    distinct: int
    constant: bool
    numbers: Numbers | None = None
    values: tuple[tuple[str, int], ...] = ()

    @property
    def missing_share(self) -> float:
        """Of the rows that were measured."""
        return self.missing / self.rows if self.rows else 0.0

    @property
    def outlier_share(self) -> float:
        """Of the values that are there."""
        present = self.rows - self.missing
        return self.numbers.outliers / present if self.numbers and present else 0.0


@dataclass(frozen=True)
class Target:
    """The column that a model shall predict; `problem` is Binary, Multiclass or Numeric."""

    name: str
    problem: str
    classes: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class Correlation:
    """Pearson's r (both numbers) or the correlation ratio (a number and a category)."""

    left: str
    right: str
    method: str
    value: float


@dataclass(frozen=True)
class Shared:
    """Rows of those measured that another Dataset, of this digest, has as well."""

    dataset: str
    digest: str
    rows: int


@dataclass(frozen=True)
class Measured:
    """All of it. `rows` were measured of `total`; `power` is how well each feature alone predicts the target."""

    total: int
    rows: int
    duplicates: int
    columns: tuple[Facts, ...]
    correlations: tuple[Correlation, ...] = ()
    target: Target | None = None
    power: tuple[tuple[str, float], ...] = ()
    invalid: tuple[Invalid, ...] = ()
    preview: Sequence[Sequence[str | None]] = ()
    shared: tuple[Shared, ...] = ()

    @property
    def sampled(self) -> bool:
        """Whether only some rows were measured."""
        return self.rows < self.total

    @property
    def missing_share(self) -> float:
        """Of all cells."""
        cells = sum(column.rows for column in self.columns)
        return sum(column.missing for column in self.columns) / cells if cells else 0.0

    def most_correlated(self) -> Mapping[str, Correlation]:
        """For each column the one it is most correlated with."""
        best: dict[str, Correlation] = {}
        for found in self.correlations:
            for name in (found.left, found.right):
                if name not in best or abs(found.value) > abs(best[name].value):
                    best[name] = found
        return best
