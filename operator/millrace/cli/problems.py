"""What the commands end with: exit codes, and errors that say what to do next instead of a traceback."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from millrace.aws.errors import CallError


class Exit(IntEnum):
    """Exit codes, the same for every command."""

    OK = 0
    FAILED = 1
    TIMED_OUT = 2
    NOT_FOUND = 3
    NO_CLUSTER = 4
    USAGE = 64


MEANINGS = {
    Exit.OK: "Done; for `wait`: reached.",
    Exit.FAILED: "The object failed or is stalled for good, or what was asked was refused.",
    Exit.TIMED_OUT: "`wait` gave up; the object goes on.",
    Exit.NOT_FOUND: "There is no such object.",
    Exit.NO_CLUSTER: "The cluster cannot be reached, or denies.",
    Exit.USAGE: "The command line is wrong.",
}
"""What docs/cli.md says of each."""


class Problem(Exception):
    """Ends a command: what is wrong, and what to do about it."""

    def __init__(self, message: str, next_step: str = "", code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step
        self.code = code


def as_yourself(error: CallError, who: str) -> Problem:
    """What AWS answered to a command that calls as the user; `who` says whose credentials it needs, where they are the matter."""
    from millrace.aws.errors import Denied, NoCredentials

    return Problem(error.message, who if isinstance(error, (Denied, NoCredentials)) else "")
