"""A local AWS: the services that Millrace uses, driven by botocore's own models, with state on disk and a clock of its own.

with local_aws(speed=60) as aws:
    aws.client("s3").create_bucket(Bucket="data")
    aws.admin.step(3600)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millrace_local_aws.admin.client import Admin
    from millrace_local_aws.run import LocalAws, LocalAwsFault, local_aws

__all__ = ["Admin", "LocalAws", "LocalAwsFault", "local_aws"]


def __getattr__(name: str) -> Any:
    """Loaded when used, so that the admin client alone does not bring the server with it."""
    if name == "Admin":
        from millrace_local_aws.admin.client import Admin

        return Admin
    if name in __all__:
        from millrace_local_aws import run

        return getattr(run, name)
    raise AttributeError(name)
