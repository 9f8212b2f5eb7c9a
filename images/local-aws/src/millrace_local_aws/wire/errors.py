"""What a service says no with."""

from __future__ import annotations

from typing import Any


class AwsError(Exception):
    """An error as a client sees it: its code (or the name of its shape), its message, further members of its shape."""

    def __init__(self, code: str, message: str, status: int | None = None, **members: Any) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.members = members


class NotServed(AwsError):
    """Nobody here serves this: 501, which no SDK retries, and counted, so that a test run fails for it."""

    def __init__(self, service: str, operation: str) -> None:
        super().__init__("NotImplemented", f"local-aws does not serve {service}:{operation}", 501)
        self.what = f"{service}:{operation}"


class BadRequest(AwsError):
    """Bytes that are no request of the operation."""

    def __init__(self, message: str, code: str = "SerializationException") -> None:
        super().__init__(code, message, 400)
