"""How fast one operation of one account may be called: a token bucket that learns its rate from being throttled.

AWS tells nobody its request quotas, and they differ by account, region and operation. So: begin fast, cut down when told to,
towards the rate that was really served, and creep up again, faster the longer nobody complains. `Pace` is pure; `Turns` waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

FASTEST = 50.0
SLOWEST = 0.1
_CUT = 0.92
_DEEPEST_CUT = 0.5
_WINDOW = 5.0
"""Seconds over which the rate that was really served is measured."""
_LATE = 0.25
"""Seconds by which a turn may be taken late without putting off those after it: a busy program wakes late, at each of them."""
_BACK_EARLY = 0.85
"""Share of a turn's time between two who come back: the line must not run empty while the rate grows."""
_LONGEST_AWAY = 120.0
_GROWTH = ((15.0, 0.003), (30.0, 0.03), (60.0, 0.2), (float("inf"), 0.5))
"""Growth per second, by seconds since the last throttling."""


class Pace:
    """The pace of one operation. Times are seconds of one monotonic clock; rates are calls per second."""

    def __init__(self, now: float) -> None:
        self.rate = FASTEST
        self._free_at = now
        self._began = now
        self._served: deque[float] = deque()
        self._cut_at: float | None = None
        self._grown_at = now

    def wait(self, now: float) -> float:
        """Seconds until the next call may go, were it to take its turn now."""
        return max(0.0, self._free_at - self._burst - now)

    @property
    def _burst(self) -> float:
        """Seconds of turns that may be used at once: one second's worth while nothing is learned, one call after it."""
        return 1.0 if self._cut_at is None else 0.0

    def take(self, now: float) -> float:
        """Take the next turn; gives the seconds to wait for it."""
        self._grow(now)
        if now - self._free_at > _WINDOW:
            self._began = now
        wait = self.wait(now)
        self._free_at = max(self._free_at, now - _LATE) + 1.0 / self.rate
        return wait

    def served(self, now: float) -> None:
        """A call was not throttled."""
        self._served.append(now)
        while self._served and self._served[0] < now - _WINDOW:
            self._served.popleft()

    def throttled(self, now: float, sent: float) -> None:
        """A call was throttled. Answers to calls that were under way at the last cut say nothing new."""
        if self._cut_at is not None and sent <= self._cut_at:
            return
        recent = (1 + sum(1 for at in self._served if at >= now - _WINDOW)) / self._window(now)
        self.rate = max(SLOWEST, min(self.rate * _CUT, max(recent, self.rate * _DEEPEST_CUT)))
        self._cut_at = self._grown_at = now
        self._free_at = max(self._free_at, now + 1.0 / self.rate)

    def _window(self, now: float) -> float:
        """Seconds that calls have been made in: less than the whole window soon after a first call, or a rest."""
        return min(_WINDOW, max(1.0, now - self._began))

    def _grow(self, now: float) -> None:
        if self._cut_at is None:
            return
        since = now - self._cut_at
        growth = next(g for limit, g in _GROWTH if since < limit)
        self.rate = min(FASTEST, self.rate * (1.0 + growth * min(max(1.0, 2.0 / self.rate), now - self._grown_at)))
        self._grown_at = now


class TooLong(Exception):
    """The turn would not come in time; `seconds` until it is worth coming again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"{seconds:.1f} s")
        self.seconds = seconds


class Turns:
    """Callers of one operation, one after the other. Only the first of them holds a turn: a new rate is at once everybody's.

    Those for whom there is no room in the line are sent away, each until a time of its own: came they all at once, nearly all
    would be sent away again, and those who want something else would wait for them.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.pace = Pace(monotonic())
        self._monotonic = monotonic
        self._line = asyncio.Lock()
        self._waiting = 0
        self._next_back = monotonic()

    def ahead(self) -> float:
        """Seconds until one who came now would have a turn."""
        return self.pace.wait(self._monotonic()) + self._waiting / self.pace.rate

    async def take(self, patience: float = float("inf"), room: float = float("inf")) -> float:
        """Wait for a turn; gives when it came.

        Raises TooLong at once where that would take longer than `patience` seconds, or where `room` callers wait.
        """
        if (ahead := self.ahead()) > patience or self._waiting >= room:
            raise TooLong(self._away(ahead))
        self._waiting += 1
        try:
            async with self._line:
                wait = self.pace.wait(self._monotonic())
                while wait:
                    await asyncio.sleep(wait)
                    wait = self.pace.wait(self._monotonic())
                now = self._monotonic()
                self.pace.take(now)
                return now
        finally:
            self._waiting -= 1

    def _away(self, ahead: float) -> float:
        """Seconds until the next one that is sent away should come back."""
        now = self._monotonic()
        back = min(max(now + ahead, self._next_back), now + _LONGEST_AWAY)
        self._next_back = back + _BACK_EARLY / self.pace.rate
        return back - now

    def served(self) -> None:
        """A call was not throttled."""
        self.pace.served(self._monotonic())

    def throttled(self, sent: float) -> None:
        """The call that had its turn at `sent` was throttled."""
        self.pace.throttled(self._monotonic(), sent)
