"""Tags of objects and buckets."""

from __future__ import annotations

from typing import Any

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.s3.buckets import save
from millrace_local_aws.services.s3.reading import find
from millrace_local_aws.services.s3.service import S3, permit, resource
from millrace_local_aws.services.s3.writing import version_member
from millrace_local_aws.wire.errors import AwsError


def _from(request: Input, most: int) -> dict[str, str]:
    pairs = request["Tagging"]["TagSet"]
    tags = {pair["Key"]: pair["Value"] for pair in pairs}
    if len(tags) < len(pairs):
        raise AwsError("InvalidTag", "Cannot provide multiple Tags with the same key", 400)
    if len(tags) > most:
        raise AwsError("BadRequest", f"Object tags cannot be greater than {most}", 400)
    return tags


def _set(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


@S3.operation("PutObjectTagging", resource=resource)
def put_object_tagging(call: Call, request: Input) -> dict[str, Any]:
    found = find(call, request, "PutObjectTagging")
    found.tags = _from(request, 10)
    call.world.s3.save(found)
    return dict(version_member(found))


@S3.operation("GetObjectTagging", resource=resource)
def get_object_tagging(call: Call, request: Input) -> dict[str, Any]:
    found = find(call, request, "GetObjectTagging")
    return {"TagSet": _set(found.tags)} | version_member(found)


@S3.operation("DeleteObjectTagging", resource=resource)
def delete_object_tagging(call: Call, request: Input) -> dict[str, Any]:
    found = find(call, request, "DeleteObjectTagging")
    found.tags = {}
    call.world.s3.save(found)
    return version_member(found) | {"_status": 204}


@S3.operation("PutBucketTagging", resource=resource)
def put_bucket_tagging(call: Call, request: Input) -> dict[str, Any]:
    save(call, permit(call, request, "PutBucketTagging"), tags=_from(request, 50))
    return {"_status": 204}


@S3.operation("GetBucketTagging", resource=resource)
def get_bucket_tagging(call: Call, request: Input) -> dict[str, Any]:
    tags = permit(call, request, "GetBucketTagging")["tags"]
    if not tags:
        raise AwsError("NoSuchTagSet", "The TagSet does not exist", 404, BucketName=request["Bucket"])
    return {"TagSet": _set(tags)}


@S3.operation("DeleteBucketTagging", resource=resource)
def delete_bucket_tagging(call: Call, request: Input) -> dict[str, Any]:
    save(call, permit(call, request, "PutBucketTagging"), tags={})
    return {"_status": 204}
