"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Context = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig; the current one by default.")]
Kubeconfig = Annotated[
    Path | None, typer.Option("--kubeconfig", help="Kubeconfig file; $KUBECONFIG or ~/.kube/config by default.")
]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Namespace; the context's own by default.")]
Subject = Annotated[str, typer.Argument(metavar="KIND/NAME", help="For example trainingjob/gpt or tj/gpt.")]
