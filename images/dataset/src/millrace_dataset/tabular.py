"""A source of rows and columns, from files to what is published, within one database."""

from collections.abc import Callable

from millrace_dataset.engine import connected
from millrace_dataset.lines import OnBytes, SourceFile
from millrace_dataset.loading import load
from millrace_dataset.parts import scan_table, write_parts
from millrace_dataset.publish import publish
from millrace_dataset.quality.examine import examine
from millrace_dataset.request import Request
from millrace_dataset.result import Done
from millrace_dataset.table import Table

STAGES = 4
"""Times that the source's size is passed, as progress counts it: its bytes, then rows, quality, parts."""


def run(request: Request, files: list[SourceFile], on_bytes: OnBytes, size: int) -> Done:
    """Load, examine and, when asked, publish; raises Problem."""
    with connected() as connection:
        return _done(request, load(connection, files, request, on_bytes), lambda: on_bytes(size))


def _done(request: Request, table: Table, passed: Callable[[], None]) -> Done:
    """The report is published before the gates are asked: it says why they are shut."""
    found = scan_table(table, request.split)
    passed()
    quality = examine(table, request, found)
    passed()
    if quality is not None and quality.failure is not None:
        return Done(found, quality=quality)
    if request.publish is None:
        return Done(found, quality=quality)
    published = publish(request, found, request.publish, lambda folder: write_parts(table, request, found.plan, folder))
    passed()
    return Done(found, published, quality)
