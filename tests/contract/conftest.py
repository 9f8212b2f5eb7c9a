"""One local AWS for all tests of a worker: their things have names of their own in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from millrace.kube.client import Client
from support.aws import ACCOUNT

from .adapters import Adapter
from .on_sagemaker import STATES, furnish
from .places import Place

if TYPE_CHECKING:
    from millrace_local_aws import LocalAws


@pytest.fixture(scope="session")
def aws() -> Iterator[LocalAws]:
    """In real time, with states that last tenths of seconds; roles are asked. Its own faults fail the run."""
    from millrace_local_aws import local_aws

    with pytest.MonkeyPatch.context() as patched, local_aws(speed=1, durations=STATES, enforce_iam=True) as made:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patched.delenv(name, raising=False)
        patched.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patched.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
        patched.setenv("AWS_SECRET_ACCESS_KEY", "local")
        furnish(made)
        yield made


@pytest.fixture
async def place(adapter: Adapter, client: Client, ns: str, request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """Where the adapter's things are; the local AWS begins with the first adapter that needs it."""
    at_hand: Callable[[], LocalAws] = lambda: request.getfixturevalue("aws")  # noqa: E731
    async with adapter.place.opened(client, ns, at_hand) as made:
        yield made
