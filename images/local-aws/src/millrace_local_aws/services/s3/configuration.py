"""A bucket's configurations: most are kept and given back as they came, so they stand in one table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from millrace_local_aws.access.policies import parsed
from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.s3 import notifications
from millrace_local_aws.services.s3.buckets import save
from millrace_local_aws.services.s3.service import S3, permit, resource
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError

_DEFAULT_ENCRYPTION = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]}


@dataclass(frozen=True)
class Kept:
    """A configuration: the member it has in put and get, its operations' noun, and what get says where there is none."""

    name: str
    member: str
    noun: str
    missing: tuple[str, str] | None
    delete: str | None
    default: Any = None
    unwrapped: bool = False


KEPT = (
    Kept(
        "encryption", "ServerSideEncryptionConfiguration", "BucketEncryption", None, "DeleteBucketEncryption", _DEFAULT_ENCRYPTION
    ),
    Kept(
        "public-access",
        "PublicAccessBlockConfiguration",
        "PublicAccessBlock",
        ("NoSuchPublicAccessBlockConfiguration", "The public access block configuration was not found"),
        "DeletePublicAccessBlock",
        dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True),
    ),
    Kept(
        "lifecycle",
        "LifecycleConfiguration",
        "BucketLifecycleConfiguration",
        ("NoSuchLifecycleConfiguration", "The lifecycle configuration does not exist"),
        "DeleteBucketLifecycle",
        unwrapped=True,
    ),
    Kept(
        "ownership",
        "OwnershipControls",
        "BucketOwnershipControls",
        ("OwnershipControlsNotFoundError", "The bucket ownership controls were not found"),
        "DeleteBucketOwnershipControls",
        {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
    ),
    Kept(
        "cors",
        "CORSConfiguration",
        "BucketCors",
        ("NoSuchCORSConfiguration", "The CORS configuration does not exist"),
        "DeleteBucketCors",
        unwrapped=True,
    ),
)
ACTIONS = {
    "BucketEncryption": "EncryptionConfiguration",
    "PublicAccessBlock": "BucketPublicAccessBlock",
    "BucketLifecycleConfiguration": "LifecycleConfiguration",
    "BucketCors": "BucketCORS",
}


def _put(kept: Kept) -> Callable[[Call, Input], Any]:
    def handler(call: Call, request: Input) -> None:
        bucket = permit(call, request, f"Put{ACTIONS.get(kept.noun, kept.noun)}")
        configure(call, bucket, kept.name, request.get(kept.member) or {})

    return handler


def _get(kept: Kept) -> Callable[[Call, Input], Any]:
    def handler(call: Call, request: Input) -> dict[str, Any]:
        bucket = permit(call, request, f"Get{ACTIONS.get(kept.noun, kept.noun)}")
        found = bucket["configuration"].get(kept.name, kept.default)
        if found is None or found == "deleted":
            code, message = kept.missing or ("NoSuchConfiguration", "There is none")
            raise AwsError(code, message, 404, BucketName=bucket["name"])
        return dict(found) if kept.unwrapped else {kept.member: found}

    return handler


def _delete(kept: Kept) -> Callable[[Call, Input], Any]:
    def handler(call: Call, request: Input) -> dict[str, Any]:
        bucket = permit(call, request, f"Put{ACTIONS.get(kept.noun, kept.noun)}")
        if kept.missing is None:
            bucket["configuration"].pop(kept.name, None)
            save(call, bucket)
        else:
            configure(call, bucket, kept.name, "deleted")
        return {"_status": 204}

    return handler


def configure(call: Call, bucket: Record, name: str, value: Any) -> None:
    save(call, bucket, configuration=bucket["configuration"] | {name: value})


for _kept in KEPT:
    S3.operation(f"Put{_kept.noun}", resource=resource)(_put(_kept))
    S3.operation(f"Get{_kept.noun}", resource=resource)(_get(_kept))
    if _kept.delete:
        S3.operation(_kept.delete, resource=resource)(_delete(_kept))


@S3.operation("PutBucketPolicy", resource=resource)
def put_bucket_policy(call: Call, request: Input) -> dict[str, Any]:
    bucket = permit(call, request, "PutBucketPolicy")
    try:
        document = parsed(request["Policy"])
    except AwsError as error:
        raise AwsError("MalformedPolicy", error.message, 400) from error
    if any("Principal" not in one and "NotPrincipal" not in one for one in document["Statement"]):
        raise AwsError("MalformedPolicy", "Missing required field Principal", 400)
    configure(call, bucket, "policy", json.dumps(document))
    return {"_status": 204}


@S3.operation("GetBucketPolicy", resource=resource)
def get_bucket_policy(call: Call, request: Input) -> dict[str, Any]:
    policy = permit(call, request, "GetBucketPolicy")["configuration"].get("policy")
    if policy is None:
        raise AwsError("NoSuchBucketPolicy", "The bucket policy does not exist", 404, BucketName=request["Bucket"])
    return {"Policy": policy}


@S3.operation("DeleteBucketPolicy", resource=resource)
def delete_bucket_policy(call: Call, request: Input) -> dict[str, Any]:
    bucket = permit(call, request, "DeleteBucketPolicy")
    bucket["configuration"].pop("policy", None)
    save(call, bucket)
    return {"_status": 204}


@S3.operation("PutBucketNotificationConfiguration", resource=resource)
def put_bucket_notification_configuration(call: Call, request: Input) -> None:
    bucket = permit(call, request, "PutBucketNotification")
    wanted = request["NotificationConfiguration"]
    for index, one in enumerate(wanted.get("QueueConfigurations", [])):
        one.setdefault("Id", f"queue-{index}")
    notifications.validate(call.world, bucket, wanted)
    configure(call, bucket, "notification", wanted)


@S3.operation("GetBucketNotificationConfiguration", resource=resource)
def get_bucket_notification_configuration(call: Call, request: Input) -> dict[str, Any]:
    return dict(permit(call, request, "GetBucketNotification")["configuration"].get("notification") or {})
