"""A local AWS as a process of its own, so that it shares no thread with the operator that is measured."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SOURCE = Path(__file__).parents[1] / "images/local-aws/src"
sys.path.insert(0, str(_SOURCE))

from millrace_local_aws import LocalAws  # noqa: E402

Object = dict[str, Any]
ACCOUNT = "111122223333"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/sagemaker"
MACHINE = "ml.g5.2xlarge"
_TRUST = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
_START_SECONDS, _END_SECONDS = 30, 10


@dataclass(frozen=True)
class Aws:
    """One account of it. Its calls block: they are made on threads."""

    local: LocalAws

    @property
    def environment(self) -> dict[str, str]:
        """Of an operator that is this account's root."""
        return {
            "AWS_ENDPOINT_URL": self.local.endpoint_url,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    async def admin(self, call: str, *given: Any, **named: Any) -> Any:
        """A call of the admin API."""
        return await asyncio.to_thread(getattr(self.local.admin, call), *given, **named)

    async def jobs(self) -> list[Object]:
        """Records of all training jobs."""
        kind = "sagemaker.training-job"
        return [row["record"] for row in (await self.admin("state", kind))[kind]]

    async def requests(self) -> dict[str, int]:
        """Requests so far, by service.operation.code."""
        return dict((await self.admin("counters"))["requests"])

    async def stop(self, job: str) -> None:
        """As somebody at the console would."""
        await asyncio.to_thread(self.local.client("sagemaker", account=ACCOUNT).stop_training_job, TrainingJobName=job)


@contextlib.asynccontextmanager
async def local_aws(**durations: float) -> AsyncIterator[Aws]:
    """With a role, a bucket with data, and instances for everybody; `durations` are seconds of a training job's states."""
    states = {f"sagemaker.training/{state}": seconds for state, seconds in durations.items()}
    command = ("-m", "millrace_local_aws", "serve", "--port", "0", "--durations", json.dumps(states))
    environment = {**os.environ, "PYTHONPATH": str(_SOURCE)}
    with Path(__file__).with_name("local-aws.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        try:
            aws = Aws(LocalAws(await asyncio.wait_for(_address(process), _START_SECONDS)))
            await asyncio.to_thread(_furnish, aws.local)
            yield aws
        finally:
            await _ended(process)


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    said = (await process.stdout.readline()).decode()
    if not said.startswith("ready on "):
        raise RuntimeError(f"the local AWS did not start, see bench/local-aws.log: {said!r}")
    return said.removeprefix("ready on ").strip()


async def _ended(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), _END_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


def _furnish(aws: LocalAws) -> None:
    client: Callable[[str], Any] = lambda service: aws.client(service, account=ACCOUNT)  # noqa: E731
    trust = json.dumps({"Version": "2012-10-17", "Statement": [_TRUST]})
    client("iam").create_role(RoleName="sagemaker", AssumeRolePolicyDocument=trust)
    client("s3").create_bucket(Bucket="data")
    client("s3").put_object(Bucket="data", Key="train/a.csv", Body=b"1,2\n")
    aws.admin.set_quota("training", MACHINE, 100_000, account=ACCOUNT)
