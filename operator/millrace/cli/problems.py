"""What the commands end with: exit codes, and errors that say what to do next instead of a traceback."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes, the same for every command."""

    OK = 0
    """Done; for `wait`: reached."""
    FAILED = 1
    """The object has failed or is stalled for good, or what was asked was refused."""
    TIMED_OUT = 2
    """`wait` gave up; the object goes on."""
    NOT_FOUND = 3
    """There is no such object."""
    NO_CLUSTER = 4
    """The cluster cannot be reached, or denies."""
    USAGE = 64
    """The command line is wrong."""


class Problem(Exception):
    """Ends a command: what is wrong, and what to do about it."""

    def __init__(self, message: str, next_step: str = "", code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.code = code
