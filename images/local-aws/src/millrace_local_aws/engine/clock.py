"""Two readings of time.

`now` is the time that life cycles run on: it may be faster than real time, or stand still and be stepped.
`wall` is what a client's own clock agrees with (message visibility, credentials, object dates): real time plus the steps.
Both go on from where they were after a restart.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from millrace_local_aws.state.store import Store


class Clock:
    """Speed 0 stands still until stepped."""

    def __init__(self, store: Store, speed: float | None, start: float | None, real: Callable[[], float] = time.time) -> None:
        self._table = store.table("clock")
        self._real = real
        saved = self._table.get("", "clock")
        here = real()
        if saved is None:
            self._anchor, self._reading, self.speed, self._stepped = here, start or here, 1.0 if speed is None else speed, 0.0
        else:
            self._anchor, self._reading, self.speed = saved["anchor"], saved["reading"], saved["speed"]
            self._stepped = saved["stepped"]
            self.set_speed(self.speed if speed is None else speed)
        self._save()

    def _save(self) -> None:
        record = {"anchor": self._anchor, "reading": self._reading, "speed": self.speed, "stepped": self._stepped}
        self._table.put("", "clock", record)

    def now(self) -> float:
        return self._reading + max(0.0, self._real() - self._anchor) * self.speed

    def wall(self) -> float:
        return self._real() + self._stepped

    def set_speed(self, speed: float) -> None:
        """From now on."""
        self._reading, self._anchor, self.speed = self.now(), self._real(), speed
        self._save()

    def step(self, seconds: float) -> None:
        """Forward at once, both readings."""
        self._reading, self._anchor = self.now() + seconds, self._real()
        self._stepped += seconds
        self._save()

    def real_seconds(self, until: float) -> float | None:
        """Real seconds until `now` reads `until`; None where it never will by itself."""
        left = until - self.now()
        if left <= 0:
            return 0.0
        return left / self.speed if self.speed else None
