"""AWS's event stream: answers that come in parts, each framed with its type and two checksums."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

_STRING = 7


def _headers(values: Mapping[str, str]) -> bytes:
    out = b""
    for name, value in values.items():
        data = value.encode()
        out += bytes([len(name)]) + name.encode() + bytes([_STRING]) + struct.pack(">H", len(data)) + data
    return out


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message."""
    head = _headers(headers)
    prelude = struct.pack(">II", 12 + len(head) + len(payload) + 4, len(head))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return message + struct.pack(">I", zlib.crc32(message))


def event(kind: str, payload: bytes, content_type: str = "application/octet-stream") -> bytes:
    """An event of a stream, such as PayloadPart."""
    return frame({":message-type": "event", ":event-type": kind, ":content-type": content_type}, payload)


def exception(kind: str, payload: bytes) -> bytes:
    """An error in the middle of a stream."""
    return frame({":message-type": "exception", ":exception-type": kind, ":content-type": "application/json"}, payload)
