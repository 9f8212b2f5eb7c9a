"""Where on AWS something is that a command looks at, without anything of botocore."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CloudLog:
    """A log of CloudWatch: its group, and what the names of its streams begin with."""

    account: str
    """Name of the CloudAccount."""
    group: str = ""
    """"" where nothing was made yet."""
    prefix: str = ""
    place: int = 0
    """Which of the streams, from the newest on, where several begin so."""
    ends: bool = False
    """Whether nothing more comes: what wrote it has ended."""
