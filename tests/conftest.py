"""Fixtures of tests against the real cluster that KUBECONFIG names; `make test-cluster` starts it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest

from millrace.kube.client import Client
from support import cluster
from support.proofs import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]


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
