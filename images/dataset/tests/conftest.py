"""One claim in a folder of its own, and the worker run in this process on it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millrace_dataset.__main__ import answer
from support.proofs import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]


@pytest.fixture
def claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where claims are mounted; no progress is pushed."""
    root = tmp_path / "claims"
    (root / "raw").mkdir(parents=True)
    monkeypatch.setenv("MILLRACE_CLAIMS_ROOT", str(root))
    monkeypatch.delenv("MILLRACE_PROGRESS_URL", raising=False)
    return root


@pytest.fixture
def work(claims: Path) -> Callable[..., dict[str, Any]]:
    """Run the worker on `raw`, published to `data/corpus`; keyword arguments replace fields of the request."""

    def run(**fields: Any) -> dict[str, Any]:
        request = {
            "name": "corpus",
            "namespace": "team",
            "uid": "u-1",
            "source": {"path": str(claims / "raw")},
            "format": "text",
            "columns": None,
            "split": None,
            "publish": {"path": str(claims / "data" / "corpus")},
        }
        return answer(json.dumps(request | fields))

    return run
