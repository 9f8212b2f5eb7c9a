"""Tests that share a thing outside run one after another: what the cluster's suites rely on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SHARING = """
import os, pathlib, time, pytest

@pytest.mark.xdist_group("shared")
@pytest.mark.parametrize("number", range(6))
def test_one(number):
    time.sleep(0.1)
    with pathlib.Path("workers").open("a") as told:
        print(os.environ["PYTEST_XDIST_WORKER"], file=told)
"""


def test_a_group_runs_in_one_worker(tmp_path: Path) -> None:
    (tmp_path / "test_sharing.py").write_text(SHARING)
    argv = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider"]
    bare = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    done = subprocess.run(argv, cwd=tmp_path, env=bare, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    told = (tmp_path / "workers").read_text().split()
    assert len(told) == 6
    assert len(set(told)) == 1, "pytest-xdist does not group: see the pin of pytest in pyproject.toml"
