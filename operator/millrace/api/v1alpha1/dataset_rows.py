"""What becomes of a Dataset's rows before they are published: members of its spec."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from millrace.api.common import Model, cel, exactly_one

LAYOUTS = ("bedrock", "comprehend")
ColumnName = Annotated[str, Field(min_length=1, max_length=253)]
ClassName = Annotated[str, Field(max_length=100, pattern=r"^\S([^\r\n]*\S)?$")]


class Sample(Model):
    """Rows drawn by a seed; the same source and seed give the same rows."""

    rows: int = Field(ge=1, le=2**40, description="Rows to draw; they stay in the order of the source.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="Seed of the draw.")
    fewer: Literal["Fail", "UseAll"] = Field(default="Fail", description="What becomes of a source that has fewer rows.")


class Truncation(Model):
    """A column whose texts are cut."""

    column: ColumnName = Field(description="The column, by its new name.")
    characters: int = Field(ge=1, le=2**24, description="Characters (Unicode code points) that are kept of each text.")


class Transform(Model):
    """Makes other rows of the source's, in this order: columns dropped, renamed, texts cut, rows drawn."""

    model_config = {
        "json_schema_extra": cel(
            (
                "has(self.drop) || has(self.rename) || has(self.truncate) || has(self.sample)",
                "at least one of `drop`, `rename`, `truncate` and `sample` must be set",
            ),
            (
                "!has(self.drop) || !has(self.rename) || !self.drop.exists(c, c in self.rename)",
                "a column may stand in `drop` or in `rename`, not in both",
            ),
            (
                "!has(self.truncate) || self.truncate.all(a, self.truncate.exists_one(b, b.column == a.column))",
                "`truncate` may name a column only once",
            ),
        )
    }

    drop: list[ColumnName] | None = Field(default=None, min_length=1, max_length=100, description="Columns to leave out.")
    rename: dict[str, ColumnName] | None = Field(
        default=None, min_length=1, max_length=100, description="New names of columns by their old ones."
    )
    truncate: list[Truncation] | None = Field(
        default=None, min_length=1, max_length=20, description="Columns whose texts are cut."
    )
    sample: Sample | None = Field(default=None, description="Draw so many rows.")


class BedrockLayout(Model):
    """Lines that a model of Amazon Bedrock is customized on."""

    customization: Literal["FineTuning", "ContinuedPretraining"] = Field(
        description="FineTuning takes the columns prompt and completion, ContinuedPretraining the column input; no other."
    )
    max_tokens: int | None = Field(
        default=None,
        ge=1,
        le=2**31 - 1,
        description="Longest line that the model takes; tokens are estimated as one for six characters, as Bedrock does.",
    )


class ComprehendLayout(Model):
    """Documents that a classifier of Amazon Comprehend learns from: csv without a header, the label first, the text second."""

    model_config = {
        "json_schema_extra": cel(
            ("self.label != self.text", "`label` and `text` must be two columns"),
            (
                "!has(self.labels) || self.labels.all(l, self.labels[l] in self.classes)",
                "`labels` may lead to `classes` only",
            ),
            (
                "self.mode == 'SingleLabel' || self.classes.size() <= 100",
                "`classes` may be 100 at most with mode MultiLabel",
            ),
            (
                "self.mode == 'SingleLabel' || !self.classes.exists(c, c.contains(self.delimiter))",
                "`classes` may not contain the `delimiter` with mode MultiLabel",
            ),
            ("!has(self.languageColumn) || has(self.language)", "`languageColumn` needs `language`"),
        )
    }

    label: ColumnName = Field(default="label", description="Column of the label.")
    text: ColumnName = Field(default="text", description="Column of the document's text.")
    classes: list[ClassName] = Field(
        min_length=2, max_length=1000, description="Labels that there are; a row with another one is refused."
    )
    labels: dict[str, ClassName] | None = Field(
        default=None, min_length=1, max_length=100, description="Classes by what the source calls them."
    )
    mode: Literal["SingleLabel", "MultiLabel"] = Field(
        default="SingleLabel", description="Whether a document has one label (MULTI_CLASS at AWS) or several (MULTI_LABEL)."
    )
    delimiter: str = Field(
        default="|",
        max_length=1,
        pattern=r"^[ ~!@#$%^*_+=|\\:;>?/-]$",
        description="Stands between labels, in the source's texts and in what is published, with mode MultiLabel.",
    )
    language: Literal["en", "es", "de", "it", "fr", "pt"] | None = Field(
        default=None, description="Language of all documents; a classifier takes one of these."
    )
    language_column: ColumnName | None = Field(
        default=None, description="Column that says the language of each row; one that is not `language` is refused."
    )
    minimum: int = Field(
        default=10, ge=1, le=2**31 - 1, description="Documents of each class for training; Comprehend trains with 10 or more."
    )
    recommended: int = Field(
        default=200, ge=1, le=2**31 - 1, description="With fewer documents of a class: the condition ExamplesWarning."
    )


class Layout(Model):
    """Rows as a managed service reads them; exactly one member is set."""

    model_config = {"json_schema_extra": cel(exactly_one(*LAYOUTS))}

    bedrock: BedrockLayout | None = Field(default=None, description="Lines of JSON to customize a model of Bedrock on.")
    comprehend: ComprehendLayout | None = Field(default=None, description="CSV to train a classifier of Comprehend on.")


class LabelCount(Model):
    """Documents of a label."""

    label: str = Field(description="The label.")
    documents: int = Field(description="Documents for training.")


class LayoutStatus(Model):
    """What the rows are like as the service reads them."""

    name: Literal["BedrockFineTuning", "BedrockContinuedPretraining", "ComprehendCSV"] = Field(description="The layout.")
    records: int = Field(description="Records in all parts.")
    longest_tokens: int | None = Field(default=None, description="Estimated tokens of the longest line.")
    classes: int | None = Field(default=None, description="Labels that there are.")
    recommended: int | None = Field(default=None, description="Documents of each label that are recommended.")
    below_recommended: int | None = Field(default=None, description="Labels that have fewer for training.")
    fewest: list[LabelCount] | None = Field(default=None, max_length=5, description="The labels with the fewest documents.")


def published_format(spec: dict[str, Any]) -> str:
    """Format of the files that a Dataset publishes, by its spec as it is stored: a layout has its own."""
    layout = spec.get("layout") or {}
    if layout.get("bedrock"):
        return "jsonl"
    return "csv" if layout.get("comprehend") else str(spec["format"])
