"""Hubs and what is in them: JumpStart's public hub, filled through the admin API, and an account's own.

A model's document may say that it is gated: then its weights are given to nobody who has not accepted the licence. A document
that does not say so asks for nothing, whatever a client sends as AcceptEula.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from millrace_local_aws.admin.api import Body, route
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.sagemaker import tags
from millrace_local_aws.services.sagemaker.service import (
    SAGEMAKER,
    arn_of,
    find,
    invalid,
    listing,
    summary,
    table,
    view,
)
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError

if TYPE_CHECKING:
    from millrace_local_aws.world import World

PUBLIC = "SageMakerPublicHub"


def _of(call: Call, request: Input) -> str:
    """The public hub is AWS's own."""
    return hub_arn(call.region, _owner(call, _hub_name(request["HubName"])), _hub_name(request["HubName"]))


def _missing(what: str) -> AwsError:
    return AwsError("ResourceNotFound", f"{what} does not exist.", 400)


def _hub_name(identifier: str) -> str:
    return identifier.rpartition("/")[2]


def _owner(call: Call, hub: str) -> str:
    return "aws" if hub == PUBLIC else call.account


def hub_arn(region: str, owner: str, hub: str) -> str:
    return f"arn:aws:sagemaker:{region}:{owner}:hub/{hub}"


def content_scope(region: str, owner: str, hub: str) -> str:
    return f"{owner}/{region}/{hub}"


def _public(call: Call) -> Record:
    made = {"CreationTime": 1_700_000_000.0, "LastModifiedTime": 1_700_000_000.0, "HubStatus": "InService"}
    arn = hub_arn(call.region, "aws", PUBLIC)
    return made | {"HubName": PUBLIC, "HubArn": arn, "HubDescription": "Amazon SageMaker Public Hub", "HubDisplayName": PUBLIC}


def _hub(call: Call, identifier: str) -> Record:
    name = _hub_name(identifier)
    return _public(call) if name == PUBLIC else find(call, "hub", name)


@SAGEMAKER.operation("CreateHub", resource=_of)
def create_hub(call: Call, request: Input) -> dict[str, Any]:
    name = request["HubName"]
    arn, now = arn_of(call, "hub", name), call.world.clock.now()
    if name == PUBLIC or table(call.world, "hub").get(call.scope, name):
        raise AwsError("ResourceInUse", f"Hub {arn} already exists.", 400)
    record = {key: value for key, value in request.items() if key != "Tags"}
    record |= {"HubArn": arn, "HubStatus": "InService", "CreationTime": now, "LastModifiedTime": now}
    table(call.world, "hub").put(call.scope, name, record)
    tags.put(call.world, arn, request.get("Tags"))
    return {"HubArn": arn}


@SAGEMAKER.operation("DescribeHub", resource=_of)
def describe_hub(call: Call, request: Input) -> dict[str, Any]:
    return view(_hub(call, request["HubName"]))


@SAGEMAKER.operation("ListHubs")
def list_hubs(call: Call, request: Input) -> dict[str, Any]:
    found, more = listing(call, request, "hub")
    members = (
        "HubName",
        "HubArn",
        "HubDisplayName",
        "HubDescription",
        "HubSearchKeywords",
        "HubStatus",
        "CreationTime",
        "LastModifiedTime",
    )
    public = [_public(call)] if request.get("NameContains", "").lower() in PUBLIC.lower() and "NextToken" not in request else []
    return {"HubSummaries": [summary(record, *members) for record in public + found]} | more


@SAGEMAKER.operation("DeleteHub", resource=_of)
def delete_hub(call: Call, request: Input) -> None:
    name = _hub_name(request["HubName"])
    record = find(call, "hub", name)
    if table(call.world, "hub-content").of(content_scope(call.region, call.account, name)):
        raise AwsError("ResourceInUse", f"Hub {record['HubArn']} has contents.", 400)
    table(call.world, "hub").drop(call.scope, name)
    tags.drop(call.world, record["HubArn"])


def content(world: World, region: str, owner: str, hub: str, given: dict[str, Any]) -> Record:
    """Put a document into a hub, under its name, type and version."""
    json.loads(given["HubContentDocument"])
    kind, name, version = given["HubContentType"], given["HubContentName"], given.get("HubContentVersion", "1.0.0")
    arn = f"arn:aws:sagemaker:{region}:{owner}:hub-content/{hub}/{kind}/{name}/{version}"
    record: Record = {key: value for key, value in given.items() if key != "Tags"} | {
        "HubContentVersion": version,
        "HubContentArn": arn,
        "HubName": hub,
        "HubArn": hub_arn(region, owner, hub),
        "HubContentStatus": "Available",
        "CreationTime": world.clock.now(),
    }
    record.setdefault("SupportStatus", "Supported")
    return table(world, "hub-content").put(content_scope(region, owner, hub), f"{kind}/{name}/{version}", record)


@SAGEMAKER.operation("ImportHubContent", resource=_of)
def import_hub_content(call: Call, request: Input) -> dict[str, Any]:
    hub = _hub(call, request["HubName"])
    if hub["HubName"] == PUBLIC:
        raise invalid("The public hub cannot be changed")
    try:
        record = content(call.world, call.region, call.account, hub["HubName"], request)
    except ValueError as error:
        raise invalid(f"HubContentDocument is not JSON: {error}") from error
    return {"HubArn": hub["HubArn"], "HubContentArn": record["HubContentArn"]}


def _versions(call: Call, request: Input) -> list[Record]:
    hub = _hub(call, request["HubName"])["HubName"]
    contents = table(call.world, "hub-content").of(content_scope(call.region, _owner(call, hub), hub))
    same = [one for one in contents if one["HubContentType"] == request["HubContentType"]]
    return sorted(same, key=lambda one: (one["HubContentName"], _ordered(one["HubContentVersion"])))


def _ordered(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@SAGEMAKER.operation("DescribeHubContent", resource=_of)
def describe_hub_content(call: Call, request: Input) -> dict[str, Any]:
    found = [one for one in _versions(call, request) if one["HubContentName"] == request["HubContentName"]]
    wanted = [one for one in found if request.get("HubContentVersion") in (None, "*", one["HubContentVersion"])]
    if not wanted:
        raise _missing(f"HubContent {request['HubContentName']}")
    return view(wanted[-1])


_INFO = (
    "HubContentName",
    "HubContentArn",
    "HubContentVersion",
    "HubContentType",
    "DocumentSchemaVersion",
    "HubContentDisplayName",
    "HubContentDescription",
    "SupportStatus",
    "HubContentSearchKeywords",
    "HubContentStatus",
    "CreationTime",
)


def _page(items: list[Record], request: Input) -> dict[str, Any]:
    start, size = int(request.get("NextToken") or 0), request.get("MaxResults", 100)
    more = {"NextToken": str(start + size)} if start + size < len(items) else {}
    return {"HubContentSummaries": [summary(one, *_INFO) for one in items[start : start + size]]} | more


@SAGEMAKER.operation("ListHubContents", resource=_of)
def list_hub_contents(call: Call, request: Input) -> dict[str, Any]:
    """The newest version of each."""
    newest = {one["HubContentName"]: one for one in _versions(call, request)}
    return _page(
        [one for one in newest.values() if request.get("NameContains", "").lower() in one["HubContentName"].lower()], request
    )


@SAGEMAKER.operation("ListHubContentVersions", resource=_of)
def list_hub_content_versions(call: Call, request: Input) -> dict[str, Any]:
    return _page([one for one in _versions(call, request) if one["HubContentName"] == request["HubContentName"]], request)


@SAGEMAKER.operation("DeleteHubContent", resource=_of)
def delete_hub_content(call: Call, request: Input) -> None:
    hub = _hub(call, request["HubName"])["HubName"]
    key = f"{request['HubContentType']}/{request['HubContentName']}/{request['HubContentVersion']}"
    if table(call.world, "hub-content").drop(content_scope(call.region, _owner(call, hub), hub), key) is None:
        raise _missing(f"HubContent {request['HubContentName']}")


def _gate(world: World, uri: str) -> Record | None:
    """The gated document whose weights lie at this URI."""
    for _, _, record in table(world, "hub-content").everything():
        document = json.loads(record["HubContentDocument"])
        artifacts = filter(None, (document.get("HostingArtifactUri"), document.get("TrainingArtifactUri")))
        if document.get("GatedBucket") and any(uri.startswith(artifact.rstrip("/")) for artifact in artifacts):
            return record
    return None


def check_licence(call: Call, source: Input, uri: str) -> None:
    """Gated weights are for whoever accepts the licence, in the S3DataSource that names them."""
    gate, access = _gate(call.world, uri), source.get("ModelAccessConfig") or {}
    if gate is not None and not access.get("AcceptEula"):
        licence = json.loads(gate["HubContentDocument"]).get("HostingEulaUri", "")
        raise invalid(
            f"Access to {gate['HubContentName']} requires that its end-user license agreement (EULA) is accepted: read {licence}"
            " and set AcceptEula to true in ModelAccessConfig."
        )


@route("POST", "hub/contents")
def publish(world: World, body: Body) -> Any:
    """Into the public hub of `region`: `content` as ImportHubContent takes it, its document as an object or as text."""
    given = dict(body["content"])
    if not isinstance(given["HubContentDocument"], str):
        given["HubContentDocument"] = json.dumps(given["HubContentDocument"])
    given.setdefault("HubContentType", "Model")
    given.setdefault("DocumentSchemaVersion", "2.3.0")
    return {"arn": content(world, body.get("region", "us-east-1"), "aws", PUBLIC, given)["HubContentArn"]}
