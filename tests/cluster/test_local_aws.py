"""The local AWS in the cluster: its training jobs are pods that bring their data and take their model away, whatever happens to it."""

from __future__ import annotations

import io
import json
import re
import sys
import tarfile
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from millrace.kube.client import Client
from millrace.kube.resources import PODS
from support import cluster, examples
from support.cluster import eventually

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
Object = dict[str, Any]
ROLE = "arn:aws:iam::111122223333:role/training"
PROGRAM = """
import json, signal, sys, time
def leave(text):
    open("/opt/ml/model/model.txt", "w").write(text)
    sys.exit(0)
signal.signal(signal.SIGTERM, lambda *_: leave("stopped"))
steps = int(json.load(open("/opt/ml/input/config/hyperparameters.json"))["steps"])
for step in range(steps):
    print(f"loss={1 / (step + 1):.3f}", flush=True)
    time.sleep(0.2)
leave(f"trained {steps} steps")
"""


class Aws:
    """A client's view of one account."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.sagemaker, self.s3 = self.client("sagemaker"), self.client("s3")

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": "111122223333", "aws_secret_access_key": "local", "region_name": "us-east-1"}
        brief = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1})
        return boto3.client(service, endpoint_url=self._url, config=brief, **keys)

    def prepare(self) -> None:
        """A role, and a bucket with the program."""
        iam, trust = self.client("iam"), {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}}
        allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
        iam.create_role(RoleName="training", AssumeRolePolicyDocument=policy({**trust, "Action": "sts:AssumeRole"}))
        iam.put_role_policy(RoleName="training", PolicyName="data", PolicyDocument=policy(allowed))
        self.s3.create_bucket(Bucket="data")
        self.s3.put_object(Bucket="data", Key="code/train.py", Body=PROGRAM.encode())

    def train(self, name: str, steps: int) -> None:
        source = {"S3DataType": "S3Prefix", "S3Uri": "s3://data/code/"}
        self.sagemaker.create_training_job(
            TrainingJobName=name,
            RoleArn=ROLE,
            AlgorithmSpecification={
                "TrainingImage": cluster.images().operator,
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["python3", "/opt/ml/input/data/code/train.py"],
                "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
            },
            HyperParameters={"steps": str(steps)},
            InputDataConfig=[{"ChannelName": "code", "DataSource": {"S3DataSource": source}}],
            OutputDataConfig={"S3OutputPath": "s3://data/out"},
            ResourceConfig={"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
            StoppingCondition={"MaxRuntimeInSeconds": 600},
        )

    def job(self, name: str) -> Object:
        """Its description; {} while nobody answers."""
        try:
            return dict(self.sagemaker.describe_training_job(TrainingJobName=name))
        except (BotoCoreError, ClientError):
            return {}

    def model(self, name: str) -> str:
        body = self.s3.get_object(Bucket="data", Key=f"out/{name}/output/model.tar.gz")["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            content = archive.extractfile("model.txt")
            assert content is not None
            return content.read().decode()


def policy(statement: Object) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
async def aws(ns: str) -> Aws:
    """A local AWS in the test's namespace."""
    said = await examples.run(sys.executable, "-m", "millrace.cli.local", "aws", "up", "--namespace", ns, timeout=240)
    told = re.search(r"AWS_ENDPOINT_URL=(\S+)", said)
    assert told is not None
    made = Aws(told[1])
    made.prepare()
    return made


async def reaches(aws: Aws, name: str, **wanted: str) -> Object:
    """The job once it is as wanted."""

    async def check() -> Object | None:
        found = aws.job(name)
        return found if wanted.items() <= found.items() else None

    async def show() -> Object:
        return aws.job(name)

    found: Object = await eventually(check, f"job {name}: {wanted}", timeout=120, show=show)
    return found


async def test_a_job_outlives_its_control_plane_and_one_that_is_stopped_keeps_its_model(
    client: Client, ns: str, aws: Aws
) -> None:
    aws.train("long", 40)
    aws.train("stopped", 3000)
    await reaches(aws, "long", SecondaryStatus="Training")
    await reaches(aws, "stopped", SecondaryStatus="Training")
    (server,) = [p async for p in client.list_objects(PODS, ns, labels="app.kubernetes.io/name=local-aws")]
    await eventually(lambda: running(client, ns, 2), "both containers run", timeout=60)
    await client.delete(PODS, ns, server["metadata"]["name"], grace=0)
    done = await reaches(aws, "long", TrainingJobStatus="Completed")
    assert aws.model("long") == "trained 40 steps"
    assert done["FinalMetricDataList"][0]["Value"] == pytest.approx(0.025)
    aws.sagemaker.stop_training_job(TrainingJobName="stopped")
    await reaches(aws, "stopped", TrainingJobStatus="Stopped")
    assert aws.model("stopped") == "stopped"


async def running(client: Client, ns: str, count: int) -> bool:
    """Whether so many containers of jobs run."""
    pods = [p async for p in client.list_objects(PODS, ns, labels="millrace.dev/local-aws=data-plane")]
    states = [c["state"] for p in pods for c in p["status"].get("containerStatuses", []) if c["name"] == "algo-1"]
    return sum("running" in state for state in states) == count
