"""SQS as boto3 sees it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from local_aws_support import refused

from millrace_local_aws import LocalAws
from millrace_local_aws.world import Settings, World


@pytest.fixture
def sqs(client: Callable[..., Any]) -> Any:
    return client("sqs")


def make(sqs: Any, name: str = "q", **attributes: str) -> str:
    return str(sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])


def bodies(answer: dict[str, Any]) -> list[str]:
    return [message["Body"] for message in answer.get("Messages", [])]


def counts(sqs: Any, url: str) -> tuple[str, str, str]:
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return tuple(found[f"ApproximateNumberOfMessages{kind}"] for kind in ("", "NotVisible", "Delayed"))  # type: ignore[return-value]


def test_a_message_is_hidden_until_its_timeout_and_gone_when_deleted(aws: LocalAws, sqs: Any) -> None:
    url = make(sqs, VisibilityTimeout="30")
    sqs.send_message(QueueUrl=url, MessageBody="one")
    first = sqs.receive_message(QueueUrl=url)["Messages"][0]
    assert bodies(sqs.receive_message(QueueUrl=url)) == []
    assert counts(sqs, url) == ("0", "1", "0")
    aws.admin.step(31)
    again = sqs.receive_message(QueueUrl=url, MessageSystemAttributeNames=["ApproximateReceiveCount"])["Messages"][0]
    assert (again["MessageId"], again["Attributes"]) == (first["MessageId"], {"ApproximateReceiveCount": "2"})
    sqs.delete_message(QueueUrl=url, ReceiptHandle=again["ReceiptHandle"])
    aws.admin.step(31)
    assert bodies(sqs.receive_message(QueueUrl=url)) == []


def test_visibility_can_be_given_back_and_prolonged(aws: LocalAws, sqs: Any) -> None:
    url = make(sqs)
    sqs.send_message(QueueUrl=url, MessageBody="one")
    handle = sqs.receive_message(QueueUrl=url)["Messages"][0]["ReceiptHandle"]
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=100)
    aws.admin.step(60)
    assert bodies(sqs.receive_message(QueueUrl=url)) == []
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    assert bodies(sqs.receive_message(QueueUrl=url)) == ["one"]


def test_a_long_poll_returns_when_a_message_comes(sqs: Any, client: Callable[..., Any]) -> None:
    url, found = make(sqs), []

    def poll() -> None:
        found.append((bodies(client("sqs").receive_message(QueueUrl=url, WaitTimeSeconds=20)), time.monotonic()))

    thread = threading.Thread(target=poll)
    thread.start()
    sent = time.monotonic()
    sqs.send_message(QueueUrl=url, MessageBody="late")
    thread.join(20)
    assert found[0][0] == ["late"]
    assert found[0][1] - sent < 5


def test_a_message_received_too_often_goes_to_the_dead_letters(aws: LocalAws, sqs: Any) -> None:
    dead = make(sqs, "dead")
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    url = make(sqs, RedrivePolicy=json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2}), VisibilityTimeout="1")
    sent = sqs.send_message(QueueUrl=url, MessageBody="poison")["MessageId"]
    for _ in range(2):
        assert bodies(sqs.receive_message(QueueUrl=url)) == ["poison"]
        aws.admin.step(2)
    assert bodies(sqs.receive_message(QueueUrl=url)) == []
    found = sqs.receive_message(QueueUrl=dead, MessageSystemAttributeNames=["All"])["Messages"][0]
    assert (found["MessageId"], found["Attributes"]["ApproximateReceiveCount"]) == (sent, "3")
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [url]


def test_a_fifo_queue_keeps_order_in_a_group_and_drops_duplicates(aws: LocalAws, sqs: Any) -> None:
    url = make(sqs, "q.fifo", FifoQueue="true", ContentBasedDeduplication="true")
    for body in ("a1", "a2", "a1"):
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId="a")
    sqs.send_message(QueueUrl=url, MessageBody="b1", MessageGroupId="b")
    first = sqs.receive_message(QueueUrl=url)["Messages"][0]
    assert first["Body"] == "a1"
    assert bodies(sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)) == ["b1"], "group a waits for a1"
    sqs.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
    assert bodies(sqs.receive_message(QueueUrl=url)) == ["a2"]
    aws.admin.step(31)
    aws.admin.step(301)
    sqs.send_message(QueueUrl=url, MessageBody="a1", MessageGroupId="c")
    assert "a1" in bodies(sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)), "the window of five minutes is over"


def test_a_delayed_message_comes_when_its_delay_is_over(aws: LocalAws, sqs: Any) -> None:
    url = make(sqs)
    sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=60)
    assert bodies(sqs.receive_message(QueueUrl=url)) == []
    assert counts(sqs, url) == ("0", "0", "1")
    aws.admin.step(61)
    assert bodies(sqs.receive_message(QueueUrl=url)) == ["later"]


def test_a_batch_says_of_each_entry_what_became_of_it(sqs: Any) -> None:
    url = make(sqs)
    entries = [{"Id": "good", "MessageBody": "x"}, {"Id": "bad", "MessageBody": "x", "DelaySeconds": 901}]
    answer = sqs.send_message_batch(QueueUrl=url, Entries=entries)
    assert [one["Id"] for one in answer["Successful"]] == ["good"]
    assert [(one["Id"], one["SenderFault"]) for one in answer["Failed"]] == [("bad", True)]
    with refused("AWS.SimpleQueueService.TooManyEntriesInBatchRequest"):
        sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": str(n), "MessageBody": "x"} for n in range(11)])
    with refused("AWS.SimpleQueueService.BatchEntryIdsNotDistinct"):
        sqs.send_message_batch(QueueUrl=url, Entries=[{"Id": "a", "MessageBody": "x"}, {"Id": "a", "MessageBody": "x"}])


def test_message_attributes_come_back_as_they_were_sent(sqs: Any) -> None:
    url = make(sqs)
    attributes = {"n": {"DataType": "Number", "StringValue": "1"}, "b": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}}
    sqs.send_message(QueueUrl=url, MessageBody="x", MessageAttributes=attributes)
    found = sqs.receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"][0]
    assert found["MessageAttributes"] == attributes


def test_queues_are_the_same_made_twice_and_not_with_other_attributes(aws: LocalAws, sqs: Any) -> None:
    url = make(sqs, VisibilityTimeout="10")
    assert make(sqs, VisibilityTimeout="10") == url
    with refused("QueueAlreadyExists"):
        make(sqs, VisibilityTimeout="11")
    sqs.delete_queue(QueueUrl=url)
    with refused("AWS.SimpleQueueService.NonExistentQueue"):
        sqs.get_queue_url(QueueName="q")
    with refused("AWS.SimpleQueueService.QueueDeletedRecently"):
        make(sqs)
    aws.admin.step(61)
    make(sqs)


def test_accounts_and_regions_have_queues_of_their_own(sqs: Any, client: Callable[..., Any]) -> None:
    make(sqs)
    assert "QueueUrls" not in client("sqs", account="222222222222").list_queues()
    assert "QueueUrls" not in client("sqs", region="eu-west-1").list_queues()


def test_another_account_sends_only_where_the_queues_policy_lets_it(sqs: Any, client: Callable[..., Any]) -> None:
    url, other = make(sqs), client("sqs", account="222222222222")
    with refused("AccessDenied"):
        other.send_message(QueueUrl=url, MessageBody="x")
    sqs.add_permission(QueueUrl=url, Label="other", AWSAccountIds=["222222222222"], Actions=["SendMessage"])
    other.send_message(QueueUrl=url, MessageBody="x")
    sqs.remove_permission(QueueUrl=url, Label="other")
    with refused("AccessDenied"):
        other.send_message(QueueUrl=url, MessageBody="x")


def test_receive_costs_the_same_at_ten_thousand_messages(tmp_path: Path) -> None:
    world = World(tmp_path, 0, None, Settings())
    queue = world.sqs.create("123456789012", "us-east-1", "deep", {}, {})

    def fill(count: int) -> None:
        for number in range(count):
            queue.send(str(number), {}, "sender", delay=0, group=None, deduplication=None)
        world.store.commit()

    def seconds() -> float:
        """The thread's own time of the fastest of many receives: what else the machine does is no matter."""
        taken = []
        for _ in range(50):
            start = time.thread_time()
            assert len(queue.receive(10, 30)) == 10
            world.store.commit()
            taken.append(time.thread_time() - start)
        return min(taken)

    fill(600)
    few = seconds()
    fill(10_000)
    assert seconds() < 3 * few
    world.close()
