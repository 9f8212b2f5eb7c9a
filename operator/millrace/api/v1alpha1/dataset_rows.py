"""What becomes of a Dataset's rows before they are published: members of its spec."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from millrace.api.common import Model, cel

ColumnName = Annotated[str, Field(min_length=1, max_length=253)]


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
