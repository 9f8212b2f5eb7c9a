"""One HTTP request, free of the server that received it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl


@dataclass
class Incoming:
    """`path` is still percent-encoded. `body` is empty while an object's bytes are still to come through `stream`."""

    method: str
    path: str
    query: dict[str, str]
    pairs: list[tuple[str, str]]
    headers: Mapping[str, str]
    host: str
    source_ip: str = "127.0.0.1"
    body: bytes = b""
    form: dict[str, str] = field(default_factory=dict)
    stream: Callable[[], AsyncIterator[bytes]] | None = None

    @classmethod
    def of(cls, method: str, target: str, headers: Mapping[str, str], source_ip: str) -> Incoming:
        """From a request line's parts."""
        path, _, query = target.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True) if query else []
        return cls(method, path or "/", dict(pairs), pairs, headers, headers.get("Host", ""), source_ip)

    def read_form(self) -> None:
        """Query protocol: the parameters are in the body, or in the query string of a GET."""
        self.form = dict(parse_qsl(self.body.decode(errors="replace"), keep_blank_values=True)) if self.body else dict(self.query)


@dataclass
class Outgoing:
    """An answer. `stream` replaces the body where it is large or still being made."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    length: int | None = None
    cleanup: Any = None
