"""Managed policies with versions, the few of AWS's own that users attach, and the simulator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from millrace_local_aws.access.authorize import identity_documents, role_principal
from millrace_local_aws.access.policies import Question, evaluate, parsed
from millrace_local_aws.access.principals import Principal
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.iam import common
from millrace_local_aws.services.iam.common import IAM
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError

if TYPE_CHECKING:
    from millrace_local_aws.world import World

# What AWS's own policies allow, as far as services here ask. The conditions of the real ones are left out.
AWS_POLICIES = {
    "AdministratorAccess": ["*"],
    "AmazonS3FullAccess": ["s3:*"],
    "AmazonS3ReadOnlyAccess": ["s3:Get*", "s3:List*"],
    "AmazonSQSFullAccess": ["sqs:*"],
    "AmazonEventBridgeFullAccess": ["events:*"],
    "CloudWatchLogsFullAccess": ["logs:*"],
    "AmazonSageMakerFullAccess": [
        "sagemaker:*",
        "application-autoscaling:*",
        "logs:*",
        "cloudwatch:*",
        "s3:*",
        "servicequotas:Get*",
    ],
    "AmazonSageMakerReadOnly": ["sagemaker:Describe*", "sagemaker:List*"],
}


def install(world: World) -> None:
    """AWS's own policies are in every account."""
    table = world.store.table("iam.policy")
    for name, actions in AWS_POLICIES.items():
        arn = f"arn:aws:iam::aws:policy/{name}"
        document = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]})
        if table.get("", arn) is None:
            table.put("", arn, _record(arn, "/", name, document, world.clock.wall(), {}))


def _record(arn: str, path: str, name: str, document: str, now: float, tags: dict[str, str]) -> Record:
    created = float(int(now))
    return {
        "Arn": arn,
        "Path": path,
        "PolicyName": name,
        "PolicyId": common.new_id("ANPA"),
        "DefaultVersionId": "v1",
        "CreateDate": created,
        "UpdateDate": created,
        "tags": tags,
        "count": 1,
        "versions": {"v1": {"document": document, "created": created}},
    }


def view(call: Call, record: Record) -> dict[str, Any]:
    shown = {name: value for name, value in record.items() if name not in ("tags", "versions", "count")}
    users = sum(record["Arn"] in rows for rows in call.world.store.table("iam.attached").rows.values())
    return shown | {"IsAttachable": True, "AttachmentCount": users, "PermissionsBoundaryUsageCount": 0}


def _policy(call: Call, arn: str) -> Record:
    found = call.world.store.table("iam.policy").get("", arn)
    if found is None or arn.split(":")[4] not in ("aws", call.account):
        raise AwsError("NoSuchEntity", f"Policy {arn} was not found.", 404)
    return found


def policy_arn(call: Call, request: Input) -> str:
    return str(request.get("PolicyArn") or f"arn:aws:iam::{call.account}:policy/{request.get('PolicyName')}")


@IAM.operation("CreatePolicy", resource=policy_arn)
def create_policy(call: Call, request: Input) -> dict[str, Any]:
    path, name = request.get("Path", "/"), request["PolicyName"]
    arn = f"arn:aws:iam::{call.account}:policy{path}{name}"
    table = call.world.store.table("iam.policy")
    if table.get("", arn):
        raise AwsError("EntityAlreadyExists", f"A policy called {name} already exists. Duplicate names are not allowed.", 409)
    parsed(request["PolicyDocument"])
    record = _record(arn, path, name, request["PolicyDocument"], call.world.clock.wall(), common.tag_map(request))
    return {"Policy": view(call, table.put("", arn, record))}


@IAM.operation("GetPolicy", resource=policy_arn)
def get_policy(call: Call, request: Input) -> dict[str, Any]:
    return {"Policy": view(call, _policy(call, request["PolicyArn"]))}


@IAM.operation("ListPolicies")
def list_policies(call: Call, request: Input) -> dict[str, Any]:
    owners = {"AWS": ("aws",), "Local": (call.account,)}.get(request.get("Scope", "All"), ("aws", call.account))
    found = [record for record in call.world.store.table("iam.policy").of("") if record["Arn"].split(":")[4] in owners]
    return common.page([view(call, record) for record in found], request, "Policies")


@IAM.operation("DeletePolicy", resource=policy_arn)
def delete_policy(call: Call, request: Input) -> None:
    record = _policy(call, request["PolicyArn"])
    if view(call, record)["AttachmentCount"]:
        raise common.conflict("Cannot delete a policy attached to entities.")
    if len(record["versions"]) > 1:
        raise common.conflict(
            "This policy has more than one version. Before you delete a policy, you must delete the policy's versions."
        )
    call.world.store.table("iam.policy").drop("", request["PolicyArn"])


def _version(record: Record, name: str, *, full: bool = True) -> dict[str, Any]:
    found = record["versions"].get(name)
    if found is None:
        raise AwsError("NoSuchEntity", f"Policy {record['Arn']} version {name} does not exist.", 404)
    shown = {"VersionId": name, "IsDefaultVersion": name == record["DefaultVersionId"], "CreateDate": found["created"]}
    return shown | ({"Document": quote(found["document"])} if full else {})


@IAM.operation("GetPolicyVersion", resource=policy_arn)
def get_policy_version(call: Call, request: Input) -> dict[str, Any]:
    return {"PolicyVersion": _version(_policy(call, request["PolicyArn"]), request["VersionId"])}


@IAM.operation("ListPolicyVersions", resource=policy_arn)
def list_policy_versions(call: Call, request: Input) -> dict[str, Any]:
    record = _policy(call, request["PolicyArn"])
    return common.page([_version(record, name, full=False) for name in record["versions"]], request, "Versions")


@IAM.operation("CreatePolicyVersion", resource=policy_arn)
def create_policy_version(call: Call, request: Input) -> dict[str, Any]:
    record = _policy(call, request["PolicyArn"])
    if len(record["versions"]) >= 5:
        raise AwsError("LimitExceeded", "A managed policy can have up to 5 versions.", 409)
    parsed(request["PolicyDocument"])
    record["count"] += 1
    name = f"v{record['count']}"
    record["versions"][name] = {"document": request["PolicyDocument"], "created": float(int(call.world.clock.wall()))}
    if request.get("SetAsDefault"):
        record["DefaultVersionId"] = name
    call.world.store.table("iam.policy").put("", record["Arn"], record)
    return {"PolicyVersion": _version(record, name, full=False)}


@IAM.operation("DeletePolicyVersion", resource=policy_arn)
def delete_policy_version(call: Call, request: Input) -> None:
    record = _policy(call, request["PolicyArn"])
    if _version(record, request["VersionId"])["IsDefaultVersion"]:
        raise common.conflict("Cannot delete the default version of a policy.")
    del record["versions"][request["VersionId"]]
    call.world.store.table("iam.policy").put("", record["Arn"], record)


def _simulated(call: Call, arn: str) -> Principal:
    kind, _, name = arn.split(":", 5)[5].rpartition("/")
    if kind.startswith("user"):
        return Principal("user", call.account, arn, "", name)
    return role_principal(f"arn:aws:iam::{call.account}:role/{name}", "simulation")


@IAM.operation("SimulatePrincipalPolicy")
def simulate_principal_policy(call: Call, request: Input) -> dict[str, Any]:
    documents = identity_documents(call.world, _simulated(call, request["PolicySourceArn"]))
    context = {entry["ContextKeyName"]: entry["ContextKeyValues"] for entry in request.get("ContextEntries", [])}
    results = [
        {
            "EvalActionName": action,
            "EvalResourceName": resource,
            "EvalDecision": evaluate(documents, Question(action, resource, context)).value,
        }
        for action in request["ActionNames"]
        for resource in request.get("ResourceArns", ["*"])
    ]
    return common.page(results, request, "EvaluationResults")
