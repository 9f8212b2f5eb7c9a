"""A local AWS a test, and boto3 on it: clients that were not written here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.config import Config

from millrace_local_aws import LocalAws, local_aws
from support.proofs import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]


@pytest.fixture(autouse=True)
def _no_credentials_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    """Its clock stands still; its own faults and unserved operations fail the test."""
    with local_aws(speed=0) as made:
        yield made


@pytest.fixture
def client(aws: LocalAws) -> Callable[..., Any]:
    """A client that does not retry."""

    def make(service: str, **options: Any) -> Any:
        return aws.client(service, config=Config(retries={"total_max_attempts": 1}), **options)

    return make
