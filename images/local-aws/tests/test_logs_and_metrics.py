"""CloudWatch: logs and metrics that clients write and read."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from local_aws_support import refused

from millrace_local_aws import LocalAws


@pytest.fixture
def logs(client: Callable[..., Any]) -> Any:
    made = client("logs")
    made.create_log_group(logGroupName="g")
    made.create_log_stream(logGroupName="g", logStreamName="s")
    return made


def put(aws: LocalAws, logs: Any, *messages: str) -> None:
    now = int(aws.admin.now() * 1000)
    events = [{"timestamp": now + number, "message": message} for number, message in enumerate(messages)]
    logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=events)


def messages(answer: dict[str, Any]) -> list[str]:
    return [event["message"] for event in answer["events"]]


def test_a_log_is_read_forwards_to_its_end_and_then_as_it_grows(aws: LocalAws, logs: Any) -> None:
    put(aws, logs, "a", "b", "c")
    name = {"logGroupName": "g", "logStreamName": "s"}
    first = logs.get_log_events(**name, startFromHead=True, limit=2)
    assert messages(first) == ["a", "b"]
    second = logs.get_log_events(**name, nextToken=first["nextForwardToken"])
    assert messages(second) == ["c"]
    end = logs.get_log_events(**name, nextToken=second["nextForwardToken"])
    assert (messages(end), end["nextForwardToken"]) == ([], second["nextForwardToken"])
    put(aws, logs, "d")
    assert len(messages(logs.get_log_events(**name, nextToken=end["nextForwardToken"]))) == 1
    assert messages(logs.get_log_events(**name, limit=1))[-1] in ("c", "d"), "the tail by default"


def test_a_filter_finds_words_and_leaves_out_others(aws: LocalAws, logs: Any) -> None:
    put(aws, logs, "loss 1", "error in loss", "done")
    assert messages(logs.filter_log_events(logGroupName="g", filterPattern="loss")) == ["loss 1", "error in loss"]
    assert messages(logs.filter_log_events(logGroupName="g", filterPattern="loss -error")) == ["loss 1"]


def test_groups_and_streams_that_are_missing_or_there_already_are_named(logs: Any) -> None:
    with refused("ResourceAlreadyExistsException"):
        logs.create_log_group(logGroupName="g")
    with refused("ResourceNotFoundException"):
        logs.get_log_events(logGroupName="g", logStreamName="nobody")
    logs.put_retention_policy(logGroupName="g", retentionInDays=7)
    assert logs.describe_log_groups(logGroupNamePrefix="g")["logGroups"][0]["retentionInDays"] == 7
    logs.delete_log_group(logGroupName="g")
    assert logs.describe_log_groups()["logGroups"] == []


def test_events_that_are_too_old_or_too_new_are_left_out(aws: LocalAws, logs: Any) -> None:
    now = int(aws.admin.now() * 1000)
    day = 86_400_000
    events = [{"timestamp": now + offset, "message": str(offset)} for offset in (-20 * day, 0, 2 * day)]
    answer = logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=events)
    assert answer["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 2, "tooOldLogEventEndIndex": 1}
    assert messages(logs.get_log_events(logGroupName="g", logStreamName="s", startFromHead=True)) == ["0"]


@pytest.mark.parametrize(("statistic", "expected"), [("Sum", 9.0), ("Average", 3.0), ("Maximum", 5.0), ("SampleCount", 3.0)])
def test_metrics_come_back_as_statistics_of_periods(client: Callable[..., Any], statistic: str, expected: float) -> None:
    metrics = client("cloudwatch")
    moment = datetime.datetime(2026, 1, 31, 10, 0, 30, tzinfo=datetime.UTC)
    dimensions = [{"Name": "Job", "Value": "j"}]
    data = [{"MetricName": "loss", "Dimensions": dimensions, "Timestamp": moment, "Value": value} for value in (1.0, 3.0, 5.0)]
    metrics.put_metric_data(Namespace="ours", MetricData=data)
    metric = {"Namespace": "ours", "MetricName": "loss", "Dimensions": dimensions}
    query = {"Id": "q", "MetricStat": {"Metric": metric, "Period": 60, "Stat": statistic}}
    minute = datetime.timedelta(minutes=1)
    (found,) = metrics.get_metric_data(MetricDataQueries=[query], StartTime=moment - minute, EndTime=moment + minute)[
        "MetricDataResults"
    ]
    assert found["Values"] == [expected]
    assert found["Timestamps"][0].timestamp() == moment.replace(second=0).timestamp()
    assert [one["MetricName"] for one in metrics.list_metrics(Namespace="ours")["Metrics"]] == ["loss"]
