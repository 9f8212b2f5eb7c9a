"""Buckets: made, listed, found, versioned, deleted."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.s3.service import S3, check_account, permit, resource
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError

_NAME = re.compile(r"(?!xn--)(?!.*\.\.)(?!.*\.-)(?!.*-\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def _check_name(name: str) -> None:
    try:
        ipaddress.ip_address(name)
        valid = False
    except ValueError:
        valid = _NAME.fullmatch(name) is not None and not name.endswith(("-s3alias", "--ol-s3"))
    if not valid:
        raise AwsError("InvalidBucketName", "The specified bucket is not valid.", 400, BucketName=name)


def _location(call: Call, request: Input) -> str:
    """The body says where; without one, us-east-1 is asked for."""
    constraint = (request.get("CreateBucketConfiguration") or {}).get("LocationConstraint")
    if constraint is None and call.region != "us-east-1":
        message = "The unspecified location constraint is incompatible for the region specific endpoint this request was sent to."
        raise AwsError("IllegalLocationConstraintException", message, 400)
    if constraint not in (None, call.region, "EU"):
        message = (
            f"The {constraint} location constraint is incompatible for the region specific endpoint this request was sent to."
        )
        raise AwsError("IllegalLocationConstraintException", message, 400)
    return constraint or "us-east-1"


@S3.operation("CreateBucket", resource=resource)
def create_bucket(call: Call, request: Input) -> dict[str, Any]:
    name = request["Bucket"]
    check_account(call, "s3:CreateBucket", resource(call, request))
    _check_name(name)
    region = _location(call, request)
    old = call.world.s3.buckets.get("", name)
    if old is not None and old["account"] != call.account:
        message = "The requested bucket name is not available. The bucket namespace is shared by all users of the system."
        raise AwsError("BucketAlreadyExists", message, 409, BucketName=name)
    if old is not None and (old["region"] != "us-east-1" or call.region != "us-east-1"):
        message = "Your previous request to create the named bucket succeeded and you already own it."
        raise AwsError("BucketAlreadyOwnedByYou", message, 409, BucketName=name)
    if old is None:
        tags = {tag["Key"]: tag["Value"] for tag in (request.get("CreateBucketConfiguration") or {}).get("Tags", [])}
        record = {"name": name, "account": call.account, "region": region, "created": float(int(call.world.clock.wall()))}
        call.world.s3.buckets.put("", name, record | {"versioning": "", "configuration": {}, "tags": tags})
    return {"Location": f"/{name}"}


@S3.operation("ListBuckets")
def list_buckets(call: Call, request: Input) -> dict[str, Any]:
    check_account(call, "s3:ListAllMyBuckets")
    prefix = request.get("Prefix", "")
    found = sorted((b for b in call.world.s3.buckets.of("") if b["account"] == call.account), key=lambda bucket: bucket["name"])
    shown = [
        {"Name": bucket["name"], "CreationDate": bucket["created"], "BucketRegion": bucket["region"]}
        for bucket in found
        if bucket["name"].startswith(prefix) and request.get("BucketRegion") in (None, bucket["region"])
    ]
    start, size = int(request.get("ContinuationToken") or 0), request.get("MaxBuckets", 10_000)
    more = {"ContinuationToken": str(start + size)} if start + size < len(shown) else {}
    owner = {"ID": call.account, "DisplayName": call.account}
    return {"Buckets": shown[start : start + size], "Owner": owner} | more


@S3.operation("HeadBucket", resource=resource)
def head_bucket(call: Call, request: Input) -> dict[str, Any]:
    bucket = permit(call, request, "ListBucket")
    return {"BucketRegion": bucket["region"], "AccessPointAlias": False}


@S3.operation("GetBucketLocation", resource=resource)
def get_bucket_location(call: Call, request: Input) -> dict[str, Any]:
    region = permit(call, request, "GetBucketLocation")["region"]
    # This answer's root element is the constraint itself, which no model can say.
    inner = "" if region == "us-east-1" else region
    document = f'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</LocationConstraint>'
    return {"_body": document.encode()}


@S3.operation("DeleteBucket", resource=resource)
def delete_bucket(call: Call, request: Input) -> dict[str, Any]:
    permit(call, request, "DeleteBucket")
    if not call.world.s3.empty(request["Bucket"]):
        message = "The bucket you tried to delete is not empty"
        raise AwsError("BucketNotEmpty", message, 409, BucketName=request["Bucket"])
    call.world.s3.buckets.drop("", request["Bucket"])
    return {"_status": 204}


@S3.operation("PutBucketVersioning", resource=resource)
def put_bucket_versioning(call: Call, request: Input) -> None:
    bucket = permit(call, request, "PutBucketVersioning")
    status = request["VersioningConfiguration"].get("Status")
    if status is None:
        raise AwsError("IllegalVersioningConfigurationException", "The Versioning element must be specified", 400)
    save(call, bucket, versioning=status)


def save(call: Call, bucket: Record, **changes: Any) -> None:
    call.world.s3.buckets.put("", bucket["name"], bucket | changes)


@S3.operation("GetBucketVersioning", resource=resource)
def get_bucket_versioning(call: Call, request: Input) -> dict[str, Any]:
    status = permit(call, request, "GetBucketVersioning")["versioning"]
    return {"Status": status} if status else {}
