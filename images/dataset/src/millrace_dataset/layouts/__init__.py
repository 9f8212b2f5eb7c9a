"""Rows as a managed service reads them. Each layout checks what the service would refuse after hours, and names the rows."""

from typing import Any

from millrace_dataset.layouts import bedrock, comprehend
from millrace_dataset.request import Request
from millrace_dataset.shaping import Bedrock, Comprehend
from millrace_dataset.splits import Plan
from millrace_dataset.table import Table


def laid_out(table: Table, request: Request) -> Table:
    """The rows as the layout wants them; raises Problem."""
    seed = request.split.seed if request.split else 0
    if isinstance(request.layout, Bedrock):
        return bedrock.laid_out(table, request.layout, seed)
    if isinstance(request.layout, Comprehend):
        return comprehend.laid_out(table, request.layout, seed)
    return table


def judged(table: Table, request: Request, made: Plan | None) -> dict[str, Any] | None:
    """What is told of the parts; raises Problem where one of them would be refused. None without a layout."""
    if isinstance(request.layout, Bedrock):
        return bedrock.told(table, request.layout)
    if isinstance(request.layout, Comprehend):
        return comprehend.judged(table, request, request.layout, made)
    return None
