"""Millrace: a Kubernetes operator that turns AI systems into manifests. This side knows no kind."""

__version__ = "0.1.0"
