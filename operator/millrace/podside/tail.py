"""The sidecar of images that are not ours: reads the program's output as it grows and pushes the metrics found in it.

The file is emptied once it has been read and has grown large: it is a pipe with a memory, not a log.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import re
import signal
import sys
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Task = dict[str, Any]
_TRUNCATE_BYTES = 8 * 1024 * 1024
_READ_BYTES = 4 * 1024 * 1024
_POLL_SECONDS = 0.5
_PUSH_TIMEOUT_SECONDS = 5


class Reader:
    """Follows a growing file; gives whole lines, a few MiB at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""
        self.behind = False

    def lines(self) -> list[str]:
        """Lines that came since the last call; more may be there while `behind`."""
        try:
            with self._path.open("rb+") as stream:
                stream.seek(self._offset)
                data = self._rest + stream.read(_READ_BYTES)
                self._offset = stream.tell()
                self.behind = self._offset < os.fstat(stream.fileno()).st_size
                if self._offset > _TRUNCATE_BYTES and not self.behind:
                    stream.truncate(0)
                    self._offset = 0
        except FileNotFoundError:
            return []
        *whole, rest = data.split(b"\n")
        self._rest = rest if len(rest) < _READ_BYTES else b""
        return [line.decode(errors="replace") for line in whole]


class Metrics:
    """Latest value of each metric, and of the step if there is a metric called step."""

    def __init__(self, specs: list[dict[str, str]]) -> None:
        self._patterns = {spec["name"]: pattern for spec in specs if (pattern := _compiled(spec)) is not None}
        self.values: dict[str, float] = {}

    def feed(self, line: str) -> bool:
        """Take a line in; says whether it held a metric."""
        found = False
        for name, pattern in self._patterns.items():
            match = pattern.search(line)
            if match and (number := _number(match)) is not None:
                self.values[name] = number
                found = True
        return found


def _compiled(spec: dict[str, str]) -> re.Pattern[str] | None:
    """None for what is no regular expression: it costs that metric, not the sidecar."""
    try:
        return re.compile(spec["regex"])
    except re.error as error:
        sys.stderr.write(f"metric {spec['name']}: {spec['regex']!r} is not a regular expression: {error}\n")
        return None


def _number(match: re.Match[str]) -> float | None:
    try:
        return float(match.group(1) if match.re.groups else match.group(0))
    except (TypeError, ValueError):
        return None


def body(environment: dict[str, str], metrics: Metrics) -> dict[str, Any]:
    """The push, as the contract has it. Who speaks is the first process of the pod."""
    values = dict(metrics.values)
    step = values.pop("step", 0.0)
    node, processes = int(environment.get("MILLRACE_NODE_RANK") or 0), int(environment.get("MILLRACE_PROCS_PER_NODE") or 1)
    return {
        "schema": 1,
        "uid": environment["MILLRACE_UID"],
        "attempt": int(environment["MILLRACE_ATTEMPT"]),
        "rank": node * processes,
        "phase": "training",
        "step": max(0, int(step)) if math.isfinite(step) else 0,
        "maxSteps": int(environment.get("MILLRACE_MAX_STEPS") or 0),
        "metrics": {name: str(value) for name, value in values.items()},
        "heartbeatAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def push(url: str, token_file: str, message: dict[str, Any]) -> float | None:
    """Send one push; gives the pause that the operator asks for, None where it did not answer."""
    try:
        token = Path(token_file).read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps(message).encode(), headers)
        with urllib.request.urlopen(request, timeout=_PUSH_TIMEOUT_SECONDS) as answer:
            return float(json.load(answer)["intervalSeconds"])
    except (OSError, ValueError, KeyError, TypeError, http.client.HTTPException) as error:
        sys.stderr.write(f"progress was not pushed: {error}\n")
        return None


def run(task: Task) -> int:
    """Follow until SIGTERM, which a sidecar gets when the program has ended; then read to the end and push once more.

    The task has log (a path) and metrics ([{name, regex}]).
    """
    ended: list[int] = []
    # A process that is the first of its container ignores SIGTERM unless it asks for it.
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    reader, metrics = Reader(Path(task["log"])), Metrics(task["metrics"])
    environment = dict(os.environ)
    url, token = environment.get("MILLRACE_PROGRESS_URL", ""), environment.get("MILLRACE_TOKEN_FILE", "")
    due, pause = 0.0, 2.0
    while True:
        asked = bool(ended)
        for line in reader.lines():
            metrics.feed(line)
        last = asked and not reader.behind
        if url and (last or time.monotonic() >= due):
            pause = push(url, token, body(environment, metrics)) or pause
            due = time.monotonic() + pause
        if last:
            return 0
        if not reader.behind:
            time.sleep(_POLL_SECONDS)
