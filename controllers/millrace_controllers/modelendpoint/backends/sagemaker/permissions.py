"""What the account's role needs for ModelEndpoints on SageMaker."""

from __future__ import annotations

from millrace.aws import quotas
from millrace.aws.permissions import Feature, Grant

_OURS = tuple(f"arn:aws:sagemaker:REGION:ACCOUNT:{kind}/*" for kind in ("endpoint", "endpoint-config", "model"))
_PACKAGES = ("arn:aws:sagemaker:REGION:ACCOUNT:model-package/*",)
_VARIANTS = "arn:aws:application-autoscaling:REGION:ACCOUNT:scalable-target/*"
SERVES = Feature(
    "ModelEndpoint on SageMaker",
    (
        Grant(
            (
                "sagemaker:AddTags",
                "sagemaker:CreateEndpoint",
                "sagemaker:CreateEndpointConfig",
                "sagemaker:CreateModel",
                "sagemaker:DeleteEndpoint",
                "sagemaker:DeleteEndpointConfig",
                "sagemaker:DeleteModel",
                "sagemaker:DescribeEndpoint",
                "sagemaker:DescribeEndpointConfig",
                "sagemaker:InvokeEndpoint",
                "sagemaker:ListTags",
                "sagemaker:UpdateEndpoint",
                "sagemaker:UpdateEndpointWeightsAndCapacities",
            ),
            _OURS,
        ),
        Grant(("sagemaker:ListEndpointConfigs", "sagemaker:ListEndpoints", "sagemaker:ListModels")),
        Grant((), ("arn:aws:iam::ACCOUNT:role/EXECUTION-ROLE",), implied=("iam:PassRole",), passed_to="sagemaker.amazonaws.com"),
        Grant(
            ("logs:DescribeLogStreams", "logs:GetLogEvents"),
            ("arn:aws:logs:REGION:ACCOUNT:log-group:/aws/sagemaker/Endpoints/*",),
        ),
    ),
    note="The logs are for the message of an endpoint that fails; without them it is told without its log's last lines.",
)
FEATURES = (
    SERVES,
    Feature(
        "ModelEndpoint with replicas.targetInvocationsPerInstance",
        (
            Grant(
                (
                    "application-autoscaling:DeregisterScalableTarget",
                    "application-autoscaling:PutScalingPolicy",
                    "application-autoscaling:RegisterScalableTarget",
                ),
                implied=(
                    "cloudwatch:DeleteAlarms",
                    "cloudwatch:DescribeAlarms",
                    "cloudwatch:PutMetricAlarm",
                    "iam:CreateServiceLinkedRole",
                ),
            ),
        ),
        beside=(SERVES.name,),
        note="The alarms, and the role that Application Auto Scaling makes for itself are what AWS documents for "
        "endpoints that scale.",
    ),
    Feature(
        "ModelEndpoint with idleSeconds",
        (Grant(("cloudwatch:GetMetricStatistics",)),),
        beside=(SERVES.name,),
    ),
    Feature(
        "ModelEndpoint of a model of the hub (jumpStart)",
        (Grant(("sagemaker:DescribeHubContent",), ("arn:aws:sagemaker:REGION:aws:hub*",)),),
        beside=(SERVES.name,),
    ),
    Feature(
        "ModelEndpoint of what a TrainingJob's algorithmARN tuned",
        (
            Grant(
                (
                    "sagemaker:AddTags",
                    "sagemaker:CreateModelPackage",
                    "sagemaker:DeleteModelPackage",
                    "sagemaker:DescribeModelPackage",
                ),
                _PACKAGES,
            ),
            Grant(("sagemaker:ListModelPackages",)),
        ),
        beside=(SERVES.name,),
    ),
    Feature(
        "ModelEndpoint with quotaIncreases of its CloudAccount",
        quotas.GRANTS,
        beside=(SERVES.name,),
        note=quotas.NOTE,
    ),
)
