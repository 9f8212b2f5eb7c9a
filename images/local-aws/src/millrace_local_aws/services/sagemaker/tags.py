"""Tags, kept by ARN for every kind alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.sagemaker.service import KINDS, SAGEMAKER, invalid, table

if TYPE_CHECKING:
    from millrace_local_aws.world import World


def put(world: World, arn: str, tags: list[dict[str, str]] | None) -> None:
    """Of a new resource."""
    if tags:
        table(world, "tags").put("", arn, {tag["Key"]: tag["Value"] for tag in tags})


def of(world: World, arn: str) -> dict[str, str]:
    return dict(table(world, "tags").get("", arn) or {})


def drop(world: World, arn: str) -> None:
    table(world, "tags").drop("", arn)


def _existing(call: Call, arn: str) -> str:
    kind, _, name = arn.split(":", 5)[5].partition("/")
    known = {part: one for one, (part, _, _) in KINDS.items()}.get(kind)
    if known is None or table(call.world, known).get(call.scope, name) is None:
        raise invalid(f"Could not find resource {arn}" if known is None else KINDS[known][2].format(arn=arn))
    return arn


@SAGEMAKER.operation("AddTags", resource=lambda call, request: str(request["ResourceArn"]))
def add_tags(call: Call, request: Input) -> dict[str, Any]:
    arn = _existing(call, request["ResourceArn"])
    tags = of(call.world, arn) | {tag["Key"]: tag["Value"] for tag in request["Tags"]}
    if len(tags) > 50:
        raise invalid("A resource may have at most 50 tags")
    table(call.world, "tags").put("", arn, tags)
    return {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}


@SAGEMAKER.operation("DeleteTags", resource=lambda call, request: str(request["ResourceArn"]))
def delete_tags(call: Call, request: Input) -> None:
    arn = _existing(call, request["ResourceArn"])
    table(call.world, "tags").put(
        "", arn, {key: value for key, value in of(call.world, arn).items() if key not in request["TagKeys"]}
    )


@SAGEMAKER.operation("ListTags", resource=lambda call, request: str(request["ResourceArn"]))
def list_tags(call: Call, request: Input) -> dict[str, Any]:
    tags = of(call.world, _existing(call, request["ResourceArn"]))
    found = [{"Key": key, "Value": value} for key, value in tags.items()]
    start, size = int(request.get("NextToken") or 0), request.get("MaxResults", 50)
    more = {"NextToken": str(start + size)} if start + size < len(found) else {}
    return {"Tags": found[start : start + size]} | more
