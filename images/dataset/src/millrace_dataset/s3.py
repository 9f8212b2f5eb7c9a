"""Objects in S3, as a source and as what is published, with the identity of this pod.

boto3 brings parts, retries and checksums: S3 refuses bytes that are not those that were sent, and an object that changes while it
is read fails. A version's manifest is put last: what has one is whole.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, CredentialRetrievalError, NoCredentialsError

from millrace_dataset.files import sha256_file
from millrace_dataset.lines import OnBytes, SourceFile
from millrace_dataset.problems import Problem
from millrace_dataset.publish import MANIFEST, OWNERS, Published
from millrace_dataset.request import Target

DIGEST = "sha256"
"""Key of an object's metadata: hexadecimal SHA-256 of its content."""
_PART_BYTES = 64 << 20
_ATTEMPTS = 8
_TRANSFER = TransferConfig(multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=4)
_DENIED = {
    "AccessDenied",
    "AllAccessDisabled",
    "403",
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidIdentityToken",
}
_MISSING = {"NoSuchBucket", "NoSuchKey", "404", "NotFound"}
_LATER = {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
_TYPES = {".html": "text/html; charset=utf-8", ".json": "application/json"}


@dataclass(frozen=True)
class Found:
    """An object as listed."""

    key: str
    etag: str
    size: int


@dataclass(frozen=True)
class Folder:
    """A place in a bucket."""

    bucket: str
    key: str
    kms_key_id: str | None = None

    @classmethod
    def of(cls, uri: str, kms_key_id: str | None = None) -> "Folder":
        """From `s3://bucket/key`."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return cls(bucket, key.rstrip("/"), kms_key_id)

    @cached_property
    def client(self) -> Any:
        """Made once; a custom endpoint has one name, so no bucket in it."""
        custom = bool(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))
        style = {"addressing_style": "path"} if custom else None
        return boto3.session.Session().client(
            "s3", config=Config(retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"}, s3=style)
        )

    def name(self, relative: str) -> str:
        """Key of a file of this folder."""
        return f"{self.key}/{relative}" if self.key else relative

    def objects(self) -> dict[str, Found]:
        """The object of this key, or all below it, by their names in the folder."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.key)
        items = (item for page in pages for item in page.get("Contents", ()))
        found = {item["Key"]: Found(item["Key"], item["ETag"], item["Size"]) for item in items}
        if self.key in found:
            return {self.key.rpartition("/")[2]: found[self.key]}
        below = self.name("")
        named = {key[len(below) :]: each for key, each in found.items() if key.startswith(below)}
        return {name: each for name, each in named.items() if _is_data(name)}

    def get(self, found: Found, path: Path, on_bytes: OnBytes) -> None:
        """An object into a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.client.download_file(self.bucket, found.key, str(path), Callback=on_bytes, Config=_TRANSFER)

    def put(self, path: Path, name: str) -> None:
        """A file, with its digest in the metadata, and checked by S3 part by part."""
        extra: dict[str, Any] = {"Metadata": {DIGEST: sha256_file(path)[0]}, "ChecksumAlgorithm": "SHA256"}
        if self.kms_key_id:
            extra |= {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key_id}
        if path.suffix in _TYPES:
            extra["ContentType"] = _TYPES[path.suffix]
        self.client.upload_file(str(path), self.bucket, self.name(name), ExtraArgs=extra, Config=_TRANSFER)

    def read(self, name: str) -> bytes | None:
        """A small object's content; None where there is none."""
        try:
            return bytes(self.client.get_object(Bucket=self.bucket, Key=self.name(name))["Body"].read())
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            raise

    def holds(self, name: str, digest: str, size: int) -> bool:
        """Whether an object is there with these bytes."""
        try:
            head = self.client.head_object(Bucket=self.bucket, Key=self.name(name))
        except ClientError as error:
            if _code(error) in _MISSING:
                return False
            raise
        return (head["ContentLength"], head["Metadata"].get(DIGEST)) == (size, digest.removeprefix("sha256:"))


def fetch(uri: str, work: Path, on_bytes: OnBytes) -> list[SourceFile]:
    """The objects as files in a folder, sorted by name. Raises Problem."""
    folder = Folder.of(uri)
    with _asked("SourceMissing", "DownloadFailed", uri):
        found = folder.objects()
        if not found:
            raise Problem("SourceMissing", f"{uri} holds no object: correct source.s3.uri or put data there")
        for name, each in found.items():
            folder.get(each, work / name, on_bytes)
        if folder.objects() != found:
            raise Problem("DownloadFailed", f"{uri} changed while it was read: run again when nothing writes to it")
    return [SourceFile(name, work / name) for name in sorted(found)]


def store(base: Path, target: Target, published: Published | None) -> Published | None:
    """Put what was published below `base` into S3; a version that is there already is checked and used. Raises Problem."""
    folder = Folder.of(target.uri, target.kms_key_id)
    with _asked("PublishFailed", "PublishFailed", target.uri):
        marks, files = _ordered(base)
        for mark in marks:
            folder.put(mark, mark.relative_to(base).as_posix())
        held = _held(folder, base, published)
        for path in files:
            if held is None or published is None or path.parent != published.folder:
                folder.put(path, path.relative_to(base).as_posix())
    return held or published


def _held(folder: Folder, base: Path, published: Published | None) -> Published | None:
    """The version as somebody put it earlier; None where nobody did."""
    if published is None:
        return None
    version = published.folder.relative_to(base).as_posix()
    manifest = folder.read(f"{version}/{MANIFEST}")
    if manifest is None:
        return None
    splits = json.loads(manifest)["splits"]
    for split in splits.values():
        if not folder.holds(f"{version}/{split['file']}", split["digest"], split["bytes"]):
            what = f"s3://{folder.bucket}/{folder.name(version)}/{split['file']}"
            raise Problem(
                "PublishFailed", f"{what} was changed after it was published: remove that folder to have it published anew"
            )
    return Published(published.folder, splits)


def _ordered(base: Path) -> tuple[list[Path], list[Path]]:
    """Owners' marks, which keep what is there from being swept; and every other file, manifests at the end."""
    files = sorted((path for path in base.rglob("*") if path.is_file()), key=lambda path: (path.name == MANIFEST, path))
    return [path for path in files if path.parent.name == OWNERS], [path for path in files if path.parent.name != OWNERS]


def _is_data(name: str) -> bool:
    """Folders' own objects and hidden names are none, nor is what would lie outside the folder."""
    return not any(part == "" or part.startswith(".") for part in name.split("/"))


@contextmanager
def _asked(missing: str, broken: str, uri: str) -> Iterator[None]:
    """What S3 and its client raise, as Problem: `missing` where there is no such thing, else `broken`."""
    try:
        yield
    except (NoCredentialsError, CredentialRetrievalError) as error:
        raise Problem("PermissionDenied", f"the worker's pod has no identity at AWS: {error}; {_IDENTITY}") from error
    except ClientError as error:
        raise _problem(error, missing, broken, uri) from error
    except (Boto3Error, BotoCoreError) as error:
        cause = error.__cause__ or error.__context__
        if isinstance(cause, ClientError):
            raise _problem(cause, missing, broken, uri) from error
        raise Problem("S3Unavailable", f"{uri}: {error}") from error
    except OSError as error:
        raise Problem("PublishFailed", f"cannot write to the pod's scratch space: {error.strerror or error}") from error


_IDENTITY = "set the CloudAccount's podRoleARN, or give the ServiceAccount an identity"


def _problem(error: ClientError, missing: str, broken: str, uri: str) -> Problem:
    said = error.response.get("Error", {}).get("Message") or str(error)
    if _code(error) in _DENIED:
        action = f"{error.operation_name}: " if "perform:" not in said else ""
        return Problem("PermissionDenied", f"{uri}: {action}{said}")
    if _code(error) in _LATER or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        return Problem("S3Unavailable", f"{uri}: {said}")
    return Problem(missing if _code(error) in _MISSING else broken, f"{uri}: {said}")


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
