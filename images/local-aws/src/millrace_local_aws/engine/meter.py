"""What may be used up at so much a second: characters of an endpoint, tokens and requests of an account. Kept in memory only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Meter:
    """`left` is filled again at `rate` a second, up to `most`. A new one is full."""

    rate: float
    most: float
    left: float
    filled: float

    @classmethod
    def full(cls, rate: float, most: float, now: float) -> Meter:
        return cls(rate, most, most, now)

    def at(self, now: float, rate: float, most: float) -> Meter:
        """With what was filled since, under the limits that hold now."""
        self.rate, self.most = rate, most
        self.left = min(most, self.left + max(0.0, now - self.filled) * rate)
        self.filled = now
        return self

    def overdraw(self, amount: float) -> bool:
        """Take more than there is, if there is anything at all: the next ones wait for it."""
        if self.left <= 0:
            return False
        self.left -= amount
        return True

    def reserve(self, amount: float) -> bool:
        """Take no more than there is."""
        if amount > self.left:
            return False
        self.left -= amount
        return True

    def give_back(self, amount: float) -> None:
        """What was reserved and not used; a negative amount is what was used beyond."""
        self.left = min(self.most, self.left + amount)
