"""The admin API as a Python object: the same for a server in this process and one far away."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen


class Admin:
    """Raises ValueError with the server's reason where a call is refused, OSError where none comes in `seconds`."""

    def __init__(self, endpoint_url: str, seconds: float = 60) -> None:
        self._base, self._seconds = endpoint_url.rstrip("/") + "/_millrace/", seconds

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Any admin call, by method and path."""
        query = f"?{urlencode(body)}" if body and method == "GET" else ""
        data = json.dumps(body).encode() if body is not None and method != "GET" else None
        request = Request(self._base + path + query, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urlopen(request, timeout=self._seconds) as answer:
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
        """Read them, or change `enforce_iam` (bool), `pace`, or `durations` (seconds of the clock by state)."""
        return dict(self.call("POST", "settings", changes) if changes else self.call("GET", "settings"))

    def state(self, kind: str | None = None) -> dict[str, list[dict[str, Any]]]:
        """Records by table, each with scope, key and record."""
        return dict(self.call("GET", "state", {"kind": kind} if kind else None))

    def expire_credentials(self, role: str | None = None) -> None:
        """Temporary credentials of all roles, or of one by name, are over now."""
        self.call("POST", "sessions/expire", {"role": role} if role else {})

    def plan(self, kind: str, effect: str, name: str = "*", times: int | None = 1, **fields: Any) -> None:
        """What happens to the next training job or endpoint of that name: `services/sagemaker/plans.py` has the effects."""
        self.call("POST", "sagemaker/plans", {"kind": kind, "effect": effect, "name": name, "times": times, **fields})

    def clear_plans(self) -> None:
        self.call("DELETE", "sagemaker/plans", {})

    def set_quota(self, use: str, instance_type: str, value: float, **where: str) -> None:
        """`use` is training, spot or endpoint; `account` and `region` where not the default."""
        self.call("POST", "quotas", {"use": use, "instance_type": instance_type, "value": value, **where})

    def decide_quota_requests(self, status: str) -> None:
        """Every open request for a higher quota becomes APPROVED, DENIED, CASE_OPENED or another of the states that AWS has."""
        self.call("POST", "quotas/decide", {"status": status})

    def set_model_limits(self, model: str, requests: float, tokens: float, **where: str) -> None:
        """Of a foundation model of Bedrock's, a minute; `account` and `region` where not the default."""
        self.call("POST", "bedrock/limits", {"model": model, "requests": requests, "tokens": tokens, **where})

    def publish_model(self, content: dict[str, Any], region: str = "us-east-1") -> str:
        """Into JumpStart's public hub, as ImportHubContent takes it (the document as an object); returns the ARN."""
        return str(self.call("POST", "hub/contents", {"content": content, "region": region})["arn"])

    def publish_algorithm(self, request: dict[str, Any], product: str, **where: str) -> str:
        """To the Marketplace, as CreateAlgorithm takes it; `seller` and `region` where not the default; returns the ARN."""
        return str(self.call("POST", "marketplace/algorithms", {"request": request, "product": product, **where})["arn"])

    def publish_model_package(self, request: dict[str, Any], product: str, **where: str) -> str:
        """To the Marketplace, as CreateModelPackage takes it; returns the ARN."""
        return str(self.call("POST", "marketplace/model-packages", {"request": request, "product": product, **where})["arn"])

    def subscribe(self, product: str, account: str = "123456789012") -> None:
        self.call("POST", "marketplace/subscriptions", {"product": product, "account": account})

    def unsubscribe(self, product: str, account: str = "123456789012") -> None:
        self.call("DELETE", "marketplace/subscriptions", {"product": product, "account": account})
