"""EventBridge to SQS, and S3 to both."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from local_aws_support import document, refused

from millrace_local_aws import LocalAws
from millrace_local_aws.services.events.patterns import matches

RULE = "arn:aws:events:us-east-1:123456789012:rule/r"


class Bench:
    """A queue, and a rule that may send to it."""

    def __init__(self, client: Callable[..., Any], aws: LocalAws) -> None:
        self.aws = aws
        self.sqs, self.events, self.s3 = client("sqs"), client("events"), client("s3")
        self.url = self.sqs.create_queue(QueueName="q")["QueueUrl"]
        self.arn = "arn:aws:sqs:us-east-1:123456789012:q"

    def permit(self, service: str = "events", source: str = RULE, **condition: Any) -> None:
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": f"{service}.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": self.arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": source}} | condition,
        }
        self.sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"Policy": document(statement)})

    def rule(self, pattern: dict[str, Any], **target: Any) -> None:
        self.events.put_rule(Name="r", EventPattern=json.dumps(pattern))
        self.events.put_targets(Rule="r", Targets=[{"Id": "q", "Arn": self.arn, **target}])

    def put(self, detail: dict[str, Any], kind: str = "Made", source: str = "ours") -> dict[str, Any]:
        entry = {"Source": source, "DetailType": kind, "Detail": json.dumps(detail)}
        return dict(self.events.put_events(Entries=[entry]))

    def received(self) -> list[Any]:
        found = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages", [])
        for message in found:
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in found]


@pytest.fixture
def bench(client: Callable[..., Any], aws: LocalAws) -> Bench:
    return Bench(client, aws)


def test_a_subscription_tells_its_buyer_and_so_does_its_end(bench: Bench) -> None:
    bench.permit()
    bench.rule({"source": ["aws.agreement-marketplace"]})
    admin = bench.aws.admin
    admin.subscribe("prod-1", account="111122223333")
    admin.subscribe("prod-1")
    admin.unsubscribe("prod-1")
    admin.unsubscribe("prod-1")
    made, ended = bench.received()
    assert made["detail-type"] == "Purchase Agreement Created - Acceptor"
    assert ended["detail-type"] == "Purchase Agreement Ended - Acceptor"
    agreement = made["detail"]["agreement"]
    assert (agreement["intent"], agreement["status"]) == ("NEW", "ACTIVE")
    assert ended["detail"]["agreement"] == {"id": agreement["id"], "status": "CANCELLED"}
    assert made["resources"] == ended["resources"] == [f"arn:aws:aws-marketplace::aws:agreement:{agreement['id']}"]
    assert made["detail"]["acceptor"] == {"accountId": made["account"]}
    assert "prod-1" not in json.dumps(made), "which product it is is not told"


def test_an_event_that_matches_arrives_with_all_its_fields(bench: Bench) -> None:
    bench.permit()
    bench.rule({"source": ["ours"], "detail": {"n": [{"numeric": [">", 1]}]}})
    bench.put({"n": 1})
    sent = bench.put({"n": 2})
    (found,) = bench.received()
    assert found["id"] == sent["Entries"][0]["EventId"]
    assert found == {
        "version": "0",
        "id": found["id"],
        "detail-type": "Made",
        "source": "ours",
        "account": "123456789012",
        "time": found["time"],
        "region": "us-east-1",
        "resources": [],
        "detail": {"n": 2},
    }


@pytest.mark.parametrize(
    ("source", "condition"),
    [("arn:aws:events:us-east-1:123456789012:rule/other", {}), (RULE, {"StringEquals": {"aws:SourceAccount": "9" * 12}})],
    ids=["another rule's ARN", "another account"],
)
def test_a_queue_whose_policy_names_another_source_gets_nothing(
    aws: LocalAws, bench: Bench, source: str, condition: dict[str, Any]
) -> None:
    bench.permit(source=source, **condition)
    bench.rule({"source": ["ours"]})
    bench.put({})
    assert bench.received() == []
    assert aws.admin.counters()["events"]["failed-invocations"] == 1


def test_a_queue_without_a_policy_gets_nothing(bench: Bench) -> None:
    bench.rule({"source": ["ours"]})
    bench.put({})
    assert bench.received() == []


def test_a_transformer_fills_its_template(bench: Bench) -> None:
    bench.permit()
    transformer = {
        "InputPathsMap": {"n": "$.detail.name", "a": "$.account"},
        "InputTemplate": '{"said": "<n> of <a>", "raw": <n>}',
    }
    bench.rule({"source": ["ours"]}, InputTransformer=transformer)
    bench.put({"name": "x"})
    assert bench.received() == [{"said": "x of 123456789012", "raw": "x"}]


def test_a_rule_is_disabled_enabled_and_deleted_without_targets_only(bench: Bench) -> None:
    bench.permit()
    bench.rule({"source": ["ours"]})
    bench.events.disable_rule(Name="r")
    bench.put({})
    assert bench.received() == []
    bench.events.enable_rule(Name="r")
    bench.put({})
    assert len(bench.received()) == 1
    assert bench.events.list_rule_names_by_target(TargetArn=bench.arn)["RuleNames"] == ["r"]
    with refused("ValidationException"):
        bench.events.delete_rule(Name="r")
    assert bench.events.remove_targets(Rule="r", Ids=["q"])["FailedEntryCount"] == 0
    bench.events.delete_rule(Name="r")
    with refused("ResourceNotFoundException"):
        bench.events.describe_rule(Name="r")


def test_nobody_but_aws_sends_as_aws(bench: Bench) -> None:
    answer = bench.put({}, source="aws.sagemaker")
    assert (answer["FailedEntryCount"], answer["Entries"][0]["ErrorCode"]) == (1, "NotAuthorizedForSourceException")


def test_a_new_object_is_told_to_eventbridge_and_to_a_queue(bench: Bench) -> None:
    bench.s3.create_bucket(Bucket="data")
    bench.s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    direct = {
        "QueueArn": bench.arn,
        "Events": ["s3:ObjectCreated:*"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "in/"}]}},
    }
    with refused("InvalidArgument"):
        bench.s3.put_bucket_notification_configuration(Bucket="data", NotificationConfiguration={"QueueConfigurations": [direct]})
    bench.permit("s3", "arn:aws:s3:::data")
    bench.s3.put_bucket_notification_configuration(Bucket="data", NotificationConfiguration={"QueueConfigurations": [direct]})
    assert bench.received()[0]["Event"] == "s3:TestEvent"
    versions = [bench.s3.put_object(Bucket="data", Key=key, Body=b"12")["VersionId"] for key in ("out/a", "in/a b", "in/a b")]
    first, second = (found["Records"][0]["s3"]["object"] for found in bench.received())
    assert (first["key"], first["size"], first["versionId"]) == ("in%2Fa+b", 2, versions[1])
    assert first["sequencer"] < second["sequencer"]
    assert second["versionId"] == versions[2]


def test_s3_events_reach_a_rule(bench: Bench) -> None:
    bench.permit()
    bench.rule({"source": ["aws.s3"], "detail": {"object": {"key": [{"prefix": "in/"}]}}})
    bench.s3.create_bucket(Bucket="data")
    bench.s3.put_object(Bucket="data", Key="in/before", Body=b"1")
    bench.s3.put_bucket_notification_configuration(Bucket="data", NotificationConfiguration={"EventBridgeConfiguration": {}})
    bench.s3.put_object(Bucket="data", Key="in/a", Body=b"1")
    bench.s3.delete_object(Bucket="data", Key="in/a")
    made, gone = bench.received()
    assert (made["detail-type"], made["detail"]["object"]["key"], made["detail"]["reason"]) == (
        "Object Created",
        "in/a",
        "PutObject",
    )
    assert (gone["detail-type"], gone["detail"]["deletion-type"]) == ("Object Deleted", "Permanently Deleted")
    assert made["account"] == "123456789012"
    assert made["resources"] == ["arn:aws:s3:::data"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "lose-events", "times": 1}, ["b", "c"]),
        ({"kind": "duplicate-events", "times": 1}, ["a", "a", "b", "c"]),
        ({"kind": "reorder-events", "times": 1}, ["b", "a", "c"]),
        ({"kind": "delay-events", "times": 1, "seconds": 60}, ["b", "c"]),
    ],
    ids=["lost", "doubled", "reordered", "delayed"],
)
def test_events_go_wrong_on_demand(aws: LocalAws, bench: Bench, fault: dict[str, Any], expected: list[str]) -> None:
    bench.permit()
    bench.rule({"source": ["aws.s3"]})
    bench.s3.create_bucket(Bucket="data")
    bench.s3.put_bucket_notification_configuration(Bucket="data", NotificationConfiguration={"EventBridgeConfiguration": {}})
    aws.admin.add_fault(**fault)
    for key in ("a", "b", "c"):
        bench.s3.put_object(Bucket="data", Key=key, Body=b"")
    assert [event["detail"]["object"]["key"] for event in bench.received()] == expected
    aws.admin.step(61)
    late = [event["detail"]["object"]["key"] for event in bench.received()]
    assert ("a" in late) == (fault["kind"] == "delay-events")


@pytest.mark.parametrize(
    ("wanted", "value", "expected"),
    [
        (["a", "b"], "b", True),
        ([1], 1.0, True),
        ([True], "true", False),
        ([{"prefix": "ab"}], "abc", True),
        ([{"prefix": {"equals-ignore-case": "AB"}}], "abc", True),
        ([{"suffix": ".png"}], "a.jpg", False),
        ([{"anything-but": "a"}], "b", True),
        ([{"anything-but": ["a", "b"]}], "b", False),
        ([{"anything-but": {"prefix": "in"}}], "internal", False),
        ([{"exists": True}], None, True),
        ([{"exists": False}], "x", False),
        ([{"numeric": [">", 0, "<=", 5]}], 5, True),
        ([{"numeric": [">", 0, "<=", 5]}], 6, False),
        ([{"wildcard": "a*c"}], "abbc", True),
        ([{"equals-ignore-case": "ABC"}], "abc", True),
        ([{"cidr": "10.0.0.0/8"}], "10.2.3.4", True),
        (["a"], ["b", "a"], True),
    ],
)
def test_patterns_match_as_documented(wanted: list[Any], value: Any, expected: bool) -> None:
    assert matches({"detail": {"x": wanted}}, {"detail": {"x": value}}) is expected


def test_a_missing_field_matches_exists_false_alone() -> None:
    assert matches({"detail": {"x": [{"exists": False}]}}, {"detail": {}})
    assert not matches({"detail": {"x": [{"anything-but": "a"}]}}, {"detail": {}})
    assert matches({"$or": [{"source": ["a"]}, {"source": ["b"]}]}, {"source": "b"})
