"""Lines that a machine can read and that say which pass they belong to; metrics that grow with kinds and not with objects."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest

from millrace.engine.registry import controllers
from millrace.telemetry.logs import JsonFormatter, bound, configure
from millrace.telemetry.metrics import Metrics

Object = dict[str, Any]


class Lines:
    """A logger of its own, and what it wrote."""

    def __init__(self) -> None:
        self.stream = StringIO()
        self.log = logging.Logger("millrace.test")
        handler = logging.StreamHandler(self.stream)
        handler.setFormatter(JsonFormatter())
        self.log.addHandler(handler)

    def read(self) -> list[Object]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def lines() -> Lines:
    return Lines()


def test_a_line_is_one_json_object_whatever_is_said(lines: Lines) -> None:
    lines.log.warning("it said %r\nand %d more", 'a "quoted" é', 3)
    (line,) = lines.read()
    assert line["message"] == "it said 'a \"quoted\" é'\nand 3 more"
    assert (line["level"], line["logger"]) == ("warning", "millrace.test")
    assert line["time"].endswith("+00:00")


def test_lines_within_a_pass_carry_its_fields_and_lines_after_it_do_not(lines: Lines) -> None:
    with bound(kind="TrainingJob", name="gpt"):
        lines.log.info("outer")
        with bound(name="other", attempt=2):
            lines.log.info("inner")
        lines.log.info("outer again")
    lines.log.info("after")
    seen = [{k: line.get(k) for k in ("kind", "name", "attempt")} for line in lines.read()]
    outer = {"kind": "TrainingJob", "name": "gpt", "attempt": None}
    assert seen == [
        outer, {"kind": "TrainingJob", "name": "other", "attempt": 2}, outer, {"kind": None, "name": None, "attempt": None}
    ]  # fmt: skip


async def test_passes_at_the_same_time_do_not_mix_their_fields(lines: Lines) -> None:
    both = asyncio.Barrier(2)

    async def one(name: str) -> None:
        with bound(name=name):
            await both.wait()
            lines.log.info("from %s", name)

    await asyncio.gather(one("a"), one("b"))
    assert all(line["message"] == f"from {line['name']}" for line in lines.read())


def test_fields_go_also_when_the_pass_fails(lines: Lines) -> None:
    with pytest.raises(KeyError), bound(name="gpt"):
        raise KeyError("x")
    lines.log.info("after")
    assert "name" not in lines.read()[0]


def test_an_error_carries_its_traceback_in_the_same_line(lines: Lines) -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        lines.log.exception("the pass failed")
    (line,) = lines.read()
    assert "ValueError: boom" in line["error"]


def test_what_is_no_json_is_said_as_text(lines: Lines) -> None:
    with bound(what=object):
        lines.log.info("x")
    assert "object" in lines.read()[0]["what"]


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, as it was before."""
    logger = logging.getLogger()
    handlers, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_configured_once_or_twice_each_line_is_written_once(root: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure("DEBUG")
    configure("DEBUG")
    assert len(root.handlers) == 1
    root.handlers[0].setStream(sys.stdout)  # type: ignore[attr-defined]
    logging.getLogger("millrace").debug("hello")
    logging.getLogger("kopf").info("chatter")
    told = [json.loads(line)["message"] for line in capsys.readouterr().out.splitlines()]
    assert told == ["hello"]


# -- metrics -------------------------------------------------------------------------------------------------------------


def test_two_operators_in_one_process_have_metrics_of_their_own() -> None:
    one, other = Metrics(), Metrics()
    one.leading.set(1)
    assert one.registry.get_sample_value("millrace_leader") == 1
    assert other.registry.get_sample_value("millrace_leader") == 0


def test_a_call_is_counted_by_verb_resource_and_answer() -> None:
    metrics = Metrics()
    metrics.observe_request("create", "jobs", 201, 0.02)
    metrics.observe_request("create", "jobs", 409, 0.02)
    labels = {"verb": "create", "resource": "jobs", "code": "409"}
    assert metrics.registry.get_sample_value("millrace_kube_requests_total", labels) == 1
    assert metrics.registry.get_sample_value("millrace_kube_request_duration_seconds_count", {"verb": "create"}) == 2


def test_the_exposition_names_every_metric_of_ours_with_its_meaning() -> None:
    metrics = Metrics()
    text = metrics.text().decode()
    own = {m.name for m in metrics.registry.collect() if m.name.startswith("millrace_")}
    assert len(own) >= 14
    for name in own:
        assert f"# HELP {name}" in text
    assert "process_resident_memory_bytes" in text


def test_no_label_names_an_object() -> None:
    metrics = Metrics()
    named = [m for m in vars(metrics).values() if hasattr(m, "_labelnames")]
    assert len(named) >= 14
    for metric in named:
        assert {"name", "namespace", "uid", "object"}.isdisjoint(metric._labelnames)


def test_a_label_of_each_kind_is_taken() -> None:
    metrics = Metrics()
    for controller in controllers():
        metrics.reconciles.labels(controller.kind.name, "ok").inc()
    assert b'millrace_reconcile_total{kind="Dataset",result="ok"} 1.0' in metrics.text()
