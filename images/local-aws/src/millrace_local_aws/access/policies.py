"""Evaluation of policy documents: an explicit deny wins, then an allow, else nothing allows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from millrace_local_aws.access.conditions import OPERATORS, base_operator, like, listed, satisfied
from millrace_local_aws.wire.errors import AwsError

Document = Mapping[str, Any]


class Decision(StrEnum):
    ALLOW = "allowed"
    DENY = "explicitDeny"
    NONE = "implicitDeny"


@dataclass(frozen=True)
class Question:
    """May this principal do this action on this resource? `principals` are all names a policy may call it by."""

    action: str
    resource: str
    context: Mapping[str, Any] = field(default_factory=dict)
    principals: tuple[tuple[str, str], ...] = ()


def parsed(text: str, *, trust: bool = False) -> dict[str, Any]:
    """A policy document, or MalformedPolicyDocument with what is wrong."""
    try:
        document = json.loads(text)
        for statement in _statements(document):
            _check(statement, trust=trust)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise AwsError("MalformedPolicyDocument", f"Syntax errors in policy: {error}") from error
    return document  # type: ignore[no-any-return]


def _check(statement: Document, *, trust: bool) -> None:
    if statement.get("Effect") not in ("Allow", "Deny"):
        raise ValueError("a statement's Effect is Allow or Deny")
    if "Action" not in statement and "NotAction" not in statement:
        raise ValueError("a statement needs Action or NotAction")
    if not trust and "Resource" not in statement and "NotResource" not in statement:
        raise ValueError("a statement needs Resource or NotResource")
    if trust and "Principal" not in statement:
        raise ValueError("a trust policy's statement needs a Principal")
    unknown = [name for name in statement.get("Condition", {}) if base_operator(name) not in OPERATORS]
    if unknown:
        raise ValueError(f"unknown condition operator {unknown[0]}")


def _statements(document: Document) -> list[dict[str, Any]]:
    found = document["Statement"]
    return found if isinstance(found, list) else [found]


def _action_matches(statement: Document, action: str) -> bool:
    if "NotAction" in statement:
        return not any(like(pattern, action, fold=True) for pattern in listed(statement["NotAction"]))
    return any(like(pattern, action, fold=True) for pattern in listed(statement["Action"]))


def _resource_matches(statement: Document, resource: str) -> bool:
    if "NotResource" in statement:
        return not any(like(pattern, resource) for pattern in listed(statement["NotResource"]))
    return "Resource" not in statement or any(like(pattern, resource) for pattern in listed(statement["Resource"]))


def _principal_matches(statement: Document, principals: tuple[tuple[str, str], ...]) -> bool:
    if "NotPrincipal" in statement:
        return not _named(statement["NotPrincipal"], principals)
    return "Principal" not in statement or _named(statement["Principal"], principals)


def _named(block: Any, principals: tuple[tuple[str, str], ...]) -> bool:
    if block == "*":
        return True
    wanted = {(kind, name) for kind, names in block.items() for name in listed(names)}
    return any((kind, "*") in wanted or (kind, name) in wanted for kind, name in principals)


def matches(statement: Document, question: Question) -> bool:
    """Whether a statement speaks of what is asked."""
    return (
        _action_matches(statement, question.action)
        and _resource_matches(statement, question.resource)
        and _principal_matches(statement, question.principals)
        and satisfied(statement.get("Condition", {}), question.context)
    )


def evaluate(documents: Iterable[Document], question: Question) -> Decision:
    """Over all documents together."""
    effects = {
        statement["Effect"] for document in documents for statement in _statements(document) if matches(statement, question)
    }
    if "Deny" in effects:
        return Decision.DENY
    return Decision.ALLOW if "Allow" in effects else Decision.NONE
