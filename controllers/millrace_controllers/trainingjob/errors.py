"""What a backend of this kind may raise beside the engine's own errors."""

from __future__ import annotations

from millrace.engine.errors import Refused


class LicenceNotAccepted(Refused):
    """A gated model, and nobody accepted its licence."""


class NotTrainable(Refused):
    """The hub's model cannot be tuned."""


class UnfitForAlgorithm(Refused):
    """The algorithm does not take what the spec gives it."""
