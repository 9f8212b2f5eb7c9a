"""Putting and deleting objects."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.s3 import notifications
from millrace_local_aws.services.s3.checksums import HEADERS, Sums
from millrace_local_aws.services.s3.chunked import Decoder
from millrace_local_aws.services.s3.objects import Version
from millrace_local_aws.services.s3.service import S3, check, permit, resource
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError

# Members of requests and answers that are kept as they come, by their names in the model.
KEPT_HEADERS = (
    "ContentType",
    "CacheControl",
    "ContentDisposition",
    "ContentEncoding",
    "ContentLanguage",
    "Expires",
    "WebsiteRedirectLocation",
)
LARGEST_PUT = 5 * 1024**3


def precondition_failed(condition: str) -> AwsError:
    return AwsError(
        "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", 412, Condition=condition
    )


def check_conditions(call: Call, request: Input) -> None:
    """If-None-Match: * and If-Match on a write."""
    current = call.world.s3.current(request["Bucket"], request["Key"])
    if request.get("IfNoneMatch") == "*" and current is not None:
        raise precondition_failed("If-None-Match")
    wanted = request.get("IfMatch")
    if wanted is None:
        return
    if current is None:
        raise AwsError("NoSuchKey", "The specified key does not exist.", 404, Key=request["Key"])
    if wanted.strip('"') not in (current.etag, "*"):
        raise precondition_failed("If-Match")


class Incoming:
    """The bytes of a put or of a part, decoded, summed up and compared with what the client says they are."""

    def __init__(self, call: Call, request: Input) -> None:
        headers = call.incoming.headers
        source = call.incoming.stream() if call.incoming.stream else _once(call.incoming.body)
        chunked = headers.get("x-amz-content-sha256", "").startswith("STREAMING-")
        self._decoder = Decoder(source) if chunked or "aws-chunked" in headers.get("Content-Encoding", "") else None
        self._source = source
        self._request = request
        self._declared = {name: headers[header] for header, name in HEADERS.items() if header in headers}
        trailing = [
            HEADERS[name.strip()] for name in headers.get("x-amz-trailer", "").lower().split(",") if name.strip() in HEADERS
        ]
        asked = [request["ChecksumAlgorithm"]] if "ChecksumAlgorithm" in request else []
        names = dict.fromkeys([*self._declared, *trailing, *asked])
        self.sums = Sums(names or ["CRC32"])
        self.length = headers.get("x-amz-decoded-content-length") or (None if self._decoder else headers.get("Content-Length"))

    async def store(self, call: Call) -> str:
        """The file's name; the file is gone again where the bytes are not what was declared."""
        if self.length is not None and int(self.length) > LARGEST_PUT:
            raise AwsError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size", 400)
        name = await call.world.s3.write(aiter(self._decoder) if self._decoder else self._source, self.sums)
        try:
            self._compare()
        except AwsError:
            call.world.s3.discard([name])
            raise
        return name

    def _compare(self) -> None:
        trailers = self._decoder.trailers if self._decoder else {}
        declared = self._declared | {HEADERS[name]: value for name, value in trailers.items() if name in HEADERS}
        found = self.sums.found()
        for name, value in declared.items():
            if found.get(name) != value:
                raise AwsError("BadDigest", f"The {name} you specified did not match the calculated checksum.", 400)
        md5 = self._request.get("ContentMD5")
        if md5 is not None and not _is_md5(md5):
            raise AwsError("InvalidDigest", "The Content-MD5 you specified is not valid.", 400)
        if md5 is not None and md5 != self.sums.md5():
            raise AwsError("BadDigest", "The Content-MD5 you specified did not match what we received.", 400)
        if self.length is not None and int(self.length) != self.sums.size:
            raise AwsError(
                "IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header", 400
            )


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _is_md5(text: str) -> bool:
    try:
        return len(base64.b64decode(text, validate=True)) == 16
    except ValueError:
        return False


def headers_of(request: Input) -> dict[str, Any]:
    """What goes back with the object."""
    kept = {name: request[name] for name in KEPT_HEADERS if name in request}
    encodings = [part.strip() for part in str(kept.get("ContentEncoding", "")).split(",")]
    encoding = ",".join(part for part in encodings if part and part != "aws-chunked")
    kept.pop("ContentEncoding", None)
    return kept | ({"ContentEncoding": encoding} if encoding else {})


def encryption_of(bucket: Record, request: Input) -> dict[str, Any]:
    """What the request says, else the bucket's default."""
    if "SSECustomerAlgorithm" in request:
        raise AwsError("NotImplemented", "local-aws keeps no objects under a customer's own key (SSE-C)", 501)
    rules = (bucket["configuration"].get("encryption") or {}).get("Rules", [])
    default = rules[0].get("ApplyServerSideEncryptionByDefault", {}) if rules else {}
    algorithm = request.get("ServerSideEncryption") or default.get("SSEAlgorithm") or "AES256"
    key = request.get("SSEKMSKeyId") or default.get("KMSMasterKeyID")
    return {"ServerSideEncryption": algorithm} | ({"SSEKMSKeyId": key} if key and algorithm.startswith("aws:kms") else {})


def tags_from(header: str | None) -> dict[str, str]:
    tags = dict(parse_qsl(header or "", keep_blank_values=True))
    if len(tags) > 10:
        raise AwsError("BadRequest", "Object tags cannot be greater than 10", 400)
    return tags


def check_size(request: Input) -> None:
    if len(request["Key"].encode()) > 1024:
        raise AwsError("KeyTooLongError", "Your key is too long", 400)
    size = sum(len(name) + len(value) for name, value in request.get("Metadata", {}).items())
    if size > 2048:
        raise AwsError("MetadataTooLarge", "Your metadata headers exceed the maximum allowed metadata size.", 400)


def checksum_members(found: Version) -> dict[str, Any]:
    members = {f"Checksum{name}": value for name, value in found.checksums.items()}
    return members | ({"ChecksumType": found.checksum_type} if members else {})


def version_member(found: Version) -> dict[str, str]:
    return {} if found.id == "null" else {"VersionId": found.id}


@S3.operation("PutObject", resource=resource)
async def put_object(call: Call, request: Input) -> dict[str, Any]:
    bucket = permit(call, request, "PutObject")
    if request.get("Tagging"):
        check(call, bucket, "s3:PutObjectTagging", resource(call, request))
    check_size(request)
    check_conditions(call, request)
    encryption = encryption_of(bucket, request)
    incoming = Incoming(call, request)
    name = await incoming.store(call)
    try:
        # Again, for what came in between.
        call.world.s3.bucket(request["Bucket"])
        check_conditions(call, request)
    except AwsError:
        call.world.s3.discard([name])
        raise
    new = Version(
        request["Bucket"],
        request["Key"],
        "",
        size=incoming.sums.size,
        etag=incoming.sums.etag,
        files=[(name, incoming.sums.size)],
        headers=headers_of(request),
        metadata=request.get("Metadata", {}),
        tags=tags_from(request.get("Tagging")),
        checksums=incoming.sums.found(),
        encryption=encryption,
        storage_class=request.get("StorageClass", "STANDARD"),
    )
    added = call.world.s3.add(new)
    notifications.created(call.world, added, "Put", "PutObject", call.principal.unique_id)
    return {"ETag": f'"{added.etag}"'} | version_member(added) | checksum_members(added) | encryption


def _delete(call: Call, bucket: Record, key: str, name: str | None) -> dict[str, Any]:
    """One object or version; a missing one is as good as deleted."""
    s3, principal = call.world.s3, call.principal.unique_id
    if name is None and bucket["versioning"] in ("Enabled", "Suspended"):
        marker = s3.add(Version(bucket["name"], key, "", marker=True))
        notifications.deleted(call.world, marker, principal)
        return {"DeleteMarker": True, "VersionId": marker.id}
    found = s3.version(bucket["name"], key, name or "null")
    if found is not None:
        s3.remove(found)
        if name is None or not found.marker:
            found.seq = s3.next_sequence()
            notifications.deleted(call.world, found, principal)
    shown: dict[str, Any] = {"VersionId": name} if name else {}
    return shown | ({"DeleteMarker": True} if found is not None and found.marker else {})


def _check_delete_condition(call: Call, request: Input) -> None:
    wanted = request.get("IfMatch")
    current = call.world.s3.current(request["Bucket"], request["Key"])
    if wanted is not None and (current is None or wanted.strip('"') not in (current.etag, "*")):
        raise precondition_failed("If-Match")


@S3.operation("DeleteObject", resource=resource)
def delete_object(call: Call, request: Input) -> dict[str, Any]:
    action = "DeleteObjectVersion" if "VersionId" in request else "DeleteObject"
    bucket = permit(call, request, action)
    _check_delete_condition(call, request)
    return _delete(call, bucket, request["Key"], request.get("VersionId")) | {"_status": 204}


@S3.operation("DeleteObjects", resource=resource)
def delete_objects(call: Call, request: Input) -> dict[str, Any]:
    bucket = call.world.s3.bucket(request["Bucket"])
    if len(request["Delete"]["Objects"]) > 1000:
        raise AwsError(
            "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema", 400
        )
    good: list[dict[str, Any]] = []
    bad: list[dict[str, Any]] = []
    for one in request["Delete"]["Objects"]:
        action = "s3:DeleteObjectVersion" if "VersionId" in one else "s3:DeleteObject"
        try:
            check(call, bucket, action, resource(call, {"Bucket": bucket["name"], "Key": one["Key"]}))
        except AwsError as error:
            bad.append({"Key": one["Key"], "Code": error.code, "Message": error.message})
            continue
        good.append(_deleted(one, _delete(call, bucket, one["Key"], one.get("VersionId"))))
    quiet = request["Delete"].get("Quiet")
    return ({} if quiet or not good else {"Deleted": good}) | ({"Errors": bad} if bad else {})


def _deleted(one: Input, found: dict[str, Any]) -> dict[str, Any]:
    shown = {"Key": one["Key"]} | ({"VersionId": one["VersionId"]} if "VersionId" in one else {})
    if found.get("DeleteMarker"):
        shown |= {"DeleteMarker": True, "DeleteMarkerVersionId": found["VersionId"]}
    return shown
