"""One claim in a folder of its own, and the worker run in this process on it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millrace_dataset.__main__ import answer
from support.proofs import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]

SRC = Path(__file__).parents[1] / "src"
MEASURED = """
import sys
from millrace_dataset.__main__ import main
code = main()
print(*(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
sys.exit(code)
"""


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


@pytest.fixture
def measured(claims: Path) -> Callable[..., tuple[dict[str, Any], int]]:
    """Run the worker as a process of its own: what it answers, and the most memory it held, in KiB.

    By VmHWM: ru_maxrss goes on from the process that started it, which is this one and may hold more.
    """

    def run(request: dict[str, Any], **environ: str) -> tuple[dict[str, Any], int]:
        environ |= {
            "MILLRACE_DATASET": json.dumps(request),
            "MILLRACE_TERMINATION_LOG": str(claims / "termination"),
            "PYTHONPATH": str(SRC),
        }
        command = [sys.executable, "-c", MEASURED]
        done = subprocess.run(command, env=os.environ | environ, capture_output=True, text=True, check=True)
        said, kibibytes = done.stdout.splitlines()
        return json.loads(said), int(kibibytes)

    return run
