"""`millrace ask`: a question to an endpoint, its answer as it comes."""

from __future__ import annotations

from typing import Annotated

import typer

from millrace.cli.options import Context, Kubeconfig, Namespace


def ask(
    endpoint: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Name of a ModelEndpoint.")],
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What is asked, or the beginning of what is to be continued.")],
    system: Annotated[str, typer.Option("--system", help="Instruction that goes before the question.")] = "",
    complete: Annotated[bool, typer.Option("--complete", help="Continue TEXT instead of answering it.")] = False,
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, help="Longest answer, in tokens.")] = 256,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, max=2.0, help="0 always gives the same answer.")] = 0.0,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Ask a ModelEndpoint of protocol OpenAI, through the API server: no port has to be opened."""
    import asyncio

    from millrace.cli.asking import Question, show
    from millrace.cli.cluster import Target

    asked = Question(text, system, complete, max_tokens, temperature)
    asyncio.run(show(Target(context, kubeconfig, namespace), endpoint, asked))
