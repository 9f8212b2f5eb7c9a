"""What tests of Comprehend begin with: a bucket, a role that it may assume, mails to learn from, and requests that are right."""

from __future__ import annotations

import csv
import io
import json
import random
import tarfile
from collections.abc import Callable, Iterable
from typing import Any

from local_aws_support import allow, document, trust

from millrace_local_aws import LocalAws

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/reader"
MAIL = f"arn:aws:comprehend:us-east-1:{ACCOUNT}:document-classifier/mail"
DOOR = f"arn:aws:comprehend:us-east-1:{ACCOUNT}:document-classifier-endpoint/door"
PHISHING = ("verify", "password", "urgent", "account", "suspended", "click", "prize", "gift", "bank", "login")
PLAIN = ("meeting", "agenda", "lunch", "report", "quarter", "minutes", "team", "project", "budget", "review")
BOTH = ("please", "the", "your", "today", "mail", "for", "we", "and")


def mails(count: int, seed: int = 1) -> list[tuple[str, str]]:
    """As many of each of two kinds; their words overlap."""
    draw = random.Random(seed)

    def text(own: tuple[str, ...]) -> str:
        return " ".join(draw.choice(own if draw.random() < 0.5 else BOTH) for _ in range(12))

    return [row for _ in range(count) for row in (("phishing", text(PHISHING)), ("nonphishing", text(PLAIN)))]


def sheet(rows: Iterable[tuple[str, ...]]) -> bytes:
    """CSV without a header."""
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    return out.getvalue().encode()


class Desk:
    """Clients of one account, with what a classifier needs already there."""

    def __init__(self, aws: LocalAws, client: Callable[..., Any]) -> None:
        self.aws, self.comprehend, self.s3, self.iam = aws, client("comprehend"), client("s3"), client("iam")
        self.s3.create_bucket(Bucket="mails")
        self.iam.create_role(RoleName="reader", AssumeRolePolicyDocument=document(trust({"Service": "comprehend.amazonaws.com"})))
        self.iam.put_role_policy(RoleName="reader", PolicyName="data", PolicyDocument=document(allow("s3:*")))
        self.put("train/mails.csv", sheet(mails(40)))

    def put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket="mails", Key=key, Body=data)

    def request(self, **changes: Any) -> dict[str, Any]:
        """For a classifier of mails."""
        return {
            "DocumentClassifierName": "mail",
            "DataAccessRoleArn": ROLE,
            "LanguageCode": "en",
            "InputDataConfig": {"S3Uri": "s3://mails/train/"},
            "OutputDataConfig": {"S3Uri": "s3://mails/out"},
            **changes,
        }

    def create(self, **changes: Any) -> str:
        return str(self.comprehend.create_document_classifier(**self.request(**changes))["DocumentClassifierArn"])

    def trained(self, **changes: Any) -> dict[str, Any]:
        """A classifier whose training has ended."""
        arn = self.create(**changes)
        self.aws.admin.step(400)
        return self.described(arn)

    def described(self, arn: str = MAIL) -> dict[str, Any]:
        return dict(self.comprehend.describe_document_classifier(DocumentClassifierArn=arn)["DocumentClassifierProperties"])

    def serve(self, model: str = MAIL, units: int = 1, name: str = "door") -> str:
        """An endpoint in service."""
        made = self.comprehend.create_endpoint(EndpointName=name, ModelArn=model, DesiredInferenceUnits=units)
        self.aws.admin.step(400)
        return str(made["EndpointArn"])

    def endpoint(self) -> dict[str, Any]:
        return dict(self.comprehend.describe_endpoint(EndpointArn=DOOR)["EndpointProperties"])

    def classify(self, text: str) -> dict[str, Any]:
        return dict(self.comprehend.classify_document(Text=text, EndpointArn=DOOR))

    def archive(self, uri: str) -> dict[str, bytes]:
        """The files of an output.tar.gz."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        body = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            return {name: tar.extractfile(name).read() for name in tar.getnames()}  # type: ignore[union-attr]

    def matrix(self, found: dict[str, Any]) -> dict[str, Any]:
        files = self.archive(found["OutputDataConfig"]["S3Uri"])
        assert list(files) == ["output/confusion_matrix.json"]
        return dict(json.loads(files["output/confusion_matrix.json"]))

    def lines(self, key: str) -> list[dict[str, Any]]:
        body = self.s3.get_object(Bucket="mails", Key=key)["Body"].read()
        return [json.loads(line) for line in body.splitlines()]
