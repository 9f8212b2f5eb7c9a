"""From what AWS answered to a typed error. Pure: takes the parts of the answer, so that tests need no client."""

from __future__ import annotations

import re

from millrace.aws import codes
from millrace.aws.codes import Meaning
from millrace.aws.errors import (
    AlreadyExists,
    CallError,
    Denied,
    Expired,
    InUse,
    Invalid,
    NoCredentials,
    NotFound,
    NotSubscribed,
    QuotaExceeded,
    Throttled,
    Unavailable,
    Where,
)

CLASSES: dict[Meaning, type[CallError]] = {
    Meaning.THROTTLED: Throttled,
    Meaning.DENIED: Denied,
    Meaning.NO_CREDENTIALS: NoCredentials,
    Meaning.EXPIRED: Expired,
    Meaning.QUOTA: QuotaExceeded,
    Meaning.NOT_SUBSCRIBED: NotSubscribed,
    Meaning.NOT_FOUND: NotFound,
    Meaning.EXISTS: AlreadyExists,
    Meaning.IN_USE: InUse,
    Meaning.INVALID: Invalid,
    Meaning.UNAVAILABLE: Unavailable,
}
UNREACHABLE = "Unreachable"
"""Stands for the code where nobody answered."""

_ACTION = re.compile(r"not authorized to perform:? ([\w-]+:\w+)")
_USER = re.compile(r"\b(arn:aws[\w-]*:(?:sts|iam)::\d*:[^\s\"']+?)[.,]? is not authorized")
_RESOURCE = re.compile(r"on resource:? (\S+?)[.,]?(?:\s|$)")
_ROLE = re.compile(r"assume role (arn:[^\s\"']+?)[.,]?(?:\s|$)")


def understood(where: Where, message: str, *, as_whom: str = "") -> tuple[CallError, bool]:
    """The typed error of an answer, and whether its code is in a table. `as_whom` is the role that called, where one is set."""
    meaning = codes.meaning(where.service, where.operation, where.code, message)
    if meaning is Meaning.DENIED:
        return denied(where, message, as_whom), True
    error = CLASSES[meaning or Meaning.UNAVAILABLE](where, f"{where}: {_plain(message) or where.code}")
    return error, meaning is not None


def denied(where: Where, message: str, as_whom: str) -> Denied:
    """Names the missing action and who lacks it: from the message where it tells, else from the call."""
    role = _ROLE.search(message)
    action = _ACTION.search(message)
    named = action.group(1) if action else "sts:AssumeRole" if role else codes.table(where.service).action(where.operation)
    identity = _who(message) or as_whom
    if role and not action:
        text = f"the role {role.group(1)} does not exist or does not trust the service: {where}"
    else:
        text = f"{identity or 'the operator'} is not allowed {named}{_on(message)}"
    error = Denied(where, text)
    error.action, error.identity = named, identity
    return error


def _who(message: str) -> str:
    """The role behind a session: the session's name says nothing to whoever writes the policy."""
    found = _USER.search(message)
    if not found:
        return ""
    arn = found.group(1)
    session = re.fullmatch(r"arn:(aws[\w-]*):sts::(\d+):assumed-role/(.+)/[^/]+", arn)
    return f"arn:{session[1]}:iam::{session[2]}:role/{session[3]}" if session else arn


def _on(message: str) -> str:
    found = _RESOURCE.search(message)
    return f" on {found.group(1)}" if found and found.group(1) != "*" else ""


def _plain(message: str) -> str:
    """One line without request ids, which change with every try."""
    line = " ".join(message.split())
    return re.sub(r"\s*\(?(Service: [^)]*; )?Request ?ID: [\w-]+[^)]*\)?", "", line).strip()


def unreachable(where: Where, why: str) -> Unavailable:
    """Nobody answered."""
    return Unavailable(Where(where.service, where.operation, UNREACHABLE), f"{where} was not answered: {why}")
