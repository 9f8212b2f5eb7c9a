"""`millrace local`: a real Kubernetes cluster from nothing, on one Linux machine."""

from millrace.cli.local.commands import app

__all__ = ["app"]
