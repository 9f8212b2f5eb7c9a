"""The log: JSON lines on standard output. Never a prompt, never an answer."""

import json
import sys
from datetime import UTC, datetime


def say(event: str, **facts: object) -> None:
    """Write one line."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    sys.stdout.write(json.dumps({"time": now, "event": event, **facts}) + "\n")
    sys.stdout.flush()
