"""What the guard of `helm uninstall` says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from millrace.api.v1alpha1.dataset import KIND as DATASET
from millrace.cli import uninstall_guard
from millrace.cli.uninstall_guard import refusal
from millrace.engine.finalizers import FINALIZER
from millrace.kube.client import Client
from millrace.kube.errors import Forbidden
from millrace.kube.resources import Resource, of_kind


def held(number: int) -> list[dict[str, Any]]:
    return [{"kind": "TrainingJob", "metadata": {"name": f"job-{n}", "namespace": "team"}} for n in range(number)]


def test_a_refusal_names_the_objects_and_both_ways_on() -> None:
    said = refusal(held(2))
    assert "uninstall refused: 2 object(s)" in said
    assert "  trainingjob/job-0 in namespace team\n  trainingjob/job-1 in namespace team\n" in said
    assert "millrace release --all" in said


def test_a_long_list_is_cut_and_counted() -> None:
    said = refusal(held(25))
    assert "job-19" in said
    assert "job-20" not in said
    assert "and 5 more" in said


class OneNamespaceLeft:
    """A client that may read `here` alone, as when the other namespace took its Role along."""

    async def list_objects(self, resource: Resource, namespace: str | None) -> AsyncIterator[dict[str, Any]]:
        if namespace != "here":
            raise Forbidden(403, "Forbidden", "may not list")
        yield {"kind": resource.kind, "metadata": {"name": "corpus", "namespace": namespace, "finalizers": [FINALIZER]}}


async def test_a_watched_namespace_that_is_gone_holds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    client = cast(Client, OneNamespaceLeft())
    found = await uninstall_guard.held(client, [of_kind(DATASET)], ["gone", "here"])
    assert [o["metadata"]["name"] for o in found] == ["corpus"]
    assert "namespace gone is passed over" in capsys.readouterr().out


async def test_an_operator_of_all_namespaces_that_may_not_list_is_an_error() -> None:
    with pytest.raises(Forbidden):
        await uninstall_guard.held(cast(Client, OneNamespaceLeft()), [of_kind(DATASET)], [])
