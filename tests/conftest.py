"""Fixtures of tests against the real cluster that KUBECONFIG names; `make test-cluster` starts it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from millrace.kube.client import Client
from support import cluster
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


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of the cluster."""
    if "MILLRACE_IMAGES_FILE" not in os.environ:
        pytest.fail("no cluster: run these tests by `make test-cluster` or `make e2e`")
    async with cluster.connected() as made:
        yield made


@pytest.fixture
async def ns(client: Client) -> AsyncIterator[str]:
    """A namespace of the test's own, with a claim `results`."""
    async with cluster.namespace(client) as name:
        await cluster.claim(client, name)
        yield name


@pytest.fixture
async def running(ns: str) -> AsyncIterator[cluster.Running]:
    """An operator in process that serves the test's namespace."""
    async with cluster.operator(cluster.settings(ns)) as made:
        yield made
