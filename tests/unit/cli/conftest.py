"""Manifests as the API server gives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Object = dict[str, Any]


def condition(type_: str, status: str, reason: str = "Because", message: str = "") -> Object:
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"}


@pytest.fixture
def job() -> Callable[..., Object]:
    """Builds a TrainingJob: conditions as tuples, generations, and any other status fields."""

    def build(
        *conditions: tuple[str, ...],
        generation: int = 1,
        observed: int | None = None,
        metadata: Object | None = None,
        **status: Any,
    ) -> Object:
        return {
            "apiVersion": "millrace.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {
                "name": "gpt",
                "namespace": "team",
                "uid": "0a4fb4aa-0000-0000-0000-000000000000",
                "generation": generation,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                **(metadata or {}),
            },
            "spec": {},
            "status": {
                "observedGeneration": generation if observed is None else observed,
                "conditions": [condition(*c) for c in conditions],
                **status,
            },
        }

    return build
