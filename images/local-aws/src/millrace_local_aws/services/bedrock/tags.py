"""Tags, kept by ARN for every kind alike."""

from __future__ import annotations

from typing import Any

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.bedrock.service import BEDROCK, check_tags, not_found, table

_TABLES = {
    "model-customization-job": "job",
    "custom-model": "model",
    "provisioned-model": "throughput",
    "custom-model-deployment": "deployment",
}


def _arn(call: Call, request: Input) -> str:
    return str(request["resourceARN"])


def _of(call: Call, arn: str) -> dict[str, str]:
    kind = _TABLES.get(arn.split(":", 5)[-1].partition("/")[0])
    if kind is None or table(call.world, kind).get(call.scope, arn) is None:
        raise not_found(f"Could not find resource: {arn}")
    return dict(table(call.world, "tags").get("", arn) or {})


@BEDROCK.operation("TagResource", resource=_arn)
def tag_resource(call: Call, request: Input) -> None:
    arn = request["resourceARN"]
    tags = _of(call, arn) | {tag["key"]: tag["value"] for tag in request["tags"]}
    check_tags([{"key": key} for key in tags])
    table(call.world, "tags").put("", arn, tags)


@BEDROCK.operation("UntagResource", resource=_arn)
def untag_resource(call: Call, request: Input) -> None:
    arn = request["resourceARN"]
    kept = {key: value for key, value in _of(call, arn).items() if key not in request["tagKeys"]}
    table(call.world, "tags").put("", arn, kept)


@BEDROCK.operation("ListTagsForResource", resource=_arn)
def list_tags_for_resource(call: Call, request: Input) -> dict[str, Any]:
    return {"tags": [{"key": key, "value": value} for key, value in _of(call, request["resourceARN"]).items()]}
