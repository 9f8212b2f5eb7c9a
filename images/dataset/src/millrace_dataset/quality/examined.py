"""What became of a quality report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from millrace_dataset.problems import Problem


@dataclass(frozen=True)
class Examined:
    """What the answer says of quality: a bounded summary, the report's folder and files, and the shut gates' words."""

    summary: dict[str, Any]
    folder: Path | None
    files: dict[str, dict[str, Any]]
    failure: Problem | None
