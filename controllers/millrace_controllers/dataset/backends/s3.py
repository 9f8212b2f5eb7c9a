"""A Dataset's objects in S3 as the operator sees them: what a source holds, what a worker has put, and taking it away.

Content is never read here: S3 keeps each object's digest, which the worker wrote and S3 checked part by part.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from millrace.aws.errors import NotFound
from millrace_controllers.dataset.plan import SourceNotFound

if TYPE_CHECKING:
    from millrace.aws.account import Account

Object = dict[str, Any]
_DIGEST = "sha256"
_OWNERS = ".owners"


async def source_version(account: Account, uri: str) -> str:
    """Changes when an object of the source does. Raises SourceNotFound."""
    bucket, key = _place(uri)
    try:
        found = {item["Key"]: item["ETag"] for item in await _listed(account, bucket, key)}
    except NotFound:
        raise SourceNotFound(f"bucket {bucket!r} of {uri} does not exist") from None
    chosen = {key: found[key]} if key in found else {k: e for k, e in found.items() if _is_data(k, key)}
    if not chosen:
        raise SourceNotFound(f"{uri} holds no object")
    return hashlib.sha256(json.dumps(sorted(chosen.items())).encode()).hexdigest()


async def verdict(account: Account, told: list[Object]) -> Object:
    """Whether every file is there as its writer told: `ok`, else the reason and a message, as a reader pod says it."""
    for file in told:
        bucket, key = _place(file["uri"])
        head = await account.find("s3", "HeadObject", Bucket=bucket, Key=key)
        if head is None:
            return _unsound(f"{file['uri']} is not there")
        if (head["ContentLength"], head["Metadata"].get(_DIGEST)) != (file["bytes"], file["digest"].removeprefix("sha256:")):
            return _unsound(f"{file['uri']} is not the file that the worker wrote: size or digest differ")
    return {"ok": True}


async def sweep(account: Account, folders: list[str], owner: str) -> None:
    """Take an owner's mark off each folder, and delete those that nobody else uses."""
    for uri in folders:
        bucket, key = _place(uri)
        await account.remove("s3", "DeleteObject", Bucket=bucket, Key=f"{key}/{_OWNERS}/{owner}")
        try:
            keys = [item["Key"] for item in await _listed(account, bucket, f"{key}/")]
        except NotFound:
            continue
        if not any(k.startswith(f"{key}/{_OWNERS}/") for k in keys):
            await _delete(account, bucket, keys)


async def _delete(account: Account, bucket: str, keys: list[str]) -> None:
    """One by one: a version has a handful of files, and each refusal is an error of its own."""
    for key in keys:
        await account.remove("s3", "DeleteObject", Bucket=bucket, Key=key)


async def _listed(account: Account, bucket: str, prefix: str) -> list[Object]:
    return await account.items("s3", "ListObjectsV2", "Contents", Bucket=bucket, Prefix=prefix)


def _place(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key.rstrip("/")


def _is_data(key: str, folder: str) -> bool:
    """As the worker chooses: below the folder, no folder's own object, nothing hidden."""
    start = f"{folder}/" if folder else ""
    parts = key.removeprefix(start).split("/")
    return key.startswith(start) and not any(part == "" or part.startswith(".") for part in parts)


def _unsound(message: str) -> Object:
    return {"ok": False, "reason": "NotReadBack", "message": message}
