"""The request as the operator writes it into MILLRACE_DATASET, checked and frozen.

Everything that can be refused without touching data is refused here, so later stages need no defensive code.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from millrace_dataset.problems import Problem
from millrace_dataset.shaping import Layout, Transform, layout_of, transform_of

FORMATS = {"text": "txt", "csv": "csv", "jsonl": "jsonl", "parquet": "parquet"}
COLUMN_TYPES = ("string", "integer", "number", "boolean", "date", "timestamp")
CHECKS = (
    "MissingValues",
    "DuplicateRows",
    "ConstantColumn",
    "Outliers",
    "InvalidValues",
    "ClassImbalance",
    "TargetLeakage",
    "SharedRows",
)
NEED_TARGET = ("ClassImbalance", "TargetLeakage")
PROBLEM_TYPES = ("Binary", "Multiclass", "Numeric")
SPLITS = ("train", "validation", "test")
ROLES = ("system", "user", "assistant")
KINDS = ("path", "inline", "https", "s3", "generated")


@dataclass(frozen=True)
class Column:
    """One column: its name and one of COLUMN_TYPES (inference may also find `object`, `array` or `null` in jsonl)."""

    name: str
    type: str


@dataclass(frozen=True)
class Source:
    """Where the data comes from: `kind` is path, inline, https, s3 or generated; the other fields belong to one kind each."""

    kind: str
    path: Path | None = None
    url: str = ""
    sha256: str = ""
    generator: str = ""
    parameters: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Target:
    """A folder in S3, and the KMS key of what is put there, if not the bucket's own."""

    uri: str
    kms_key_id: str | None = None


@dataclass(frozen=True)
class Split:
    """Fractions by split name (they sum to 1), the seed, and the column whose proportions each split keeps, if any."""

    fractions: Mapping[str, Decimal]
    seed: int
    stratify_by: str | None


@dataclass(frozen=True)
class Gate:
    """A check that may not come out above a share; of one column or of any."""

    check: str
    column: str | None
    above: Decimal


@dataclass(frozen=True)
class Compared:
    """Another Dataset: its files as it published them, each a path or a URI in S3, with its digest."""

    name: str
    digest: str
    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Quality:
    """What is asked about quality; `sample` is a number of rows, None for all of them."""

    report: bool = True
    target: str | None = None
    problem_type: str | None = None
    sample: int | None = None
    gates: tuple[Gate, ...] = ()
    compared: tuple[Compared, ...] = ()


@dataclass(frozen=True)
class Conversations:
    """What an example must be: the key of its messages, the names of the roles (`system`, `user`, `assistant`), and what is
    done about examples that could be mended."""

    messages: str
    roles: tuple[tuple[str, str], ...]
    trailing_user: str
    pretty_printed: str
    minimum: int
    too_few: str
    max_tokens: int | None

    @property
    def mends(self) -> bool:
        """Whether examples may be changed, so that a copy of them is needed."""
        return (self.trailing_user, self.pretty_printed) != ("Reject", "Reject")

    def name(self, role: str) -> str:
        """What the source calls a role."""
        return dict(self.roles)[role]


@dataclass(frozen=True)
class Request:
    """One Dataset's work; `publish` is the folder under which versions are published, or None to only describe. With `target`
    that folder is scratch space, and what is in it at the end is put there."""

    name: str
    namespace: str
    uid: str
    source: Source
    format: str
    columns: tuple[Column, ...] | None
    split: Split | None
    publish: Path | None
    quality: Quality | None = None
    conversations: Conversations | None = None
    target: Target | None = None
    transform: Transform | None = None
    layout: Layout | None = None

    @property
    def extension(self) -> str:
        """The file name extension of what is published, without the dot."""
        return FORMATS[self.published_format]

    @property
    def published_format(self) -> str:
        """That of the source where no layout has its own."""
        return self.format if self.layout is None else self.layout.format


def parse_request(text: str) -> Request:
    """Read MILLRACE_DATASET; raises Problem(BadParameter) that names the field."""
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise Problem("BadParameter", f"MILLRACE_DATASET is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise Problem("BadParameter", "MILLRACE_DATASET must be a JSON object")
    request = Request(
        name=str(raw.get("name", "")),
        namespace=str(raw.get("namespace", "")),
        uid=str(raw.get("uid", "")),
        source=_source(_object(raw, "source")),
        format=_format(raw.get("format")),
        columns=_columns(raw.get("columns")),
        split=_split(raw.get("split")),
        publish=_publish(raw.get("publish")),
        quality=_quality(raw.get("quality")),
        conversations=_conversations(raw.get("conversations")),
        target=_target(raw.get("publish")),
        transform=transform_of(raw.get("transform")),
        layout=layout_of(raw.get("layout")),
    )
    _check_together(request)
    return request


def _check_together(request: Request) -> None:
    if request.publish is None and request.source.kind not in ("path", "s3"):
        raise Problem("BadParameter", f"publish is required for a source of kind {request.source.kind}")
    if request.publish is None and request.split is not None:
        raise Problem("BadParameter", "split needs publish: name where the splits shall go")
    if request.format == "text" and request.columns:
        raise Problem("BadParameter", "columns do not apply to format text: drop columns or use csv, jsonl or parquet")
    if request.format == "text" and request.split is not None and request.split.stratify_by:
        raise Problem("BadParameter", "split.stratifyBy does not apply to format text: use csv, jsonl or parquet")
    if request.quality is not None and (request.format == "text" or request.publish is None):
        raise Problem("BadParameter", "quality needs publish and a format with columns: csv, jsonl or parquet")
    if request.conversations is not None and request.format != "jsonl":
        raise Problem("BadParameter", "conversations need format jsonl")
    if request.conversations is not None and request.conversations.mends and request.publish is None:
        raise Problem("BadParameter", "conversations can only be mended where they are published: set publish")
    _check_shape(request)


def _check_shape(request: Request) -> None:
    asked = "transform" if request.transform is not None else "layout" if request.layout is not None else None
    if asked and (request.format == "text" or request.publish is None):
        raise Problem("BadParameter", f"{asked} needs publish and a format with columns: csv, jsonl or parquet")
    if request.layout is not None and request.conversations is not None:
        raise Problem("BadParameter", "layout and conversations do not go together: take one of them")
    if request.layout is not None and request.quality is not None and request.quality.compared:
        raise Problem("BadParameter", "quality.compareWith does not go with layout: compare a Dataset without one")


def _object(raw: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = raw.get(key)
    if not isinstance(value, dict):
        raise Problem("BadParameter", f"{key} must be an object")
    return value


def _source(raw: Mapping[str, Any]) -> Source:
    given = [kind for kind in KINDS if raw.get(kind) is not None]
    if len(given) != 1:
        raise Problem("BadParameter", f"source must have exactly one of {', '.join(KINDS)}")
    kind = given[0]
    if kind == "path":
        return Source("path", path=_absolute(raw["path"], "source.path"))
    inner = _object(raw, kind)
    if kind == "inline":
        return Source("inline", path=_absolute(inner.get("path"), "source.inline.path"))
    if kind == "https":
        return _https(inner)
    if kind == "s3":
        return Source("s3", url=_s3(inner.get("uri"), "source.s3.uri"))
    parameters = {str(key): str(value) for key, value in (inner.get("parameters") or {}).items()}
    return Source("generated", generator=str(inner.get("name", "")), parameters=parameters)


def _https(raw: Mapping[str, Any]) -> Source:
    url, sha256 = str(raw.get("url", "")), str(raw.get("sha256", "")).lower().removeprefix("sha256:")
    if not url.startswith("https://"):
        raise Problem("BadParameter", f"source.https.url must start with https://, not {url[:40]!r}")
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise Problem("BadParameter", "source.https.sha256 must be 64 hexadecimal digits")
    return Source("https", url=url, sha256=sha256)


def _s3(value: Any, field: str) -> str:
    if not isinstance(value, str) or not value.startswith("s3://") or not value[5:].partition("/")[0]:
        raise Problem("BadParameter", f"{field} must be s3://bucket or s3://bucket/key, not {value!r}")
    return value


def _absolute(value: Any, field: str) -> Path:
    if not isinstance(value, str) or not value.startswith("/"):
        raise Problem("BadParameter", f"{field} must be an absolute path")
    return Path(value)


def _format(value: Any) -> str:
    if value not in FORMATS:
        raise Problem("BadParameter", f"format must be one of {', '.join(FORMATS)}, not {value!r}")
    return str(value)


def _columns(value: Any) -> tuple[Column, ...] | None:
    if not value:
        return None
    columns = tuple(Column(str(item.get("name", "")), str(item.get("type", ""))) for item in value)
    for column in columns:
        if not column.name or column.type not in COLUMN_TYPES:
            raise Problem("BadParameter", f"column {column.name!r}: type must be one of {', '.join(COLUMN_TYPES)}")
    if len({column.name for column in columns}) != len(columns):
        raise Problem("BadParameter", "columns names the same column twice")
    return columns


def _split(value: Any) -> Split | None:
    if value is None:
        return None
    fractions = {name: _fraction(value.get(name, "0"), f"split.{name}") for name in SPLITS}
    if sum(fractions.values()) != 1:
        raise Problem("BadParameter", "split.train, split.validation and split.test must sum to 1")
    try:
        seed = int(value.get("seed") or 0)
    except (TypeError, ValueError) as error:
        raise Problem("BadParameter", f"split.seed must be an integer, not {value.get('seed')!r}") from error
    kept = {name: fraction for name, fraction in fractions.items() if fraction > 0}
    return Split(kept, seed, value.get("stratifyBy") or None)


def _fraction(value: Any, name: str) -> Decimal:
    try:
        fraction = Decimal(str(value))
    except InvalidOperation as error:
        raise Problem("BadParameter", f"{name} must be a decimal number, not {value!r}") from error
    if not 0 <= fraction <= 1:
        raise Problem("BadParameter", f"{name} must be between 0 and 1, not {value!r}")
    return fraction


def _publish(value: Any) -> Path | None:
    if value is None:
        return None
    if isinstance(value, dict) and value.get("s3") is not None:
        return Path(tempfile.gettempdir()) / "published"
    return _absolute(value.get("path") if isinstance(value, dict) else None, "publish.path")


def _target(value: Any) -> Target | None:
    given = value.get("s3") if isinstance(value, dict) else None
    return None if given is None else Target(_s3(given.get("uri"), "publish.s3.uri"), given.get("kmsKeyID"))


def _quality(value: Any) -> Quality | None:
    if value is None:
        return None
    gates = tuple(_gate(gate) for gate in value.get("failOn") or ())
    quality = Quality(
        report=bool(value.get("report", True)),
        target=value.get("target"),
        problem_type=value.get("problemType"),
        sample=int(value["sample"]) if value.get("sample") else None,
        gates=gates,
        compared=tuple(_compared(other) for other in value.get("compareWith") or ()),
    )
    if quality.problem_type not in {None, *PROBLEM_TYPES}:
        raise Problem("BadParameter", f"quality.problemType must be one of {', '.join(PROBLEM_TYPES)}")
    if quality.target is None and any(gate.check in NEED_TARGET for gate in gates):
        raise Problem("BadParameter", f"quality.failOn: {' and '.join(NEED_TARGET)} need quality.target")
    if not quality.compared and any(gate.check == "SharedRows" for gate in gates):
        raise Problem("BadParameter", "quality.failOn: SharedRows needs quality.compareWith")
    return quality


def _compared(value: Mapping[str, Any]) -> Compared:
    name = str(value.get("name", ""))
    files = tuple((str(file.get("uri") or file.get("path") or ""), str(file["digest"])) for file in value.get("files") or ())
    if not files or not all(place.startswith(("/", "s3://")) for place, _ in files):
        raise Problem("BadParameter", f"quality.compareWith: {name!r} must have files, each with an absolute path or an S3 URI")
    return Compared(name, str(value.get("digest", "")), files)


def _gate(value: Mapping[str, Any]) -> Gate:
    check = str(value.get("check"))
    if check not in CHECKS:
        raise Problem("BadParameter", f"quality.failOn: check must be one of {', '.join(CHECKS)}, not {check!r}")
    return Gate(check, value.get("column"), _fraction(value.get("above") or "0", f"quality.failOn.{check}.above"))


def _conversations(value: Any) -> Conversations | None:
    if value is None:
        return None
    roles = value["roles"]
    names = tuple((role, str(roles[role])) for role in ROLES)
    if len({name for _, name in names}) != len(names):
        raise Problem("BadParameter", "conversations.roles: each role needs a name of its own")
    limit = value.get("maxTokens")
    return Conversations(
        messages=str(value["messages"]),
        roles=names,
        trailing_user=str(value["trailingUser"]),
        pretty_printed=str(value["prettyPrinted"]),
        minimum=int(value["minimum"]),
        too_few=str(value["tooFew"]),
        max_tokens=int(limit) if limit else None,
    )
