"""Text needs none of the database's memory: a pod of 128 MiB does."""

import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"


def test_the_database_is_loaded_for_tables_only() -> None:
    script = "import sys, millrace_dataset.__main__; print('duckdb' in sys.modules)"
    said = subprocess.check_output([sys.executable, "-c", script], env={"PYTHONPATH": str(SRC)}, text=True)
    assert said.strip() == "False"
