"""Getting objects: whole, in part, if they changed, and what is known about them."""

from __future__ import annotations

import re
from typing import Any

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.s3.objects import CHUNK, NO_SUCH_KEY, Version, stream
from millrace_local_aws.services.s3.service import S3, check, permit, resource
from millrace_local_aws.services.s3.writing import checksum_members, precondition_failed, version_member
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_OVERRIDES = {
    "ResponseContentType": "ContentType",
    "ResponseCacheControl": "CacheControl",
    "ResponseContentDisposition": "ContentDisposition",
    "ResponseContentEncoding": "ContentEncoding",
    "ResponseContentLanguage": "ContentLanguage",
    "ResponseExpires": "Expires",
}


def _may_list(call: Call, bucket: Record) -> bool:
    try:
        check(call, bucket, "s3:ListBucket", f"arn:aws:s3:::{bucket['name']}")
    except AwsError:
        return False
    return True


def find(call: Call, request: Input, action: str = "GetObject") -> Version:
    """The version a request names. A missing key is AccessDenied to whoever may not list, as S3 has it."""
    name = request.get("VersionId")
    bucket = permit(call, request, f"{action}Version" if name and action == "GetObject" else action)
    found = (
        call.world.s3.version(request["Bucket"], request["Key"], name)
        if name
        else call.world.s3.latest(request["Bucket"], request["Key"])
    )
    if found is None and name:
        raise AwsError("NoSuchVersion", "The specified version does not exist.", 404, Key=request["Key"], VersionId=name)
    if found is None:
        if not _may_list(call, bucket):
            raise AwsError("AccessDenied", "Access Denied", 403)
        raise AwsError("NoSuchKey", NO_SUCH_KEY, 404, Key=request["Key"])
    if found.marker:
        raise _marker(call, found, name)
    return found


def _marker(call: Call, found: Version, name: str | None) -> AwsError:
    if name:
        return AwsError(
            "MethodNotAllowed", "The specified method is not allowed against this resource.", 405, Method=call.incoming.method
        )
    return AwsError("NoSuchKey", NO_SUCH_KEY, 404, Key=found.key)


def check_read_conditions(found: Version, request: Input, status: int = 304) -> dict[str, Any] | None:
    """None to go on; an answer without a body where the reader has it already. Raises where a precondition fails."""
    match, none_match = request.get("IfMatch"), request.get("IfNoneMatch")
    if match is not None and match.strip('"') not in (found.etag, "*"):
        raise precondition_failed("If-Match")
    since = request.get("IfUnmodifiedSince")
    if match is None and since is not None and found.modified > since:
        raise precondition_failed("If-Unmodified-Since")
    unchanged = none_match is not None and none_match.strip('"') in (found.etag, "*")
    modified_since = request.get("IfModifiedSince")
    if none_match is None and modified_since is not None:
        unchanged = found.modified <= modified_since
    if not unchanged:
        return None
    if status == 412:
        raise precondition_failed("If-None-Match")
    return {"ETag": f'"{found.etag}"', "_status": 304}


def span(found: Version, request: Input) -> tuple[int, int] | None:
    """Start and length of the range asked for; None for the whole."""
    if "PartNumber" in request:
        return _part_span(found, request["PartNumber"])
    match = _RANGE.fullmatch(request.get("Range", "").strip())
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:
        length = min(int(match[2]), found.size)
        start = found.size - length
    else:
        start = int(match[1])
        end = min(int(match[2]) if match[2] else found.size - 1, found.size - 1)
        length = end - start + 1
    if start >= found.size or length <= 0:
        raise AwsError("InvalidRange", "The requested range is not satisfiable", 416, ActualObjectSize=found.size)
    return start, length


def _part_span(found: Version, number: int) -> tuple[int, int]:
    sizes = [part["size"] for part in found.parts] or [found.size]
    if number > len(sizes):
        raise AwsError("InvalidPartNumber", "The requested partnumber is not satisfiable", 416)
    return sum(sizes[: number - 1]), sizes[number - 1]


def members(found: Version, request: Input) -> dict[str, Any]:
    """What is said about an object in headers."""
    shown: dict[str, Any] = {
        "AcceptRanges": "bytes",
        "ContentLength": found.size,
        "ETag": f'"{found.etag}"',
        "LastModified": found.modified,
        "ContentType": "binary/octet-stream",
        **found.headers,
        **found.encryption,
        **version_member(found),
    }
    shown |= {ours: request[theirs] for theirs, ours in _OVERRIDES.items() if theirs in request}
    if found.metadata:
        shown["Metadata"] = found.metadata
    if found.storage_class != "STANDARD":
        shown["StorageClass"] = found.storage_class
    if request.get("ChecksumMode") == "ENABLED" and "Range" not in request:
        shown |= checksum_members(found)
    if "PartNumber" in request and found.parts:
        shown["PartsCount"] = len(found.parts)
    return shown


@S3.operation("GetObject", resource=resource)
def get_object(call: Call, request: Input) -> dict[str, Any]:
    found = find(call, request)
    unchanged = check_read_conditions(found, request)
    if unchanged is not None:
        return unchanged
    shown = members(found, request)
    if found.tags:
        shown["TagCount"] = len(found.tags)
    start, length = 0, found.size
    part = span(found, request)
    if part is not None:
        start, length = part
        shown |= {"ContentLength": length, "ContentRange": f"bytes {start}-{start + length - 1}/{found.size}", "_status": 206}
    pieces = call.world.s3.pieces(found.files, start, length)
    if length <= CHUNK:
        return shown | {"_body": b"".join(_whole(pieces))}
    return shown | {"_stream": stream(pieces), "_length": length}


def _whole(pieces: list[Any]) -> list[bytes]:
    out = []
    for path, at, size in pieces:
        with path.open("rb", buffering=0) as file:
            file.seek(at)
            out.append(file.read(size))
    return out


@S3.operation("HeadObject", resource=resource)
def head_object(call: Call, request: Input) -> dict[str, Any]:
    found = find(call, request)
    unchanged = check_read_conditions(found, request)
    if unchanged is not None:
        return unchanged
    shown = members(found, request)
    part = span(found, request)
    if part is not None:
        shown |= {
            "ContentLength": part[1],
            "ContentRange": f"bytes {part[0]}-{part[0] + part[1] - 1}/{found.size}",
            "_status": 206,
        }
    return shown


@S3.operation("GetObjectAttributes", resource=resource)
def get_object_attributes(call: Call, request: Input) -> dict[str, Any]:
    found = find(call, request)
    sums = checksum_members(found)
    offered: dict[str, Any] = {
        "ETag": found.etag,
        "ObjectSize": found.size,
        "StorageClass": found.storage_class,
        "Checksum": sums or None,
        "ObjectParts": {"TotalPartsCount": len(found.parts)} if found.parts else None,
    }
    shown = {name: value for name, value in offered.items() if name in request["ObjectAttributes"] and value is not None}
    return shown | {"LastModified": found.modified} | version_member(found)
