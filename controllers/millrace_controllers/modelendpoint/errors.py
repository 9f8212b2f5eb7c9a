"""What a backend of this kind may raise beside the engine's own errors."""

from __future__ import annotations

from millrace.engine.errors import Refused


class PackageNotReady(Exception):
    """SageMaker still puts an algorithm's model into a package."""


class LicenceNotAccepted(Refused):
    """A gated model, and nobody accepted its licence."""
