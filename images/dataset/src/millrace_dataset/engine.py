"""DuckDB as this worker uses it: within the pod's memory, spilling to the pod's own scratch folder, never to a claim."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import duckdb

from millrace_dataset.problems import Problem

Connection = duckdb.DuckDBPyConnection
T = TypeVar("T")

DEFAULT_MEMORY = "512Mi"
SHARE = 0.55
"""Of the pod's memory; the rest is Python, DuckDB's own buffers outside its count, and the allocator's slack."""
_UNITS = {
    "": 1,
    "m": 1e-3,
    "k": 10**3,
    "Ki": 1 << 10,
    "M": 10**6,
    "Mi": 1 << 20,
    "G": 10**9,
    "Gi": 1 << 30,
    "T": 10**12,
    "Ti": 1 << 40,
    "P": 10**15,
    "Pi": 1 << 50,
}


def memory_bytes(quantity: str) -> int:
    """A Kubernetes quantity in bytes; ValueError where it is none."""
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(|m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)", quantity)
    if found is None:
        raise ValueError(f"{quantity!r} is not an amount of memory")
    return int(float(found[1]) * _UNITS[found[2]])


def threads(memory: int, cores: int) -> int:
    """Threads that memory suffices for: each holds buffers of its own."""
    return max(1, min(cores, 8, memory // (192 << 20)))


@contextmanager
def connected(environ: Mapping[str, str] | None = None) -> Iterator[Connection]:
    """A database in a scratch folder that goes with the block; faults of the surroundings become Problem."""
    environ = os.environ if environ is None else environ
    memory = memory_bytes(environ.get("MILLRACE_MEMORY") or DEFAULT_MEMORY)
    folder = Path(tempfile.mkdtemp(prefix="millrace-"))
    try:
        with duckdb.connect(str(folder / "rows.db"), config=_settings(memory, folder)) as connection:
            connection.execute("SET enable_progress_bar = false")
            yield connection
    except duckdb.OutOfMemoryException as error:
        raise Problem(
            "MemoryTooSmall", f"{memory >> 20} MiB do not suffice for this source: raise spec.resources.memory"
        ) from error
    except duckdb.IOException as error:
        raise Problem("PublishFailed", f"reading or writing failed: {first_line(error)}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _settings(memory: int, folder: Path) -> dict[str, str | bool | int | float | list[str]]:
    return {
        "memory_limit": f"{int(memory * SHARE) >> 20}MiB",
        "threads": threads(memory, len(os.sched_getaffinity(0))),
        "temp_directory": str(folder / "spill"),
        "preserve_insertion_order": True,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }


def first_line(error: Exception) -> str:
    """What DuckDB says first; the rest is advice about its own options."""
    return str(error).splitlines()[0]


def batches(items: Sequence[T], size: int = 50) -> Iterator[Sequence[T]]:
    """What one query may ask about: each aggregate of each column holds memory of its own while it scans."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def literal(text: str) -> str:
    """A string as SQL."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A column's name as SQL."""
    return '"' + name.replace('"', '""') + '"'
