"""All state, as plain records in memory and on disk.

Every change is in SQLite (write-ahead log) before the answer leaves, so that a SIGKILL loses nothing that was answered.
Reads never touch the disk.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS record (
    kind TEXT NOT NULL, scope TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (kind, scope, key)
) WITHOUT ROWID;
"""


class Table:
    """Records of one kind, by scope (account and region, mostly) and key. Change a record, then `put` it."""

    def __init__(self, store: Store, kind: str) -> None:
        self._store = store
        self.kind = kind
        self.rows: dict[str, dict[str, Record]] = {}

    def get(self, scope: str, key: str) -> Record | None:
        return self.rows.get(scope, {}).get(key)

    def put(self, scope: str, key: str, record: Record) -> Record:
        self.rows.setdefault(scope, {})[key] = record
        self._store.execute(
            "INSERT OR REPLACE INTO record VALUES (?, ?, ?, ?)",
            (self.kind, scope, key, json.dumps(record, separators=(",", ":"))),
        )
        return record

    def drop(self, scope: str, key: str) -> Record | None:
        self._store.execute("DELETE FROM record WHERE kind = ? AND scope = ? AND key = ?", (self.kind, scope, key))
        return self.rows.get(scope, {}).pop(key, None)

    def of(self, scope: str) -> list[Record]:
        """All records of a scope, in the order they were first put."""
        return list(self.rows.get(scope, {}).values())

    def keys(self, scope: str) -> list[str]:
        return list(self.rows.get(scope, {}))

    def everything(self) -> Iterator[tuple[str, str, Record]]:
        """Scope, key and record of all."""
        for scope, rows in list(self.rows.items()):
            for key, record in list(rows.items()):
                yield scope, key, record


class Store:
    """The database and its tables."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.database = sqlite3.connect(folder / "state.sqlite3", isolation_level=None)
        self.database.execute("PRAGMA journal_mode = WAL")
        self.database.execute("PRAGMA synchronous = NORMAL")
        self.database.execute("PRAGMA busy_timeout = 5000")
        self.database.executescript(_SCHEMA)
        self._open = False
        self._later: list[Callable[[], None]] = []
        self._tables: dict[str, Table] = {}
        self._load()

    def _load(self) -> None:
        for kind, scope, key, value in self.database.execute("SELECT kind, scope, key, value FROM record"):
            self.table(kind).rows.setdefault(scope, {})[key] = json.loads(value)

    def table(self, kind: str) -> Table:
        """The table of a kind; the same object every time."""
        return self._tables.setdefault(kind, Table(self, kind))

    def tables(self) -> dict[str, Table]:
        return dict(self._tables)

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """A change; it counts once `commit` was called."""
        if not self._open:
            self.database.execute("BEGIN")
            self._open = True
        return self.database.execute(statement, values)

    def schema(self, script: str) -> None:
        """A service's own tables."""
        self.commit()
        self.database.executescript(script)

    def select(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return self.database.execute(statement, values).fetchall()

    def after_commit(self, work: Callable[[], None]) -> None:
        """What must not happen before the change it follows from is on disk, such as removing a file."""
        self._later.append(work)

    def commit(self) -> None:
        if self._open:
            self.database.execute("COMMIT")
            self._open = False
        later, self._later = self._later, []
        for work in later:
            work()

    def close(self) -> None:
        self.commit()
        self.database.close()
