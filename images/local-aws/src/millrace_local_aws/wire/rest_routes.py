"""Which operation of a REST service a method, path, query and headers mean; the most constrained match wins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote

from millrace_local_aws.wire.incoming import Incoming
from millrace_local_aws.wire.models import service_model

_LABEL = re.compile(r"\{([^}]+)\}")


@dataclass(frozen=True)
class Candidate:
    """An operation and what a request must carry to mean it."""

    operation: str
    literals: tuple[tuple[str, str], ...]
    arguments: tuple[str, ...]
    headers: tuple[str, ...]
    deprecated: bool

    def accepts(self, request: Incoming) -> bool:
        query = request.query
        return (
            all(query.get(name) == value or (not value and name in query) for name, value in self.literals)
            and all(name in query for name in self.arguments)
            and all(name in request.headers for name in self.headers)
        )

    @property
    def weight(self) -> float:
        """S3 has two operations for some requests, the older of them deprecated."""
        return len(self.literals) + len(self.arguments) + len(self.headers) - 0.5 * self.deprecated


@dataclass(frozen=True)
class Template:
    """One method and path, and the operations that share it."""

    method: str
    path: re.Pattern[str]
    names: tuple[str, ...]
    candidates: tuple[Candidate, ...]


def _expression(path: str, arns: frozenset[str]) -> tuple[re.Pattern[str], tuple[str, ...]]:
    names = [label.rstrip("+") for label in _LABEL.findall(path)]
    pattern, last = "", 0
    for found in _LABEL.finditer(path):
        # ARNs hold slashes that some clients leave as they are, so a label that may be one takes all that is left.
        alone = path.count("{") == 1 and (found[1] in arns or (found.end() == len(path) and "arn" in found[1].lower()))
        greedy = found[1].endswith("+") or alone
        pattern += re.escape(path[last : found.start()]) + ("(.+)" if greedy else "([^/]+)")
        last = found.end()
    pattern += re.escape(path[last:])
    return re.compile(pattern if greedy_end(path) else pattern.rstrip("/") + "/?"), tuple(names)


def greedy_end(path: str) -> bool:
    """Whether a slash at the end belongs to the last label."""
    return path.endswith("+}")


def _arns(shape: Any) -> frozenset[str]:
    """Labels that may be ARNs, as their patterns say."""
    found = shape.members.items() if shape is not None else ()
    named = {member.serialization.get("name", name): member.metadata.get("pattern", "") for name, member in found}
    return frozenset(name for name, pattern in named.items() if "arn:" in pattern)


def _required(shape: Any, location: str) -> tuple[str, ...]:
    if shape is None:
        return ()
    members = [(name, shape.members[name]) for name in shape.required_members]
    return tuple(
        member.serialization.get("name", name) for name, member in members if member.serialization.get("location") == location
    )


@cache
def templates(service: str) -> tuple[Template, ...]:
    """All paths of a service."""
    model = service_model(service)
    grouped: dict[tuple[str, str], list[Candidate]] = {}
    arns: dict[str, frozenset[str]] = {}
    for name in model.operation_names:
        operation = model.operation_model(name)
        path, _, query = operation.http["requestUri"].partition("?")
        literals = tuple(parse_qsl(query, keep_blank_values=True))
        arguments = tuple(a for a in _required(operation.input_shape, "querystring") if a not in dict(literals))
        headers = _required(operation.input_shape, "header")
        candidate = Candidate(name, literals, arguments, headers, bool(operation.deprecated))
        grouped.setdefault((operation.http["method"], path), []).append(candidate)
        arns[path] = _arns(operation.input_shape)
    return tuple(
        Template(method, *_expression(path, arns[path]), tuple(sorted(found, key=lambda candidate: -candidate.weight)))
        for (method, path), found in grouped.items()
    )


def find(service: str, request: Incoming) -> tuple[str, dict[str, str]] | None:
    """The operation's name and the path's labels, decoded."""
    for template in templates(service):
        if template.method != request.method:
            continue
        found = template.path.fullmatch(request.path)
        if found is None:
            continue
        for candidate in template.candidates:
            if candidate.accepts(request):
                return candidate.operation, {
                    name: unquote(text) for name, text in zip(template.names, found.groups(), strict=True)
                }
    return None
