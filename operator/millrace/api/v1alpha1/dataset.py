"""Dataset: a named, versioned, checked input."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millrace.api.common import (
    ClaimName,
    ClaimPath,
    CommonSpec,
    CommonStatus,
    Decimal,
    KeyReference,
    Model,
    Name,
    Quantity,
    cel,
    exactly_one,
    same_member,
)
from millrace.api.resource import AGE, Column, Kind, summary_columns

SOURCES = ("claim", "inline", "https", "generated")
ColumnType = Literal["string", "integer", "number", "boolean"]


class InlineSource(Model):
    """Content kept in a ConfigMap of the same namespace."""

    config_map_ref: KeyReference = Field(description="The ConfigMap; every key is a file unless one is named.")


class HttpsSource(Model):
    """One file behind an https URL, checked against its digest."""

    url: str = Field(
        max_length=2048,
        pattern=r"^https?://[^\s]+$",
        description="Where the file is; plain http is for in-cluster servers.",
    )
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the file, 64 hexadecimal digits.")


class GeneratedSource(Model):
    """Content made by a named generator of the dataset image."""

    name: Name = Field(description="Generator: debian-text, markov-text or csv-table (images/dataset/README.md).")
    parameters: dict[str, Annotated[str, Field(max_length=1024)]] = Field(
        default_factory=dict, max_length=32, description="The generator's parameters, as strings."
    )


class Source(Model):
    """Where the content comes from; exactly one member is set."""

    model_config = {"json_schema_extra": cel(exactly_one(*SOURCES), same_member(*SOURCES))}

    claim: ClaimPath | None = Field(default=None, description="A file or folder on a PersistentVolumeClaim.")
    inline: InlineSource | None = Field(default=None, description="A ConfigMap of the same namespace.")
    https: HttpsSource | None = Field(default=None, description="A file behind a URL, with its SHA-256.")
    generated: GeneratedSource | None = Field(default=None, description="A named generator.")


class ColumnSpec(Model):
    """A column that the content must have."""

    name: str = Field(min_length=1, max_length=253, description="Name of the column, as in the header.")
    type: ColumnType = Field(description="Type that every value must have.")


class Split(Model):
    """Fractions of the rows; a row and its duplicates never fall on two sides."""

    model_config = {
        "json_schema_extra": cel(
            (
                "double(self.train) + double(self.validation) + double(self.test) > 0.999 && "
                "double(self.train) + double(self.validation) + double(self.test) < 1.001",
                "`train`, `validation` and `test` must add up to 1",
            )
        )
    }

    train: Decimal = Field(default="1", description="Fraction for training.")
    validation: Decimal = Field(default="0", description="Fraction for validation.")
    test: Decimal = Field(default="0", description="Fraction for the final test.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the assignment.")
    stratify_by: str | None = Field(default=None, max_length=253, description="Column whose shares every split keeps.")


class Publish(Model):
    """Where the checked content is put for its consumers."""

    claim: ClaimPath = Field(description="A folder on a PersistentVolumeClaim; each digest gets a folder of its own in it.")


class WorkerResources(Model):
    """Requests and limits of the worker pod."""

    cpu: Quantity = Field(default="500m", description="CPU request.")
    memory: Quantity = Field(default="512Mi", description="Memory request and limit.")


class DatasetSpec(CommonSpec):
    """Desired content and its checks."""

    model_config = {
        "json_schema_extra": cel(
            ("has(self.source.claim) || has(self.publish)", "`publish` is required unless `source.claim` is set"),
            ("!has(self.split) || has(self.publish)", "`split` needs `publish`: the parts are written there"),
            ("!has(self.columns) || self.format != 'text'", "`columns` may not be set for format text"),
            (
                "!has(self.split) || !has(self.split.stratifyBy) || self.format != 'text'",
                "`split.stratifyBy` needs a format with columns: csv or jsonl",
            ),
        )
    }

    source: Source = Field(description="Where the content comes from.")
    format: Literal["text", "csv", "jsonl"] = Field(description="Format of the content.")
    columns: list[ColumnSpec] | None = Field(
        default=None, min_length=1, max_length=1000, description="Columns to check; inferred when not given."
    )
    split: Split | None = Field(default=None, description="Seeded parts for training, validation and test.")
    publish: Publish | None = Field(default=None, description="Where the checked content is put.")
    resources: WorkerResources | None = Field(default=None, description="Resources of the worker pod.")
    image_pull_secrets: list[ClaimName] | None = Field(default=None, max_length=8, description="Secrets to pull with.")


class SplitStatus(Model):
    """One published part."""

    name: str = Field(description="train, validation, test, or data when there is no split.")
    path: str = Field(description="File, relative to the claim's root.")
    claim: str = Field(description="Claim that holds it.")
    rows: int = Field(description="Rows in it.")
    bytes: int = Field(description="Bytes in it.")
    digest: str = Field(description="SHA-256 of the file.")


class ColumnStatus(Model):
    """A column as found."""

    name: str = Field(description="Name of the column.")
    type: str = Field(description="Type checked or inferred.")


class DatasetStatus(CommonStatus):
    """What was found and published."""

    digest: str | None = Field(default=None, description="Digest of the content.")
    version: str | None = Field(default=None, description="Folder of this content under the publish path.")
    source_fingerprint: str | None = Field(default=None, description="What the digest was computed from.")
    rows: int | None = Field(default=None, description="Rows in all.")
    bytes: int | None = Field(default=None, description="Bytes in all.")
    columns: list[ColumnStatus] | None = Field(default=None, description="The first forty columns.")
    column_count: int | None = Field(default=None, description="Columns in all.")
    splits: list[SplitStatus] | None = Field(default=None, description="The published parts.")
    attempt: int | None = Field(default=None, description="Number of the worker's run.")
    progress_percent: int | None = Field(default=None, description="Share of the content read, in percent.")


KIND = Kind(
    name="Dataset",
    plural="datasets",
    short_names=("ds",),
    spec=DatasetSpec,
    status=DatasetStatus,
    summary="Ready",
    description="A named, versioned, checked input: content is read, counted, typed, split and published under its digest.",
    columns=(
        *summary_columns("Ready"),
        Column("Rows", ".status.rows", "integer", "Rows in all."),
        Column("Bytes", ".status.bytes", "integer", "Bytes in all."),
        Column("Version", ".status.version", description="Folder of the content under the publish path."),
        Column("Digest", ".status.digest", description="Digest of the content.", priority=1),
        AGE,
    ),
)
