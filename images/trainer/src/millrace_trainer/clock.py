"""Times as the contract writes them: UTC, whole seconds, a trailing Z."""

import os
import time
from datetime import UTC, datetime
from pathlib import Path


def now() -> str:
    """The present, such as 2026-01-01T00:00:00Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_since_start() -> float:
    """Seconds since this process was started, imports included; what start-up costs is told with the first line."""
    started = int(Path("/proc/self/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
