"""S3: objects on disk, streamed. Ours because moto keeps them in memory and its notifications lack what consumers order by."""

from millrace_local_aws.services.s3 import buckets, configuration, copying, listing, multipart, reading, tagging, writing
from millrace_local_aws.services.s3.service import S3

__all__ = ["S3", "buckets", "configuration", "copying", "listing", "multipart", "reading", "tagging", "writing"]
