"""Rows put into files of each format, and read back from what was published."""

import csv
import json
from pathlib import Path
from typing import Any

import duckdb

Row = dict[str, Any]


def written(claims: Path, format_: str, rows: list[Row]) -> None:
    """The source, one file; csv and parquet hold texts."""
    path = claims / "raw" / f"rows.{format_}"
    if format_ == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return
    plain = path.with_name(".plain.csv")
    with plain.open("w", newline="") as stream:
        lines = csv.DictWriter(stream, rows[0])
        lines.writeheader()
        lines.writerows(rows)
    if format_ == "parquet":
        duckdb.sql(f"COPY (FROM read_csv('{plain}', all_varchar=true)) TO '{path}'")
        plain.unlink()
    else:
        plain.rename(path)


def read(claims: Path, answer: dict[str, Any], part: str = "data") -> list[Row]:
    """What was published as one part."""
    path = claims / "data" / answer["splits"][part]["path"]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".csv":
        with path.open(newline="") as stream:
            return list(csv.DictReader(stream))
    found = duckdb.sql(f"FROM '{path}'")
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
