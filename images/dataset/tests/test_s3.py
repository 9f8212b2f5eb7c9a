"""Content in S3, read and published by the worker, with the local AWS in place of AWS."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from millrace_dataset import s3
from millrace_local_aws import LocalAws, local_aws

Work = Callable[..., dict[str, Any]]
KEY = "arn:aws:kms:us-east-1:123456789012:key/0a1b2c3d-0000-4000-8000-000000000000"
ROWS = "id,label\n" + "".join(f"{n},{'yes' if n % 2 else 'no'}\n" for n in range(40))
SPLIT = {"train": "0.8", "validation": "0.2", "seed": 7}


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalAws]:
    """A bucket, the pod's identity, and scratch space."""
    with local_aws(speed=0, enforce_iam=True) as made:
        scratch = tmp_path / "scratch"
        scratch.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(scratch))
        for name, value in {
            "AWS_ENDPOINT_URL": made.endpoint_url,
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "123456789012",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            monkeypatch.setenv(name, value)
        made.client("s3").create_bucket(Bucket="data")
        yield made


def put(aws: LocalAws, **objects: str) -> None:
    for name, body in objects.items():
        aws.client("s3").put_object(Bucket="data", Key=name.replace("__", "/").replace("_csv", ".csv"), Body=body.encode())


def keys(aws: LocalAws) -> list[str]:
    return [item["Key"] for item in aws.client("s3").list_objects_v2(Bucket="data").get("Contents", [])]


def body(aws: LocalAws, uri: str) -> bytes:
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bytes(aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())


TO_S3 = {"s3": {"uri": "s3://data/clean/"}}


def test_a_folder_is_read_split_and_published_with_its_digests(aws: LocalAws, work: Work) -> None:
    put(aws, raw__a_csv=ROWS, raw__b_csv=ROWS, raw2__c_csv="id,label\n1,other\n")
    told = work(source={"s3": {"uri": "s3://data/raw"}}, format="csv", split=SPLIT, publish=TO_S3, quality={})
    assert told["ok"], told
    assert told["rows"] == 80, "raw2 begins with the same letters, but lies elsewhere"
    for split in told["splits"].values():
        content = body(aws, split["uri"])
        assert f"sha256:{hashlib.sha256(content).hexdigest()}" == split["digest"]
        key = split["uri"].removeprefix("s3://data/")
        head = aws.client("s3").head_object(Bucket="data", Key=key, ChecksumMode="ENABLED")
        assert f"sha256:{head['Metadata'][s3.DIGEST]}" == split["digest"]
        assert head["ChecksumSHA256"]
    assert json.loads(body(aws, f"s3://data/clean/{told['version']}/manifest.json"))["digest"] == told["digest"]
    assert body(aws, f"{told['report']['uri']}/report.html").startswith(b"<!")
    assert f"clean/{told['version']}/.owners/u-1" in keys(aws)


def test_the_same_content_has_the_same_digest_wherever_it_comes_from(aws: LocalAws, work: Work, claims: Path) -> None:
    put(aws, raw__a_csv=ROWS)
    (claims / "raw/a.csv").write_text(ROWS)
    there = work(source={"s3": {"uri": "s3://data/raw"}}, format="csv", publish=TO_S3)
    here = work(format="csv")
    alone = work(source={"s3": {"uri": "s3://data/raw/a.csv"}}, format="csv", publish=None)
    assert there["digest"] == here["digest"] == alone["digest"]
    assert there["version"] == here["version"]
    assert alone["splits"] == {}, "what is not published stays where it is"


def test_a_version_that_is_there_is_used_as_it_is_and_has_two_owners(
    aws: LocalAws, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(aws, raw__a_csv=ROWS)
    fields = {"source": {"s3": {"uri": "s3://data/raw"}}, "format": "csv", "publish": TO_S3}
    first = work(**fields)
    sent, put_file = [], s3.Folder.put
    monkeypatch.setattr(s3.Folder, "put", lambda self, path, name: (sent.append(name), put_file(self, path, name)))
    second = work(**fields, uid="u-2")
    assert second == first
    assert f"{first['version']}/.owners/u-2" in sent
    assert all("/.owners/" in name for name in sent), "files that are there are not sent again"
    owners = [key for key in keys(aws) if ".owners/" in key]
    assert [key.rpartition("/")[2] for key in owners] == ["u-1", "u-2"]


def test_a_version_that_somebody_changed_is_refused(aws: LocalAws, work: Work) -> None:
    put(aws, raw__a_csv=ROWS)
    fields = {"source": {"s3": {"uri": "s3://data/raw"}}, "format": "csv", "publish": TO_S3}
    version = work(**fields)["version"]
    aws.client("s3").put_object(Bucket="data", Key=f"clean/{version}/data.csv", Body=b"id,label\n")
    told = work(**fields)
    assert (told["ok"], told["reason"]) == (False, "PublishFailed")
    assert "was changed after it was published" in told["message"]


def test_large_content_goes_in_parts_that_s3_checks(
    aws: LocalAws, work: Work, claims: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from boto3.s3.transfer import TransferConfig

    size = 5 << 20
    monkeypatch.setattr(s3, "_TRANSFER", TransferConfig(multipart_threshold=size, multipart_chunksize=size))
    (claims / "raw/a.txt").write_text("a line of text\n" * (2 * size // 15))
    told = work(publish={"s3": {"uri": "s3://data", "kmsKeyID": KEY}})
    assert told["ok"], told
    (split,) = told["splits"].values()
    head = aws.client("s3").head_object(Bucket="data", Key=split["uri"].removeprefix("s3://data/"))
    assert head["ETag"].strip('"').endswith("-2"), "two parts"
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", KEY)
    assert f"sha256:{hashlib.sha256(body(aws, split['uri'])).hexdigest()}" == split["digest"]


def test_a_source_that_changes_while_it_is_read_is_refused(aws: LocalAws, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    put(aws, raw__a_csv=ROWS, raw__b_csv=ROWS)
    whole = s3.Folder.get

    def meddled(self: s3.Folder, *given: Any) -> None:
        whole(self, *given)
        put(aws, raw__a_csv=ROWS + "41,yes\n")

    monkeypatch.setattr(s3.Folder, "get", meddled)
    told = work(source={"s3": {"uri": "s3://data/raw"}}, format="csv", publish=TO_S3)
    assert (told["ok"], told["reason"]) == (False, "DownloadFailed")
    assert "changed while it was read" in told["message"]


WRONG = [
    ("s3://data/nothing", TO_S3, "SourceMissing", "holds no object", "an empty folder"),
    ("s3://elsewhere/raw", TO_S3, "SourceMissing", "s3://elsewhere/raw", "a bucket that does not exist"),
    ("s3://data/raw", {"s3": {"uri": "s3://elsewhere"}}, "PublishFailed", "s3://elsewhere", "nor one to publish to"),
    ("/raw", TO_S3, "BadParameter", "source.s3.uri", "no URI at all"),
]


@pytest.mark.parametrize(("uri", "publish", "reason", "says", "why"), WRONG, ids=[w[-1] for w in WRONG])
def test_what_is_missing_is_named(
    aws: LocalAws, work: Work, uri: str, publish: dict[str, Any], reason: str, says: str, why: str
) -> None:
    put(aws, raw__a_csv=ROWS)
    told = work(source={"s3": {"uri": uri}}, format="csv", publish=publish)
    assert (told["ok"], told["reason"]) == (False, reason), why
    assert says in told["message"]


def test_who_may_not_is_told_with_the_action_and_the_identity(aws: LocalAws, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    put(aws, raw__a_csv=ROWS)
    iam = aws.client("iam")
    iam.create_user(UserName="reader")
    allowed = {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject"], "Resource": "*"}
    iam.put_user_policy(
        UserName="reader", PolicyName="read", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    )
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    told = work(source={"s3": {"uri": "s3://data/raw"}}, format="csv", publish=TO_S3)
    assert (told["ok"], told["reason"]) == (False, "PermissionDenied")
    assert "user/reader is not authorized to perform: s3:PutObject" in told["message"]


def test_a_pod_without_an_identity_is_told_what_it_needs(aws: LocalAws, work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    told = work(source={"s3": {"uri": "s3://data/raw"}}, format="csv", publish=TO_S3)
    assert (told["ok"], told["reason"]) == (False, "PermissionDenied")
    assert "podRoleARN" in told["message"]
