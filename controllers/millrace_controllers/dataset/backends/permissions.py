"""What the account's role needs for Datasets in S3. Their workers read and write as their pods."""

from __future__ import annotations

from millrace.aws.permissions import Feature, Grant

IN_S3 = Feature(
    "Dataset in S3",
    (
        Grant(("s3:ListBucket",), ("arn:aws:s3:::BUCKET",)),
        Grant(("s3:GetObject",), ("arn:aws:s3:::BUCKET/*",)),
    ),
    note="The worker's pod reads and writes as itself (`podRoleARN`, or an identity of its ServiceAccount): that one needs both "
    "of these, `s3:PutObject` and `s3:AbortMultipartUpload`.",
)
FEATURES = (
    IN_S3,
    Feature(
        "Dataset in S3 with dataPolicy Delete", (Grant(("s3:DeleteObject",), ("arn:aws:s3:::BUCKET/*",)),), beside=(IN_S3.name,)
    ),
)
