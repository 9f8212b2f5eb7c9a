"""`millrace release`: lets go of objects without taking down what they run; for a cluster that is to live on without Millrace."""

from __future__ import annotations

from typing import Annotated

import typer

from millrace.cli.options import Context, Kubeconfig, Namespace


def release(
    subjects: Annotated[list[str] | None, typer.Argument(metavar="KIND/NAME", help="Objects to let go of.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every object of every kind, in all namespaces or in -n's.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Let go of objects, and keep what runs. They are paused, their children cut loose, and the finalizer is removed."""
    import asyncio

    from millrace.cli.cluster import Target
    from millrace.cli.letting_go import run

    if bool(subjects) == everything:
        raise typer.BadParameter("name objects as KIND/NAME, or give --all")
    asyncio.run(run(Target(context, kubeconfig, namespace), subjects or [], asked=lambda text: yes or typer.confirm(text)))
