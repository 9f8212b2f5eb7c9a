"""The HTTP server: aiohttp, chosen by measurement (ADR 0007)."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator

from aiohttp import web

from millrace_local_aws.admin import api, page
from millrace_local_aws.wire.gateway import Gateway
from millrace_local_aws.wire.incoming import Incoming, Outgoing
from millrace_local_aws.wire.sigv4 import signed
from millrace_local_aws.world import World

LOG = logging.getLogger(__name__)
CHUNK = 256 * 1024
LARGEST_BODY = 64 * 1024 * 1024
_VIRTUAL = re.compile(r"(.+?)\.(?:s3[.-].*|localhost)")


def _virtual_bucket(host: str) -> str | None:
    """The bucket in a host such as `bucket.s3.us-east-1.amazonaws.com` or `bucket.localhost`; None with path style."""
    found = _VIRTUAL.fullmatch(host.partition(":")[0])
    return found[1] if found and found[1] != "s3" else None


class Server:
    """One world behind one port."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.gateway = Gateway(world)
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Returns the port it listens on."""
        app = web.Application(client_max_size=LARGEST_BODY)
        app.router.add_route("*", "/{anything:.*}", self._handle)
        # A client that leaves during a long poll must not take a message with it.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, auto_decompress=False, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, backlog=1024)
        await site.start()
        found = self._runner.addresses[0][1]
        self.world.port = int(found)
        return int(found)

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        raw = request.raw_path
        if raw.startswith("/_millrace/"):
            return await api.handle(self.world, request)
        incoming = Incoming.of(request.method, raw, request.headers, request.remote or "127.0.0.1")
        if page.wanted(incoming):
            return web.Response(text=page.html(self.world), content_type="text/html")
        await self._read(request, incoming)
        return await self._send(request, await self.gateway.answer(incoming))

    async def _read(self, request: web.Request, incoming: Incoming) -> None:
        scope = signed(incoming)
        if (scope.service or "s3") == "s3" and "X-Amz-Target" not in incoming.headers:
            bucket = _virtual_bucket(incoming.host)
            if bucket:
                incoming.path = f"/{bucket}{incoming.path if incoming.path != '/' else ''}"
            if incoming.method == "PUT" and _is_object(incoming):
                incoming.stream = lambda: request.content.iter_chunked(CHUNK)
                return
        incoming.body = await request.read() if request.can_read_body else b""
        if request.content_type == "application/x-www-form-urlencoded" or "Action" in incoming.query:
            incoming.read_form()

    async def _send(self, request: web.Request, answer: Outgoing) -> web.StreamResponse:
        headers = dict(answer.headers)
        if answer.stream is None:
            return web.Response(status=answer.status, headers=headers, body=answer.body)
        response = web.StreamResponse(status=answer.status, headers=headers)
        if answer.length is not None:
            response.content_length = answer.length
        await response.prepare(request)
        try:
            await _pour(answer.stream, response)
        finally:
            if answer.cleanup is not None:
                answer.cleanup()
        await response.write_eof()
        return response


def _is_object(incoming: Incoming) -> bool:
    """Whether the body is an object's bytes rather than a document about one."""
    _, _, key = incoming.path.lstrip("/").partition("/")
    documents = {"tagging", "acl", "retention", "legal-hold"}
    copied = "x-amz-copy-source" in incoming.headers
    return bool(key) and not copied and not documents & incoming.query.keys()


async def _pour(source: AsyncIterator[bytes], response: web.StreamResponse) -> None:
    async for chunk in source:
        await response.write(chunk)
