"""What tests of SageMaker begin with: a bucket, a role, a queue that hears its events; and requests that are right."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from local_aws_support import allow, document, trust

from millrace_local_aws import LocalAws

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/runner"
IMAGE = f"{ACCOUNT}/trainer:1"


class Stage:
    """Clients of one account, with what a job and an endpoint need already there."""

    def __init__(self, aws: LocalAws, client: Callable[..., Any]) -> None:
        self.aws = aws
        self.sm, self.s3, self.sqs, self.events = client("sagemaker"), client("s3"), client("sqs"), client("events")
        self.logs, self.iam, self.runtime = client("logs"), client("iam"), client("sagemaker-runtime")
        self.s3.create_bucket(Bucket="data")
        self.s3.put_object(Bucket="data", Key="train/rows.csv", Body=b"1,2\n3,4\n")
        self.iam.create_role(RoleName="runner", AssumeRolePolicyDocument=document(trust({"Service": "sagemaker.amazonaws.com"})))
        self.iam.put_role_policy(RoleName="runner", PolicyName="data", PolicyDocument=document(allow("s3:*")))
        self.url = ""

    def listen(self) -> None:
        """From now on, events of SageMaker come to a queue."""
        self.url = self.sqs.create_queue(QueueName="events")["QueueUrl"]
        arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:events"
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
        }
        self.sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"Policy": document(statement)})
        self.events.put_rule(Name="sagemaker", EventPattern=json.dumps({"source": ["aws.sagemaker"]}))
        self.events.put_targets(Rule="sagemaker", Targets=[{"Id": "q", "Arn": arn}])

    def heard(self) -> list[dict[str, Any]]:
        """Events that came since last time."""
        out: list[dict[str, Any]] = []
        while found := self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages"):
            for message in found:
                out.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return out

    def job(self, name: str = "job", **changes: Any) -> dict[str, Any]:
        """A request for a training job."""
        source = {"S3DataType": "S3Prefix", "S3Uri": "s3://data/train/"}
        return {
            "TrainingJobName": name,
            "AlgorithmSpecification": {"TrainingImage": IMAGE, "TrainingInputMode": "File"},
            "RoleArn": ROLE,
            "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
            "OutputDataConfig": {"S3OutputPath": "s3://data/out"},
            "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1, "VolumeSizeInGB": 10},
            "StoppingCondition": {"MaxRuntimeInSeconds": 3600},
            **changes,
        }

    def create_job(self, name: str = "job", **changes: Any) -> None:
        self.sm.create_training_job(**self.job(name, **changes))

    def described(self, name: str = "job") -> dict[str, Any]:
        return dict(self.sm.describe_training_job(TrainingJobName=name))

    def model(self, name: str = "model", **container: Any) -> None:
        self.sm.create_model(ModelName=name, PrimaryContainer={"Image": IMAGE, **container}, ExecutionRoleArn=ROLE)

    def config(self, name: str = "config", model: str = "model", count: int = 1, instance_type: str = "ml.g5.xlarge") -> None:
        variant = {"VariantName": "AllTraffic", "ModelName": model, "InstanceType": instance_type, "InitialInstanceCount": count}
        self.sm.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])

    def endpoint(self, name: str = "endpoint") -> dict[str, Any]:
        return dict(self.sm.describe_endpoint(EndpointName=name))

    def serve(self, name: str = "endpoint") -> None:
        """Model, configuration and endpoint, in service."""
        self.model()
        self.config()
        self.sm.create_endpoint(EndpointName=name, EndpointConfigName="config")
        self.aws.admin.step(300)
        assert self.endpoint(name)["EndpointStatus"] == "InService"

    def plan(self, kind: str, effect: str, **fields: Any) -> None:
        self.aws.admin.plan(kind, effect, **fields)
