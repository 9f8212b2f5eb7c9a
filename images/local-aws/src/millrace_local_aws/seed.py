"""What an account finds in AWS and a new local AWS lacks: JumpStart's public hub, its bucket, a product of the Marketplace that
the account has subscribed to, roles for SageMaker, Comprehend and Bedrock to assume, and one for the pods of the cluster that it
runs in. Bedrock's foundation models are there without it.

A client's work, through the API: what is there already stays as it is.
"""

from __future__ import annotations

import base64
import contextlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

from millrace_local_aws.run import LocalAws

ROLE = "sagemaker-serving"
TRAINING_ROLE = "sagemaker-training"
CLASSIFIER_ROLE = "comprehend-data"
CUSTOMIZATION_ROLE = "BedrockCM-data"
POD_ROLE = "millrace-pods"
SELLER = "999999999999"
TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_AUDIENCE = "sts.amazonaws.com"
_SERVICE = {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
_COMPREHEND = {"Effect": "Allow", "Principal": {"Service": "comprehend.amazonaws.com"}, "Action": "sts:AssumeRole"}
_READS = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
_WRITES = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket", "s3:PutObject"], "Resource": "*"}
_HUB = "SageMakerPublicHub"


def seed(endpoint_url: str, account: str, region: str = "us-east-1", token: Path = TOKEN) -> None:
    """All of it, for one account and region; a second time changes nothing."""
    aws = LocalAws(endpoint_url)
    iam, sagemaker = aws.client("iam", account=account, region=region), aws.client("sagemaker", account=account, region=region)
    _role(iam, ROLE, _SERVICE, _READS)
    _role(iam, TRAINING_ROLE, _SERVICE, _WRITES)
    _role(iam, CLASSIFIER_ROLE, _COMPREHEND, _WRITES)
    _role(iam, CUSTOMIZATION_ROLE, _for_jobs(account, region), _WRITES)
    if token.exists():
        _pods(iam, issuer(token.read_text()))
    for content in contents():
        _artifacts(aws.client("s3", account=account, region=region), content["HubContentDocument"]["HostingArtifactUri"])
        _publish(aws, sagemaker, content, region)
    for offer in documents("marketplace"):
        _offer(aws, sagemaker, offer, account, region)


def _for_jobs(account: str, region: str) -> dict[str, Any]:
    """Trust in Bedrock, for this account's customization jobs alone."""
    jobs = f"arn:aws:bedrock:{region}:{account}:model-customization-job/*"
    condition = {"StringEquals": {"aws:SourceAccount": account}, "ArnEquals": {"aws:SourceArn": jobs}}
    principal = {"Service": "bedrock.amazonaws.com"}
    return {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole", "Condition": condition}


def contents() -> list[dict[str, Any]]:
    """The hub's models, as ImportHubContent takes them, with the document as an object."""
    return documents("jumpstart")


def documents(folder: str) -> list[dict[str, Any]]:
    """What lies in a folder of this package."""
    files = (resources.files(__package__) / folder).iterdir()
    return [json.loads(file.read_text()) for file in sorted(files, key=lambda file: file.name)]


def issuer(token: str) -> str:
    """Who signs the tokens of the cluster's ServiceAccounts, as the local AWS's own says."""
    body = token.split(".")[1]
    return str(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["iss"])


def _pods(iam: Any, url: str) -> None:
    """Every ServiceAccount of the cluster may be the role of pods: nothing is private to a namespace here."""
    name = url.removeprefix("https://")
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_open_id_connect_provider(Url=url, ClientIDList=[_AUDIENCE])
    known = (one["Arn"] for one in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"])
    arn = next(one for one in known if one.endswith(f":oidc-provider/{name}"))
    trust = {
        "Effect": "Allow",
        "Principal": {"Federated": arn},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringEquals": {f"{name}:aud": _AUDIENCE}},
    }
    _role(iam, POD_ROLE, trust, _WRITES)


def _role(iam: Any, name: str, trust: dict[str, Any], allowed: dict[str, Any]) -> None:
    """One that is there stays as it is, with the policies that it has; one without any was not finished."""
    with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=_policy(trust))
    if not iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.put_role_policy(RoleName=name, PolicyName="data", PolicyDocument=_policy(allowed))


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


def _offer(aws: LocalAws, sagemaker: Any, offer: dict[str, Any], account: str, region: str) -> None:
    """Of a vendor; the account has subscribed to it."""
    arn = f"arn:aws:sagemaker:{region}:{SELLER}:algorithm/{offer['request']['AlgorithmName']}"
    try:
        sagemaker.describe_algorithm(AlgorithmName=arn)
    except sagemaker.exceptions.ClientError:
        aws.admin.publish_algorithm(offer["request"], offer["product"], seller=SELLER, region=region)
        aws.admin.subscribe(offer["product"], account)


def _publish(aws: LocalAws, sagemaker: Any, content: dict[str, Any], region: str) -> None:
    which = {"HubName": _HUB, "HubContentType": "Model", "HubContentName": content["HubContentName"]}
    try:
        sagemaker.describe_hub_content(**which, HubContentVersion=content["HubContentVersion"])
    except sagemaker.exceptions.ResourceNotFound:
        aws.admin.publish_model(content, region)
