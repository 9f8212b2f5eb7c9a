"""Listing keys and versions, with prefixes rolled up at a delimiter. Costs what is shown, not what is there."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.s3.objects import Version
from millrace_local_aws.services.s3.service import S3, permit, resource
from millrace_local_aws.wire.errors import AwsError

_LAST = "\U0010ffff"


@dataclass
class Listing:
    """What one page shows; `cursor` is where the next begins, None where this is the last."""

    entries: list[Any] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    cursor: str | None = None

    @property
    def size(self) -> int:
        return len(self.entries) + len(self.prefixes)


def _rolled(key: str, prefix: str, delimiter: str | None) -> str | None:
    at = key.find(delimiter, len(prefix)) if delimiter else -1
    return None if at < 0 else key[: at + len(delimiter or "")]


def current(call: Call, bucket: str, prefix: str, delimiter: str | None, after: str, most: int) -> Listing:
    """Keys behind `after`, in order."""
    out = Listing()
    position = after
    while most:
        page = call.world.s3.page(bucket, prefix, position, min(most - out.size + 1, 1001))
        for found in page:
            common = _rolled(found.key, prefix, delimiter)
            if common is not None and (common == after or (out.prefixes and out.prefixes[-1] == common)):
                position = common + _LAST
                break
            if out.size >= most:
                out.cursor = position
                return out
            if common is None:
                out.entries.append(found)
                position = found.key
            else:
                out.prefixes.append(common)
                # All keys below the prefix stand for it: skip them.
                position = common + _LAST
                break
        else:
            return out
    return out


def _encoder(request: Input) -> Callable[[str], str]:
    return (lambda text: quote(text, safe="/~")) if request.get("EncodingType") == "url" else str


def _entry(found: Version, encode: Callable[[str], str], *, owner: bool = False) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Key": encode(found.key),
        "LastModified": found.modified,
        "ETag": f'"{found.etag}"',
        "Size": found.size,
        "StorageClass": found.storage_class,
    }
    if found.checksums:
        shown |= {"ChecksumAlgorithm": list(found.checksums), "ChecksumType": found.checksum_type}
    return shown | ({"Owner": {"ID": found.owner}} if owner else {})


def _common(request: Input, listing: Listing, encode: Callable[[str], str], size: int) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "Name": request["Bucket"],
        "Prefix": encode(request.get("Prefix", "")),
        "MaxKeys": size,
        "IsTruncated": listing.cursor is not None,
    }
    if "Delimiter" in request:
        shown["Delimiter"] = encode(request["Delimiter"])
    if "EncodingType" in request:
        shown["EncodingType"] = request["EncodingType"]
    if listing.prefixes:
        shown["CommonPrefixes"] = [{"Prefix": encode(prefix)} for prefix in listing.prefixes]
    return shown


def _size(request: Input) -> int:
    return min(int(request.get("MaxKeys", 1000)), 1000)


def _after(request: Input) -> str:
    token = request.get("ContinuationToken")
    if token is None:
        return str(request.get("StartAfter", ""))
    try:
        return base64.urlsafe_b64decode(token).decode()
    except ValueError:
        raise AwsError("InvalidArgument", "The continuation token provided is incorrect", 400) from None


@S3.operation("ListObjectsV2", resource=resource)
def list_objects_v2(call: Call, request: Input) -> dict[str, Any]:
    permit(call, request, "ListBucket")
    size, encode = _size(request), _encoder(request)
    listing = current(call, request["Bucket"], request.get("Prefix", ""), request.get("Delimiter"), _after(request), size)
    shown = _common(request, listing, encode, size) | {"KeyCount": listing.size}
    if listing.entries:
        shown["Contents"] = [_entry(found, encode, owner=request.get("FetchOwner", False)) for found in listing.entries]
    if listing.cursor is not None:
        shown["NextContinuationToken"] = base64.urlsafe_b64encode(listing.cursor.encode()).decode()
    for name in ("ContinuationToken", "StartAfter"):
        if name in request:
            shown[name] = request[name]
    return shown


@S3.operation("ListObjects", resource=resource)
def list_objects(call: Call, request: Input) -> dict[str, Any]:
    permit(call, request, "ListBucket")
    size, encode, marker = _size(request), _encoder(request), request.get("Marker", "")
    delimiter = request.get("Delimiter")
    # A marker that is a prefix stands behind all of its keys.
    after = marker + _LAST if delimiter and marker.endswith(delimiter) else marker
    listing = current(call, request["Bucket"], request.get("Prefix", ""), delimiter, after, size)
    shown = _common(request, listing, encode, size) | {"Marker": encode(marker)}
    if listing.entries:
        shown["Contents"] = [_entry(found, encode, owner=True) for found in listing.entries]
    if listing.cursor is not None and delimiter:
        shown["NextMarker"] = encode(listing.cursor.removesuffix(_LAST))
    return shown


def _versions(call: Call, request: Input, most: int) -> tuple[Listing, tuple[str, str] | None]:
    """A page of versions, and the key and version that the next page begins behind."""
    bucket, prefix, delimiter = request["Bucket"], request.get("Prefix", ""), request.get("Delimiter")
    position = _version_position(call, request)
    out, last = Listing(), ("", "")
    while True:
        page = call.world.s3.versions_page(bucket, prefix, position, 1001)
        for found, latest in page:
            common = _rolled(found.key, prefix, delimiter)
            if out.size >= most:
                return out, last
            if common is None:
                out.entries.append((found, latest))
                position, last = (found.key, found.seq), (found.key, found.id)
            else:
                out.prefixes.append(common)
                position, last = (common + _LAST, 0), (common, "")
                break
        else:
            if len(page) < 1001:
                return out, None


def _version_position(call: Call, request: Input) -> tuple[str, int]:
    key, name = request.get("KeyMarker", ""), request.get("VersionIdMarker")
    if not name:
        delimiter = request.get("Delimiter")
        return (key + _LAST, 0) if delimiter and key.endswith(delimiter) else (key, 0)
    found = call.world.s3.version(request["Bucket"], key, name)
    if found is None:
        raise AwsError("InvalidArgument", "Invalid version id specified", 400)
    return key, found.seq


@S3.operation("ListObjectVersions", resource=resource)
def list_object_versions(call: Call, request: Input) -> dict[str, Any]:
    permit(call, request, "ListBucketVersions")
    size, encode = _size(request), _encoder(request)
    listing, following = _versions(call, request, size)
    shown = _common(request, listing, encode, size) | {
        "IsTruncated": following is not None,
        "KeyMarker": encode(request.get("KeyMarker", "")),
    }
    shown["VersionIdMarker"] = request.get("VersionIdMarker", "")
    versions, markers = [], []
    for found, latest in listing.entries:
        entry = {"IsLatest": latest, "VersionId": found.id, "Owner": {"ID": found.owner}}
        if found.marker:
            markers.append(entry | {"Key": encode(found.key), "LastModified": found.modified})
        else:
            versions.append(entry | _entry(found, encode))
    shown |= ({"Versions": versions} if versions else {}) | ({"DeleteMarkers": markers} if markers else {})
    if following is not None:
        shown |= {"NextKeyMarker": encode(following[0])} | ({"NextVersionIdMarker": following[1]} if following[1] else {})
    return shown
