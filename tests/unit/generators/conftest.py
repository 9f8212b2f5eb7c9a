"""A kind that exists in these tests only, so that they say what generators make of a kind and not what our kinds happen to be."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, Field

from millrace.api.common import CommonSpec, CommonStatus, Model, Name, cel
from millrace.api.resource import AGE, Column, Kind, summary_columns
from millrace.engine.controller import Controller, Rule
from millrace.engine.reasons import SHARED, Reason
from millrace.kube.resources import JOBS, SERVICES


class Wheel(Model):
    """One wheel."""

    size: int = Field(ge=1, le=99, description="Size in inches.")


class ToySpec(CommonSpec):
    """Desired toy."""

    model_config = ConfigDict(json_schema_extra=cel(("self.colour != 'red' || has(self.wheels)", "a red toy needs `wheels`")))

    colour: Literal["red", "blue"] = Field(default="blue", description="Its colour | as seen.")
    owner: Name = Field(description="Whose it is.")
    wheels: list[Wheel] | None = Field(default=None, max_length=8, description="Its wheels.")
    marks: dict[str, Annotated[str, Field(max_length=5)]] | None = Field(default=None, description="Marks on it.")


class ToyStatus(CommonStatus):
    """Observed toy."""

    turns: int | None = Field(default=None, description="Turns so far.")


TOY = Kind(
    name="Toy",
    plural="toys",
    short_names=("ty",),
    spec=ToySpec,
    status=ToyStatus,
    summary="Ready",
    description="A thing to test with.",
    columns=(*summary_columns("Ready"), Column("Turns", ".status.turns", "integer", "Turns so far.", 1), AGE),
)
SPINNING = Reason("Spinning", "It turns.", "Wait until it stops.")


async def _never(_: Any) -> Any:
    raise AssertionError("generators make no pass")


@pytest.fixture
def toy() -> Controller:
    """A controller with children in two groups, a namespaced and a cluster-scoped rule, and a shared reason among its own."""
    return Controller(
        kind=TOY,
        reconcile=_never,
        finalize=_never,
        explain=lambda _obj, _error: None,
        children=(JOBS, SERVICES),
        rules=(
            Rule("batch", ("jobs",), ("get", "deletecollection")),
            Rule("", ("configmaps",), ("get",)),
            Rule("storage.k8s.io", ("storageclasses",), ("get",), cluster_scoped=True),
        ),
        reasons=(SPINNING, SHARED[0]),
    )
