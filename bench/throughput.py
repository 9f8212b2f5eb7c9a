"""(e) A Dataset's worker on a csv: digest, splits and quality report; beside DuckDB doing the same by hand.

Both run as processes of this machine, with the same memory and threads, on the same file, one after the other. By hand means what
somebody writes who knows the eight columns: types from DuckDB's own reader, every statistic of the report as one query each, three
COPY statements, and SHA-256 of the source and of what was written. No report is drawn from it, and nothing is checked.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

BAR = 0.5
MEMORY = "2Gi"
ROOT = Path(__file__).parents[1]
Object = dict[str, Any]
_TABLE = """
copy (select i + 1 as id, round(exp(3.5 + random() * 2), 2) as amount, 18 + (random() * 72)::int as age,
    ['north', 'south', 'east', 'west'][1 + i % 4] as region, if(random() < 0.05, null, round(random() * 1000, 3)) as balance,
    date '2020-01-01' + (random() * 1000)::int as day, 'a note about row ' || (random() * 100000)::int as note,
    random() < 0.1 as label from range({rows}) t(i)) to '{path}' (header)
"""
_HAND = """
import hashlib, sys, duckdb
source, out = sys.argv[1:]
def sha(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
sha(source)
c = duckdb.connect(out + "/hand.db", config={"memory_limit": "1126MiB", "threads": 2})
q = lambda sql: c.execute(sql).fetchall()
columns = "id amount age region balance day note label".split()
numbers, groups = ["id", "amount", "age", "balance"], ["region", "label"]
key = "md5_number_lower(concat('7'" + "".join(f", chr(31), {n}" for n in columns) + "))"
q(f"create table t as select *, {key} as key from read_csv('{source}')")
q("select " + ", ".join(f"count({n}), approx_count_distinct({n}), min({n}), max({n})" for n in columns) + " from t")
steps = "[0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9]"
facts = q("select " + ", ".join(f"[avg({n}), stddev_samp({n}), min({n}), max({n})] || approx_quantile({n}::double, {steps})" for n in numbers) + " from t")[0]
fences = {n: (2.5 * f[6] - 1.5 * f[12], 2.5 * f[12] - 1.5 * f[6]) for n, f in zip(numbers, facts)}
q("select " + ", ".join(f"count_if({n} not between {fences[n][0]} and {fences[n][1]})" for n in numbers) + " from t")
for n, f in zip(numbers, facts):
    q(f"select least(23, floor(({n} - {f[2]}) / {(f[3] - f[2]) / 24}))::int as place, count(*) from t group by place")
q("select " + ", ".join(f"corr({a}, {b})" for i, a in enumerate(numbers) for b in numbers[i + 1 :]) + " from t")
for g in groups:
    q(f"select {g}, count(*) from t group by {g}")
    q(f"select {g}, " + ", ".join(f"count({n}), sum({n} - {f[0]}), sum(({n} - {f[0]}) ** 2)" for n, f in zip(numbers, facts)) + f" from t group by {g}")
for n, f in zip(numbers, facts):
    bucket = " + ".join(f"({n} > {f[i]})::int" for i in (4, 5, 7, 8, 9, 10, 11, 13, 14))
    q(f"select {bucket} as bucket, label, count(*) from t group by all")
q("select region, label, count(*) from t group by all")
q("select count(*) from (select key from t group by key)")
q("select label, key >> 50 as bin, count(*) from t group by all")
for name, low, high in (("train", 0, 13107), ("validation", 13107, 14746), ("test", 14746, 16384)):
    q(f"copy (select {', '.join(columns)} from t where key >> 50 between {low} and {high - 1}) to '{out}/{name}.csv' (header)")
    sha(f"{out}/{name}.csv")
"""


class Told(Protocol):
    """Whoever shows what happens."""

    @property
    def progress(self) -> Any: ...


async def measure(world: Told, megabytes: int, rounds: int) -> Object:
    """Interleaved: by hand, worker, by hand, worker, …"""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as name:
        source = Path(name) / "source" / "table.csv"
        source.parent.mkdir()
        await _python("import duckdb, sys; duckdb.sql(sys.argv[1])", _TABLE.format(rows=megabytes * 14_300, path=source))
        size = source.stat().st_size / 1e6
        hands: list[float] = []
        ours: list[float] = []
        for number in range(rounds):
            hands.append(await _timed(Path(name), _hand(source, Path(name) / "out")))
            ours.append(await _timed(Path(name), _worker(source, Path(name) / "out")))
            world.progress(f"(e) round {number + 1}: by hand {size / hands[-1]:.0f} MB/s, worker {size / ours[-1]:.0f} MB/s")
    ratio = statistics.median(hands) / statistics.median(ours)
    return {"megabytes": size, "hand": hands, "worker": ours, "ratio": ratio, "bar": BAR, "met": ratio >= BAR}


async def _timed(folder: Path, work: Any) -> float:
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "out").mkdir()
    begun = time.monotonic()
    await work
    return time.monotonic() - begun


async def _hand(source: Path, out: Path) -> None:
    await _python(_HAND, str(source), str(out))


async def _worker(source: Path, out: Path) -> None:
    request = {
        "name": "bench",
        "source": {"path": str(source)},
        "format": "csv",
        "split": {"train": "0.8", "validation": "0.1", "test": "0.1", "seed": 7, "stratifyBy": "label"},
        "publish": {"path": str(out / "published")},
        "quality": {"target": "label"},
    }
    environment = {
        "MILLRACE_DATASET": json.dumps(request),
        "MILLRACE_MEMORY": MEMORY,
        "MILLRACE_TERMINATION_LOG": str(out / "termination"),
        "PYTHONPATH": str(ROOT / "images/dataset/src"),
        "TMPDIR": str(out),
    }
    await _python("import sys; from millrace_dataset.__main__ import main; sys.exit(main())", **environment)


async def _python(script: str, *arguments: str, **environment: str) -> None:
    """Run a script to its end. Raises RuntimeError with its last words."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        script,
        *arguments,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(said.decode()[-2000:])


def rows(found: Object) -> list[tuple[str, str, str, bool | None]]:
    """Table rows: what, figure, bar, met."""
    size = found["megabytes"]
    return [
        (f"(e) csv of {size:.0f} MB: DuckDB by hand", _spread(size, found["hand"]), "", None),
        (f"(e) csv of {size:.0f} MB: Dataset's worker, digest, splits and report", _spread(size, found["worker"]), "", None),
        ("(e) worker / by hand", f"{found['ratio']:.2f}", f">= {BAR:g}", found["met"]),
    ]


def _spread(size: float, seconds: list[float]) -> str:
    rates = sorted(size / s for s in seconds)
    return f"{rates[0]:.0f} / {statistics.median(rates):.0f} / {rates[-1]:.0f} MB/s"


class _Alone:
    """Shows progress where there is no cluster."""

    def progress(self, text: str) -> None:
        print(text, flush=True)


if __name__ == "__main__":
    for row in rows(asyncio.run(measure(_Alone(), int(sys.argv[1]) if len(sys.argv) > 1 else 200, 3))):
        print(row)
