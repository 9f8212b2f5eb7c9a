"""Fixtures: a job to run, and one launcher for the whole session."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from trainer_support import Job, Launcher, make_job


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return make_job(tmp_path)


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    started = Launcher()
    yield started
    started.close()
