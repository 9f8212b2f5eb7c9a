"""Measures a table in DuckDB: a few scans that hold groups and sketches, never rows."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from millrace_dataset.engine import Connection, batches
from millrace_dataset.problems import Problem
from millrace_dataset.quality.association import correlation_ratio, pearson, predictive_power
from millrace_dataset.quality.facts import Correlation, Facts, Measured, Numbers, Target
from millrace_dataset.request import Column, Quality
from millrace_dataset.table import KEY_BITS, Table

MAX_VALUES = 1000
"""A column of text with more values is no category: names, identifiers, prose."""
MAX_PAIRED = 40
"""Columns of each sort among which correlations are sought."""
ROWS_PER_VALUE = 5
"""With fewer rows a value, a feature predicts anything by remembering it."""
BINS = 24
PREVIEW_ROWS = 10
_NUMERIC = frozenset({"integer", "number"})
_CATEGORIES = frozenset({"string", "boolean"})
_SHOWN = 60


def measure(table: Table, quality: Quality) -> Measured:
    """Everything that the report tells; Problem(ColumnMismatch) where the target is no column."""
    return _Measuring(table, quality).all()


def sampled(table: Table, quality: Quality) -> str:
    """The table as SQL, or the sample of it that is asked for."""
    if quality.sample is None or quality.sample >= table.rows:
        return "source"
    limit = (quality.sample << KEY_BITS) // table.rows
    return f"(SELECT * FROM source WHERE key < {limit}::UBIGINT)"


class _Measuring:
    """One table, or the sample of it: rows whose key is small, the same ones each time, duplicates together."""

    def __init__(self, table: Table, quality: Quality) -> None:
        self.table, self.quality = table, quality
        self.source = sampled(table, quality)
        self.rows = int(self._one("count(*)")[0])

    def all(self) -> Measured:
        columns = [self._valued(facts) for facts in self._numbered(self._facts())]
        target = self._target(columns)
        correlations = (*self._pearson(columns), *self._ratios(columns))
        return Measured(
            total=self.table.rows,
            rows=self.rows,
            duplicates=self._duplicates(),
            columns=tuple(columns),
            correlations=correlations,
            target=target,
            power=self._power(columns, target, correlations),
            invalid=self.table.invalid,
            preview=self._preview(),
        )

    # -- one column ------------------------------------------------------------------------------------------------------

    def _facts(self) -> list[Facts]:
        """One scan for all columns of a batch."""
        made: list[Facts] = []
        for columns in batches(self.table.columns):
            asked = [aggregate for column in columns for aggregate in self._aggregates(column)]
            found = iter(self._one(", ".join(asked)))
            made += [self._fact(column, found.__next__) for column in columns]
        return made

    def _aggregates(self, column: Column) -> list[str]:
        field = self.table.field(column.name)
        made = [f"count({field})", f"approx_count_distinct({field})", f"coalesce(min({field}) = max({field}), true)"]
        if column.type in _NUMERIC:
            x = self.table.number(column)
            steps = "[0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9]"
            made += [f"min({x})", f"max({x})", f"avg({x})", f"stddev_samp({x})", f"approx_quantile({x}, {steps})"]
        return made

    def _fact(self, column: Column, take: Callable[[], Any]) -> Facts:
        present, distinct, constant = int(take()), int(take()), bool(take())
        made = Facts(column.name, column.type, self.rows, self.rows - present, min(distinct, present), constant)
        if column.type not in _NUMERIC:
            return made
        low, high, mean, deviation, quantiles = (take() for _ in range(5))
        if not isinstance(low, float) or not isinstance(quantiles, list):
            return made
        deciles = tuple(q for place, q in enumerate(quantiles) if place not in {2, 8})
        quartiles = (quantiles[2], quantiles[5], quantiles[8])
        numbers = Numbers(low, float(high), float(mean), float(deviation or 0), deciles, quartiles)
        return replace(made, numbers=numbers)

    def _numbered(self, columns: list[Facts]) -> list[Facts]:
        """With outliers, all of a batch in one scan, and a histogram each."""
        outliers: dict[str, int] = {}
        for batch in batches([column for column in columns if column.numbers is not None]):
            beyond = self._one(", ".join(self._beyond(column) for column in batch))
            outliers.update(zip((column.name for column in batch), map(int, beyond), strict=True))
        return [self._with_shape(column, int(outliers.get(column.name, 0))) for column in columns]

    def _beyond(self, column: Facts) -> str:
        assert column.numbers is not None
        low, high = column.numbers.fences
        return f"count_if({self._x(column)} NOT BETWEEN {low!r}::DOUBLE AND {high!r}::DOUBLE)"

    def _with_shape(self, column: Facts, outliers: int) -> Facts:
        numbers = column.numbers
        if numbers is None:
            return column
        width = (numbers.high - numbers.low) / BINS
        if not 0 < width < float("inf"):
            return replace(column, numbers=replace(numbers, outliers=outliers))
        place = f"least({BINS - 1}, floor(({self._x(column)} - {numbers.low!r}::DOUBLE) / {width!r}::DOUBLE))::INT"
        found = dict(self._all(f"{place} AS place, count(*)", f"{self.table.field(column.name)} IS NOT NULL GROUP BY place"))
        return replace(column, numbers=replace(numbers, outliers=outliers, histogram=tuple(found.get(n, 0) for n in range(BINS))))

    def _valued(self, column: Facts) -> Facts:
        """With the values of a category and their counts, exactly."""
        if column.type not in _CATEGORIES or column.distinct > MAX_VALUES:
            return column
        text = self._text(column)
        found = self._all(f"{text} AS value, count(*) AS n", "value IS NOT NULL GROUP BY value ORDER BY n DESC, value")
        values = tuple((str(value), int(count)) for value, count in found)
        return replace(column, values=values, distinct=len(values))

    # -- pairs -----------------------------------------------------------------------------------------------------------

    def _pearson(self, columns: list[Facts]) -> list[Correlation]:
        numbers = [column for column in columns if column.numbers is not None][:MAX_PAIRED]
        pairs = [(a, b) for place, a in enumerate(numbers) for b in numbers[place + 1 :]]
        found = [r for some in batches(pairs) for r in self._one(", ".join(f"corr({self._x(a)}, {self._x(b)})" for a, b in some))]
        kept = ((a, b, pearson(value)) for (a, b), value in zip(pairs, found, strict=True))
        return [Correlation(a.name, b.name, "pearson", value) for a, b, value in kept if value is not None]

    def _ratios(self, columns: list[Facts]) -> list[Correlation]:
        numbers = [column for column in columns if column.numbers is not None][:MAX_PAIRED]
        categories = [column for column in columns if self._is_category(column)][:MAX_PAIRED]
        made = []
        for category in categories if numbers else ():
            sums = ", ".join(self._sums(column) for column in numbers)
            groups = self._all(f"{sums}, {self._text(category)} AS value", "value IS NOT NULL GROUP BY value")
            for place, column in enumerate(numbers):
                at = 3 * place
                ratio = correlation_ratio((int(g[at]), float(g[at + 1] or 0), float(g[at + 2] or 0)) for g in groups)
                if ratio is not None:
                    made.append(Correlation(column.name, category.name, "correlationRatio", ratio))
        return made

    def _sums(self, column: Facts) -> str:
        assert column.numbers is not None
        x = f"({self._x(column)} - {column.numbers.mean!r}::DOUBLE)"
        return f"count({x}), sum({x}), sum({x} * {x})"

    def _is_category(self, column: Facts) -> bool:
        """One that does not name its rows."""
        return bool(column.values) and len(column.values) * ROWS_PER_VALUE <= max(self.rows, 2 * ROWS_PER_VALUE)

    # -- the target ------------------------------------------------------------------------------------------------------

    def _target(self, columns: list[Facts]) -> Target | None:
        if self.quality.target is None:
            return None
        column = next((column for column in columns if column.name == self.quality.target), None)
        if column is None:
            raise Problem("ColumnMismatch", f"quality.target names {self.quality.target!r}, which is no column of the data")
        problem = self.quality.problem_type or problem_type(column)
        if problem == "Numeric" and column.numbers is None:
            raise Problem("TypeMismatch", f"quality.problemType is Numeric, but column {column.name!r} is {column.type}")
        return Target(column.name, problem, () if problem == "Numeric" else self._classes(column))

    def _classes(self, column: Facts) -> tuple[tuple[str, int], ...]:
        text = self._text(column)
        found = self._all(
            f"{text} AS value, count(*) AS n", f"value IS NOT NULL GROUP BY value ORDER BY n DESC, value LIMIT {MAX_VALUES}"
        )
        return tuple((str(value), int(count)) for value, count in found)

    def _power(
        self, columns: list[Facts], target: Target | None, correlations: tuple[Correlation, ...]
    ) -> tuple[tuple[str, float], ...]:
        """By falling power: for classes lambda over values or deciles, for a number the correlation with it."""
        if target is None:
            return ()
        if target.problem == "Numeric":
            made = {_other(c, target.name): abs(c.value) for c in correlations if target.name in {c.left, c.right}}
        else:
            made = self._lambdas(columns, target)
        return tuple(sorted(made.items(), key=lambda found: (-found[1], found[0])))

    def _lambdas(self, columns: list[Facts], target: Target) -> dict[str, float]:
        aim = self._text(next(column for column in columns if column.name == target.name))
        made = {}
        for column in columns:
            bucket = self._bucket(column)
            if column.name == target.name or bucket is None:
                continue
            found = self._all(f"{bucket} AS bucket, {aim} AS class, count(*)", "class IS NOT NULL GROUP BY ALL")
            score = predictive_power({(value, name): int(count) for value, name, count in found})
            if score is not None:
                made[column.name] = score
        return made

    def _bucket(self, column: Facts) -> str | None:
        """What stands for a feature's value: a category's own, a number's tenth; a missing one is a value too."""
        if column.numbers is not None:
            x = self._x(column)
            return " + ".join(f"({x} > {decile!r}::DOUBLE)::INT" for decile in sorted(set(column.numbers.deciles)))
        return self._text(column) if self._is_category(column) else None

    # -- rows ------------------------------------------------------------------------------------------------------------

    def _duplicates(self) -> int:
        """Rows beyond the first of their like; grouped, as that spills where a set of all keys would not."""
        query = f"SELECT count(*) FROM (SELECT key FROM {self.source} GROUP BY key)"
        found = self._connection.execute(query).fetchone() or (0,)
        return self.rows - int(found[0])

    def _preview(self) -> list[list[str | None]]:
        fields = ", ".join(f"left({self.table.text(column)}, {_SHOWN})" for column in self.table.columns) or "raw"
        return [list(row) for row in self._connection.execute(f"SELECT {fields} FROM source LIMIT {PREVIEW_ROWS}").fetchall()]

    # -- SQL -------------------------------------------------------------------------------------------------------------

    @property
    def _connection(self) -> Connection:
        return self.table.connection

    def _one(self, fields: str) -> tuple[Any, ...]:
        return self._connection.execute(f"SELECT {fields} FROM {self.source}").fetchone() or ()

    def _all(self, fields: str, where: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(f"SELECT {fields} FROM {self.source} WHERE {where}").fetchall()

    def _x(self, column: Facts) -> str:
        return self.table.number(Column(column.name, column.type))

    def _text(self, column: Facts) -> str:
        return self.table.text(Column(column.name, column.type))


def problem_type(column: Facts) -> str:
    """Binary for two values, Numeric for a number with more than ten, Multiclass for anything else."""
    if column.distinct <= 2:
        return "Binary"
    return "Numeric" if column.numbers is not None and column.distinct > 10 else "Multiclass"


def _other(found: Correlation, name: str) -> str:
    return found.right if found.left == name else found.left
