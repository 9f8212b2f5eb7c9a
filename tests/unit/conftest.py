"""Properties without a deadline of their own: a busy machine is no fault of the code."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("millrace", deadline=None)
settings.load_profile("millrace")
