"""Sessions: who the operator is towards AWS, for one CloudAccount.

An assumed role is renewed by botocore before it expires (in the thread that needs it). Retries are ours (calls.py), so botocore
makes one attempt. Clients are kept: making one reads a service's whole model.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.credentials import RefreshableCredentials

from millrace import __version__
from millrace.aws.identity import Identity

CONNECT_SECONDS = 5
READ_SECONDS = 25
_READ_SECONDS_OF = {"sagemaker-runtime": 70}
"""Containers behind an endpoint have 60 s to answer."""
_LISTEN_READ_SECONDS = 30
"""Longer than a long poll."""
ROLE_SECONDS = 3600


class Sessions:
    """Clients of one identity, by service. Thread-safe: calls run in an executor."""

    def __init__(self, identity: Identity, *, connections: int = 32) -> None:
        self.identity = identity
        self._connections = connections
        self._own = _session()
        self._lock = threading.RLock()
        self._session: botocore.session.Session | None = None
        self._since = 0.0
        self._clients: dict[tuple[str, bool], Any] = {}

    def client(self, service: str, *, listening: bool = False) -> Any:
        """The client of a service; one that is `listening` waits longer for an answer."""
        with self._lock:
            key = (service, listening)
            if key not in self._clients:
                seconds = _LISTEN_READ_SECONDS if listening else _READ_SECONDS_OF.get(service, READ_SECONDS)
                self._clients[key] = self._made(self._current(), service, seconds)
            return self._clients[key]

    def renew(self, seen_at: float) -> None:
        """Forget credentials and clients: AWS says that those of a call that began then (time.monotonic) are too old.

        Of many calls that are told so at once, the first renews. May wait for an AssumeRole of another thread.
        """
        with self._lock:
            if self._since > seen_at:
                return
            self._since = time.monotonic()
            self._session = None
            self._own._credentials = None
            self._clients.clear()

    def paginator(self, service: str, operation: str) -> Mapping[str, Any]:
        """How the pages of an operation follow each other. Raises ValueError where it has none."""
        return dict(self._own.get_paginator_model(service).get_paginator(operation))

    def _current(self) -> botocore.session.Session:
        if not self.identity.role_arn:
            return self._own
        if self._session is None:
            self._session = self._assumed()
        return self._session

    def _assumed(self) -> botocore.session.Session:
        """A session whose credentials are the role's; the role is assumed at once, so that its refusal is this call's."""
        session = _session()
        session._credentials = RefreshableCredentials.create_from_metadata(
            self._assume(), refresh_using=self._assume, method="sts-assume-role"
        )
        return session

    def _assume(self) -> dict[str, str]:
        """Runs in a thread that needs credentials. Raises botocore's errors of sts:AssumeRole."""
        who = self.identity
        sts = self._made(self._own, "sts", READ_SECONDS)
        answer = sts.assume_role(
            RoleArn=who.role_arn,
            RoleSessionName=who.session_name,
            DurationSeconds=ROLE_SECONDS,
            **({"ExternalId": who.external_id} if who.external_id else {}),
        )["Credentials"]
        return {
            "access_key": answer["AccessKeyId"],
            "secret_key": answer["SecretAccessKey"],
            "token": answer["SessionToken"],
            "expiry_time": answer["Expiration"].isoformat(),
        }

    def _made(self, session: botocore.session.Session, service: str, read_seconds: int) -> Any:
        endpoint = self.identity.endpoint_url or None
        return session.create_client(
            service,
            region_name=self.identity.region,
            endpoint_url=endpoint,
            config=config(custom=endpoint is not None, connections=self._connections, read_seconds=read_seconds),
        )


@cache
def _loader() -> botocore.loaders.Loader:
    """One for all accounts: it keeps what it has read, and SageMaker's model alone is 13 MB."""
    return botocore.loaders.create_loader()


def _session() -> botocore.session.Session:
    session = botocore.session.Session()
    session.register_component("data_loader", _loader())
    return session


def config(*, custom: bool, connections: int, read_seconds: int) -> Config:
    """One attempt, and bounds on waiting. A custom endpoint has one name: no host prefixes, no buckets in it."""
    return Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=read_seconds,
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=connections,
        user_agent_extra=f"millrace/{__version__}",
        inject_host_prefix=not custom,
        s3={"addressing_style": "path"} if custom else None,
    )
