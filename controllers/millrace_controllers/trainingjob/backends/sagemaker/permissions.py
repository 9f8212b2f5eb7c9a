"""What the account's role needs for TrainingJobs on SageMaker."""

from __future__ import annotations

from millrace.aws import quotas
from millrace.aws.permissions import Feature, Grant

_JOBS = "arn:aws:sagemaker:REGION:ACCOUNT:training-job/*"
_OUTPUT = "arn:aws:s3:::BUCKET/*"
RUNS = Feature(
    "TrainingJob on SageMaker",
    (
        Grant(
            ("sagemaker:CreateTrainingJob", "sagemaker:DescribeTrainingJob", "sagemaker:StopTrainingJob", "sagemaker:ListTags"),
            (_JOBS,),
            implied=("sagemaker:AddTags",),
        ),
        Grant(("sagemaker:ListTrainingJobs",)),
        Grant((), ("arn:aws:iam::ACCOUNT:role/EXECUTION-ROLE",), implied=("iam:PassRole",), passed_to="sagemaker.amazonaws.com"),
        Grant(("s3:GetObject", "s3:PutObject"), (_OUTPUT,)),
        Grant((), ("arn:aws:s3:::BUCKET",), implied=("s3:ListBucket",)),
    ),
    note="The model is read back and the run record written below the output. Without s3:ListBucket S3 answers 403 for what is "
    "not there. What the job itself reads and writes is for the execution role.",
)
FEATURES = (
    RUNS,
    Feature(
        "TrainingJob with dataPolicy: Delete",
        (Grant(("s3:DeleteObject",), (_OUTPUT,)), Grant(("s3:ListBucket",), ("arn:aws:s3:::BUCKET",))),
        beside=(RUNS.name,),
    ),
    Feature(
        "TrainingJob on an algorithm (algorithmARN)",
        (Grant(("sagemaker:DescribeAlgorithm",), ("arn:aws:sagemaker:REGION:*:algorithm/*",)),),
        beside=(RUNS.name,),
        note="A product of Marketplace is in its seller's account.",
    ),
    Feature(
        "TrainingJob on a model of the hub (jumpStart)",
        (Grant(("sagemaker:DescribeHubContent",), ("arn:aws:sagemaker:REGION:aws:hub*",)),),
        beside=(RUNS.name,),
    ),
    Feature(
        "TrainingJob with quotaIncreases of its CloudAccount",
        quotas.GRANTS,
        beside=(RUNS.name,),
        note=quotas.NOTE,
    ),
)
