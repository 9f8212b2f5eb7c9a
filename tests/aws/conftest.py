"""A local AWS for each test: real requests, real answers, a clock that the test steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from support.aws import ACCOUNT

if TYPE_CHECKING:
    from millrace_local_aws import LocalAws


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    """A local AWS with IAM enforced, and the operator's own identity: the root of the account, by a key that local-aws knows.

    Its own faults and unserved operations fail the test.
    """
    from millrace_local_aws import local_aws

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    with local_aws(enforce_iam=True) as made:
        yield made


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    """A local AWS whose clock stands still until it is stepped, ready for training jobs."""
    from millrace_local_aws import local_aws
    from support.sagemaker import prepare

    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    with local_aws(speed=0) as made:
        prepare(made)
        yield made
