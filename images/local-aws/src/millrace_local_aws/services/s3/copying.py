"""Copies: of whole objects, and of ranges as parts of an upload. Bytes are copied on disk, a chunk at a time."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.s3 import notifications
from millrace_local_aws.services.s3.checksums import Sums
from millrace_local_aws.services.s3.objects import Version, stream
from millrace_local_aws.services.s3.reading import check_read_conditions, find
from millrace_local_aws.services.s3.service import S3, permit, resource
from millrace_local_aws.services.s3.writing import (
    check_conditions,
    check_size,
    checksum_members,
    encryption_of,
    headers_of,
    tags_from,
    version_member,
)
from millrace_local_aws.wire.errors import AwsError


def source_of(call: Call, request: Input) -> Version:
    """The version that x-amz-copy-source names; the reader's conditions hold for it."""
    path, _, query = request["CopySource"].partition("?versionId=")
    bucket, _, key = unquote(path).lstrip("/").partition("/")
    if not bucket or not key:
        raise AwsError("InvalidArgument", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey", 400)
    names = {"Bucket": bucket, "Key": key} | ({"VersionId": query} if query else {})
    conditions = {name.removeprefix("CopySource"): value for name, value in request.items() if name.startswith("CopySourceIf")}
    found = find(call, names)
    check_read_conditions(found, conditions, 412)
    return found


async def copied(call: Call, source: Version, start: int, length: int, algorithms: list[str]) -> tuple[str, Sums]:
    """A new file with the bytes of a range, and their sums."""
    sums = Sums(algorithms)
    return await call.world.s3.write(stream(call.world.s3.pieces(source.files, start, length)), sums), sums


@S3.operation("CopyObject", resource=resource)
async def copy_object(call: Call, request: Input) -> dict[str, Any]:
    bucket = permit(call, request, "PutObject")
    source = source_of(call, request)
    replace = request.get("MetadataDirective") == "REPLACE"
    same = (source.bucket, source.key) == (request["Bucket"], request["Key"])
    if same and not replace and "StorageClass" not in request and "ServerSideEncryption" not in request:
        message = (
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's"
            " metadata, storage class, website redirect location or encryption attributes."
        )
        raise AwsError("InvalidRequest", message, 400)
    check_size(request)
    check_conditions(call, request)
    algorithms = [request["ChecksumAlgorithm"]] if "ChecksumAlgorithm" in request else list(source.checksums) or ["CRC32"]
    name, sums = await copied(call, source, 0, source.size, algorithms)
    new = Version(
        request["Bucket"],
        request["Key"],
        "",
        size=sums.size,
        etag=sums.etag,
        files=[(name, sums.size)],
        headers=headers_of(request) if replace else source.headers,
        metadata=request.get("Metadata", {}) if replace else source.metadata,
        tags=tags_from(request.get("Tagging")) if request.get("TaggingDirective") == "REPLACE" else source.tags,
        checksums=sums.found(),
        encryption=encryption_of(bucket, request),
        storage_class=request.get("StorageClass", "STANDARD"),
    )
    added = call.world.s3.add(new)
    notifications.created(call.world, added, "Copy", "CopyObject", call.principal.unique_id)
    result = {"ETag": f'"{added.etag}"', "LastModified": added.modified} | checksum_members(added)
    shown = {"CopyObjectResult": result} | version_member(added) | added.encryption
    return shown | ({"CopySourceVersionId": source.id} if source.id != "null" else {})
