"""Reads a log of CloudWatch with the credentials of whoever runs the command: botocore's own chain, and no role.

The operator's roles trust the operator alone, so a command cannot read as the operator does.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from millrace.aws.calls import as_user
from millrace.aws.errors import NotFound
from millrace.aws.places import CloudLog

Object = dict[str, Any]
_PAGE = 10_000
_PAUSE_SECONDS = 2.0


class Reader:
    """Logs of one region. Raises CallError."""

    def __init__(self, region: str, endpoint_url: str = "") -> None:
        self._caller = as_user(region, endpoint_url)

    async def _call(self, service: str, operation: str, **parameters: Any) -> Object:
        return await asyncio.to_thread(self._caller.call, service, operation, parameters)

    async def account_id(self) -> str:
        """Whose credentials these are."""
        return str((await self._call("sts", "GetCallerIdentity"))["Account"])

    async def stream(self, wanted: CloudLog) -> str | None:
        """The stream that is meant, or None while there is none."""
        by_name = {"logStreamNamePrefix": wanted.prefix} if wanted.prefix else {"orderBy": "LastEventTime", "descending": True}
        try:
            told = await self._call("logs", "DescribeLogStreams", logGroupName=wanted.group, **by_name)
        except NotFound:
            return None
        found = list(told.get("logStreams") or ())
        if wanted.prefix:
            found.sort(key=lambda s: int(s.get("creationTime") or 0), reverse=True)
        return str(found[wanted.place]["logStreamName"]) if wanted.place < len(found) else None

    async def lines(self, group: str, stream: str, tail: int | None) -> AsyncIterator[str | None]:
        """What is in a stream, from the beginning or so many lines from the end; then, again and again, what has come since.

        None stands for each time that there was nothing new: the reader decides whether to go on.
        """
        where = {"logGroupName": group, "logStreamName": stream}
        first = {"limit": min(tail, _PAGE), "startFromHead": False} if tail else {"startFromHead": True}
        told = await self._call("logs", "GetLogEvents", **where, **first)
        while True:
            for event in told["events"]:
                yield str(event["message"]).rstrip("\n")
            token = told["nextForwardToken"]
            told = await self._call("logs", "GetLogEvents", **where, nextToken=token, startFromHead=True)
            if not told["events"] and told["nextForwardToken"] == token:
                yield None
                await asyncio.sleep(_PAUSE_SECONDS)
