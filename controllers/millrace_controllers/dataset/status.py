"""What a Dataset says of itself: pure functions from what was observed to conditions and fields. Its reasons live here."""

from __future__ import annotations

from typing import Any

from millrace.engine import reasons
from millrace.engine.conditions import is_true, still, unharmed
from millrace.engine.outcome import Event, Outcome, Verdict
from millrace.engine.reasons import Reason
from millrace_controllers.dataset.plan import ComparedNotReady, Observed, SourceNotFound

Object = dict[str, Any]

PUBLISHED = Reason(
    "Published",
    "The content was read, checked, published and read back; status.digest names it.",
    "Nothing: consumers may use it.",
)
READING = Reason(
    "Reading", "A worker pod reads, checks and publishes the content.", "Wait; status.progressPercent says how far it is."
)
READING_BACK = Reason("ReadingBack", "The worker has published; another pod reads every byte of it from the claim.", "Wait.")
HIGH_FINDINGS = Reason(
    "HighSeverityFindings",
    "The quality report has findings of high severity; nothing is stopped by them.",
    "Read status.report.html; mend the content, or name the limit that you want in spec.quality.failOn.",
)
QUALITY_WARNING = "QualityWarning"
"""Condition: True where the report has findings of high severity."""
TOO_FEW_EXAMPLES = Reason(
    "TooFewExamples",
    "There are fewer conversations than spec.conversations.minimum asks for.",
    "Add examples, or lower the minimum; with tooFew Warn the Dataset can be used as it is.",
)
EXAMPLES_WARNING = "ExamplesWarning"
"""Condition: True where there are fewer conversations or documents than asked for, and that is let through."""
FEW_DOCUMENTS = Reason(
    "FewDocuments",
    "A label has fewer documents for training than spec.layout.comprehend.recommended; nothing is stopped by that.",
    "Add documents of the labels that the message names; or lower what is recommended.",
)
_KEPT_FOLDERS = 100
WORKER_WAITS = Reason(
    "WorkerWaits",
    "The worker pod cannot run yet: it is not scheduled, or its image or volume is not there.",
    "Read the message; mend the claim, the image or the capacity. The Dataset goes on by itself.",
)
SOURCE_NOT_FOUND = Reason(
    "SourceNotFound",
    "The ConfigMap that the source names does not exist, or has not the key; or S3 holds nothing at its URI.",
    "Create it, or correct spec.source; the Dataset goes on by itself.",
)
COMPARED_NOT_READY = Reason(
    "ComparedNotReady",
    "A Dataset of spec.quality.compareWith does not exist or is not Ready, so that nobody knows which rows it has.",
    "Make it Ready, or take it out of spec.quality.compareWith; this one goes on by itself.",
)
WORKER_FAILED = Reason(
    "WorkerFailed",
    "The worker ended without saying why, several times.",
    "Look at the worker pod's log (millrace logs dataset/NAME); more memory in spec.resources is the commonest cure.",
)


def _bad(
    name: str, meaning: str, next_step: str = "Mend the content or the spec, then annotate millrace.dev/reconcile-at."
) -> Reason:
    return Reason(name, meaning, next_step)


def _gate(name: str, check: str, meaning: str) -> Reason:
    return Reason(
        name,
        f"{meaning} than a gate {check} of spec.quality.failOn lets through. Nothing was published but the report.",
        "Read status.report.html; mend the content and annotate millrace.dev/reconcile-at, or change the gate.",
    )


PERMISSION_DENIED = "PermissionDenied"
S3_UNAVAILABLE = "S3Unavailable"
AGAIN = frozenset({PERMISSION_DENIED, S3_UNAVAILABLE})
"""Failures that others mend, without a change of the Dataset: the worker tries again by itself."""
CONTENT_REASONS = {
    r.name: r
    for r in (
        _bad("SourceMissing", "The path that the source names does not exist on the claim, or S3 holds nothing at its URI."),
        _bad("SourceEmpty", "The source holds no rows."),
        _bad("ChecksumMismatch", "The downloaded file has another SHA-256 than the spec says."),
        _bad("DownloadFailed", "The file could not be downloaded."),
        _bad("RaggedRow", "A row has another number of fields than the header."),
        _bad("EncodingError", "The content is not valid UTF-8."),
        _bad("ColumnMismatch", "The columns are not those of spec.columns."),
        _bad("TypeMismatch", "A value has not the type of its column."),
        _bad("PublishFailed", "The content could not be written to, or read back from, the publish path."),
        _bad(
            "NotReadBack",
            "Another pod read other bytes from the claim than the worker wrote: the volume is not sound. Or an object that the "
            "worker put into S3 is gone or another.",
        ),
        _bad("FormatMismatch", "The content is not of the format that spec.format names."),
        _bad("MemoryTooSmall", "The worker's memory does not suffice.", "Raise spec.resources.memory."),
        _gate("TooManyMissingValues", "MissingValues", "A larger share of a column's values is missing"),
        _gate("TooManyDuplicates", "DuplicateRows", "A larger share of the rows repeats another"),
        _gate("ConstantColumns", "ConstantColumn", "A column has one value at most, and none may be so"),
        _gate("TooManyOutliers", "Outliers", "A larger share of a column's numbers lies beyond 1.5 interquartile ranges"),
        _gate("TooManyInvalidValues", "InvalidValues", "A larger share of a column's values is of another type than the rest"),
        _gate("ClassesImbalanced", "ClassImbalance", "A larger share of the rows is of one class"),
        _gate("TargetLeaks", "TargetLeakage", "A feature alone predicts the target better"),
        _gate("TooManySharedRows", "SharedRows", "A larger share of the rows is in another Dataset, too,"),
        _bad(
            "NotComparable",
            "The rows of a Dataset of spec.quality.compareWith have other columns, or its files are not those that it published.",
        ),
        _bad("InvalidConversation", "A row is no conversation that a model can be tuned on; the message names lines."),
        TOO_FEW_EXAMPLES,
        _bad("LayoutMismatch", "The columns are not those that spec.layout takes; drop and rename columns by spec.transform."),
        _bad("InvalidRecord", "A row cannot be a record of spec.layout; the message names rows."),
        _bad(
            "UnknownLabel",
            "A row has a label that is none of spec.layout.comprehend.classes; the message names rows.",
            "Correct the label, or say in spec.layout.comprehend.labels which class it means.",
        ),
        _bad(
            "TooFewDocuments",
            "A label has fewer documents for training than spec.layout.comprehend.minimum; Comprehend needs ten.",
            "Add documents of the labels that the message names, or take the label out of spec.layout.comprehend.classes.",
        ),
        _bad(
            "LabelNotTested",
            "The part for tests has no document of a label; Comprehend refuses to test without.",
            "Set spec.split.stratifyBy to the column of the label, make spec.split.test larger, or add documents.",
        ),
        _bad(
            "TooFewRows",
            "The source has fewer rows than spec.transform.sample asks for.",
            "Add rows, or ask for fewer; with fewer: UseAll all rows are taken where there are not so many.",
        ),
        _bad(
            PERMISSION_DENIED,
            "AWS refused what the worker's pod asked of S3, or the pod has no identity there.",
            "Grant the action that the message names to the pod's role (CloudAccount podRoleARN, or the ServiceAccount's own); "
            "the Dataset tries again every five minutes.",
        ),
        _bad(
            S3_UNAVAILABLE,
            "S3 did not answer the worker's pod, or asked it to come back later, for minutes.",
            "Nothing: the Dataset tries again every five minutes. If it lasts, look at the pod's way to S3 (NAT, VPC endpoint).",
        ),
        _bad("UnknownGenerator", "There is no generator of that name.", "Choose one that the message names."),
        _bad("BadParameter", "A parameter of the generator or the split is not valid.", "Correct what the message names."),
    )
}
REASONS = (
    PUBLISHED,
    READING,
    READING_BACK,
    HIGH_FINDINGS,
    FEW_DOCUMENTS,
    WORKER_WAITS,
    SOURCE_NOT_FOUND,
    COMPARED_NOT_READY,
    WORKER_FAILED,
    *CONTENT_REASONS.values(),
)


LOOK_SECONDS = 300.0
"""Between two looks at objects in S3, and before a worker that was denied tries again."""
AT_ONCE = 0.1
"""Seconds to the pass that takes the finished worker down: our own write wakes nobody."""


def suspended(*, gone: bool) -> Outcome:
    """Nothing runs; what was published stays."""
    message = "Nothing runs; what was published is kept" if gone else "The worker is being stopped"
    return Outcome((Verdict("Ready", "False", reasons.SUSPENDED.name, message),), requeue_after=None if gone else 5)


def reading(observed: Observed) -> Outcome:
    """The worker is on it, or waits for something."""
    reason, message = READING, "A worker reads, checks and publishes the content"
    if observed.reader is not None:
        reason, message = READING_BACK, "A reader reads back what the worker published"
    if observed.trouble:
        reason, message = WORKER_WAITS, observed.trouble
    verdicts = (Verdict("Ready", "False", reason.name, message), Verdict("Reconciling", "True", reason.name, message))
    return Outcome(verdicts, {"progressPercent": observed.percent, "externalID": observed.job_name}, requeue_after=60)


def published(old: Object, fingerprint: str, report: Object, claim: str | None) -> Outcome:
    """The worker published and read back."""
    digest = report["digest"]
    message = f"{report['rows']} rows published"
    fields = {
        "digest": digest,
        "version": report.get("version"),
        "sourceFingerprint": fingerprint,
        "rows": report["rows"],
        "bytes": report["bytes"],
        "columns": report.get("columns") or None,
        "columnCount": report.get("columnCount"),
        "splits": _splits(report, claim) or None,
        "progressPercent": None,
        "externalID": None,
        **_told(old, report, claim),
    }
    verdicts = (Verdict("Ready", "True", PUBLISHED.name, message), *_warnings(report))
    return Outcome(verdicts, fields, _events(old, digest), requeue_after=AT_ONCE)


def _told(old: Object, report: Object, claim: str | None) -> Object:
    """What the report says of quality, and the folders that are there because of this object."""
    where = report.get("report")
    files = {kind: f"{where.get('uri') or where['path']}/report.{kind}" for kind in ("html", "json")} if where else None
    return {
        "quality": report.get("quality"),
        "conversations": report.get("conversations"),
        "layout": report.get("layout"),
        "report": {**_on(claim), **files} if files else None,
        "published": _folders(old, report, claim) or None,
    }


def _folders(old: Object, report: Object, claim: str | None) -> list[Object]:
    """Each once, the oldest first, the oldest forgotten where there are more than a status should hold."""
    kind = "path" if claim else "uri"
    places = {part[kind].rpartition("/")[0] for part in (report.get("splits") or {}).values()}
    places |= {report["report"][kind]} if report.get("report") else set()
    before = list(old.get("published") or ())
    return [*before, *(f for f in ({**_on(claim), kind: p} for p in sorted(places)) if f not in before)][-_KEPT_FOLDERS:]


def _on(claim: str | None) -> Object:
    """What is in S3 has a URI, and no claim."""
    return {"claim": claim} if claim else {}


def _warnings(told: Object) -> tuple[Verdict, ...]:
    """Conditions about content that is let through all the same; from a report or from the status that was made of it."""
    return *_warning(told.get("quality")), *_few(told.get("conversations")), *_few_documents(told.get("layout"))


def _few(found: Object | None) -> tuple[Verdict, ...]:
    if not found or found["examples"] >= found["minimum"]:
        return ()
    message = f"{found['examples']} examples where at least {found['minimum']} are asked for"
    return (Verdict(EXAMPLES_WARNING, "True", TOO_FEW_EXAMPLES.name, message),)


def _few_documents(found: Object | None) -> tuple[Verdict, ...]:
    below = (found or {}).get("belowRecommended")
    if not found or not below:
        return ()
    named = ", ".join(f"{few['label']!r} has {few['documents']}" for few in found["fewest"][:below])
    more = f" and {below - len(found['fewest'])} more" * (below > len(found["fewest"]))
    message = f"{found['recommended']} documents of each label are recommended: {named}{more}"
    return (Verdict(EXAMPLES_WARNING, "True", FEW_DOCUMENTS.name, message),)


def _warning(quality: Object | None) -> tuple[Verdict, ...]:
    """The condition that there are findings of high severity; none where there are none."""
    high = (quality or {}).get("findings", {}).get("high", 0)
    if not quality or not high:
        return ()
    named = [_finding(f) for f in quality.get("worst") or () if f["severity"] == "High"]
    message = f"{high} findings of high severity: {', '.join(named)}" if high > 1 else f"High severity: {', '.join(named)}"
    return (Verdict(QUALITY_WARNING, "True", HIGH_FINDINGS.name, message),)


def _finding(found: Object) -> str:
    about = f" of {found['column']!r}" if found.get("column") else ""
    about = f" with {found['dataset']!r}" if found.get("dataset") else about
    return f"{found['check']}{about} {found['value']}"


def _events(old: Object, digest: str) -> tuple[Event, ...]:
    before = old.get("digest")
    if before == digest:
        return ()
    if before is None:
        return (Event("Published", f"The content has digest {digest}"),)
    return (Event("DigestChanged", f"The content changed from {before} to {digest}"),)


def _splits(report: Object, claim: str | None) -> list[Object]:
    parts = report.get("splits") or {}
    told = ("path", "uri", "rows", "bytes", "digest")
    return [{"name": n, **_on(claim), **{k: parts[n][k] for k in told if k in parts[n]}} for n in sorted(parts)]


def unchanged(status: Object, *, looked_at: bool = False) -> Outcome:
    """Nothing to do: what the status says still holds. A source that tells nobody of its changes is `looked_at` again."""
    ready = Verdict("Ready", "True", PUBLISHED.name, f"{status['rows']} rows published")
    return Outcome((ready, *_warnings(status)), requeue_after=LOOK_SECONDS if looked_at else None)


def failed(old: Object, report: Object, claim: str | None, *, looked_at: bool = False) -> Outcome:
    """The content, the worker or the volume is at fault; a human must act, and a source in S3 is `looked_at` for that."""
    reason = CONTENT_REASONS.get(str(report.get("reason")), WORKER_FAILED)
    message = str(report.get("message") or "the worker ended without a report")
    mends_itself = reason.name in AGAIN
    state = "Reconciling" if mends_itself else "Stalled"
    verdicts = (Verdict("Ready", "False", reason.name, message), Verdict(state, "True", reason.name, message))
    fields = {"progressPercent": None, "sourceFingerprint": None, "externalID": None}
    if report.get("quality"):
        fields |= _told(old, report, claim)
    told = (Event(reason.name, message, "Warning"),)
    wait = LOOK_SECONDS if mends_itself or looked_at else None
    return Outcome((*verdicts, *_warning(report.get("quality"))), fields, told, requeue_after=wait)


def deleting(message: str) -> Outcome:
    """Being taken down."""
    name = reasons.DELETING.name
    verdicts = (Verdict("Ready", "False", name, message), Verdict("Reconciling", "True", name, message))
    return Outcome(verdicts, requeue_after=10)


def explain(obj: Object, error: BaseException) -> tuple[Verdict, ...] | None:
    """Conditions for the errors that only this kind can name. What was published stays so without its source."""
    if not isinstance(error, SourceNotFound | ComparedNotReady):
        return unharmed(obj, "Ready", error)
    name, message = (SOURCE_NOT_FOUND if isinstance(error, SourceNotFound) else COMPARED_NOT_READY).name, error.message
    if is_true(obj, "Ready") and obj["status"].get("splits"):
        return still(obj, name, message)
    return Verdict("Ready", "False", name, message), Verdict("Reconciling", "True", name, message)
