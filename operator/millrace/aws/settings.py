"""What a deployment decides about AWS. The engine reads it from the environment; nothing here does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AwsSettings:
    """Set by the chart's values `aws.*`."""

    custom_endpoints: bool = False
    """Whether a CloudAccount may name an endpoint of its own: with one, whoever may write a CloudAccount chooses a server that
    the operator talks to."""
    own_identity: bool = True
    """Whether a CloudAccount may do without a role and be the operator itself."""
    endpoint_url: str = ""
    """Where every account's calls go (AWS_ENDPOINT_URL); empty: to AWS."""
    cluster_id: str = ""
    """Stands in external ids; the uid of the namespace kube-system where it is empty."""
    threads: int = 32
    """Calls at the same time, over all accounts; each listener has a thread of its own beside them."""
    prices_file: str = ""
    """Prices that replace or add to those that are shipped; read anew when it changes."""
