"""A busy machine is no fault of the code: properties have no deadline of their own, the whole test has."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("millrace", deadline=None)
settings.load_profile("millrace")
