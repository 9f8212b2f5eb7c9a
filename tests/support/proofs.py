"""Notes which promises' tests passed; every conftest that has such tests imports the hook."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator

import pytest

from support.promises import RESULTS


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note which promises' tests passed: `make promises` reads it."""
    report = yield
    if report.when == "call" or report.failed:
        for mark in item.iter_markers("proves"):
            for promise in mark.args:
                _note(promise, item.nodeid, passed=report.passed)
    return report


def _note(promise: str, test: str, *, passed: bool) -> None:
    """Several workers write this file."""
    with RESULTS.open("a+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        stream.seek(0)
        held = json.loads(stream.read() or "{}")
        tests = set(held.get(promise, [])) - {test} | ({test} if passed else set())
        stream.truncate(0)
        json.dump({**held, promise: sorted(tests)}, stream)
