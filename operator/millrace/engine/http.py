"""The operator's two HTTP doors: probes with metrics, and progress pushes."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

from aiohttp import web

from millrace.engine.cache import Cache, Key
from millrace.engine.clock import Clock
from millrace.engine.progress import Board, Gate, PushRefused, parse
from millrace.kube import labels
from millrace.telemetry.metrics import Metrics

_MAX_BODY = 64 * 1024


def probes(alive: Callable[[], str], ready: Callable[[], str], metrics: Callable[[], bytes]) -> web.Application:
    """/healthz, /readyz and /metrics; the callables give "" or what is wrong."""

    def answer(problem: str) -> web.Response:
        return web.Response(status=503 if problem else 200, text=problem or "ok")

    async def healthz(_: web.Request) -> web.Response:
        return answer(alive())

    async def readyz(_: web.Request) -> web.Response:
        return answer(ready())

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", exposition)])
    return app


class Progress:
    """Takes pushes in: checks the token, puts the report on the board, wakes the object."""

    def __init__(
        self,
        gate: Gate,
        board: Board,
        cache: Cache,
        clock: Clock,
        metrics: Metrics,
        wake: Callable[[Key], None],
        plural_of: dict[str, str],
        interval: Callable[[], float],
    ) -> None:
        self._gate = gate
        self._board = board
        self._cache = cache
        self._clock = clock
        self._metrics = metrics
        self._wake = wake
        self._plural_of = plural_of
        self._interval = interval

    def app(self) -> web.Application:
        """The application; it has one route, POST /v1/progress."""
        made = web.Application(client_max_size=_MAX_BODY)
        made.add_routes([web.post("/v1/progress", self._handle)])
        return made

    async def _handle(self, request: web.Request) -> web.Response:
        try:
            await self._take(request)
        except PushRefused as refused:
            self._metrics.pushes.labels(str(refused.status)).inc()
            return web.json_response({"message": str(refused)}, status=refused.status)
        self._metrics.pushes.labels("200").inc()
        return web.json_response({"intervalSeconds": self._interval()})

    async def _take(self, request: web.Request) -> None:
        try:
            body = json.loads(await request.text())
            uid, attempt, rank = str(body["uid"]), int(body["attempt"]), int(body.get("rank") or 0)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise PushRefused(400, f"not a progress report: {error}") from error
        token = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        await self._gate.check(token, uid, attempt)
        before = self._board.of(uid, attempt).get(rank)
        self._board.put(parse(body, before, self._clock.monotonic()))
        self._wake_owner(uid)

    def _wake_owner(self, uid: str) -> None:
        for child in self._cache.children(uid)[:1]:
            marks: dict[str, Any] = child["metadata"]["labels"]
            plural = self._plural_of.get(marks[labels.KIND])
            if plural is not None:
                self._wake(Key(plural, child["metadata"]["namespace"], marks[labels.NAME]))


async def serve(stack: AsyncExitStack, app: web.Application, port: int) -> None:
    """Serve an application on all addresses until the stack closes."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "0.0.0.0", port).start()
