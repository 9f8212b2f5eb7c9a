"""Tags, kept by ARN for every kind alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.comprehend.service import COMPREHEND, MOST_TAGS, find, kind_of, table
from millrace_local_aws.wire.errors import AwsError

if TYPE_CHECKING:
    from millrace_local_aws.world import World


def put(world: World, arn: str, tags: list[dict[str, str]] | None) -> None:
    """Of a new resource."""
    if tags:
        table(world, "tags").put("", arn, {tag["Key"]: tag.get("Value", "") for tag in tags})


def drop(world: World, arn: str) -> None:
    table(world, "tags").drop("", arn)


def _of(call: Call, arn: str) -> dict[str, str]:
    if kind_of(arn) == "document-classification-job":
        jobs = table(call.world, "job").of(call.scope)
        if not any(job["JobArn"] == arn for job in jobs):
            raise AwsError("ResourceNotFoundException", "Could not find specified resource.", 400)
    else:
        find(call, arn)
    return dict(table(call.world, "tags").get("", arn) or {})


def _arn(call: Call, request: Input) -> str:
    return str(request["ResourceArn"])


@COMPREHEND.operation("TagResource", resource=_arn)
def tag_resource(call: Call, request: Input) -> None:
    arn = request["ResourceArn"]
    tags = _of(call, arn) | {tag["Key"]: tag.get("Value", "") for tag in request["Tags"]}
    if len(tags) > MOST_TAGS:
        raise AwsError("TooManyTagsException", f"A resource may have at most {MOST_TAGS} tags.", 400)
    table(call.world, "tags").put("", arn, tags)


@COMPREHEND.operation("UntagResource", resource=_arn)
def untag_resource(call: Call, request: Input) -> None:
    arn = request["ResourceArn"]
    kept = {key: value for key, value in _of(call, arn).items() if key not in request["TagKeys"]}
    table(call.world, "tags").put("", arn, kept)


@COMPREHEND.operation("ListTagsForResource", resource=_arn)
def list_tags_for_resource(call: Call, request: Input) -> dict[str, Any]:
    arn = request["ResourceArn"]
    return {"ResourceArn": arn, "Tags": [{"Key": key, "Value": value} for key, value in _of(call, arn).items()]}
