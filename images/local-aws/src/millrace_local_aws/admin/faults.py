"""What goes wrong on demand.

A fault is a record: which service and operation it hits (`*` for all), what it does, how often (`times`, None for ever;
`rate`, the share of requests hit, drawn by `seed`). They are kept in memory only: a restarted AWS is a healthy one.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

KINDS = frozenset({"throttle", "latency", "error", "deny", "lose-events", "duplicate-events", "delay-events", "reorder-events"})


@dataclass
class Fault:
    """One of KINDS. `per_second` is throttle's, `seconds` latency's and delay's, `code`, `status` and `message` error's."""

    kind: str
    service: str = "*"
    operation: str = "*"
    resource: str = "*"
    account: str = "*"
    principal: str = "*"
    per_second: float = 0.0
    burst: float = 1.0
    seconds: float = 0.0
    code: str = "InternalFailure"
    status: int = 500
    message: str = "We encountered an internal error. Please try again."
    times: int | None = None
    rate: float = 1.0
    seed: int = 0
    hits: int = 0
    id: str = ""
    draw: random.Random = field(default_factory=random.Random, repr=False)
    tokens: float = 0.0
    filled: float = 0.0

    def strikes(self) -> bool:
        """Whether this time is one of the times; counts it."""
        if self.times is not None and self.hits >= self.times:
            return False
        if self.rate < 1.0 and self.draw.random() >= self.rate:
            return False
        self.hits += 1
        return True

    def lets_through(self, now: float) -> bool:
        """The token bucket of a throttle."""
        self.tokens = min(self.burst, self.tokens + (now - self.filled) * self.per_second)
        self.filled = now
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return True
        self.hits += 1
        return False

    def document(self) -> dict[str, Any]:
        hidden = ("draw", "tokens", "filled")
        return {name: value for name, value in vars(self).items() if name not in hidden}


class Faults:
    """All that are set."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._count = 0

    def add(self, **fields: Any) -> Fault:
        """Set one; raises ValueError for an unknown kind, TypeError for an unknown field."""
        if fields.get("kind") not in KINDS:
            raise ValueError(f"a fault is one of {', '.join(sorted(KINDS))}")
        self._count += 1
        fault = Fault(**fields, id=f"fault-{self._count}")
        fault.draw.seed(fault.seed)
        fault.tokens = fault.burst
        self._faults[fault.id] = fault
        return fault

    def remove(self, name: str) -> bool:
        return self._faults.pop(name, None) is not None

    def clear(self) -> None:
        self._faults.clear()

    def all(self) -> list[Fault]:
        return list(self._faults.values())

    def on(self, kind: str, service: str, operation: str = "*", account: str = "*", principal: str = "*") -> list[Fault]:
        """Those of a kind that hit this operation."""
        return [
            fault
            for fault in self._faults.values()
            if fault.kind == kind
            and fnmatchcase(service, fault.service)
            and fnmatchcase(operation, fault.operation)
            and fnmatchcase(account, fault.account)
            and fnmatchcase(principal, fault.principal)
        ]
