"""A TrainingJob on a local SageMaker, pass by pass, as the engine makes them and writes what they say."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from millrace.aws.cloud import Cloud
from millrace.engine import conditions
from millrace.engine.cache import Key
from millrace_controllers.trainingjob import CONTROLLER
from support.aws import ACCOUNT, a_cloud, cloud_account, make_execution_role
from support.passes import Passes

if TYPE_CHECKING:
    from millrace_local_aws import LocalAws

Object = dict[str, Any]
UID = "0a1b2c3d-0000-4000-8000-000000000000"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/sagemaker"


def prepare(aws: LocalAws) -> None:
    """A bucket, data, and an execution role."""
    make_execution_role(aws, "sagemaker", "*")
    s3 = aws.client("s3", account=ACCOUNT)
    s3.create_bucket(Bucket="data")
    s3.put_object(Bucket="data", Key="train/a.csv", Body=b"1,2\n")


class World(Passes):
    """One TrainingJob and its account."""

    controller = CONTROLLER

    def __init__(self, aws: LocalAws, cloud: Cloud, uid: str = UID, **spec: Any) -> None:
        super().__init__(cloud)
        self.aws = aws
        self.woken: list[Key] = []
        cloud.wake = self.woken.append
        self.account = cloud_account(namespace="team-a")
        self.cache.put("cloudaccounts", {**self.account, "metadata": {**self.account["metadata"], "resourceVersion": "1"}})
        job = {
            "algorithm": {"image": "repo/x:1"},
            "roleARN": ROLE,
            "instanceTypes": ["ml.g5.2xlarge"],
            **spec.pop("sageMaker", {}),
        }
        self.object = {
            "apiVersion": "millrace.dev/v1alpha1",
            "kind": "TrainingJob",
            "metadata": {"name": "gpt", "namespace": "team-a", "uid": uid, "generation": 1},
            "spec": {
                "inputs": [{"name": "train", "uri": "s3://data/train/"}],
                "output": {"uri": "s3://data/models"},
                "sageMaker": job,
                **spec,
            },
            "status": {},
        }

    def step(self, seconds: float) -> None:
        self.aws.admin.step(seconds)
        self.clock.advance(seconds)

    async def until(self, reason: str, passes: int = 30) -> None:
        """Passes with a minute between them."""
        for _ in range(passes):
            await self.once()
            if self.reason == reason:
                return
            self.step(60)
        raise AssertionError(f"{reason} was not reached: {self.told}")

    @property
    def reason(self) -> str:
        return str((conditions.find(self.told.get("conditions"), "Succeeded") or {}).get("reason"))

    def jobs(self) -> dict[str, str]:
        found = self.aws.client("sagemaker", account=ACCOUNT).list_training_jobs()["TrainingJobSummaries"]
        return {j["TrainingJobName"]: j["TrainingJobStatus"] for j in sorted(found, key=lambda j: j["TrainingJobName"])}

    def plan(self, effect: str, **plan: Any) -> None:
        self.aws.admin.plan("training", effect, **plan)


@contextlib.asynccontextmanager
async def a_world(still: LocalAws, **spec: Any) -> AsyncIterator[World]:
    async with a_cloud(still) as cloud:
        yield World(still, cloud, **spec)
