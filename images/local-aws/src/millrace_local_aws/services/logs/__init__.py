"""CloudWatch Logs: groups, streams, events."""

from millrace_local_aws.services.logs import operations
from millrace_local_aws.services.logs.operations import LOGS

__all__ = ["LOGS", "operations"]
