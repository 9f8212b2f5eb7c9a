"""What an account finds in AWS and a new local AWS lacks: JumpStart's public hub, its bucket, and a role for SageMaker to assume.

A client's work, through the API: what is there already stays as it is.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any

from millrace_local_aws.run import LocalAws

ROLE = "sagemaker-serving"
_SERVICE = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
_READS = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
_HUB = "SageMakerPublicHub"


def seed(endpoint_url: str, account: str, region: str = "us-east-1") -> None:
    """All of it, for one account and region; a second time changes nothing."""
    aws = LocalAws(endpoint_url)
    _role(aws.client("iam", account=account, region=region))
    for content in contents():
        _artifacts(aws.client("s3", account=account, region=region), content["HubContentDocument"]["HostingArtifactUri"])
        _publish(aws, aws.client("sagemaker", account=account, region=region), content, region)


def contents() -> list[dict[str, Any]]:
    """The hub's models, as ImportHubContent takes them, with the document as an object."""
    files = (resources.files(__package__) / "jumpstart").iterdir()
    return [json.loads(file.read_text()) for file in sorted(files, key=lambda file: file.name)]


def _role(iam: Any) -> None:
    try:
        iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=_policy(_SERVICE))
        iam.put_role_policy(RoleName=ROLE, PolicyName="reads-models", PolicyDocument=_policy(_READS))
    except iam.exceptions.EntityAlreadyExistsException:
        pass


def _policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _artifacts(s3: Any, uri: str) -> None:
    """The prefix as an empty folder: the weights are in the image that runs in place of JumpStart's."""
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    try:
        s3.head_bucket(Bucket=bucket)
    except s3.exceptions.ClientError:
        s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key=prefix, Body=b"")


def _publish(aws: LocalAws, sagemaker: Any, content: dict[str, Any], region: str) -> None:
    which = {"HubName": _HUB, "HubContentType": "Model", "HubContentName": content["HubContentName"]}
    try:
        sagemaker.describe_hub_content(**which, HubContentVersion=content["HubContentVersion"])
    except sagemaker.exceptions.ResourceNotFound:
        aws.admin.publish_model(content, region)
