"""From pieces of bytes to text that a client may see: whole characters only, and nothing of a stop string."""

import codecs
from collections.abc import Sequence


class StopFinder:
    """Holds back text that may be the beginning of a stop string, which itself is `shown` or not; `found` once one was seen."""

    def __init__(self, stops: Sequence[str], *, shown: bool = False) -> None:
        self._stops, self._shown = tuple(stops), shown
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """The text that may be shown; all up to the earliest stop string when there is one."""
        if self.found:
            return ""
        self._held += text
        place = self._earliest()
        if place is not None:
            self.found = True
            return self._take(place)
        return self._take(len(self._held) - self._overlap())

    def finish(self) -> str:
        """What was held back in vain."""
        return "" if self.found else self._take(len(self._held))

    def _earliest(self) -> int | None:
        """Where the text ends for it."""
        places = [(place, len(stop)) for stop in self._stops if (place := self._held.find(stop)) >= 0]
        place, length = min(places, default=(None, 0))
        return place if place is None or not self._shown else place + length

    def _overlap(self) -> int:
        """Length of the longest end of the held text with which a stop string begins."""
        longest = max(map(len, self._stops), default=0)
        for length in range(min(longest - 1, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0

    def _take(self, count: int) -> str:
        taken, self._held = self._held[:count], self._held[count:]
        return taken


class Answer:
    """One choice as it grows: bytes in, text to show out."""

    def __init__(self, stops: Sequence[str], *, stop_shown: bool = False) -> None:
        # A character split between two pieces appears with the second; bytes that are no UTF-8 at all become U+FFFD.
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._stop = StopFinder(stops, shown=stop_shown)

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the answer."""
        return self._stop.found

    def feed(self, data: bytes) -> str:
        """The text that may be shown now."""
        return self._stop.feed(self._decoder.decode(data))

    def finish(self) -> str:
        """The text that is left when the model has ended; a character cut off by the end leaves nothing."""
        return self._stop.finish()
