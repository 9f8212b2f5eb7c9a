"""A wire to the API server that a test can cut: a TCP relay on this machine; TLS goes through it untouched."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

from millrace.kube import credentials
from millrace.kube.credentials import Credentials


class Wire:
    """Relays connections until it is cut; then they break, and new ones are refused, until it is mended."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._open: set[asyncio.StreamWriter] = set()
        self._whole = True
        self._serving: set[asyncio.Task[None]] = set()
        self.refused = 0
        """Connections that were tried while it was cut."""

    def cut(self) -> None:
        """Break every connection, and every new one."""
        self._whole = False
        for writer in list(self._open):
            writer.transport.abort()

    def mend(self) -> None:
        """Let connections through again."""
        self._whole = True

    async def close(self) -> None:
        """Cut it, and wait until nothing of it is left: a loop that ends with open transports warns of them much later."""
        self.cut()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted transport closes its socket in the loop's next turn

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            self.refused += 1
            writer.transport.abort()
            return
        self._open.add(writer)
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        self._open.add(far_writer)
        try:
            if not self._whole:
                return
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            self._open -= {writer, far_writer}
            for each in (writer, far_writer):
                each.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()


@contextlib.asynccontextmanager
async def through_a_wire() -> AsyncIterator[tuple[Wire, Credentials]]:
    """A wire to the cluster that KUBECONFIG names, and credentials that lead through it."""
    direct = credentials.load()
    address = urlsplit(direct.server)
    wire = Wire(address.hostname or "127.0.0.1", address.port or 443)
    server = await asyncio.start_server(wire.accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield wire, replace(direct, server=f"https://127.0.0.1:{port}")
    finally:
        server.close()
        await wire.close()
