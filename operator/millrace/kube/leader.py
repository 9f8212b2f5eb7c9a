"""Leader election by Lease, as client-go does it: one holder, renewed; taken over when it was not renewed for its duration."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from millrace.kube.client import Client
from millrace.kube.errors import AlreadyExists, ApiError, Conflict, NotFound
from millrace.kube.resources import LEASES

Object = dict[str, Any]
log = logging.getLogger(__name__)


class Election:
    """One candidate for one Lease.

    Whether another's Lease has run out is judged by how long *we* have seen it unchanged, never by its clock. `monotonic`
    gives seconds.
    """

    def __init__(
        self, client: Client, namespace: str, name: str, identity: str, seconds: int, monotonic: Callable[[], float]
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._seconds = seconds
        self._monotonic = monotonic
        self._seen: tuple[str, float] = ("", 0.0)

    @property
    def retry_seconds(self) -> float:
        """Pause between two tries, and between two renewals."""
        return self._seconds / 7.5

    async def acquire(self) -> None:
        """Return when we hold the Lease."""
        while True:
            if await self._try():
                break
            await asyncio.sleep(self.retry_seconds)
        log.info("leading as %s", self._identity)

    async def hold(self) -> None:
        """Renew until that has failed for two thirds of the duration, then return: we may no longer lead.

        A call that hangs is not waited for any longer than that: another candidate may take over soon after.
        """
        renewed = self._monotonic()
        while (left := renewed + self._seconds * 2 / 3 - self._monotonic()) > 0:
            await asyncio.sleep(min(self.retry_seconds, left))
            begun = self._monotonic()
            if await self._tried_within(renewed + self._seconds * 2 / 3 - begun):
                renewed = begun
        log.error("the lease could not be renewed")

    async def _tried_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._try()
        except TimeoutError:
            return False

    async def release(self) -> None:
        """Let the next candidate take over at once."""
        try:
            lease = await self._client.get(LEASES, self._namespace, self._name)
            if lease["spec"].get("holderIdentity") == self._identity:
                await self._write(lease, {"holderIdentity": "", "leaseDurationSeconds": 1})
        except ApiError as error:
            log.warning("the lease was not released: %s", error.message)

    async def _try(self) -> bool:
        try:
            return await self._take_or_renew()
        except (Conflict, AlreadyExists):
            return False
        except ApiError as error:
            log.warning("the lease could not be read or written: %s", error.message)
            return False

    async def _take_or_renew(self) -> bool:
        try:
            lease = await self._client.get(LEASES, self._namespace, self._name)
        except NotFound:
            await self._client.create(LEASES, self._new())
            return True
        spec = lease["spec"]
        if spec.get("holderIdentity") == self._identity:
            await self._write(lease, {"renewTime": _now()})
            return True
        if spec.get("holderIdentity") and not self._ran_out(lease):
            return False
        transitions = int(spec.get("leaseTransitions") or 0) + 1
        await self._write(lease, {**self._claim(), "acquireTime": _now(), "leaseTransitions": transitions})
        return True

    def _ran_out(self, lease: Object) -> bool:
        version = str(lease["metadata"]["resourceVersion"])
        if self._seen[0] != version:
            self._seen = (version, self._monotonic())
        return self._monotonic() - self._seen[1] > float(lease["spec"].get("leaseDurationSeconds") or self._seconds)

    def _claim(self) -> Object:
        return {"holderIdentity": self._identity, "leaseDurationSeconds": self._seconds, "renewTime": _now()}

    def _new(self) -> Object:
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {**self._claim(), "acquireTime": _now(), "leaseTransitions": 0},
        }

    async def _write(self, lease: Object, spec: Object) -> None:
        """Only over the very version that was read."""
        body = {"metadata": {"resourceVersion": lease["metadata"]["resourceVersion"]}, "spec": spec}
        await self._client.patch(LEASES, self._namespace, self._name, body)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
