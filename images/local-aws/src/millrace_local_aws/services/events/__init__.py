"""EventBridge: buses, rules, patterns, delivery to queues; and the events that AWS's own services send."""

from millrace_local_aws.services.events import operations
from millrace_local_aws.services.events.service import EVENTS

__all__ = ["EVENTS", "operations"]
