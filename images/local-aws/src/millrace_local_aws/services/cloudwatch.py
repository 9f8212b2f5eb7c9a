"""CloudWatch metrics: put, listed, and read as statistics over periods."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from millrace_local_aws.service import Call, Input, Service
from millrace_local_aws.wire.errors import AwsError, NotServed

if TYPE_CHECKING:
    from millrace_local_aws.world import World

CLOUDWATCH = Service(
    "cloudwatch",
    "cloudwatch",
    target="GraniteServiceVersion20100801",
    signing="monitoring",
    invalid="InvalidParameterValue",
    throttled=("Throttling", 400),
)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS metric_value (scope TEXT NOT NULL, metric TEXT NOT NULL, at REAL NOT NULL, value REAL NOT NULL);
CREATE INDEX IF NOT EXISTS metric_by_time ON metric_value (scope, metric, at);
"""
_STATISTICS: dict[str, Callable[[list[float]], float]] = {
    "Average": statistics.fmean,
    "Sum": sum,
    "Minimum": min,
    "Maximum": max,
    "SampleCount": lambda values: float(len(values)),
}


def install(world: World) -> None:
    world.store.schema(_SCHEMA)


def _key(namespace: str, name: str, dimensions: list[dict[str, str]]) -> str:
    return json.dumps([namespace, name, sorted((one["Name"], one["Value"]) for one in dimensions)])


def put(world: World, scope: str, namespace: str, name: str, dimensions: dict[str, str], value: float) -> None:
    """A value of a service here, at the clock's time."""
    key = _key(namespace, name, [{"Name": one, "Value": text} for one, text in dimensions.items()])
    world.store.execute("INSERT INTO metric_value VALUES (?, ?, ?, ?)", (scope, key, world.clock.now(), value))


def total(world: World, scope: str, namespace: str, name: str, dimensions: dict[str, str], since: float) -> float:
    """The sum of a metric's values since a time."""
    key = _key(namespace, name, [{"Name": one, "Value": text} for one, text in dimensions.items()])
    statement = "SELECT coalesce(sum(value), 0) FROM metric_value WHERE scope = ? AND metric = ? AND at >= ?"
    return float(world.store.select(statement, (scope, key, since))[0][0])


def _values(datum: Input) -> list[float]:
    if "StatisticValues" in datum:
        raise NotServed("cloudwatch", "PutMetricData with StatisticValues")
    if "Values" in datum:
        counts = datum.get("Counts") or [1.0] * len(datum["Values"])
        return [value for value, count in zip(datum["Values"], counts, strict=True) for _ in range(int(count))]
    return [datum["Value"]]


@CLOUDWATCH.operation("PutMetricData")
def put_metric_data(call: Call, request: Input) -> None:
    for datum in request.get("MetricData", []):
        key = _key(request["Namespace"], datum["MetricName"], datum.get("Dimensions", []))
        at = datum.get("Timestamp", call.world.clock.now())
        for value in _values(datum):
            call.world.store.execute("INSERT INTO metric_value VALUES (?, ?, ?, ?)", (call.scope, key, at, value))


@CLOUDWATCH.operation("ListMetrics")
def list_metrics(call: Call, request: Input) -> dict[str, Any]:
    rows = call.world.store.select("SELECT DISTINCT metric FROM metric_value WHERE scope = ? ORDER BY metric", (call.scope,))
    found = [json.loads(row[0]) for row in rows]
    return {
        "Metrics": [
            {"Namespace": namespace, "MetricName": name, "Dimensions": [{"Name": n, "Value": v} for n, v in dimensions]}
            for namespace, name, dimensions in found
            if request.get("Namespace") in (None, namespace) and request.get("MetricName") in (None, name)
        ]
    }


def _periods(call: Call, key: str, start: float, end: float, period: int, statistic: str) -> list[tuple[float, float]]:
    if statistic not in _STATISTICS:
        raise AwsError("InvalidParameterValue", f"The value {statistic} for parameter Stat is not supported.", 400)
    statement = "SELECT at, value FROM metric_value WHERE scope = ? AND metric = ? AND at >= ? AND at < ? ORDER BY at"
    grouped: dict[float, list[float]] = {}
    for at, value in call.world.store.select(statement, (call.scope, key, start, end)):
        grouped.setdefault(at // period * period, []).append(value)
    return [(at, _STATISTICS[statistic](values)) for at, values in grouped.items()]


def _result(call: Call, request: Input, query: Input) -> dict[str, Any]:
    if "MetricStat" not in query:
        raise NotServed("cloudwatch", "GetMetricData with an Expression")
    stat = query["MetricStat"]
    metric = stat["Metric"]
    key = _key(metric["Namespace"], metric["MetricName"], metric.get("Dimensions", []))
    points = _periods(call, key, request["StartTime"], request["EndTime"], stat["Period"], stat["Stat"])
    points.sort(reverse=request.get("ScanBy") != "TimestampAscending")
    return {
        "Id": query["Id"],
        "Label": query.get("Label", metric["MetricName"]),
        "Timestamps": [at for at, _ in points],
        "Values": [float(value) for _, value in points],
        "StatusCode": "Complete",
    }


@CLOUDWATCH.operation("GetMetricData")
def get_metric_data(call: Call, request: Input) -> dict[str, Any]:
    wanted = [query for query in request["MetricDataQueries"] if query.get("ReturnData", True)]
    return {"MetricDataResults": [_result(call, request, query) for query in wanted], "Messages": []}


@CLOUDWATCH.operation("GetMetricStatistics")
def get_metric_statistics(call: Call, request: Input) -> dict[str, Any]:
    key = _key(request["Namespace"], request["MetricName"], request.get("Dimensions", []))
    points: dict[float, dict[str, Any]] = {}
    for statistic in request.get("Statistics", []):
        for at, value in _periods(call, key, request["StartTime"], request["EndTime"], request["Period"], statistic):
            points.setdefault(at, {"Timestamp": at, "Unit": request.get("Unit", "None")})[statistic] = float(value)
    return {"Label": request["MetricName"], "Datapoints": list(points.values())}
