"""`millrace plan`: what applying manifests would create or change, children included, without doing it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from millrace.cli.options import Context, Kubeconfig, Namespace


def plan(
    file: Annotated[Path, typer.Option("--file", "-f", help="A manifest, a folder of manifests, or - for standard input.")],
    namespace: Namespace = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no cluster: check the fields only, not the rules.")] = False,
    full: Annotated[bool, typer.Option("--full", help="Print the whole manifests of the children.")] = False,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show what would be created or changed. Exit code 1 where an object would be refused."""
    import asyncio

    from millrace.cli.cluster import Target
    from millrace.cli.planning import run

    refused = asyncio.run(run(Target(context, kubeconfig, namespace), file, offline, full))
    if refused:
        typer.echo(f"{refused} object(s) would be refused", err=True)
        raise typer.Exit(1)
