"""IAM: roles, users, keys and policies. Global: the region plays no part."""

from millrace_local_aws.services.iam import policies, roles, users
from millrace_local_aws.services.iam.common import IAM

__all__ = ["IAM", "policies", "roles", "users"]
