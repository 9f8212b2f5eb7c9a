"""Accounts of a local AWS, as passes get them, without a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

from millrace.aws.cloud import Cloud
from millrace.aws.settings import AwsSettings
from millrace.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from millrace.aws.account import Account

Object = dict[str, Any]
ACCOUNT = "111122223333"
CLUSTER = "0d9c2f1e-cluster"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/millrace"


def trust_policy(external_id: str, account: str = ACCOUNT) -> str:
    """Lets the operator's own account in, with this external id only."""
    condition = {"StringEquals": {"sts:ExternalId": external_id}}
    principal = {"AWS": f"arn:aws:iam::{account}:root"}
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", "Condition": condition}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def allowing(*actions: str) -> str:
    """A policy that allows these actions everywhere."""
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def make_role(
    aws: Any, name: str = "millrace", *, external_id: str = f"{CLUSTER}/team", actions: tuple[str, ...] = ("*",)
) -> str:
    """A role that trusts the external id; gives its ARN."""
    iam = aws.client("iam", account=ACCOUNT)
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust_policy(external_id))
    if actions:
        iam.put_role_policy(RoleName=name, PolicyName="allowed", PolicyDocument=allowing(*actions))
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def make_execution_role(aws: Any, name: str, *actions: str) -> str:
    """A role that SageMaker may assume; gives its ARN."""
    iam = aws.client("iam", account=ACCOUNT)
    trust = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)
    iam.put_role_policy(RoleName=name, PolicyName="allowed", PolicyDocument=allowing(*actions))
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


def cloud_account(name: str = "default", namespace: str = "team", *, ready: bool = True, **spec: Any) -> Object:
    """A CloudAccount as the API server gives it."""
    conditions = [{"type": "Ready", "status": "True", "reason": "Authenticated", "message": "", "observedGeneration": 1}]
    return {
        "apiVersion": "millrace.dev/v1alpha1",
        "kind": "CloudAccount",
        "metadata": {"name": name, "namespace": namespace, "uid": "0a1b2c3d-0000-4000-8000-000000000000", "generation": 1},
        "spec": {"region": "us-east-1", **spec},
        "status": {"accountID": ACCOUNT, "conditions": conditions} if ready else {},
    }


@contextlib.asynccontextmanager
async def a_cloud(aws: Any, **settings: Any) -> AsyncIterator[Cloud]:
    """All accounts of one replica, with calls going to a local AWS."""
    made = AwsSettings(endpoint_url=aws.endpoint_url, threads=8, **settings)
    async with Cloud(made, Metrics(), time.monotonic, cluster_id=CLUSTER) as cloud:
        yield cloud


def account_of(cloud: Cloud, obj: Object) -> Account:
    """The account that a CloudAccount stands for."""
    return cloud.account(obj["metadata"]["namespace"], obj["metadata"]["name"], lambda _plural, _name: obj)


async def until(holds: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait for something that other tasks bring about."""
    try:
        async with asyncio.timeout(seconds):
            while not holds():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited {seconds:g} s for: {what}") from None
