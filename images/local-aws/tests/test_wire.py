"""Requests that are wrong, operations that nobody serves, faults on demand."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.request import urlopen

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from local_aws_support import document, refused, trust

from millrace_local_aws import LocalAws, LocalAwsFault, local_aws
from millrace_local_aws.wire.models import service_model
from millrace_local_aws.wire.patterns import compiled, matches
from millrace_local_aws.wire.shapes import violations

ONCE = Config(retries={"total_max_attempts": 1})


def ask_for_what_nobody_serves() -> None:
    with local_aws() as aws:
        client = aws.client("kinesis", config=ONCE)
        with refused("NotImplemented") as caught:
            client.create_stream(StreamName="s", ShardCount=1)
        assert caught.status == 501
        assert aws.admin.counters()["unserved"] == {"kinesis:CreateStream": 1}


def test_what_nobody_serves_is_501_and_fails_the_run() -> None:
    with pytest.raises(LocalAwsFault, match="kinesis:CreateStream"):
        ask_for_what_nobody_serves()


@pytest.mark.parametrize(
    ("service", "operation", "arguments"),
    [
        (
            "events",
            "create_archive",
            {"ArchiveName": "a", "EventSourceArn": "arn:aws:events:us-east-1:123456789012:event-bus/default"},
        ),
        ("iam", "list_groups", {}),
        ("s3", "get_bucket_website", {"Bucket": "b"}),
        ("dynamodb", "list_tables", {}),
        ("ec2", "describe_instances", {}),
        ("lambda", "list_functions", {}),
    ],
    ids=["json", "query", "rest-xml", "json, unknown service", "ec2, unknown service", "rest-json, unknown service"],
)
def test_every_protocol_says_501(service: str, operation: str, arguments: dict[str, Any]) -> None:
    with local_aws(strict=False) as aws:
        client = aws.client(service, config=ONCE)
        with pytest.raises(ClientError) as caught:
            getattr(client, operation)(**arguments)
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
        assert sum(aws.admin.counters()["unserved"].values()) == 1


def test_a_bad_request_is_told_what_is_wrong_with_it(client: Callable[..., Any]) -> None:
    with refused("ValidationException") as caught:
        client("events").put_rule(Name="not a name!", State="SLEEPING", EventPattern='{"source": ["x"]}')
    assert caught.message.startswith("2 validation errors detected: Value 'not a name!' at 'name' failed to satisfy constraint:")
    assert "Member must satisfy regular expression pattern" in caught.message
    assert "'state' failed to satisfy constraint: Member must satisfy enum value set: [ENABLED" in caught.message


def test_a_missing_member_is_named(client: Callable[..., Any]) -> None:
    with refused("ValidationError") as caught:
        client("iam").create_role(RoleName="x" * 65, AssumeRolePolicyDocument=document(trust({"AWS": "*"})))
    assert "'roleName' failed to satisfy constraint: Member must have length less than or equal to 64" in caught.message


@pytest.mark.parametrize(
    ("shape", "value", "fault"),
    [
        (
            "CreateEndpointInput",
            {"EndpointName": "e"},
            "'endpointConfigName' failed to satisfy constraint: Member must not be null",
        ),
        ("CreateEndpointInput", {"EndpointName": "e_1", "EndpointConfigName": "c"}, "regular expression"),
        ("ResourceConfig", {"InstanceType": "ml.none", "VolumeSizeInGB": 1}, "enum value set"),
        ("ResourceConfig", {"InstanceType": "ml.g5.xlarge", "VolumeSizeInGB": "1"}, "type integer"),
        ("ResourceConfig", {"InstanceType": "ml.g5.xlarge", "VolumeSizeInGB": -1}, "greater than or equal"),
        ("ResourceConfig", {"InstanceType": "ml.p5.48xlarge", "VolumeSizeInGB": 1, "More": 1}, "member of the model"),
    ],
    ids=["required", "pattern", "enum", "type", "range", "unknown member"],
)
def test_every_constraint_of_the_model_is_checked(shape: str, value: dict[str, Any], fault: str) -> None:
    found = list(violations(service_model("sagemaker").shape_for(shape), value))
    assert len(found) == 1
    assert fault in found[0]


def test_javas_patterns_mean_the_same_here() -> None:
    assert matches(r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", "Größe 1/2 @x")
    assert not matches(r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", "a#b")
    assert not matches("[a-z]+", "ab1"), "the whole value counts"
    unreadable = set()
    for name in ("sagemaker", "s3", "sqs", "iam", "sts", "events", "logs", "monitoring"):
        shapes = service_model({"monitoring": "cloudwatch"}.get(name, name))._service_description["shapes"]
        unreadable |= {shape["pattern"] for shape in shapes.values() if "pattern" in shape and compiled(shape["pattern"]) is None}
    assert all("\\uD800" in pattern for pattern in unreadable), "only those that pair surrogates"


def test_a_throttle_lets_its_rate_through_and_no_more(aws: LocalAws, client: Callable[..., Any]) -> None:
    aws.admin.add_fault("throttle", service="events", operation="ListRules", per_second=0.001, burst=2)
    events, answers = client("events"), []
    for _ in range(4):
        try:
            events.list_rules()
            answers.append("ok")
        except events.exceptions.ClientError as error:
            answers.append(error.response["Error"]["Code"])
    assert answers == ["ok", "ok", "ThrottlingException", "ThrottlingException"]
    client("sqs").list_queues()


@pytest.mark.parametrize(
    ("service", "operation", "code"),
    [("s3", "list_buckets", "SlowDown"), ("sqs", "list_queues", "RequestThrottled"), ("iam", "list_roles", "Throttling")],
)
def test_each_service_throttles_in_its_own_words(
    aws: LocalAws, client: Callable[..., Any], service: str, operation: str, code: str
) -> None:
    aws.admin.add_fault("throttle", service=service, per_second=0.001, burst=0)
    with refused(code):
        getattr(client(service), operation)()


def test_latency_and_errors_come_on_demand(aws: LocalAws, client: Callable[..., Any]) -> None:
    aws.admin.add_fault("latency", service="sts", seconds=0.3)
    start = time.monotonic()
    client("sts").get_caller_identity()
    assert time.monotonic() - start >= 0.3
    aws.admin.add_fault("error", service="sqs", status=503, code="ServiceUnavailable", message="Gone fishing", times=1)
    with refused("ServiceUnavailable") as caught:
        client("sqs").list_queues()
    assert (caught.status, caught.message) == (503, "Gone fishing")
    client("sqs").list_queues()


def test_an_unknown_fault_is_refused(aws: LocalAws) -> None:
    with pytest.raises(ValueError, match="a fault is one of"):
        aws.admin.add_fault("explode")


def test_the_page_lists_what_is_there(aws: LocalAws, client: Callable[..., Any]) -> None:
    client("sqs").create_queue(QueueName="a-queue-to-see")
    with urlopen(aws.endpoint_url) as answer:
        text = answer.read().decode()
    assert "a-queue-to-see" in text
    assert "sqs" in text


def test_the_admin_shows_state_without_secrets(aws: LocalAws, client: Callable[..., Any]) -> None:
    client("iam").create_user(UserName="ann")
    secret = client("iam").create_access_key(UserName="ann")["AccessKey"]["SecretAccessKey"]
    state = aws.admin.state()
    assert state["iam.user"][0]["key"] == "ann"
    assert secret not in str(state)
