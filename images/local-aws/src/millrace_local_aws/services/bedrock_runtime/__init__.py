"""Bedrock's data plane: models are asked, whole or as streams, within their quotas."""

from millrace_local_aws.services.bedrock_runtime.service import RUNTIME

__all__ = ["RUNTIME"]
