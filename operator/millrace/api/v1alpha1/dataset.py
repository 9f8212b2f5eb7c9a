"""Dataset: a named, versioned, checked input."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millrace.api.common import (
    AccountSpec,
    ClaimName,
    ClaimPath,
    CommonStatus,
    Decimal,
    KeyReference,
    KmsKeyID,
    Model,
    Name,
    ObjectReference,
    Quantity,
    S3Uri,
    cel,
    exactly_one,
    same_member,
)
from millrace.api.resource import AGE, Column, Kind, summary_columns
from millrace.api.v1alpha1.dataset_rows import Layout, LayoutStatus, Transform

SOURCES = ("claim", "inline", "https", "s3", "generated")
TARGETS = ("claim", "s3")
ColumnType = Literal["string", "integer", "number", "boolean", "date", "timestamp"]
Check = Literal[
    "MissingValues",
    "DuplicateRows",
    "ConstantColumn",
    "Outliers",
    "InvalidValues",
    "ClassImbalance",
    "TargetLeakage",
    "SharedRows",
]
ProblemType = Literal["Binary", "Multiclass", "Numeric"]
RoleName = Annotated[str, Field(min_length=1, max_length=64)]
_OF_TARGET = "['ClassImbalance', 'TargetLeakage']"


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


class S3Source(Model):
    """Objects in S3."""

    uri: S3Uri = Field(description="An object, or a folder: every object whose key begins with it and a slash.")


class GeneratedSource(Model):
    """Content made by a named generator of the dataset image."""

    name: Name = Field(
        description="csv-table, debian-text, film-sentiment, markov-text or workplace-survey (images/dataset/README.md)."
    )
    parameters: dict[str, Annotated[str, Field(max_length=1024)]] = Field(
        default_factory=dict, max_length=32, description="The generator's parameters, as strings."
    )


class Source(Model):
    """Where the content comes from; exactly one member is set."""

    model_config = {"json_schema_extra": cel(exactly_one(*SOURCES), same_member(*SOURCES))}

    claim: ClaimPath | None = Field(default=None, description="A file or folder on a PersistentVolumeClaim.")
    inline: InlineSource | None = Field(default=None, description="A ConfigMap of the same namespace.")
    https: HttpsSource | None = Field(default=None, description="A file behind a URL, with its SHA-256.")
    s3: S3Source | None = Field(default=None, description="Objects in S3, read with the identity of the worker's pod.")
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


class Gate(Model):
    """A check that may not come out above a limit: nothing is published where it does, and the report says why."""

    model_config = {
        "json_schema_extra": cel(
            (
                "has(self.above) != (self.check == 'ConstantColumn')",
                "`above` must be set, except for check ConstantColumn, which has no measure",
            ),
            ("!has(self.above) || double(self.above) <= 1.0", "`above` is a share: from 0 to 1"),
            (
                "!has(self.column) || !(self.check in ['DuplicateRows', 'ClassImbalance', 'SharedRows'])",
                "`column` may not be set for checks DuplicateRows, ClassImbalance and SharedRows",
            ),
        )
    }

    check: Check = Field(description="What is measured; docs/kinds/dataset.md says how.")
    column: str | None = Field(default=None, min_length=1, max_length=253, description="The column; any where not given.")
    above: Decimal | None = Field(default=None, description="Largest share that is let through.")


class Quality(Model):
    """What is measured, and what must hold."""

    model_config = {
        "json_schema_extra": cel(
            (
                f"has(self.target) || !has(self.failOn) || !self.failOn.exists(g, g.check in {_OF_TARGET})",
                "`failOn` with ClassImbalance or TargetLeakage needs `target`",
            ),
            ("!has(self.problemType) || has(self.target)", "`problemType` needs `target`"),
            (
                "has(self.compareWith) || !has(self.failOn) || !self.failOn.exists(g, g.check == 'SharedRows')",
                "`failOn` with SharedRows needs `compareWith`",
            ),
            (
                "!has(self.compareWith) || self.compareWith.all(a, self.compareWith.exists_one(b, b.name == a.name))",
                "`compareWith` may name a Dataset only once",
            ),
        )
    }

    report: bool = Field(default=True, description="Publish report.json and report.html.")
    target: str | None = Field(
        default=None,
        min_length=1,
        max_length=253,
        description="Column that a model shall predict.",
    )
    problem_type: ProblemType | None = Field(default=None, description="What the target is; by its values where not given.")
    sample: int | None = Field(
        default=None, ge=1000, le=2**40, description="Measure about so many rows, the same ones each time; all where not given."
    )
    compare_with: list[ObjectReference] | None = Field(
        default=None,
        min_length=1,
        max_length=8,
        description="Datasets of the same namespace, format and columns: rows that one of them has, too, are counted.",
    )
    fail_on: list[Gate] | None = Field(
        default=None, min_length=1, max_length=32, description="Gates: publish nothing where one of them is exceeded."
    )


class Roles(Model):
    """What the source calls each role."""

    model_config = {
        "json_schema_extra": cel(
            (
                "self.system != self.user && self.user != self.assistant && self.assistant != self.system",
                "`system`, `user` and `assistant` need names that differ",
            )
        )
    }

    system: RoleName = Field(default="system", description="Who instructs: first or not at all.")
    user: RoleName = Field(default="user", description="Who asks.")
    assistant: RoleName = Field(default="assistant", description="Who answers: what a model learns.")


class Conversations(Model):
    """Each row is a conversation that a chat model is tuned on: turns alternate between user and assistant."""

    messages: str = Field(
        default="messages", min_length=1, max_length=253, description="Key of the list of messages, each with role and content."
    )
    roles: Roles = Field(default=Roles(), description="Names of the roles; case matters.")
    trailing_user: Literal["Reject", "DropTurn"] = Field(
        default="Reject", description="What becomes of a conversation whose last turn nobody answers."
    )
    pretty_printed: Literal["Reject", "Rewrite"] = Field(
        default="Reject", description="What becomes of an example that spans several lines."
    )
    minimum: int = Field(default=1, ge=1, le=2**31 - 1, description="Examples that there should be at least.")
    too_few: Literal["Warn", "Refuse"] = Field(
        default="Warn", description="With fewer: the condition ExamplesWarning, or nothing is published."
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description="Longest conversation that the model takes; tokens are estimated as one for three bytes of UTF-8.",
    )


class S3Target(Model):
    """A folder in S3."""

    uri: S3Uri = Field(max_length=512, description="The folder; each digest gets a folder of its own in it.")
    kms_key_id: KmsKeyID | None = Field(
        default=None, alias="kmsKeyID", description="KMS key to encrypt with; the bucket's own encryption by default."
    )


class Publish(Model):
    """Where the checked content is put for its consumers; exactly one member is set."""

    model_config = {"json_schema_extra": cel(exactly_one(*TARGETS), same_member(*TARGETS))}

    claim: ClaimPath | None = Field(
        default=None, description="A folder on a PersistentVolumeClaim; each digest gets a folder of its own in it."
    )
    s3: S3Target | None = Field(default=None, description="A folder in S3, written with the identity of the worker's pod.")


class WorkerResources(Model):
    """Requests and limits of the worker pod."""

    cpu: Quantity = Field(default="500m", description="CPU request.")
    memory: Quantity = Field(default="512Mi", description="Memory request and limit.")


class DatasetSpec(AccountSpec):
    """Desired content and its checks."""

    model_config = {
        "json_schema_extra": cel(
            (
                "has(self.source.claim) || has(self.source.s3) || has(self.publish)",
                "`publish` is required unless `source.claim` or `source.s3` is set",
            ),
            (
                "!has(self.accountRef) || has(self.source.s3) || (has(self.publish) && has(self.publish.s3)) || "
                "(has(self.quality) && has(self.quality.compareWith))",
                "`accountRef` goes with `source.s3`, `publish.s3` or `quality.compareWith`",
            ),
            (
                "has(self.accountRef) == has(oldSelf.accountRef) && "
                "(!has(self.accountRef) || self.accountRef.name == oldSelf.accountRef.name)",
                "`accountRef` may not change: what was published in the account before would be lost; make a new object",
            ),
            (
                "!has(oldSelf.publish) || !has(oldSelf.publish.s3) || has(self.publish)",
                "`publish` with `s3` may not be taken away: nobody would know where to sweep; make a new object",
            ),
            (
                "!has(self.source.s3) || !has(self.publish) || !has(self.publish.s3) || "
                "!(self.publish.s3.uri + '/').startsWith("
                "self.source.s3.uri.endsWith('/') ? self.source.s3.uri : self.source.s3.uri + '/')",
                "`publish.s3.uri` may not lie in `source.s3.uri`: what is published would be read again",
            ),
            ("!has(self.split) || has(self.publish)", "`split` needs `publish`: the parts are written there"),
            ("!has(self.columns) || self.format != 'text'", "`columns` may not be set for format text"),
            (
                "!has(self.quality) || (has(self.publish) && self.format != 'text')",
                "`quality` needs `publish`, where the report goes, and a format with columns: csv, jsonl or parquet",
            ),
            (
                "!has(self.split) || !has(self.split.stratifyBy) || self.format != 'text'",
                "`split.stratifyBy` needs a format with columns: csv, jsonl or parquet",
            ),
            ("!has(self.conversations) || self.format == 'jsonl'", "`conversations` needs format jsonl: one example a line"),
            (
                "!has(self.conversations) || has(self.publish) || "
                "(self.conversations.trailingUser == 'Reject' && self.conversations.prettyPrinted == 'Reject')",
                "`conversations` that mends examples needs `publish`, where the mended ones go",
            ),
            (
                "!has(self.transform) || (has(self.publish) && self.format != 'text')",
                "`transform` needs `publish`, where its rows go, and a format with columns: csv, jsonl or parquet",
            ),
            (
                "!has(self.layout) || (has(self.publish) && self.format != 'text')",
                "`layout` needs `publish`, where its records go, and a format with columns: csv, jsonl or parquet",
            ),
            ("!has(self.layout) || !has(self.conversations)", "`layout` and `conversations` may not both be set"),
            (
                "!has(self.layout) || !has(self.quality) || !has(self.quality.compareWith)",
                "`quality.compareWith` may not be set with `layout`",
            ),
        )
    }

    source: Source = Field(description="Where the content comes from.")
    format: Literal["text", "csv", "jsonl", "parquet"] = Field(description="Format of the content.")
    columns: list[ColumnSpec] | None = Field(
        default=None, min_length=1, max_length=1000, description="Columns to check; inferred when not given."
    )
    transform: Transform | None = Field(
        default=None, description="Drop and rename columns, cut texts, draw rows; all that follows is of what this makes."
    )
    split: Split | None = Field(default=None, description="Seeded parts for training, validation and test.")
    publish: Publish | None = Field(default=None, description="Where the checked content is put.")
    quality: Quality | None = Field(default=None, description="Measure the quality of the rows, report it, and gate on it.")
    conversations: Conversations | None = Field(default=None, description="Check each row as a conversation to tune on.")
    layout: Layout | None = Field(default=None, description="Publish the rows as a managed service reads them.")
    resources: WorkerResources | None = Field(default=None, description="Resources of the worker pod.")
    image_pull_secrets: list[ClaimName] | None = Field(default=None, max_length=8, description="Secrets to pull with.")


class SplitStatus(Model):
    """One published part."""

    name: str = Field(description="train, validation, test, or data when there is no split.")
    path: str | None = Field(default=None, description="File, relative to the claim's root.")
    claim: str | None = Field(default=None, description="Claim that holds it.")
    uri: str | None = Field(default=None, description="Object in S3 that it is.")
    rows: int = Field(description="Rows in it.")
    bytes: int = Field(description="Bytes in it.")
    digest: str = Field(description="SHA-256 of the file.")


class ColumnStatus(Model):
    """A column as found."""

    name: str = Field(description="Name of the column.")
    type: str = Field(description="Type checked or inferred.")


class FindingCounts(Model):
    """Findings of the report by severity."""

    high: int = Field(default=0, description="Findings that a condition tells of.")
    medium: int = Field(default=0, description="Findings worth a look.")
    low: int = Field(default=0, description="Findings for the record.")


class Finding(Model):
    """One finding."""

    check: str = Field(description="What was measured.")
    severity: Literal["High", "Medium", "Low"] = Field(description="How much it matters.")
    column: str | None = Field(default=None, description="The column; none for all rows.")
    dataset: str | None = Field(default=None, description="The Dataset that the rows were compared with.")
    value: str = Field(description="The share that was measured, from 0 to 1.")


class BestFeature(Model):
    """The feature that predicts the target best by itself."""

    column: str = Field(description="The feature.")
    power: str = Field(description="How well, from 0 to 1.")


class SharedRows(Model):
    """Rows that another Dataset has, too."""

    dataset: str = Field(description="The other Dataset.")
    digest: str = Field(description="Digest of its content.")
    rows: int = Field(description="Rows of those measured that are in it, the same in every column.")


class QualityStatus(Model):
    """The quality report in short."""

    mode: Literal["Full", "Sampled"] = Field(description="Whether all rows were measured.")
    measured_rows: int = Field(description="Rows that were measured.")
    duplicate_rows: int = Field(description="Rows of these that repeat another.")
    missing_share: str = Field(description="Share of all cells that are empty.")
    shared: list[SharedRows] | None = Field(
        default=None, max_length=8, description="Rows that each Dataset of spec.quality.compareWith has, too."
    )
    findings: FindingCounts = Field(description="Findings by severity.")
    worst: list[Finding] | None = Field(default=None, description="The eight worst findings, or as many as fit.")
    problem_type: str | None = Field(default=None, description="What predicting the target is: Binary, Multiclass or Numeric.")
    best_feature: BestFeature | None = Field(default=None, description="What predicts the target best.")


class ReportStatus(Model):
    """Where the quality report is."""

    claim: str | None = Field(default=None, description="Claim that holds it; none where it is in S3.")
    html: str = Field(description="report.html, relative to the claim's root, or its URI: one page that needs nothing else.")
    json_: str = Field(alias="json", description="report.json, relative to the claim's root, or its URI.")


class ConversationsStatus(Model):
    """What the conversations are like."""

    examples: int = Field(description="Conversations.")
    minimum: int = Field(description="Conversations that there should be at least.")
    dropped_turns: int = Field(description="Conversations whose last turn was dropped, as nobody answers it.")
    rewritten_examples: int = Field(description="Conversations that were put into one line.")
    longest_tokens: int = Field(description="Estimated tokens of the longest one.")


class PublishedFolder(Model):
    """A folder that was published."""

    claim: str | None = Field(default=None, description="Claim that holds it.")
    path: str | None = Field(default=None, description="Folder, relative to the claim's root.")
    uri: str | None = Field(default=None, description="Folder in S3.")


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
    quality: QualityStatus | None = Field(default=None, description="The quality report in short.")
    report: ReportStatus | None = Field(default=None, description="Where the quality report is.")
    conversations: ConversationsStatus | None = Field(default=None, description="What the conversations are like.")
    layout: LayoutStatus | None = Field(default=None, description="What the rows are like as the service reads them.")
    published: list[PublishedFolder] | None = Field(
        default=None, description="Every folder published so far, the last hundred: what dataPolicy Delete takes away."
    )
    attempt: int | None = Field(default=None, description="Number of the worker's run.")
    progress_percent: int | None = Field(default=None, description="Share of the content read, in percent.")


KIND = Kind(
    name="Dataset",
    plural="datasets",
    short_names=("ds",),
    spec=DatasetSpec,
    status=DatasetStatus,
    summary="Ready",
    rules=(
        (
            "!has(self.spec.quality) || !has(self.spec.quality.compareWith) || "
            "!self.spec.quality.compareWith.exists(r, r.name == self.metadata.name)",
            "`quality.compareWith` may not name the Dataset itself: `DuplicateRows` measures that",
        ),
    ),
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
