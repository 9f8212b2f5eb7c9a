"""S3 as boto3 sees it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import zlib
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from botocore.config import Config
from local_aws_support import document, refused

from millrace_local_aws import LocalAws


@pytest.fixture
def s3(client: Callable[..., Any]) -> Any:
    made = client("s3")
    made.create_bucket(Bucket="data")
    return made


def keys(answer: dict[str, Any]) -> list[str]:
    return [entry["Key"] for entry in answer.get("Contents", [])]


def test_an_object_comes_back_with_everything_said_about_it(s3: Any) -> None:
    put = s3.put_object(
        Bucket="data",
        Key="a folder/ü+&?.txt",
        Body=b"hello",
        ContentType="text/plain",
        CacheControl="no-store",
        Metadata={"origin": "here"},
        Tagging="team=red",
    )
    got = s3.get_object(Bucket="data", Key="a folder/ü+&?.txt", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"hello"
    assert got["ETag"] == put["ETag"] == f'"{hashlib.md5(b"hello").hexdigest()}"'
    assert (got["ContentType"], got["CacheControl"], got["Metadata"], got["TagCount"]) == (
        "text/plain",
        "no-store",
        {"origin": "here"},
        1,
    )
    assert got["ChecksumCRC32"] == b64encode(zlib.crc32(b"hello").to_bytes(4, "big")).decode()
    assert keys(s3.list_objects_v2(Bucket="data")) == ["a folder/ü+&?.txt"]


def test_a_wrong_checksum_leaves_nothing_behind(s3: Any) -> None:
    with refused("BadDigest"):
        s3.put_object(Bucket="data", Key="a", Body=b"hello", ChecksumSHA256=b64encode(hashlib.sha256(b"other").digest()).decode())
    assert "Contents" not in s3.list_objects_v2(Bucket="data")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("bytes=0-3", b"0123"), ("bytes=-3", b"789"), ("bytes=8-", b"89"), ("bytes=5-100", b"56789")],
    ids=["from the start", "a suffix", "to the end", "beyond the end"],
)
def test_a_range_is_a_part_of_the_object(s3: Any, asked: str, expected: bytes) -> None:
    s3.put_object(Bucket="data", Key="digits", Body=b"0123456789")
    got = s3.get_object(Bucket="data", Key="digits", Range=asked)
    assert got["Body"].read() == expected
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206


def test_a_range_behind_the_end_is_refused(s3: Any) -> None:
    s3.put_object(Bucket="data", Key="digits", Body=b"0123456789")
    with refused("InvalidRange"):
        s3.get_object(Bucket="data", Key="digits", Range="bytes=10-")


def test_conditional_writes_let_one_writer_win(s3: Any) -> None:
    first = s3.put_object(Bucket="data", Key="lock", Body=b"1", IfNoneMatch="*")
    with refused("PreconditionFailed"):
        s3.put_object(Bucket="data", Key="lock", Body=b"2", IfNoneMatch="*")
    s3.put_object(Bucket="data", Key="lock", Body=b"3", IfMatch=first["ETag"])
    with refused("PreconditionFailed"):
        s3.put_object(Bucket="data", Key="lock", Body=b"4", IfMatch=first["ETag"])
    assert s3.get_object(Bucket="data", Key="lock")["Body"].read() == b"3"


def test_a_reader_who_has_it_already_gets_304(s3: Any) -> None:
    etag = s3.put_object(Bucket="data", Key="a", Body=b"1")["ETag"]
    with refused("304"):
        s3.get_object(Bucket="data", Key="a", IfNoneMatch=etag)
    with refused("PreconditionFailed"):
        s3.get_object(Bucket="data", Key="a", IfMatch='"other"')


def test_versions_and_delete_markers_can_be_gone_back_on(s3: Any) -> None:
    s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket="data", Key="a", Body=b"1")["VersionId"]
    second = s3.put_object(Bucket="data", Key="a", Body=b"2")["VersionId"]
    marker = s3.delete_object(Bucket="data", Key="a")
    assert marker["DeleteMarker"] is True
    with refused("NoSuchKey"):
        s3.get_object(Bucket="data", Key="a")
    assert s3.get_object(Bucket="data", Key="a", VersionId=first)["Body"].read() == b"1"
    listed = s3.list_object_versions(Bucket="data")
    assert [(v["VersionId"], v["IsLatest"]) for v in listed["Versions"]] == [(second, False), (first, False)]
    assert [(m["VersionId"], m["IsLatest"]) for m in listed["DeleteMarkers"]] == [(marker["VersionId"], True)]
    s3.delete_object(Bucket="data", Key="a", VersionId=marker["VersionId"])
    assert s3.get_object(Bucket="data", Key="a")["Body"].read() == b"2"
    s3.delete_object(Bucket="data", Key="a", VersionId=second)
    assert s3.get_object(Bucket="data", Key="a")["Body"].read() == b"1"


def test_a_suspended_bucket_replaces_its_null_version_only(s3: Any) -> None:
    s3.put_object(Bucket="data", Key="a", Body=b"before")
    s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    kept = s3.put_object(Bucket="data", Key="a", Body=b"kept")["VersionId"]
    s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Suspended"})
    s3.put_object(Bucket="data", Key="a", Body=b"null again")
    found = {v["VersionId"] for v in s3.list_object_versions(Bucket="data")["Versions"]}
    assert found == {kept, "null"}
    assert s3.get_object(Bucket="data", Key="a", VersionId="null")["Body"].read() == b"null again"


def test_a_bucket_with_versions_cannot_be_deleted_and_delete_objects_empties_it(s3: Any) -> None:
    s3.put_bucket_versioning(Bucket="data", VersioningConfiguration={"Status": "Enabled"})
    for number in range(3):
        s3.put_object(Bucket="data", Key=f"k{number}", Body=b"x")
    s3.delete_objects(Bucket="data", Delete={"Objects": [{"Key": f"k{number}"} for number in range(3)]})
    with refused("BucketNotEmpty"):
        s3.delete_bucket(Bucket="data")
    found = s3.list_object_versions(Bucket="data")
    names = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in found["Versions"] + found["DeleteMarkers"]]
    assert len(s3.delete_objects(Bucket="data", Delete={"Objects": names})["Deleted"]) == 6
    s3.delete_bucket(Bucket="data")
    with refused("404"):
        s3.head_bucket(Bucket="data")


def test_pages_of_a_listing_hold_every_key_and_prefix_once(s3: Any) -> None:
    expected = [f"p{folder}/f{number}" for folder in range(4) for number in range(3)] + ["root-a", "root-b"]
    for key in expected:
        s3.put_object(Bucket="data", Key=key, Body=b"")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket="data", PaginationConfig={"PageSize": 2})
    assert [key for page in pages for key in keys(page)] == sorted(expected)
    for operation in ("list_objects_v2", "list_objects"):
        pages = list(s3.get_paginator(operation).paginate(Bucket="data", Delimiter="/", PaginationConfig={"PageSize": 2}))
        assert [p["Prefix"] for page in pages for p in page.get("CommonPrefixes", [])] == [f"p{n}/" for n in range(4)]
        assert [key for page in pages for key in keys(page)] == ["root-a", "root-b"]
    pages = s3.get_paginator("list_object_versions").paginate(Bucket="data", PaginationConfig={"PageSize": 5})
    assert [v["Key"] for page in pages for v in page["Versions"]] == sorted(expected)


def test_a_prefix_selects_and_start_after_skips(s3: Any) -> None:
    for key in ("a/1", "a/2", "a/3", "b/1"):
        s3.put_object(Bucket="data", Key=key, Body=b"")
    assert keys(s3.list_objects_v2(Bucket="data", Prefix="a/", StartAfter="a/1")) == ["a/2", "a/3"]


def test_a_large_file_goes_up_in_parts_and_comes_down_whole(s3: Any, tmp_path: Path) -> None:
    from boto3.s3.transfer import TransferConfig

    source, target = tmp_path / "up", tmp_path / "down"
    source.write_bytes(os.urandom(12 * 1024 * 1024))
    parts = TransferConfig(multipart_threshold=5 * 1024 * 1024, multipart_chunksize=5 * 1024 * 1024)
    s3.upload_file(str(source), "data", "big", Config=parts)
    s3.download_file("data", "big", str(target), Config=parts)
    assert target.read_bytes() == source.read_bytes()
    head = s3.head_object(Bucket="data", Key="big", PartNumber=3)
    assert (head["PartsCount"], head["ContentLength"]) == (3, 2 * 1024 * 1024)
    assert head["ETag"].endswith('-3"')
    assert s3.head_object(Bucket="data", Key="big", ChecksumMode="ENABLED")["ChecksumCRC32"].endswith("-3")


def test_parts_out_of_order_too_small_or_unknown_make_no_object(s3: Any) -> None:
    upload = s3.create_multipart_upload(Bucket="data", Key="m")["UploadId"]
    name = {"Bucket": "data", "Key": "m", "UploadId": upload}
    etags = [s3.upload_part(**name, PartNumber=number, Body=b"x" * 10)["ETag"] for number in (1, 2)]
    one, two = ({"PartNumber": number, "ETag": etag} for number, etag in zip((1, 2), etags, strict=True))
    assert [part["PartNumber"] for part in s3.list_parts(**name)["Parts"]] == [1, 2]
    assert [found["Key"] for found in s3.list_multipart_uploads(Bucket="data")["Uploads"]] == ["m"]
    with refused("InvalidPartOrder"):
        s3.complete_multipart_upload(**name, MultipartUpload={"Parts": [two, one]})
    with refused("EntityTooSmall"):
        s3.complete_multipart_upload(**name, MultipartUpload={"Parts": [one, two]})
    with refused("InvalidPart"):
        s3.complete_multipart_upload(**name, MultipartUpload={"Parts": [{"PartNumber": 9, "ETag": "x"}]})
    s3.abort_multipart_upload(**name)
    with refused("NoSuchUpload"):
        s3.list_parts(**name)


def test_a_copy_keeps_or_replaces_what_is_said_about_the_object(s3: Any) -> None:
    s3.put_object(Bucket="data", Key="a", Body=b"x", Metadata={"k": "1"}, Tagging="t=1")
    s3.copy_object(Bucket="data", Key="b", CopySource={"Bucket": "data", "Key": "a"})
    assert s3.head_object(Bucket="data", Key="b")["Metadata"] == {"k": "1"}
    assert s3.get_object_tagging(Bucket="data", Key="b")["TagSet"] == [{"Key": "t", "Value": "1"}]
    s3.copy_object(Bucket="data", Key="b", CopySource="data/a", Metadata={"k": "2"}, MetadataDirective="REPLACE")
    assert s3.head_object(Bucket="data", Key="b")["Metadata"] == {"k": "2"}
    with refused("InvalidRequest"):
        s3.copy_object(Bucket="data", Key="a", CopySource="data/a")


def test_a_part_can_be_a_range_of_another_object(s3: Any) -> None:
    s3.put_object(Bucket="data", Key="source", Body=b"0123456789")
    name = {"Bucket": "data", "Key": "target", "UploadId": s3.create_multipart_upload(Bucket="data", Key="target")["UploadId"]}
    part = s3.upload_part_copy(**name, PartNumber=1, CopySource="data/source", CopySourceRange="bytes=2-5")["CopyPartResult"]
    s3.complete_multipart_upload(**name, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert s3.get_object(Bucket="data", Key="target")["Body"].read() == b"2345"


@pytest.mark.parametrize("version", ["s3v4", None], ids=["version 4", "boto3's default"])
def test_a_presigned_url_works_until_it_has_expired(aws: LocalAws, s3: Any, version: str | None) -> None:
    signer = aws.client("s3", config=Config(signature_version=version)) if version else s3
    s3.put_object(Bucket="data", Key="a b", Body=b"hello")
    url = signer.generate_presigned_url("get_object", Params={"Bucket": "data", "Key": "a b"}, ExpiresIn=60)
    with urlopen(url) as answer:
        assert answer.read() == b"hello"
    upload = signer.generate_presigned_url("put_object", Params={"Bucket": "data", "Key": "up"}, ExpiresIn=60)
    with urlopen(Request(upload, b"sent", method="PUT")) as answer:
        assert answer.status == 200
    assert s3.get_object(Bucket="data", Key="up")["Body"].read() == b"sent"
    aws.admin.step(120)
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.request("GET", url.partition(urlsplit(url).netloc)[2])
    answer = connection.getresponse()
    assert (answer.status, b"Request has expired" in answer.read()) == (403, True)
    connection.close()


def test_the_virtual_hosted_style_names_the_same_bucket(aws: LocalAws, s3: Any) -> None:
    s3.put_object(Bucket="data", Key="folder/a", Body=b"1")
    connection = http.client.HTTPConnection(urlsplit(aws.endpoint_url).netloc)
    for host in ("data.s3.us-east-1.amazonaws.com", "data.s3.localhost:4566", "data.localhost"):
        connection.request("GET", "/folder/a", headers={"Host": host, "Authorization": "AWS 123456789012:x"})
        assert connection.getresponse().read() == b"1", host
    connection.close()


def test_chunks_with_a_checksum_behind_them_are_decoded_and_checked(aws: LocalAws, s3: Any) -> None:
    body = b"hello " * 1000
    crc = b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()

    def put(checksum: str) -> int:
        chunks = b"%x\r\n%b\r\n" % (4000, body[:4000]) + b"%x\r\n%b\r\n" % (2000, body[4000:])
        sent = chunks + b"0\r\nx-amz-checksum-crc32:" + checksum.encode() + b"\r\n\r\n"
        headers = {
            "Authorization": "AWS 123456789012:x",
            "Content-Encoding": "aws-chunked",
            "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            "x-amz-decoded-content-length": str(len(body)),
            "x-amz-trailer": "x-amz-checksum-crc32",
        }
        connection = http.client.HTTPConnection(urlsplit(aws.endpoint_url).netloc)
        connection.request("PUT", "/data/chunked", sent, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    assert put("AAAAAA==") == 400
    assert put(crc) == 200
    got = s3.get_object(Bucket="data", Key="chunked", ChecksumMode="ENABLED")
    assert (got["Body"].read(), got["ChecksumCRC32"], got.get("ContentEncoding", "")) == (body, crc, "")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("CRC32C", "4waSgw=="), ("CRC64NVME", "rosUhgp5mIg=")],
    ids=["the check value of CRC-32C", "the check value of CRC-64/NVME"],
)
def test_checksums_without_a_library_are_right(name: str, expected: str) -> None:
    from millrace_local_aws.services.s3.checksums import Sums

    sums = Sums([name])
    sums.update(b"123456789")
    assert sums.found() == {name: expected}


def test_configurations_come_back_as_they_were_put(s3: Any) -> None:
    rules = {
        "Rules": [
            {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "k"}, "BucketKeyEnabled": True}
        ]
    }
    s3.put_bucket_encryption(Bucket="data", ServerSideEncryptionConfiguration=rules)
    assert s3.get_bucket_encryption(Bucket="data")["ServerSideEncryptionConfiguration"] == rules
    assert s3.put_object(Bucket="data", Key="a", Body=b"")["SSEKMSKeyId"] == "k"
    life = {"Rules": [{"ID": "old", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 1}}]}
    s3.put_bucket_lifecycle_configuration(Bucket="data", LifecycleConfiguration=life)
    assert s3.get_bucket_lifecycle_configuration(Bucket="data")["Rules"] == life["Rules"]
    s3.delete_bucket_lifecycle(Bucket="data")
    with refused("NoSuchLifecycleConfiguration"):
        s3.get_bucket_lifecycle_configuration(Bucket="data")
    block = s3.get_public_access_block(Bucket="data")["PublicAccessBlockConfiguration"]
    assert all(block.values()), "new buckets are private"
    s3.put_bucket_tagging(Bucket="data", Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})
    assert s3.get_bucket_tagging(Bucket="data")["TagSet"] == [{"Key": "k", "Value": "v"}]
    assert s3.get_bucket_location(Bucket="data")["LocationConstraint"] is None


def test_another_account_is_let_in_by_the_buckets_policy_only(aws: LocalAws, s3: Any, client: Callable[..., Any]) -> None:
    s3.put_object(Bucket="data", Key="shared/a", Body=b"1")
    other = client("s3", account="222222222222")
    with refused("AccessDenied"):
        other.get_object(Bucket="data", Key="shared/a")
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": "222222222222"},
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::data/shared/*",
    }
    s3.put_bucket_policy(Bucket="data", Policy=document(statement))
    assert other.get_object(Bucket="data", Key="shared/a")["Body"].read() == b"1"
    with refused("AccessDenied"):
        other.put_object(Bucket="data", Key="shared/b", Body=b"")
    with refused("BucketAlreadyExists"):
        other.create_bucket(Bucket="data")
    assert json.loads(s3.get_bucket_policy(Bucket="data")["Policy"])["Statement"] == [statement]


def most_memory() -> int:
    """The most KiB that this process held since its mark was set back."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def test_a_hundred_megabytes_take_no_memory_to_speak_of(aws: LocalAws, s3: Any, tmp_path: Path) -> None:
    source = tmp_path / "big"
    with source.open("wb") as file:
        file.truncate(100 * 1024 * 1024)
    Path("/proc/self/clear_refs").write_text("5")
    before = most_memory()
    with source.open("rb") as file:
        s3.put_object(Bucket="data", Key="big", Body=file)
    body = s3.get_object(Bucket="data", Key="big")["Body"]
    assert sum(len(chunk) for chunk in body.iter_chunks(1024 * 1024)) == 100 * 1024 * 1024
    assert most_memory() - before < 40 * 1024, "KiB; client and server together"
