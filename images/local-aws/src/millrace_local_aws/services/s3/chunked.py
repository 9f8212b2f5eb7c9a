"""The aws-chunked encoding: an object's bytes in chunks, with its checksum behind them (as SDKs send over TLS or from a pipe)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from millrace_local_aws.wire.errors import AwsError


class Decoder:
    """The plain bytes of an aws-chunked stream; `trailers` are complete when it ends. Chunk signatures are not verified."""

    def __init__(self, source: AsyncIterator[bytes]) -> None:
        self._source = source
        self._buffer = b""
        self.trailers: dict[str, str] = {}

    async def _more(self) -> None:
        try:
            self._buffer += await anext(self._source)
        except StopAsyncIteration:
            raise AwsError("IncompleteBody", "The request body terminated unexpectedly", 400) from None

    async def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            await self._more()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            try:
                left = int((await self._line()).split(b";", 1)[0], 16)
            except ValueError:
                raise AwsError("InvalidRequest", "The body is not aws-chunked", 400) from None
            if left == 0:
                break
            while left:
                if not self._buffer:
                    await self._more()
                piece, self._buffer = self._buffer[:left], self._buffer[left:]
                left -= len(piece)
                yield piece
            await self._line()
        await self._read_trailers()

    async def _read_trailers(self) -> None:
        try:
            while line := await self._line():
                name, _, value = line.decode().partition(":")
                self.trailers[name.strip().lower()] = value.strip()
        except AwsError:
            # Some clients leave the last empty line out.
            return
