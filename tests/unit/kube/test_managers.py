"""Who set a field, as the API server remembers it."""

from __future__ import annotations

from typing import Any

import pytest

from millrace.kube.managers import Manager, of_field

Object = dict[str, Any]
PATH = ("spec", "model", "acceptEULA")


def wrote(manager: str, time: str, *fields: str, **more: Any) -> Object:
    within: Object = {f"f:{name}": {} for name in fields}
    return {"manager": manager, "time": time, "fieldsV1": {"f:spec": {"f:model": within}}, **more}


# entries, found, reason
ENTRIES: list[tuple[list[Object], Manager | None, str]] = [
    ([wrote("kubectl", "2", "acceptEULA", "modelID")], Manager("kubectl", "2"), "the one that set it"),
    ([wrote("helm", "1", "modelID"), wrote("kubectl", "2", "acceptEULA")], Manager("kubectl", "2"), "not who set the rest"),
    ([wrote("argo", "2", "acceptEULA"), wrote("kubectl", "1", "acceptEULA")], Manager("kubectl", "1"), "the first of two"),
    ([wrote("x", "1", "acceptEULA", subresource="status")], None, "a status accepts nothing"),
    ([{"manager": "old", "time": "1"}], None, "an entry that names no fields"),
    ([], None, "a server that keeps none"),
]


@pytest.mark.parametrize(("entries", "found", "reason"), ENTRIES, ids=[row[-1] for row in ENTRIES])
def test_who_set_a_field(entries: list[Object], found: Manager | None, reason: str) -> None:
    assert of_field(entries, *PATH) == found, reason
