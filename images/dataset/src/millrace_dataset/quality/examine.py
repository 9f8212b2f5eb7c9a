"""The quality report: measured, judged, and published where it stays readable even when a gate is shut."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from millrace_dataset.files import fsync_file, sha256_file, write_json
from millrace_dataset.problems import Problem
from millrace_dataset.publish import appearing, own, version_of
from millrace_dataset.quality.across import shared
from millrace_dataset.quality.document import document, summary
from millrace_dataset.quality.examined import Examined
from millrace_dataset.quality.findings import measures, shut
from millrace_dataset.quality.measure import measure, sampled
from millrace_dataset.quality.page import page
from millrace_dataset.request import Quality, Request
from millrace_dataset.scan import Scan
from millrace_dataset.table import Table

REPORTS = "reports"
FILES = ("report.json", "report.html")


def examine(table: Table, request: Request, found: Scan) -> Examined | None:
    """Measure, judge and report; None where no quality was asked for."""
    quality = request.quality
    if quality is None:
        return None
    measured = replace(measure(table, quality), shared=shared(table, request, sampled(table, quality)))
    findings = measures(measured)
    _check_gates(quality, table)
    said = document(request, found.digest, measured, findings)
    folder = _publish(request, found, said) if quality.report and request.publish is not None else None
    files = {} if folder is None else {name: _described(folder / name) for name in FILES}
    return Examined(summary(measured, findings), folder, files, shut(quality.gates, findings))


def _check_gates(quality: Quality, table: Table) -> None:
    names = {column.name for column in table.columns}
    for gate in quality.gates:
        if gate.column is not None and gate.column not in names:
            raise Problem("ColumnMismatch", f"quality.failOn names {gate.column!r}, which is no column of the data")


def _publish(request: Request, found: Scan, said: dict[str, Any]) -> Path:
    """Under `reports/<version>-<8 of its content>`: another question about the same version is another report."""
    assert request.publish is not None
    text = json.dumps(said, sort_keys=True)
    name = f"{version_of(found, request)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    final = request.publish / REPORTS / name
    try:
        if not final.exists():
            with appearing(final, request.uid) as folder:
                _write(folder, said)
        own(final, request.uid)
    except OSError as error:
        raise Problem("PublishFailed", f"cannot write {final}: {error.strerror or error}") from error
    return final


def _write(folder: Path, said: dict[str, Any]) -> None:
    write_json(folder / FILES[0], said)
    (folder / FILES[1]).write_text(page(said), encoding="utf-8")
    fsync_file(folder / FILES[1])


def _described(path: Path) -> dict[str, Any]:
    sha256, size = sha256_file(path)
    return {"digest": f"sha256:{sha256}", "bytes": size}
