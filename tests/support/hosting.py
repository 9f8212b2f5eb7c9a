"""One ModelEndpoint on SageMaker, pass by pass against a local AWS: no cluster, and a clock that the test steps."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from millrace.aws import account as accounts
from millrace.aws.cloud import Cloud
from millrace.engine import conditions
from millrace_controllers.modelendpoint import CONTROLLER
from support.aws import ACCOUNT, a_cloud, cloud_account, make_execution_role, make_role
from support.clock import FakeClock
from support.passes import Passes

if TYPE_CHECKING:
    from millrace_local_aws import LocalAws

Object = dict[str, Any]
SERVING_ROLE = f"arn:aws:iam::{ACCOUNT}:role/serving"
IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/serve:1"
FIRST, SECOND = "ml.g5.12xlarge", "ml.g5.24xlarge"
FALCON: Object = {
    "Url": "https://huggingface.co/tiiuae/falcon-11B",
    "Task": "llm",
    "License": "TII Falcon License 2.0",
    "HostingEcrUri": IMAGE,
    "HostingArtifactUri": "s3://jumpstart/falcon2/",
    "HostingArtifactS3DataType": "S3Prefix",
    "HostingArtifactCompressionType": "None",
    "DefaultInferenceInstanceType": FIRST,
    "SupportedInferenceInstanceTypes": [FIRST, SECOND, "ml.g5.48xlarge", "ml.p4d.24xlarge"],
    "HostingInstanceTypeVariants": {
        "Variants": {
            FIRST: {"Properties": {"EnvironmentVariables": {"SM_NUM_GPUS": "4"}}},
            SECOND: {"Properties": {"EnvironmentVariables": {"SM_NUM_GPUS": "4"}}},
        }
    },
    "GatedBucket": False,
    "DefaultPayloads": {"hello": {"ContentType": "application/json", "Body": {"inputs": "Hello"}}},
}


class Killed(BaseException):
    """The operator ended at a call."""


def stage(aws: LocalAws) -> None:
    """What an account has before anybody serves: roles, a bucket with a model, the hub's card, quotas, and an answer."""
    make_role(aws)
    make_execution_role(aws, "serving", "s3:*")
    s3 = aws.client("s3", account=ACCOUNT)
    for bucket, key in (("models", "m.tar.gz"), ("models", "n.tar.gz"), ("jumpstart", "falcon2/weights")):
        with contextlib.suppress(s3.exceptions.BucketAlreadyOwnedByYou):
            s3.create_bucket(Bucket=bucket)
        s3.put_object(Bucket=bucket, Key=key, Body=b"model")
    publish(aws, "1.0.0")
    for type_ in (FIRST, SECOND):
        quota(aws, type_, 4)
    answers(aws, "positive")


def publish(aws: LocalAws, version: str, **change: Any) -> None:
    """A version of the hub's model."""
    document = {**FALCON, **change}
    aws.admin.publish_model({"HubContentName": "falcon2", "HubContentVersion": version, "HubContentDocument": document})


def quota(aws: LocalAws, instance_type: str, value: int) -> None:
    aws.admin.set_quota("endpoint", instance_type, value, account=ACCOUNT)


def answers(aws: LocalAws, body: str) -> None:
    """What containers answer from now on."""
    aws.admin.plan("endpoint", "script", answer={"body": body}, times=None)


class AwsClock(FakeClock):
    """The time that the local AWS has."""

    def __init__(self, aws: LocalAws) -> None:
        super().__init__()
        self._aws = aws

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._aws.admin.now(), UTC)


class World(Passes):
    """One endpoint."""

    controller = CONTROLLER

    def __init__(self, aws: LocalAws, cloud: Cloud, uid: str = "0a1b2c3d-0000-4000-8000-000000000000", **spec: Any) -> None:
        super().__init__(cloud)
        self.aws = aws
        self.cache.put("cloudaccounts", cloud_account(roleARN=f"arn:aws:iam::{ACCOUNT}:role/millrace"))
        base: Object = {
            "model": {"uri": "s3://models/m.tar.gz"},
            "sageMaker": {"roleARN": SERVING_ROLE, "image": IMAGE, "instanceTypes": [FIRST, SECOND]},
            "probe": {"request": {"body": {"inputs": "x"}}, "expect": {"contains": "positive"}},
        }
        self.object = {
            "apiVersion": "millrace.dev/v1alpha1",
            "kind": "ModelEndpoint",
            "metadata": {"name": "falcon", "namespace": "team", "uid": uid, "generation": 1},
            "spec": {key: value for key, value in {**base, **spec}.items() if value is not None},
            "status": {},
        }

    async def until(self, reason: str, passes: int = 40, seconds: float = 60.0) -> Object:
        """Passes, with time between them, until Ready has a reason."""
        for _ in range(passes):
            await self.once()
            if self.said()[1] == reason:
                return self.told
            self.aws.admin.step(seconds)
        raise AssertionError(f"{reason} was not reached: {self.said()}")

    async def gone(self, passes: int = 20) -> None:
        """Passes of the deletion until the object is let go."""
        for _ in range(passes):
            await self.once(finalize=True)
            if self.released:
                return
            self.aws.admin.step(60)
        raise AssertionError(f"it is not let go: {self.said()}")

    def said(self, type_: str = "Ready") -> tuple[str, str, str]:
        found = conditions.find(self.object["status"].get("conditions"), type_)
        return (found["status"], found["reason"], found["message"]) if found else ("", "", "")

    @property
    def hosted(self) -> Object:
        return dict(self.object["status"].get("sageMaker") or {})

    def left(self) -> dict[str, list[str]]:
        """Names of all that SageMaker has."""
        client = self.aws.client("sagemaker", account=ACCOUNT)
        return {
            "endpoints": [e["EndpointName"] for e in client.list_endpoints()["Endpoints"]],
            "configs": sorted(c["EndpointConfigName"] for c in client.list_endpoint_configs()["EndpointConfigs"]),
            "models": sorted(m["ModelName"] for m in client.list_models()["Models"]),
        }


@contextlib.asynccontextmanager
async def a_world(aws: LocalAws, **spec: Any) -> AsyncIterator[World]:
    """A staged account and one object in it."""
    stage(aws)
    async with a_cloud(aws) as cloud:
        yield World(aws, cloud, **spec)


@contextlib.contextmanager
def killed(at: int, *, after: bool, monkeypatch: Any) -> Iterator[Callable[[], int]]:
    """End the operator at its n-th call that changes something, before or after it was carried out."""
    changes, made = ("Create", "Update", "Delete", "Put", "Register", "Add"), 0
    real = accounts.Account.call

    async def call(self: Any, service: str, operation: str, **parameters: Any) -> Any:
        nonlocal made
        hit = operation.startswith(changes)
        made += hit
        if hit and made == at and not after:
            raise Killed
        answer = await real(self, service, operation, **parameters)
        if hit and made == at and after:
            raise Killed
        return answer

    with monkeypatch.context() as patched:
        patched.setattr(accounts.Account, "call", call)
        yield lambda: made
