"""What a backend of this kind may raise beside the engine's own errors."""

from __future__ import annotations

from millrace.engine.errors import Refused


class UnfitForAlgorithm(Refused):
    """The algorithm does not take what the spec gives it."""
