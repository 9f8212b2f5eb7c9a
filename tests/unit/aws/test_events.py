"""Events: which thing one tells of, and what is dropped."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millrace.aws import events, subscriptions
from millrace.aws.plumbing import Plumbing

ARN = "arn:aws:sagemaker:us-east-1:111122223333:training-job/gpt-0a1b2c-1"


def event(source: str, type_: str, detail: Any, **more: Any) -> str:
    return json.dumps(
        {"version": "0", "id": "1", "source": source, "detail-type": type_, "account": "111122223333",
         "region": "us-east-1", "resources": [], "detail": detail, **more}
    )  # fmt: skip


AGREED = "aws.agreement-marketplace"
TRAINING = "SageMaker Training Job State Change"

# body, ids, dropped, why
BODIES = [
    (event("aws.sagemaker", TRAINING, {"TrainingJobArn": ARN, "TrainingJobStatus": "Completed"}), (ARN,), "", "the ARN of the detail"),
    (event("aws.sagemaker", TRAINING, {"TrainingJobArn": ARN}, resources=[ARN]), (ARN,), "", "named twice, told once"),
    (event("aws.sagemaker", TRAINING, {}, resources=[ARN]), (ARN,), "", "the event's own resources are enough"),
    (event("aws.bedrock", "Batch Inference Job State Change", {"batchJobArn": "arn:b"}), ("arn:b",), "", "another name of the field"),
    (
        event("aws.transcribe", "Transcribe Job State Change", {"TranscriptionJobName": "call"}),
        ("arn:aws:transcribe:us-east-1:111122223333:transcription-job/call",), "", "made from name, region and account",
    ),
    (
        event("aws.s3", "Object Created", {"bucket": {"name": "data"}, "object": {"key": "in/a.csv"}}),
        ("arn:aws:s3:::data/in/a.csv",), "", "a key of a bucket",
    ),
    (
        event(AGREED, "Purchase Agreement Created - Acceptor", {"agreement": {"id": "agmt-1", "status": "ACTIVE"}}),
        (subscriptions.AWAITED,), "", "who waits for a subscription: for which product it is is not told",
    ),
    (event(AGREED, "Purchase Agreement Ended - Acceptor", {}), (), "unknown", "nobody waits for the end of one"),
    (event("aws.sagemaker", TRAINING, {"TrainingJobArn": 7}), (), "malformed", "no text where the ARN should be"),
    (event("aws.ec2", "EC2 Instance State-change Notification", {"instance-id": "i-1"}), (), "unknown", "nothing of ours"),
    (event("my.app", TRAINING, {"TrainingJobArn": ARN}), (), "unknown", "the right name from the wrong source"),
    ("not json", (), "malformed", "anything can be sent to a queue"),
    ("[]", (), "malformed", "JSON, but no event"),
    (event("aws.sagemaker", TRAINING, "text"), (), "malformed", "a detail that is no object"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "ids", "dropped", "why"), BODIES)
def test_a_message_tells_of_its_thing_or_is_dropped(body: str, ids: tuple[str, ...], dropped: str, why: str) -> None:
    told = events.read(body)
    assert (told.ids, told.dropped) == (ids, dropped), why


def test_our_rule_asks_for_what_we_know_and_for_no_buckets_objects() -> None:
    asked = json.loads(events.pattern("111122223333"))
    assert asked["account"] == ["111122223333"]
    assert "aws.s3" not in asked["source"]
    assert TRAINING in asked["detail-type"]
    assert len(events.pattern("111122223333")) < 2048  # EventBridge's bound on a pattern


def test_the_queue_takes_messages_from_our_rule_only() -> None:
    policy = json.loads(Plumbing("millrace-x", "eu-west-1", "111122223333").policy)
    assert policy["Statement"] == [
        {
            "Sid": "OnlyOurRule",
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": "arn:aws:sqs:eu-west-1:111122223333:millrace-x",
            "Condition": {
                "ArnEquals": {"aws:SourceArn": "arn:aws:events:eu-west-1:111122223333:rule/millrace-x"},
                "StringEquals": {"aws:SourceAccount": "111122223333"},
            },
        }
    ]
