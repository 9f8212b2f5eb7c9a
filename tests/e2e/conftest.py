"""What examples run in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from millrace.kube.client import Client
from support import cluster


@pytest.fixture
async def ns(client: Client) -> AsyncIterator[str]:
    """A namespace of the test's own; examples bring their claims themselves."""
    async with cluster.namespace(client, prefix="e2e") as name:
        yield name
