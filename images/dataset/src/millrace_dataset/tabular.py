"""A source of rows and columns, from files to what is published, within one database."""

from collections.abc import Callable
from dataclasses import replace

from millrace_dataset import conversations
from millrace_dataset.engine import connected
from millrace_dataset.layouts import judged, laid_out
from millrace_dataset.lines import OnBytes, SourceFile
from millrace_dataset.loading import load
from millrace_dataset.parts import scan_table, write_parts
from millrace_dataset.publish import publish
from millrace_dataset.quality.examine import examine
from millrace_dataset.request import Request
from millrace_dataset.result import Done
from millrace_dataset.sources import workspace
from millrace_dataset.table import Table
from millrace_dataset.transform import transformed

STAGES = 4
"""Times that the source's size is passed, as progress counts it: its bytes, then rows, quality, parts; conversations are read
once more."""


def stages(request: Request) -> int:
    """How often the source's size is passed in all."""
    return STAGES + (request.conversations is not None)


def run(request: Request, files: list[SourceFile], on_bytes: OnBytes, size: int) -> Done:
    """Load, examine and, when asked, publish; raises Problem."""
    rules = request.conversations
    if rules is None:
        return _run(request, files, on_bytes, size)
    with workspace(request, "conversations") as work:
        usable, count = conversations.checked(files, rules, work, on_bytes)
        return replace(_run(request, usable, on_bytes, size), conversations=count.summary)


def _run(request: Request, files: list[SourceFile], on_bytes: OnBytes, size: int) -> Done:
    with connected() as connection:
        table = laid_out(transformed(load(connection, files, request, on_bytes), request), request)
        return _done(request, table, lambda: on_bytes(size))


def _done(request: Request, table: Table, passed: Callable[[], None]) -> Done:
    """The report is published before the gates are asked: it says why they are shut."""
    found = scan_table(table, request)
    layout = judged(table, request, found.plan)
    passed()
    quality = examine(table, request, found)
    passed()
    if quality is not None and quality.failure is not None:
        return Done(found, quality=quality, layout=layout)
    if request.publish is None:
        return Done(found, quality=quality, layout=layout)
    published = publish(request, found, request.publish, lambda folder: write_parts(table, request, found.plan, folder))
    passed()
    return Done(found, published, quality, layout=layout)
