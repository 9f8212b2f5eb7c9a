"""A Dataset's objects in S3 as the operator sees them: what a source holds, what a worker has put, and taking it away.

Content is never read here: S3 keeps each object's digest, which the worker wrote and S3 checked part by part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from millrace.aws.errors import NotFound
from millrace_controllers.dataset.plan import SourceNotFound

if TYPE_CHECKING:
    from millrace.aws.account import Account

Object = dict[str, Any]
_DIGEST = "sha256"
_OWNERS = ".owners"
_MANIFEST = "/manifest.json"
"""Goes first, as it came last: what has one is whole. The mark goes last: what was not finished is found again by it."""


async def source_version(account: Account, uri: str) -> str:
    """Changes when an object of the source does. Raises SourceNotFound."""
    bucket, key = _place(uri)
    alone = await account.find("s3", "HeadObject", Bucket=bucket, Key=key) if key else None
    if alone is not None:
        return hashlib.sha256(alone["ETag"].encode()).hexdigest()
    digest, count = hashlib.sha256(), 0
    try:
        async for page in account.pages("s3", "ListObjectsV2", Bucket=bucket, Prefix=_below(key)):
            for item in (i for i in page.get("Contents") or () if _is_data(i["Key"], key)):
                digest.update(f"{item['Key']}\n{item['ETag']}\n".encode())
                count += 1
    except NotFound:
        raise SourceNotFound(f"bucket {bucket!r} of {uri} does not exist") from None
    if not count:
        raise SourceNotFound(f"{uri} holds no object")
    return digest.hexdigest()


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


async def marked(account: Account, uri: str, owner: str) -> list[str]:
    """Folders below a place that bear an owner's mark: also those that no status ever told of."""
    bucket, key = _place(uri)
    end = f"/{_OWNERS}/{owner}"
    return [f"s3://{bucket}/{k.removesuffix(end)}" for k in await _keys(account, bucket, _below(key)) if k.endswith(end)]


async def sweep(account: Account, folders: Iterable[str], owner: str) -> None:
    """Take an owner's mark off each folder, and delete those that nobody else uses."""
    for uri in folders:
        bucket, key = _place(uri)
        keys, mark = await _keys(account, bucket, f"{key}/"), f"{key}/{_OWNERS}/{owner}"
        shared = any(k.startswith(f"{key}/{_OWNERS}/") and k != mark for k in keys)
        for each in [mark] if shared else sorted(keys, key=lambda k: (k == mark, not k.endswith(_MANIFEST))):
            await account.remove("s3", "DeleteObject", Bucket=bucket, Key=each)


async def _keys(account: Account, bucket: str, prefix: str) -> list[str]:
    """None in a bucket that is gone."""
    try:
        return [i["Key"] for i in await account.items("s3", "ListObjectsV2", "Contents", Bucket=bucket, Prefix=prefix)]
    except NotFound:
        return []


def _place(uri: str) -> tuple[str, str]:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key.rstrip("/")


def _below(folder: str) -> str:
    """What keys in a folder begin with; nothing in a bucket's own."""
    return f"{folder}/" if folder else ""


def _is_data(key: str, folder: str) -> bool:
    """As the worker chooses: below the folder, no folder's own object, nothing hidden."""
    start = _below(folder)
    parts = key.removeprefix(start).split("/")
    return key.startswith(start) and not any(part == "" or part.startswith(".") for part in parts)


def _unsound(message: str) -> Object:
    return {"ok": False, "reason": "NotReadBack", "message": message}
