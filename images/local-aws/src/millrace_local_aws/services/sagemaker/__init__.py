"""SageMaker's control plane: training, models, endpoints, algorithms, packages, hubs."""

from millrace_local_aws.services.sagemaker import algorithms, endpoints, hubs, models, packages, plans, tags, training
from millrace_local_aws.services.sagemaker.service import SAGEMAKER

__all__ = ["SAGEMAKER", "algorithms", "endpoints", "hubs", "models", "packages", "plans", "tags", "training"]
