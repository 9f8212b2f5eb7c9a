"""The one error that the local cluster's commands show: what went wrong, and what to do next."""

from __future__ import annotations


class LocalError(Exception):
    """A failure that a person can act on. `fix` is a sentence or a command line."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message}\n  {self.fix}" if self.fix else self.message
