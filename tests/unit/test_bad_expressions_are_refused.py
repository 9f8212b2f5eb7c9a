"""Regular expressions that Python does not take are refused before anything is made."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from millrace.api import expressions
from millrace.engine.errors import Refused
from millrace_controllers.modelendpoint import reconcile as endpoints
from millrace_controllers.trainingjob import reconcile as jobs
from support.builders import FOREIGN, merged, typed_endpoint, typed_training


def test_what_python_takes_is_no_problem() -> None:
    assert expressions.problem(r"loss=([0-9.]+)") is None
    assert expressions.problem("(") is not None


async def test_a_metric_whose_expression_is_none_is_named() -> None:
    spec = typed_training(**merged(FOREIGN, {"metrics": [{"name": "loss", "regex": "loss=([0-9"}]}))
    ctx: Any = SimpleNamespace(spec=spec, status={})
    with pytest.raises(Refused, match=r"spec.metrics\[loss\].regex is no Python regular expression: unterminated"):
        await jobs.reconcile(ctx)


async def test_a_probe_that_can_never_be_met_is_named() -> None:
    spec = typed_endpoint(probe={"request": {"path": "/"}, "expect": {"matches": "("}})
    ctx: Any = SimpleNamespace(spec=spec, status={})
    with pytest.raises(Refused, match=r"spec.probe.expect.matches is no Python regular expression: missing \)"):
        await endpoints.reconcile(ctx)
