"""A local AWS a test, and the operator's own identity: the root of the account, as a key that local-aws knows."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from millrace_local_aws import LocalAws, local_aws

from support.aws import ACCOUNT


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalAws]:
    """Running, with IAM enforced; its own faults and unserved operations fail the test."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCOUNT)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "local")
    with local_aws(enforce_iam=True) as made:
        yield made
