"""Progress pushes to the operator: hints that show a long read is alive; losing them all changes no result.

A push never blocks the work: a daemon thread sends the latest value and drops what was never sent.
"""

import json
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from millrace_dataset.request import Request

FIRST_INTERVAL_SECONDS = 2.0
TIMEOUT_SECONDS = 5.0


class Progress:
    """Bytes passed of bytes expected; `start` does nothing unless a URL is given."""

    def __init__(self, request: Request, environ: Mapping[str, str] | None = None) -> None:
        self._environ = os.environ if environ is None else environ
        self._request = request
        self._phase, self._done, self._total = "starting", 0, 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> "Progress":
        """Begin pushing in the background."""
        if self._environ.get("MILLRACE_PROGRESS_URL"):
            self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
            self._thread.start()
        return self

    def expect(self, total: int) -> None:
        """State how many bytes the whole work will pass."""
        self._phase, self._total = "training", total

    def advance(self, count: int) -> None:
        """Note that `count` more bytes were passed."""
        self._done += count

    def finish(self, phase: str) -> None:
        """Stop pushing after one last value (phase `done` or `failed`)."""
        self._phase = phase
        self._stop.set()
        if self._thread is not None:
            self._thread.join(FIRST_INTERVAL_SECONDS + TIMEOUT_SECONDS)

    def _run(self) -> None:
        interval = FIRST_INTERVAL_SECONDS
        while not self._stop.wait(interval):
            interval = self._push(interval)
        self._push(interval)

    def _push(self, interval: float) -> float:
        try:
            with urllib.request.urlopen(self._message(), timeout=TIMEOUT_SECONDS) as reply:
                return max(0.1, float(json.load(reply)["intervalSeconds"]))
        except (OSError, ValueError, KeyError, TypeError):
            return interval

    def _message(self) -> urllib.request.Request:
        token = Path(self._environ.get("MILLRACE_TOKEN_FILE", "/var/run/secrets/millrace/token"))
        headers = {"Content-Type": "application/json"}
        if token.is_file():
            headers["Authorization"] = f"Bearer {token.read_text(encoding='utf-8').strip()}"
        body = json.dumps(self._body()).encode()
        return urllib.request.Request(self._environ["MILLRACE_PROGRESS_URL"], data=body, headers=headers)

    def _body(self) -> dict[str, object]:
        return {
            "schema": 1,
            "job": self._request.name,
            "namespace": self._request.namespace,
            "uid": self._request.uid,
            "attempt": 1,
            "rank": 0,
            "phase": self._phase,
            "step": self._done,
            "maxSteps": self._total,
            "metrics": {},
            "tokensPerSecond": None,
            "stepSeconds": None,
            "checkpoint": None,
            "message": None,
            "heartbeatAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
