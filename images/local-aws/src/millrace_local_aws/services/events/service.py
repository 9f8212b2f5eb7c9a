"""The service, apart from what its operations do."""

from millrace_local_aws.service import Service

EVENTS = Service("events", "events", target="AWSEvents", tagging="TagResource")
