"""The checksums that S3 keeps: CRC32, CRC32C, CRC64NVME, SHA-1, SHA-256; and MD5 for ETags.

CRC32C and CRC64NVME are table-driven Python (some MB/s): only clients with AWS's C library send them.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable
from functools import cache
from typing import Any

ALGORITHMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")
HEADERS = {f"x-amz-checksum-{name.lower()}": name for name in ALGORITHMS}


@cache
def _table(polynomial: int) -> tuple[int, ...]:
    out = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        out.append(value)
    return tuple(out)


class _Reflected:
    """A reflected CRC of any width, with all ones before and after."""

    def __init__(self, polynomial: int, bits: int) -> None:
        self._steps, self._bytes = _table(polynomial), bits // 8
        self._mask = (1 << bits) - 1
        self._sum = self._mask

    def update(self, data: bytes) -> None:
        value, steps = self._sum, self._steps
        for byte in data:
            value = steps[(value ^ byte) & 0xFF] ^ (value >> 8)
        self._sum = value

    def digest(self) -> bytes:
        return (self._sum ^ self._mask).to_bytes(self._bytes, "big")


class _Crc32:
    def __init__(self) -> None:
        self._sum = 0

    def update(self, data: bytes) -> None:
        self._sum = zlib.crc32(data, self._sum)

    def digest(self) -> bytes:
        return self._sum.to_bytes(4, "big")


def new(algorithm: str) -> Any:
    """Something with update and digest."""
    match algorithm:
        case "CRC32":
            return _Crc32()
        case "CRC32C":
            return _Reflected(0x82F63B78, 32)
        case "CRC64NVME":
            return _Reflected(0x9A6C9329AC4BC9B5, 64)
        case _:
            return hashlib.new(algorithm.lower(), usedforsecurity=False)


class Sums:
    """MD5 and some checksums over one stream of bytes."""

    def __init__(self, algorithms: Iterable[str]) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sums = {name: new(name) for name in algorithms}
        self.size = 0

    def update(self, data: bytes) -> None:
        self.size += len(data)
        self._md5.update(data)
        for one in self._sums.values():
            one.update(data)

    @property
    def etag(self) -> str:
        return self._md5.hexdigest()

    def md5(self) -> str:
        return base64.b64encode(self._md5.digest()).decode()

    def found(self) -> dict[str, str]:
        """Base64 by algorithm."""
        return {name: base64.b64encode(one.digest()).decode() for name, one in self._sums.items()}


def composite(algorithm: str, parts: list[str]) -> str:
    """The checksum of a multipart object: over its parts' checksums, with their number."""
    whole = new(algorithm)
    for part in parts:
        whole.update(base64.b64decode(part))
    return f"{base64.b64encode(whole.digest()).decode()}-{len(parts)}"
