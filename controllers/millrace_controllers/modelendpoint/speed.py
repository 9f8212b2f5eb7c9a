"""How fast the golden request was answered, for the status. Pure.

Measured once for a revision, so that a status at rest is not written again for each pod that measures a little otherwise.
"""

from __future__ import annotations

from typing import Any

from millrace.engine.progress import Push
from millrace_controllers.modelendpoint.observed import Measured

Object = dict[str, Any]
PHASE = "probed"
"""Of a push that tells of a golden request."""


def pushed(push: Push | None) -> tuple[Measured | None, str]:
    """What a pod's sidecar told, and of which revision that pod is."""
    if push is None or push.phase != PHASE or "milliseconds" not in push.metrics:
        return None, ""
    tokens = push.metrics.get("tokens")
    return Measured(int(push.metrics["milliseconds"]), None if tokens is None else int(tokens)), push.message or ""


def of_revision(old: Object, revision: str, measured: Measured | None) -> Object:
    """The status field `probe`, where it changes: the first that was measured of a revision stays, another's goes."""
    held = old.get("probe") or {}
    if held.get("revision") == revision:
        return {}
    return {"probe": told(revision, measured) if measured else None} if held or measured else {}


def told(revision: str, measured: Measured) -> Object:
    """As the status has it; without tokens there is no rate."""
    made: Object = {"revision": revision, "milliseconds": measured.milliseconds}
    if measured.tokens is not None:
        made["tokens"] = measured.tokens
    if measured.tokens and measured.milliseconds:
        made["tokensPerSecond"] = f"{1000 * measured.tokens / measured.milliseconds:.1f}"
    return made
