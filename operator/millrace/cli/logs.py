"""`millrace logs`: the output of one rank of an attempt, whatever the pods or the jobs are called."""

from __future__ import annotations

from typing import Annotated

import typer

from millrace.cli.options import Context, Kubeconfig, Namespace, Subject


def logs(
    subject: Subject,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the container ends.")] = False,
    rank: Annotated[int, typer.Option("--rank", min=0, help="Node rank of the pod or host.")] = 0,
    attempt: Annotated[int | None, typer.Option("--attempt", min=0, help="Number of the attempt; the latest by default.")] = None,
    container: Annotated[str, typer.Option("--container", "-c", help="Container; by default the one that tells most.")] = "",
    tail: Annotated[int | None, typer.Option("--tail", min=1, help="Lines from the end to begin with; all by default.")] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Show the log of a pod, or of a job or endpoint on AWS. It is the one of rank 0 of the latest attempt, unless another is
    named. What runs on AWS is read from CloudWatch with your own AWS credentials, found as the aws command line finds them
    (AWS_PROFILE, environment, SSO), in the region of the object's CloudAccount."""
    import asyncio

    from millrace.cli.cluster import Target
    from millrace.cli.podlogs import ALL_LINES, Choice, show

    target = Target(context, kubeconfig, namespace)
    asyncio.run(show(target, subject, Choice(rank, attempt, container), tail or ALL_LINES, follow))
