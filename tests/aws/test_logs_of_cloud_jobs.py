"""`millrace logs` of what runs on AWS, as the user: from CloudWatch, to the end, or saying why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from millrace.aws import logs
from millrace.aws.errors import Denied
from millrace.aws.logs import Reader
from millrace.aws.places import CloudLog
from millrace.cli import cloudlogs
from millrace.cli.problems import Problem
from support.aws import ACCOUNT, allowing

if TYPE_CHECKING:
    from millrace_local_aws import LocalAws

Object = dict[str, Any]
GROUP = "/aws/sagemaker/TrainingJobs"
WANTED = CloudLog("default", GROUP, "gpt-0a1b2c-1/algo-1-")
OURS: Object = {"status": {"accountID": ACCOUNT}}


def wrote(aws: LocalAws, stream: str, *messages: str, new: bool = True) -> None:
    client = aws.client("logs", account=ACCOUNT)
    if new:
        client.create_log_stream(logGroupName=GROUP, logStreamName=stream)
    at = int(aws.admin.now() * 1000)
    client.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=[{"timestamp": at, "message": m} for m in messages])


@pytest.fixture
def stocked(aws: LocalAws) -> LocalAws:
    """Two attempts' hosts, and another job whose name begins alike."""
    aws.client("logs", account=ACCOUNT).create_log_group(logGroupName=GROUP)
    wrote(aws, "gpt-0a1b2c-1/algo-1-100", "loss 3", "loss 2", "loss 1")
    wrote(aws, "gpt-0a1b2c-1/algo-2-100", "rank 1")
    wrote(aws, "gpt-0a1b2c-10/algo-1-100", "tenth")
    return aws


async def shown(aws: LocalAws, capsys: Any, wanted: CloudLog = WANTED, tail: int | None = None, over: Any = None) -> list[str]:
    await cloudlogs.written(Reader("us-east-1", aws.endpoint_url), wanted, OURS, "tj/gpt", tail, over)
    return list(capsys.readouterr().out.splitlines())


async def test_all_of_a_hosts_log_or_its_last_lines(stocked: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    assert await shown(stocked, capsys) == ["loss 3", "loss 2", "loss 1"]
    assert await shown(stocked, capsys, tail=2) == ["loss 2", "loss 1"]
    assert await shown(stocked, capsys, CloudLog("default", GROUP, "gpt-0a1b2c-1/algo-2-")) == ["rank 1"]


async def test_followed_to_the_end_nothing_is_missed_and_nothing_told_twice(
    stocked: LocalAws, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_PAUSE_SECONDS", 0.01)
    looks = 0

    async def over() -> bool:
        """It writes on while it runs, and once more just before its end is seen."""
        nonlocal looks
        looks += 1
        wrote(stocked, "gpt-0a1b2c-1/algo-1-100", f"later {looks}", new=False)
        return looks == 3

    assert await shown(stocked, capsys, tail=1, over=over) == ["loss 1", "later 1", "later 2", "later 3"]


async def test_without_a_log_it_says_why(stocked: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere = CloudLog("default", GROUP, "gpt-0a1b2c-2/algo-1-")
    with pytest.raises(Problem, match="has no log") as early:
        await shown(stocked, capsys, nowhere)
    assert "writes its log once it starts" in early.value.next_step
    theirs: Object = {"status": {"accountID": "999999999999"}}
    with pytest.raises(Problem, match="has no log") as wrong:
        await cloudlogs.written(Reader("us-east-1", stocked.endpoint_url), nowhere, theirs, "tj/gpt", None, None)
    assert f"of account {ACCOUNT}, and the object runs in 999999999999" in wrong.value.next_step
    with pytest.raises(Problem, match="has no log"):
        await shown(stocked, capsys, CloudLog("default", "/aws/sagemaker/Endpoints/none"))


async def test_an_endpoints_newest_stream_is_read(stocked: LocalAws, capsys: pytest.CaptureFixture[str]) -> None:
    stocked.admin.step(60)
    wrote(stocked, "main/i-2", "newest")
    assert await shown(stocked, capsys, CloudLog("default", GROUP)) == ["newest"]


async def test_what_the_user_may_not_do_is_named(stocked: LocalAws, monkeypatch: pytest.MonkeyPatch) -> None:
    iam = stocked.client("iam", account=ACCOUNT)
    iam.create_user(UserName="reader")
    iam.put_user_policy(UserName="reader", PolicyName="some", PolicyDocument=allowing("logs:DescribeLogStreams"))
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    with pytest.raises(Denied, match="logs:GetLogEvents"):
        await cloudlogs.written(Reader("us-east-1", stocked.endpoint_url), WANTED, OURS, "tj/gpt", None, None)
