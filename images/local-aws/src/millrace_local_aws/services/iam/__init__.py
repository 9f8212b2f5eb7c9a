"""IAM: roles, users, keys, policies and OpenID Connect providers. Global: the region plays no part."""

from millrace_local_aws.services.iam import policies, providers, roles, users
from millrace_local_aws.services.iam.common import IAM

__all__ = ["IAM", "policies", "providers", "roles", "users"]
