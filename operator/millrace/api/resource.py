"""What describes a kind to the engine and to the generators: names, models and printer columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from millrace.api.common import API_VERSION, GROUP, VERSION, CommonStatus, Model


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`; priority 1 shows with `-o wide` only."""

    name: str
    path: str
    type: Literal["string", "integer", "number", "date", "boolean"] = "string"
    description: str = ""
    priority: int = 0


@dataclass(frozen=True)
class Kind:
    """A custom resource kind of the group millrace.dev."""

    name: str
    plural: str
    short_names: tuple[str, ...]
    spec: type[Model]
    status: type[CommonStatus]
    columns: tuple[Column, ...]
    summary: Literal["Succeeded", "Ready"]
    description: str
    rules: tuple[tuple[str, str], ...] = ()
    group: str = GROUP
    version: str = VERSION

    @property
    def singular(self) -> str:
        """The lower-case singular name."""
        return self.name.lower()

    @property
    def api_version(self) -> str:
        """Group and version, as in a manifest."""
        return API_VERSION if self.group == GROUP else f"{self.group}/{self.version}"


def summary_columns(summary: str) -> tuple[Column, ...]:
    """The two columns every kind begins with: the summary condition's status and its reason."""
    base = f'.status.conditions[?(@.type=="{summary}")]'
    return (
        Column(summary, f"{base}.status", description=f"Status of the condition {summary}."),
        Column("Reason", f"{base}.reason", description="Why; docs/reasons has a page for each."),
    )


AGE = Column("Age", ".metadata.creationTimestamp", "date", "Time since creation.")
