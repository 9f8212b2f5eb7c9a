"""Names and idempotency tokens as functions of uid and attempt: what a crash left is found by them, and never made twice."""

from __future__ import annotations

import hashlib
import uuid

_OURS = uuid.UUID("6f0f1e1c-4c1e-5c0e-9d0b-6d696c6c7261")


def thing_name(name: str, uid: str, *parts: object, limit: int = 63) -> str:
    """`<name>-<6 of uid>[-part...]`, with the name cut where AWS allows fewer characters; never the uid or a part."""
    tail = "-".join(["", uid.replace("-", "")[:6], *(str(part) for part in parts)])
    if len(tail) >= limit:
        raise ValueError(f"no room for a name before {tail!r} in {limit} characters")
    return name.replace(".", "-")[: limit - len(tail)].rstrip("-") + tail


def token(uid: str, *parts: object) -> str:
    """A client request token of 36 characters: the same for the same uid and parts, and no other."""
    return str(uuid.uuid5(_OURS, "/".join([uid, *(str(part) for part in parts)])))


def content_name(name: str, content: str, limit: int = 63) -> str:
    """A name that changes with what the thing is made of."""
    digest = hashlib.sha256(content.encode()).hexdigest()[:10]
    return f"{name.replace('.', '-')[: limit - 11].rstrip('-')}-{digest}"
