"""`millrace wait`: waits for an object to get somewhere, and ends at once when it no longer can.

`kubectl wait --for=condition=Succeeded` hangs on an object that has failed: it knows only one way out. This one knows them all
and tells them apart by its exit code.
"""

from __future__ import annotations

from typing import Annotated

import typer

from millrace.cli.options import Context, Kubeconfig, Namespace, Subject


def wait(
    subject: Subject,
    wanted: Annotated[
        str,
        typer.Option("--for", help="TYPE or TYPE=STATUS of a condition, or `deleted`; the kind's summary condition by default."),
    ] = "",
    timeout: Annotated[str, typer.Option("--timeout", help="As 90, 90s, 15m or 2h; without it as long as it takes.")] = "",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing until the end.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Wait for an object. Exit code 0: reached. 1: failed or stalled. 2: timed out. 3: not found. 4: no cluster. 64: usage."""
    import asyncio

    from millrace.cli.cluster import Target
    from millrace.cli.waiting import Wanted, seconds, wait_for

    target = Target(context, kubeconfig, namespace)
    told = asyncio.run(wait_for(target, subject, Wanted.parse(wanted), seconds(timeout), quiet))
    typer.echo(told.message, err=bool(told.code))
    if told.next_step:
        typer.echo(told.next_step, err=True)
    raise typer.Exit(told.code)
