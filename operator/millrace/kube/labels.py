"""Labels and names of everything that Millrace makes. A parent's own labels are never copied."""

from __future__ import annotations

from typing import Any

from millrace import __version__
from millrace.api.common import GROUP

Object = dict[str, Any]

MANAGED = f"{GROUP}/managed"
KIND = f"{GROUP}/kind"
NAME = f"{GROUP}/name"
OWNER_UID = f"{GROUP}/owner-uid"
ATTEMPT = f"{GROUP}/attempt"
ROLE = f"{GROUP}/role"

PAUSED = f"{GROUP}/paused"
RECONCILE_AT = f"{GROUP}/reconcile-at"
START_AT = f"{GROUP}/start-at"
"""Annotation: another value starts what was stopped for want of requests."""
FINALIZER = f"{GROUP}/finalizer"


def child_labels(owner: Object, role: str, attempt: int | None = None) -> dict[str, str]:
    """Labels of a child: who made it, for which object, in which role."""
    labels = {
        "app.kubernetes.io/managed-by": "millrace",
        "app.kubernetes.io/part-of": "millrace",
        "app.kubernetes.io/component": role,
        "app.kubernetes.io/version": __version__,
        "app.kubernetes.io/name": owner["kind"].lower(),
        MANAGED: "true",
        KIND: owner["kind"],
        NAME: owner["metadata"]["name"],
        OWNER_UID: owner["metadata"]["uid"],
        ROLE: role,
    }
    if attempt is not None:
        labels[ATTEMPT] = str(attempt)
    return labels


def child_name(owner: Object, *parts: object) -> str:
    """`<name>-<6 of uid>[-part...]`: a function of the object alone, so that a crash before a write loses nothing."""
    uid = owner["metadata"]["uid"].replace("-", "")
    return "-".join([owner["metadata"]["name"], uid[:6], *(str(part) for part in parts)])


def owner_reference(owner: Object) -> Object:
    """The controller reference that ties a child to its object."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def is_owned_by(child: Object, uid: str) -> bool:
    """Whether the object of this uid is the child's controller."""
    references = child["metadata"].get("ownerReferences") or []
    return any(r.get("controller") and r.get("uid") == uid for r in references)
