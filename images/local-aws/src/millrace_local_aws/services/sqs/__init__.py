"""SQS. Ours because moto's receive reads every message of the queue, and because its messages end with the process."""

from millrace_local_aws.services.sqs import administration, messages
from millrace_local_aws.services.sqs.service import SQS

__all__ = ["SQS", "administration", "messages"]
