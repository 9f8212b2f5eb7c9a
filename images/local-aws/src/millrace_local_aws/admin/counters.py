"""What happened since the start, and above all what should not have: a test run fails for those."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any


class Counters:
    """Requests by service, operation and code; and the faults of local-aws itself."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        self.unserved: Counter[str] = Counter()
        self.faults: deque[dict[str, str]] = deque(maxlen=200)
        self.fault_count = 0
        self.events: Counter[str] = Counter()

    def answered(self, service: str, operation: str, code: str) -> None:
        self.requests[f"{service}.{operation}.{code}"] += 1

    def not_served(self, what: str) -> None:
        self.unserved[what] += 1

    def fault(self, kind: str, text: str) -> None:
        """Ours: an answer that is not what the model says, a handler or timer that broke."""
        self.fault_count += 1
        self.faults.append({"kind": kind, "text": text})

    def document(self) -> dict[str, Any]:
        return {
            "requests": dict(self.requests),
            "unserved": dict(self.unserved),
            "faultCount": self.fault_count,
            "faults": list(self.faults),
            "events": dict(self.events),
        }

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]
