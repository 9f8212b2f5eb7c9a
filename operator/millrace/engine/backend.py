"""The port between a kind and the places that can run it. tests/contract runs one suite over every backend.

Error contract of every method: Retry when it may pass by itself (throttled, unavailable), Waiting when something outside must
change (the message names the missing permission or thing), Terminal when only the spec can change it. API errors of Kubernetes
may go through as they are: the engine maps them. Backends raise types, never condition reasons.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from millrace.engine.controller import Pass

Observed_co = TypeVar("Observed_co", covariant=True)
Wanted_contra = TypeVar("Wanted_contra", contravariant=True)


class Backend(Protocol[Observed_co, Wanted_contra]):
    """One place that runs one kind."""

    name: str
    """The member of spec that chooses it."""

    async def observe(self, ctx: Pass) -> Observed_co:
        """What exists now, found by names that are a function of uid and attempt."""
        ...

    async def create(self, ctx: Pass, wanted: Wanted_contra) -> None:
        """Make it; that it exists already and is ours is success. Raises NameConflict where it is somebody else's."""
        ...

    async def delete(self, ctx: Pass) -> bool:
        """Take everything down; True when nothing is left. Deleting nothing is success."""
        ...
