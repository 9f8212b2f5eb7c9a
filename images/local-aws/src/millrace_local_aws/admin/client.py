"""The admin API as a Python object: the same for a server in this process and one far away."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen


class Admin:
    """Raises ValueError with the server's reason where a call is refused."""

    def __init__(self, endpoint_url: str) -> None:
        self._base = endpoint_url.rstrip("/") + "/_millrace/"

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Any admin call, by method and path."""
        query = f"?{urlencode(body)}" if body and method == "GET" else ""
        data = json.dumps(body).encode() if body is not None and method != "GET" else None
        request = Request(self._base + path + query, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except HTTPError as error:
            with error:
                raise ValueError(json.load(error)["error"]) from None

    def now(self) -> float:
        """The clock that life cycles run on, in seconds since 1970."""
        return float(self.call("GET", "clock")["now"])

    def step(self, seconds: float) -> None:
        """Advance the clock; everything due on the way happens before this returns."""
        self.call("POST", "clock/step", {"seconds": seconds})

    def set_speed(self, speed: float) -> None:
        """0 stands still."""
        self.call("POST", "clock/speed", {"speed": speed})

    def counters(self) -> dict[str, Any]:
        """`requests` by service.operation.code, `unserved`, `faults` and `faultCount`, `events`."""
        return dict(self.call("GET", "counters"))

    def reset_counters(self) -> None:
        self.call("DELETE", "counters")

    def requests(self, prefix: str = "") -> int:
        """How many requests whose service.operation.code begins so."""
        return sum(count for name, count in self.counters()["requests"].items() if name.startswith(prefix))

    def add_fault(self, kind: str, **fields: Any) -> str:
        """Set a fault (`millrace_local_aws.admin.faults.Fault` has the fields); returns its id."""
        return str(self.call("POST", "faults", {"kind": kind, **fields})["id"])

    def clear_faults(self, fault: str | None = None) -> None:
        """All, or the one with this id."""
        self.call("DELETE", "faults", {} if fault is None else {"id": fault})

    def faults(self) -> list[dict[str, Any]]:
        return list(self.call("GET", "faults"))

    def settings(self, **changes: Any) -> dict[str, Any]:
        """Read them, or change `enforce_iam` (bool) or `durations` (seconds of the clock by state)."""
        return dict(self.call("POST", "settings", changes) if changes else self.call("GET", "settings"))

    def state(self, kind: str | None = None) -> dict[str, list[dict[str, Any]]]:
        """Records by table, each with scope, key and record."""
        return dict(self.call("GET", "state", {"kind": kind} if kind else None))

    def expire_credentials(self, role: str | None = None) -> None:
        """Temporary credentials of all roles, or of one by name, are over now."""
        self.call("POST", "sessions/expire", {"role": role} if role else {})
