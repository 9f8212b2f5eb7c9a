"""Jobs and endpoints that really run: SageMaker's container contract, with programs in place of containers."""

from __future__ import annotations

import gc
import io
import json
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from local_aws_support import refused
from sagemaker_support import IMAGE, Stage

from millrace_local_aws import LocalAws, local_aws

PROGRAM = Path(__file__).parent / "programs/trainer.py"
METRICS = [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]


@pytest.fixture
def aws() -> Iterator[LocalAws]:
    """States pass a hundred times as fast as AWS's; the clock, and with it every limit, is real."""
    images = {"*/trainer:*": [sys.executable, str(PROGRAM)]}
    with local_aws(pace=0.01, runner="processes", runner_options={"images": images}) as made:
        yield made


@pytest.fixture
def stage(aws: LocalAws) -> Stage:
    def client(service: str, **options: Any) -> Any:
        return aws.client(service, config=Config(retries={"total_max_attempts": 1}), **options)

    return Stage(aws, client)


def eventually(look: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The first true answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"within {seconds} seconds there was no {what}")


def job(stage: Stage, **hyperparameters: str) -> dict[str, Any]:
    algorithm = {"TrainingImage": IMAGE, "TrainingInputMode": "File", "MetricDefinitions": METRICS}
    return stage.job(AlgorithmSpecification=algorithm, HyperParameters={"steps": "60"} | hyperparameters)


def finished(stage: Stage, name: str = "job") -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = stage.described(name)
        return found if found["TrainingJobStatus"] in ("Completed", "Failed", "Stopped") else None

    return dict(eventually(look, "end of the job"))


def archived(stage: Stage, key: str) -> dict[str, bytes]:
    body = stage.s3.get_object(Bucket="data", Key=key)["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar.getmembers()}  # type: ignore[union-attr]


def learned(slope: float) -> bytes:
    """A model's archive."""
    body, content = io.BytesIO(), json.dumps({"slope": slope}).encode()
    with tarfile.open(fileobj=body, mode="w:gz") as tar:
        member = tarfile.TarInfo("slope.json")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return body.getvalue()


def lines(stage: Stage, group: str, prefix: str = "") -> list[str]:
    found = stage.logs.filter_log_events(logGroupName=group, **({"logStreamNamePrefix": prefix} if prefix else {}))["events"]
    return [event["message"] for event in found]


def trains(stage: Stage) -> None:
    """Wait until the program has told of some steps."""
    group = "/aws/sagemaker/TrainingJobs"
    eventually(
        lambda: stage.logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"] and len(lines(stage, group)) > 3, "steps"
    )


def test_a_job_learns_from_its_channel_and_an_endpoint_answers_with_what_it_learned(stage: Stage) -> None:
    stage.s3.put_object(Bucket="data", Key="train/rows.csv", Body=b"1,2\n2,4\n3,6\n")
    stage.sm.create_training_job(**job(stage))
    found = finished(stage)
    assert found["TrainingJobStatus"] == "Completed", found.get("FailureReason")
    assert found["FinalMetricDataList"][0]["Value"] < 0.01
    (name, body), *_ = archived(stage, "out/job/output/model.tar.gz").items()
    assert (name, json.loads(body)["slope"]) == ("slope.json", pytest.approx(2, abs=0.05))
    assert archived(stage, "out/job/output/output.tar.gz") == {"report.txt": b"done"}
    log = lines(stage, "/aws/sagemaker/TrainingJobs", "job/")
    assert log[0] == "channels=['train'] hosts=['algo-1'] job=job"
    assert len(log) == 61

    stage.model(ModelDataUrl=found["ModelArtifacts"]["S3ModelArtifacts"])
    stage.config()
    stage.sm.create_endpoint(EndpointName="endpoint", EndpointConfigName="config")
    eventually(lambda: stage.endpoint()["EndpointStatus"] == "InService", "endpoint in service")
    answer = stage.runtime.invoke_endpoint(EndpointName="endpoint", Body=json.dumps({"x": 10}), ContentType="application/json")
    assert json.load(answer["Body"])["y"] == pytest.approx(20, abs=0.5)
    with refused("ModelError") as caught:
        stage.runtime.invoke_endpoint(EndpointName="endpoint", Body=b"{}")
    assert 'Received client error (400) from primary with message "there is no x"' in caught.message
    streamed = stage.runtime.invoke_endpoint_with_response_stream(
        EndpointName="endpoint", Body=json.dumps({"x": 5, "stream": True})
    )
    parts = [event["PayloadPart"]["Bytes"] for event in streamed["Body"]]
    assert b"".join(parts) == b"token-0 token-1 token-2 token-3 token-4 "
    assert len(parts) > 1, "they come as they are made"
    stage.sm.delete_endpoint(EndpointName="endpoint")
    eventually(lambda: stage.sm.list_endpoints()["Endpoints"] == [], "deletion")


def test_a_job_says_itself_why_it_failed(stage: Stage) -> None:
    stage.sm.create_training_job(**job(stage, fail="ValueError: row 3 has no label"))
    found = finished(stage)
    assert found["FailureReason"] == "AlgorithmError: ValueError: row 3 has no label, exit code: 3"


def test_an_image_that_nobody_has_fails_the_job(stage: Stage) -> None:
    request = job(stage)
    request["AlgorithmSpecification"]["TrainingImage"] = "somewhere/else:1"
    stage.sm.create_training_job(**request)
    assert "Cannot pull image somewhere/else:1" in finished(stage)["FailureReason"]


def test_a_stopped_job_gets_sigterm_and_keeps_its_model(stage: Stage) -> None:
    stage.sm.create_training_job(**job(stage, steps="100000", pause="0.01"))
    eventually(lambda: stage.described()["SecondaryStatus"] == "Training", "training")
    trains(stage)
    stage.sm.stop_training_job(TrainingJobName="job")
    assert finished(stage)["TrainingJobStatus"] == "Stopped"
    assert archived(stage, "out/job/output/output.tar.gz") == {"report.txt": b"stopped"}


def test_an_interrupted_spot_job_goes_on_from_its_checkpoint(stage: Stage) -> None:
    stage.plan("training", "interrupt", after=9000)
    request = job(stage, steps="120", pause="0.02") | {
        "EnableManagedSpotTraining": True,
        "StoppingCondition": {"MaxRuntimeInSeconds": 86400, "MaxWaitTimeInSeconds": 172800},
        "CheckpointConfig": {"S3Uri": "s3://data/checkpoints/job"},
    }
    stage.sm.create_training_job(**request)
    trains(stage)
    stage.aws.admin.step(9000)
    found = finished(stage)
    assert found["TrainingJobStatus"] == "Completed", found.get("FailureReason")
    assert [one["Status"] for one in found["SecondaryStatusTransitions"]].count("Interrupted") == 1
    state = json.loads(archived(stage, "out/job/output/model.tar.gz")["slope.json"])
    assert (state["step"], state["resumed"]) == (120, 1)
    assert json.loads(stage.s3.get_object(Bucket="data", Key="checkpoints/job/state.json")["Body"].read())["step"] == 120


def test_a_server_that_ends_gives_back_pipes_that_others_hold() -> None:
    """A child that a container leaves behind keeps its pipe open. The garbage collector finds what is not given back; its
    warning fails the test."""
    images = {"*/trainer:*": [sys.executable, str(PROGRAM)]}
    with local_aws(pace=0.01, runner="processes", runner_options={"images": images}) as made:
        stage = Stage(made, made.client)
        stage.s3.put_object(Bucket="data", Key="model.tar.gz", Body=learned(2.0))
        stage.model(ModelDataUrl="s3://data/model.tar.gz", Environment={"LEAVE_A_CHILD": "5"})
        stage.config()
        stage.sm.create_endpoint(EndpointName="endpoint", EndpointConfigName="config")
        eventually(lambda: stage.endpoint()["EndpointStatus"] == "InService", "endpoint in service")
        stage.sm.delete_endpoint(EndpointName="endpoint")
    gc.collect()


def test_a_container_that_ends_before_it_answers_fails_its_endpoint(stage: Stage) -> None:
    stage.model(Environment={"REFUSE": "1"})
    stage.config()
    stage.sm.create_endpoint(EndpointName="endpoint", EndpointConfigName="config")
    eventually(lambda: stage.endpoint()["EndpointStatus"] == "Failed", "failure")
    assert stage.endpoint()["FailureReason"].startswith(
        "The primary container for production variant AllTraffic did not pass the ping"
    )
    assert lines(stage, "/aws/sagemaker/Endpoints/endpoint") == ["I will not serve"]


def test_an_update_with_a_container_that_fails_leaves_the_old_one_answering(stage: Stage) -> None:
    stage.s3.put_object(Bucket="data", Key="train/rows.csv", Body=b"1,2\n2,4\n3,6\n")
    stage.sm.create_training_job(**job(stage))
    stage.model(ModelDataUrl=finished(stage)["ModelArtifacts"]["S3ModelArtifacts"])
    stage.config()
    stage.sm.create_endpoint(EndpointName="endpoint", EndpointConfigName="config")
    eventually(lambda: stage.endpoint()["EndpointStatus"] == "InService", "endpoint in service")
    stage.model("broken", Environment={"REFUSE": "1"})
    stage.config("second", model="broken")
    stage.sm.update_endpoint(EndpointName="endpoint", EndpointConfigName="second")
    eventually(lambda: stage.endpoint()["EndpointStatus"] == "InService", "rollback")
    found = stage.endpoint()
    assert found["EndpointConfigName"] == "config"
    assert "did not pass the ping" in found["FailureReason"]
    answer = stage.runtime.invoke_endpoint(EndpointName="endpoint", Body=json.dumps({"x": 1}))
    assert json.load(answer["Body"])["y"] == pytest.approx(2, abs=0.1)


def test_what_runs_beside_a_container_in_a_pod_brings_inputs_and_takes_results(tmp_path: Path) -> None:
    import os
    import subprocess

    from millrace_local_aws.dataplane import contract
    from millrace_local_aws.dataplane.manifests import Placement, training
    from millrace_local_aws.dataplane.pod import Pod
    from millrace_local_aws.dataplane.runner import Channel, TrainingTask

    channel = Channel("train", "data", "train/", {"TrainingInputMode": "File"})
    task = TrainingTask(
        "123456789012/us-east-1/job/1",
        "job",
        "123456789012",
        "us-east-1",
        IMAGE,
        (),
        (),
        {},
        {"steps": "5"},
        "ml.g5.xlarge",
        1,
        (channel,),
        ("data", "out/job"),
        ("data", "kept", "/opt/ml/checkpoints"),
    )
    with local_aws() as aws:
        s3 = aws.client("s3")
        s3.create_bucket(Bucket="data")
        s3.put_object(Bucket="data", Key="train/deep/rows.csv", Body=b"1,2\n")
        place = Placement("default", "local-aws:1", aws.endpoint_url, {"*": {"image": "trainer:1", "command": ["run"]}})
        spec = training(place, task)["spec"]["template"]["spec"]
        told = {one["name"]: one["value"] for one in spec["initContainers"][0]["env"]}
        pod = Pod(json.loads(told["MILLRACE_TASK"]), told["MILLRACE_LOCAL_AWS"], tmp_path)
        pod.prepare()
        environment = os.environ | contract.training_environment(tmp_path, task)
        subprocess.run([sys.executable, str(PROGRAM), "train"], env=environment, check=True, capture_output=True, timeout=60)
        pod.collect()
        keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket="data")["Contents"]]
        assert keys == ["kept/state.json", "out/job/output/model.tar.gz", "out/job/output/output.tar.gz", "train/deep/rows.csv"]


def test_a_pods_manifest_runs_what_the_image_map_says_without_privileges() -> None:
    from millrace_local_aws.dataplane.manifests import MAIN, Placement, serving
    from millrace_local_aws.dataplane.runner import EndpointTask

    place = Placement("default", "local-aws:1", "http://local-aws:4566", {"*/trainer:*": "ours/trainer:2"})
    task = EndpointTask(
        "a/r/e/1/v", "e", "v", "123456789012", "us-east-1", IMAGE, {"K": "1"}, ("data", "m.tar.gz"), "ml.g5.xlarge"
    )
    spec = serving(place, task)["spec"]["template"]["spec"]
    (main,) = spec["containers"]
    assert (main["name"], main["image"], main["args"], "command" in main) == (MAIN, "ours/trainer:2", ["serve"], False)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert main["readinessProbe"]["httpGet"] == {"path": "/ping", "port": 8080}


def test_an_archive_that_would_write_elsewhere_is_refused(tmp_path: Path) -> None:
    from millrace_local_aws.dataplane.contract import unpack
    from millrace_local_aws.dataplane.scripted import archive

    (tmp_path / "bad.tar.gz").write_bytes(archive({"../outside": b"x"}))
    with pytest.raises(ValueError, match="lies outside"):
        unpack(tmp_path / "bad.tar.gz", tmp_path / "in")
    (tmp_path / "good.tar.gz").write_bytes(archive({"deep/file": b"x"}))
    unpack(tmp_path / "good.tar.gz", tmp_path / "in")
    assert (tmp_path / "in/deep/file").read_bytes() == b"x"
    assert not (tmp_path / "outside").exists()
