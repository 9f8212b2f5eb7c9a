"""The reader of a Dataset: published files count when somebody who did not write them has read them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from millrace.podside import readback

Object = dict[str, Any]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "termination"
    monkeypatch.setenv("MILLRACE_TERMINATION_LOG", str(path))
    return path


def told(path: Path, content: bytes) -> Object:
    return {"path": str(path), "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


# on disk, as told, what is wrong
BROKEN = [
    (b"a,b\n1,2\n", b"a,b\n1,3\n", "another value"),
    (b"a,b\n1,2\n", b"a,b\n1,2\n3,4\n", "its end is missing"),
    (None, b"a,b\n", "it is not there"),
]


def test_files_that_are_what_the_worker_said_are_good(tmp_path: Path, log: Path) -> None:
    (tmp_path / "train.csv").write_bytes(b"a,b\n1,2\n")
    assert readback.run({"files": [told(tmp_path / "train.csv", b"a,b\n1,2\n")]}) == 0
    assert json.loads(log.read_text()) == {"schema": 1, "ok": True, "files": 1, "bytes": 8}


@pytest.mark.parametrize(("there", "said", "reason"), BROKEN, ids=[b[-1] for b in BROKEN])
def test_a_file_that_is_not_is_named(tmp_path: Path, log: Path, there: bytes | None, said: bytes, reason: str) -> None:
    if there is not None:
        (tmp_path / "train.csv").write_bytes(there)
    assert readback.run({"files": [told(tmp_path / "train.csv", said)]}) == 1
    found = json.loads(log.read_text())
    assert found["reason"] == "NotReadBack", reason
    assert "train.csv" in found["message"]
