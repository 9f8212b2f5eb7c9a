"""Multipart uploads: parts lie in files of their own, and the object is the list of them; completing copies nothing."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from millrace_local_aws.engine.ids import version
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.s3 import notifications
from millrace_local_aws.services.s3.checksums import ALGORITHMS, Sums, composite
from millrace_local_aws.services.s3.copying import copied, source_of
from millrace_local_aws.services.s3.objects import Version
from millrace_local_aws.services.s3.service import S3, permit, resource
from millrace_local_aws.services.s3.writing import (
    Incoming,
    check_conditions,
    check_size,
    checksum_members,
    encryption_of,
    headers_of,
    tags_from,
    version_member,
)
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError

SMALLEST_PART = 5 * 1024 * 1024
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


def _upload(call: Call, request: Input) -> Record:
    found = call.world.store.table("s3.upload").get(request["Bucket"], request["UploadId"])
    if found is None or found["key"] != request["Key"]:
        message = (
            "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
        )
        raise AwsError("NoSuchUpload", message, 404, UploadId=request["UploadId"])
    return found


def _save(call: Call, request: Input, upload: Record) -> None:
    call.world.store.table("s3.upload").put(request["Bucket"], request["UploadId"], upload)


@S3.operation("CreateMultipartUpload", resource=resource)
def create_multipart_upload(call: Call, request: Input) -> dict[str, Any]:
    bucket = permit(call, request, "PutObject")
    check_size(request)
    encryption, name = encryption_of(bucket, request), version()
    upload = {
        "key": request["Key"],
        "initiated": float(int(call.world.clock.wall())),
        "headers": headers_of(request),
        "metadata": request.get("Metadata", {}),
        "tags": tags_from(request.get("Tagging")),
        "encryption": encryption,
        "storage_class": request.get("StorageClass", "STANDARD"),
        "algorithm": request.get("ChecksumAlgorithm"),
        "checksum_type": request.get("ChecksumType", "COMPOSITE"),
        "account": call.account,
        "parts": {},
    }
    call.world.store.table("s3.upload").put(request["Bucket"], name, upload)
    shown = {"Bucket": request["Bucket"], "Key": request["Key"], "UploadId": name} | encryption
    return shown | (
        {"ChecksumAlgorithm": upload["algorithm"], "ChecksumType": upload["checksum_type"]} if upload["algorithm"] else {}
    )


def _keep(call: Call, request: Input, file: str, sums: Sums) -> Record:
    """Take a part in; one of the same number is replaced."""
    try:
        upload = _upload(call, request)
    except AwsError:
        call.world.s3.discard([file])
        raise
    old = upload["parts"].get(str(request["PartNumber"]))
    part = {
        "file": file,
        "size": sums.size,
        "etag": sums.etag,
        "checksums": sums.found(),
        "modified": float(int(call.world.clock.wall())),
    }
    upload["parts"][str(request["PartNumber"])] = part
    _save(call, request, upload)
    if old is not None:
        call.world.s3.discard([old["file"]])
    return part


@S3.operation("UploadPart", resource=resource)
async def upload_part(call: Call, request: Input) -> dict[str, Any]:
    permit(call, request, "PutObject")
    upload = _upload(call, request)
    if not 1 <= request["PartNumber"] <= 10_000:
        raise AwsError("InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive", 400)
    incoming = Incoming(call, request | ({"ChecksumAlgorithm": upload["algorithm"]} if upload["algorithm"] else {}))
    part: dict[str, Any] = _keep(call, request, await incoming.store(call), incoming.sums)
    return (
        {"ETag": f'"{part["etag"]}"'}
        | {f"Checksum{name}": value for name, value in part["checksums"].items()}
        | dict(upload["encryption"])
    )


@S3.operation("UploadPartCopy", resource=resource)
async def upload_part_copy(call: Call, request: Input) -> dict[str, Any]:
    permit(call, request, "PutObject")
    upload, source = _upload(call, request), source_of(call, request)
    match = _RANGE.fullmatch(request.get("CopySourceRange", ""))
    start, end = (int(match[1]), int(match[2])) if match else (0, source.size - 1)
    if end >= source.size:
        raise AwsError("InvalidArgument", f"Range specified is not valid for source object of size: {source.size}", 400)
    file, sums = await copied(call, source, start, end - start + 1, [upload["algorithm"]] if upload["algorithm"] else ["CRC32"])
    part: dict[str, Any] = _keep(call, request, file, sums)
    result = {"ETag": f'"{part["etag"]}"', "LastModified": part["modified"]}
    result |= {f"Checksum{name}": value for name, value in part["checksums"].items()}
    return {"CopyPartResult": result, **upload["encryption"]}


def _chosen(upload: Record, wanted: list[Input]) -> list[Record]:
    """The parts a client names, in ascending order, as they were sent."""
    numbers = [part.get("PartNumber", 0) for part in wanted]
    if numbers != sorted(set(numbers)):
        raise AwsError(
            "InvalidPartOrder", "The list of parts was not in ascending order. Parts must be ordered by part number.", 400
        )
    out = []
    for part in wanted:
        found = upload["parts"].get(str(part.get("PartNumber")))
        if found is None or found["etag"] != part.get("ETag", "").strip('"') or not _sums_agree(found, part):
            message = (
                "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified"
                " entity tag may not match the part's entity tag."
            )
            raise AwsError("InvalidPart", message, 400)
        out.append(found)
    if any(part["size"] < SMALLEST_PART for part in out[:-1]):
        raise AwsError("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size", 400)
    return out


def _sums_agree(found: Record, part: Input) -> bool:
    return all(
        found["checksums"].get(name, part[f"Checksum{name}"]) == part[f"Checksum{name}"]
        for name in ALGORITHMS
        if f"Checksum{name}" in part
    )


def _etag(parts: list[Record]) -> str:
    whole = hashlib.md5(b"".join(bytes.fromhex(part["etag"]) for part in parts), usedforsecurity=False)
    return f"{whole.hexdigest()}-{len(parts)}"


def _checksums(upload: Record, parts: list[Record]) -> dict[str, str]:
    name = upload["algorithm"]
    if name is None or upload["checksum_type"] != "COMPOSITE":
        return {}
    return {name: composite(name, [part["checksums"][name] for part in parts])}


@S3.operation("CompleteMultipartUpload", resource=resource)
def complete_multipart_upload(call: Call, request: Input) -> dict[str, Any]:
    permit(call, request, "PutObject")
    upload = _upload(call, request)
    wanted = (request.get("MultipartUpload") or {}).get("Parts", [])
    if not wanted:
        raise AwsError(
            "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema", 400
        )
    parts = _chosen(upload, wanted)
    check_conditions(call, request)
    kept = {part["file"] for part in parts}
    new = Version(
        request["Bucket"],
        request["Key"],
        "",
        size=sum(part["size"] for part in parts),
        etag=_etag(parts),
        files=[(part["file"], part["size"]) for part in parts],
        headers=upload["headers"],
        metadata=upload["metadata"],
        tags=upload["tags"],
        checksums=_checksums(upload, parts),
        checksum_type="COMPOSITE",
        parts=[{"size": part["size"]} for part in parts],
        encryption=upload["encryption"],
        storage_class=upload["storage_class"],
    )
    call.world.store.table("s3.upload").drop(request["Bucket"], request["UploadId"])
    added = call.world.s3.add(new)
    call.world.s3.discard([part["file"] for part in upload["parts"].values() if part["file"] not in kept])
    notifications.created(call.world, added, "CompleteMultipartUpload", "CompleteMultipartUpload", call.principal.unique_id)
    location = f"http://{call.incoming.host}/{added.bucket}/{added.key}"
    shown = {"Location": location, "Bucket": added.bucket, "Key": added.key, "ETag": f'"{added.etag}"'}
    return shown | checksum_members(added) | version_member(added) | added.encryption


@S3.operation("AbortMultipartUpload", resource=resource)
def abort_multipart_upload(call: Call, request: Input) -> dict[str, Any]:
    permit(call, request, "AbortMultipartUpload")
    upload = _upload(call, request)
    call.world.store.table("s3.upload").drop(request["Bucket"], request["UploadId"])
    call.world.s3.discard([part["file"] for part in upload["parts"].values()])
    return {"_status": 204}


@S3.operation("ListParts", resource=resource)
def list_parts(call: Call, request: Input) -> dict[str, Any]:
    permit(call, request, "ListMultipartUploadParts")
    upload = _upload(call, request)
    after, most = int(request.get("PartNumberMarker", 0)), min(int(request.get("MaxParts", 1000)), 1000)
    numbers = sorted(int(number) for number in upload["parts"] if int(number) > after)
    shown: dict[str, Any] = {
        "Bucket": request["Bucket"],
        "Key": request["Key"],
        "UploadId": request["UploadId"],
        "PartNumberMarker": after,
        "MaxParts": most,
        "IsTruncated": len(numbers) > most,
        "StorageClass": upload["storage_class"],
        "Initiator": {"ID": upload["account"]},
        "Owner": {"ID": upload["account"]},
    }
    if numbers[:most]:
        shown["Parts"] = [_part(number, upload["parts"][str(number)]) for number in numbers[:most]]
        shown["NextPartNumberMarker"] = numbers[:most][-1]
    return shown


def _part(number: int, part: Record) -> dict[str, Any]:
    shown = {"PartNumber": number, "LastModified": part["modified"], "ETag": f'"{part["etag"]}"', "Size": part["size"]}
    return shown | {f"Checksum{name}": value for name, value in part["checksums"].items()}


@S3.operation("ListMultipartUploads", resource=resource)
def list_multipart_uploads(call: Call, request: Input) -> dict[str, Any]:
    permit(call, request, "ListBucketMultipartUploads")
    table = call.world.store.table("s3.upload")
    found = sorted((table.get(request["Bucket"], name) or {})["key"] + "\0" + name for name in table.keys(request["Bucket"]))
    prefix, most = request.get("Prefix", ""), min(int(request.get("MaxUploads", 1000)), 1000)
    after = request.get("KeyMarker", "") + "\0" + request.get("UploadIdMarker", "\U0010ffff") if "KeyMarker" in request else ""
    names = [tuple(one.split("\0")) for one in found if one.startswith(prefix) and one > after]
    shown: dict[str, Any] = {"Bucket": request["Bucket"], "Prefix": prefix, "MaxUploads": most, "IsTruncated": len(names) > most}
    if names[:most]:
        shown["Uploads"] = [_listed(call, request["Bucket"], key, name) for key, name in names[:most]]
        shown |= {"NextKeyMarker": names[:most][-1][0], "NextUploadIdMarker": names[:most][-1][1]}
    return shown


def _listed(call: Call, bucket: str, key: str, name: str) -> dict[str, Any]:
    upload = call.world.store.table("s3.upload").get(bucket, name) or {}
    owner = {"ID": upload["account"]}
    return {
        "UploadId": name,
        "Key": key,
        "Initiated": upload["initiated"],
        "StorageClass": upload["storage_class"],
        "Owner": owner,
        "Initiator": owner,
    }
