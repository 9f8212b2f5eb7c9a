"""What was answered outlives the process, however it ends; and what is not running starts in a second."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bedrock_support import Shop
from sagemaker_support import Stage

from millrace_local_aws import Admin, LocalAws
from millrace_local_aws.world import Settings, World

SRC = Path(__file__).parents[1] / "src"


@contextlib.contextmanager
def server(data: Path, *arguments: str) -> Iterator[tuple[LocalAws, subprocess.Popen[str], str]]:
    """The command line's server, its process, and its first line."""
    command = [sys.executable, "-m", "millrace_local_aws", "serve", "--port", "0", "--data", str(data), *arguments]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(SRC)}
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        assert line.startswith("ready on "), process.stderr.read()
        yield LocalAws(line.split()[-1]), process, line
    finally:
        process.kill()
        process.communicate(timeout=30)


def alive(number: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(look: Any) -> Any:
    """The first true answer."""
    end = time.monotonic() + 30
    while not (found := look()):
        assert time.monotonic() < end, "waited for 30 seconds"
        time.sleep(0.05)
    return found


def fill(aws: LocalAws) -> dict[str, Any]:
    s3, sqs = aws.client("s3"), aws.client("sqs")
    s3.create_bucket(Bucket="data")
    s3.put_object(Bucket="data", Key="big", Body=b"x" * 1_000_000)
    url = sqs.create_queue(QueueName="q")["QueueUrl"]
    for number in range(3):
        sqs.send_message(QueueUrl=url, MessageBody=str(number))
    taken = sqs.receive_message(QueueUrl=url, VisibilityTimeout=600)["Messages"][0]
    upload = s3.create_multipart_upload(Bucket="data", Key="parts")["UploadId"]
    part = s3.upload_part(Bucket="data", Key="parts", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    aws.client("events").put_rule(Name="r", EventPattern='{"source": ["x"]}')
    return {"url": url, "taken": taken, "upload": upload, "part": part}


def test_a_kill_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    with server(tmp_path, "--speed", "0", "--start-clock", "1000000000") as (aws, process, _):
        made = fill(aws)
        aws.admin.step(50)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    with server(tmp_path) as (aws, _, _):
        s3, sqs = aws.client("s3"), aws.client("sqs")
        assert aws.admin.now() == pytest.approx(1000000050)
        assert s3.get_object(Bucket="data", Key="big")["Body"].read() == b"x" * 1_000_000
        name = {"Bucket": "data", "Key": "parts", "UploadId": made["upload"]}
        s3.complete_multipart_upload(**name, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": made["part"]}]})
        assert s3.get_object(Bucket="data", Key="parts")["Body"].read() == b"part"
        url = sqs.get_queue_url(QueueName="q")["QueueUrl"]
        left = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
        assert [message["Body"] for message in left] == ["1", "2"], "the one in flight stays hidden"
        sqs.delete_message(QueueUrl=url, ReceiptHandle=made["taken"]["ReceiptHandle"])
        aws.admin.step(700)
        again = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
        assert sorted(message["Body"] for message in again) == ["1", "2"]
        assert [rule["Name"] for rule in aws.client("events").list_rules()["Rules"]] == ["r"]


def test_jobs_and_endpoints_go_on_after_a_kill(tmp_path: Path) -> None:
    with server(tmp_path, "--speed", "0") as (aws, process, _):
        stage = Stage(aws, aws.client)
        stage.serve()
        stage.config("second")
        stage.sm.update_endpoint(EndpointName="endpoint", EndpointConfigName="second")
        stage.create_job()
        aws.admin.step(100)
        assert stage.described()["SecondaryStatus"] == "Training"
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    with server(tmp_path) as (aws, _, _):
        sm = aws.client("sagemaker")
        assert sm.describe_training_job(TrainingJobName="job")["SecondaryStatus"] == "Training"
        aws.admin.step(300)
        assert sm.describe_training_job(TrainingJobName="job")["TrainingJobStatus"] == "Completed"
        found = sm.describe_endpoint(EndpointName="endpoint")
        assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "second")
        aws.check()


def test_a_job_whose_process_went_down_with_the_server_has_failed_and_says_why(tmp_path: Path) -> None:
    options = ("--speed", "1000", "--runner", "processes", "--runner-options", json.dumps({"images": {"*": ["sleep", "60"]}}))
    with server(tmp_path, *options) as (aws, process, _):
        stage = Stage(aws, aws.client)
        request = stage.job()
        request["AlgorithmSpecification"]["ContainerArguments"] = ["60"]
        stage.sm.create_training_job(**request | {"StoppingCondition": {"MaxRuntimeInSeconds": 86_400}})
        (path,) = wait_for(lambda: list(tmp_path.glob("processes/*/.pid")))
        number = int(path.read_text())
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        assert alive(number)
    with server(tmp_path, *options) as (aws, _, _):
        found = aws.client("sagemaker").describe_training_job(TrainingJobName="job")
        assert found["TrainingJobStatus"] == "Failed"
        assert found["FailureReason"] == "InternalServerError: We encountered an internal error. Please try again."
        assert not alive(number), "the process that was left behind"


def test_it_ends_on_sigterm_and_leaves_no_file_without_an_object(tmp_path: Path) -> None:
    (tmp_path / "objects" / "ab").mkdir(parents=True)
    (tmp_path / "objects" / "ab" / "abandoned").write_bytes(b"half an upload")
    with server(tmp_path) as (_, process, _):
        assert not (tmp_path / "objects" / "ab" / "abandoned").exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def test_an_objects_bytes_go_only_after_its_row_has_gone(tmp_path: Path) -> None:
    world = World(tmp_path, 0, None, Settings())
    world.s3.buckets.put(
        "", "data", {"name": "data", "account": "1", "region": "r", "versioning": "", "configuration": {}, "tags": {}}
    )
    old = world.s3.put_bytes("data", "key", b"old")
    world.store.commit()
    world.s3.put_bytes("data", "key", b"new")
    assert world.s3.path(old.files[0][0]).exists(), "a kill now leaves the old object"
    world.store.commit()
    assert not world.s3.path(old.files[0][0]).exists()
    world.close()


def test_it_starts_in_a_second(tmp_path: Path) -> None:
    with server(tmp_path) as (aws, process, _):
        assert Admin(aws.endpoint_url).call("GET", "health")["status"] == "ready"
        spent = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    # The processor's seconds: those of the wall depend on what else the machine does.
    assert sum(int(ticks) for ticks in spent) / os.sysconf("SC_CLK_TCK") < 2


def test_bedrocks_jobs_and_what_was_bought_go_on_after_a_kill(tmp_path: Path) -> None:
    with server(tmp_path, "--speed", "0") as (aws, process, _):
        shop = Shop(aws, aws.client)
        shop.buy(shop.tuned())
        shop.create("two")
        aws.admin.step(61)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    with server(tmp_path) as (aws, _, _):
        bedrock = aws.client("bedrock")
        assert bedrock.get_provisioned_model_throughput(provisionedModelId="cm_one-provisioned")["status"] == "InService"
        assert bedrock.get_model_customization_job(jobIdentifier="job.two")["status"] == "InProgress"
        aws.admin.step(300)
        assert bedrock.get_model_customization_job(jobIdentifier="job.two")["status"] == "Completed"
        aws.check()
