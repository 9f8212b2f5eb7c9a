"""The log of what runs on AWS: found by the object, read from CloudWatch with the user's own credentials."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import typer

from millrace.aws.errors import CallError
from millrace.aws.places import CloudLog
from millrace.aws.resolve import ACCOUNTS
from millrace.cli.cluster import Connection, kind_named
from millrace.cli.problems import Exit, Problem, as_yourself
from millrace.engine.controller import Controller

if TYPE_CHECKING:
    from millrace.aws.logs import Reader

Object = dict[str, Any]
_WHO = "millrace logs reads CloudWatch as you, not as the operator: log in to the account (aws sso login, AWS_PROFILE), with the "
_WHO += "permissions logs:DescribeLogStreams and logs:GetLogEvents."


def place(controller: Controller, obj: Object, who: str, attempt: int | None, rank: int) -> CloudLog:
    """Where the log is. Raises Problem where nothing was made yet."""
    found = controller.cloud_log(obj, attempt, rank)
    if found is None or not found.group:
        raise Problem(f"{who} has made nothing on AWS yet", f"`millrace status {who}` says why.", Exit.NOT_FOUND)
    return found


async def show(
    connection: Connection, controller: Controller, obj: Object, attempt: int | None, rank: int, tail: int | None, follow: bool
) -> None:
    """Write the log to standard output. Raises Problem where there is none."""
    from millrace.aws.logs import Reader

    who = f"{controller.kind.singular}/{obj['metadata']['name']}"
    wanted = place(controller, obj, who, attempt, rank)
    account = await connection.get(kind_named(ACCOUNTS), wanted.account)

    async def over() -> bool:
        now = await connection.find(controller, obj["metadata"]["name"])
        told = controller.cloud_log(now, attempt, rank) if now else None
        return told is None or told.ends

    try:
        await written(Reader(account["spec"]["region"]), wanted, account, who, tail, over if follow else None)
    except CallError as error:
        raise as_yourself(error, _WHO) from error


async def written(
    reader: Reader, wanted: CloudLog, account: Object, who: str, tail: int | None, over: Callable[[], Awaitable[bool]] | None
) -> None:
    """The lines of the stream that is meant; until nothing more comes, where `over` says when. Raises Problem or CallError."""
    stream = await reader.stream(wanted)
    if stream is None:
        raise Problem(f"{who} has no log at {wanted.group}/{wanted.prefix}", await _why_none(reader, account), Exit.NOT_FOUND)
    ended = wanted.ends
    async for line in reader.lines(wanted.group, stream, tail):
        if line is not None:
            typer.echo(line)
        elif over is None or ended:
            return
        else:
            ended = await over()


async def _why_none(reader: Reader, account: Object) -> str:
    """Somebody else's account has no such log, and says no more than that."""
    mine, wanted = await reader.account_id(), (account.get("status") or {}).get("accountID")
    if wanted and mine != wanted:
        return f"Your AWS credentials are of account {mine}, and the object runs in {wanted}: choose others by AWS_PROFILE."
    return "A container writes its log once it starts; try again later."
