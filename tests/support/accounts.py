"""One CloudAccount, pass by pass against a local AWS."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from millrace.aws.cloud import Cloud
from millrace.engine import conditions
from millrace.engine.outcome import Outcome
from millrace_controllers.cloudaccount import CONTROLLER
from support.aws import a_cloud, cloud_account
from support.passes import Passes

if TYPE_CHECKING:
    from millrace_local_aws import LocalAws

Object = dict[str, Any]


class World(Passes):
    """One CloudAccount, and the objects that use it."""

    controller = CONTROLLER

    def __init__(self, cloud: Cloud, **spec: Any) -> None:
        super().__init__(cloud)
        self.object = cloud_account(ready=False, **spec)
        self.users: list[Object] = []
        self.referrers = lambda: self.users

    @property
    def reasons(self) -> list[str]:
        return [event.reason for event in self.events]

    async def settled(self) -> Outcome:
        """Two passes: the first tells the external id."""
        await self.once()
        return await self.once()

    def said(self, type_: str) -> tuple[str, str] | None:
        found = conditions.find(self.object["status"].get("conditions"), type_)
        return (found["status"], found["reason"]) if found else None


@contextlib.asynccontextmanager
async def a_world(aws: LocalAws, *, settings: Object | None = None, **spec: Any) -> AsyncIterator[World]:
    async with a_cloud(aws, **(settings or {})) as cloud:
        yield World(cloud, **spec)
