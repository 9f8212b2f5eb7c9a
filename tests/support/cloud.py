"""A local AWS in a test's namespace on the real cluster, the operator of the chart that takes it for AWS, and AWS's own client."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from millrace.kube.client import Client
from millrace.kube.resources import PODS
from support import examples, releases
from support.cluster import eventually

ACCOUNT = "111122223333"
_DATA_PLANE = "millrace.dev/local-aws=data-plane"
NOTHING: dict[str, list[str]] = {"endpoints": [], "configurations": [], "models": [], "packages": [], "running jobs": []}


@dataclass(frozen=True)
class Aws:
    """A client's view of the local AWS."""

    url: str

    def client(self, service: str) -> Any:
        keys = {"aws_access_key_id": ACCOUNT, "aws_secret_access_key": "local", "region_name": "us-east-1"}
        patient = Config(read_timeout=120, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
        return boto3.client(service, endpoint_url=self.url, config=patient, **keys)

    def left(self) -> dict[str, list[str]]:
        """Names of what bills, or could."""
        sagemaker = self.client("sagemaker")
        running = sagemaker.list_training_jobs(StatusEquals="InProgress")["TrainingJobSummaries"]
        return {
            "endpoints": [e["EndpointName"] for e in sagemaker.list_endpoints()["Endpoints"]],
            "configurations": [c["EndpointConfigName"] for c in sagemaker.list_endpoint_configs()["EndpointConfigs"]],
            "models": [m["ModelName"] for m in sagemaker.list_models()["Models"]],
            "packages": [p["ModelPackageName"] for p in sagemaker.list_model_packages()["ModelPackageSummaryList"]],
            "running jobs": [job["TrainingJobName"] for job in running],
        }


@contextlib.asynccontextmanager
async def local_aws(ns: str, folder: Path) -> AsyncIterator[Aws]:
    """Both, until the end of the block; `folder` is for files."""
    values = folder / "values.json"
    values.write_text(await _local("aws", "values", "--namespace", ns))
    async with asyncio.TaskGroup() as starting, contextlib.AsyncExitStack() as stack:
        up = starting.create_task(_local("aws", "up", "--namespace", ns))
        await stack.enter_async_context(releases.installed(ns, files=(values,)))
        told = re.search(r"AWS_ENDPOINT_URL=(\S+)", await up)
        assert told is not None
        yield Aws(told[1])


async def _local(*arguments: str) -> str:
    return await examples.run(sys.executable, "-m", "millrace.cli.local", *arguments, timeout=240)


async def nothing_runs(client: Client, ns: str) -> None:
    """No container of the local AWS's data plane is left."""

    async def data_plane() -> list[str]:
        pods = client.list_objects(PODS, ns, labels=_DATA_PLANE)
        return [p["metadata"]["name"] async for p in pods if p["status"].get("phase") not in {"Succeeded", "Failed"}]

    async def empty() -> bool:
        return not await data_plane()

    await eventually(empty, "no container is left", timeout=60, show=data_plane)
