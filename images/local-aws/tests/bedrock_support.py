"""What tests of Bedrock begin with: a bucket, a role that it may assume for its jobs, data, and requests that are right."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from typing import Any

from local_aws_support import allow, document, trust
from sagemaker_support import Stage

from millrace_local_aws import LocalAws

ACCOUNT = "123456789012"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/BedrockCM-runner"
LIGHT = "cohere.command-light-text-v14:7:4k"
LLAMA = "meta.llama3-3-70b-instruct-v1:0:128k"
TITAN = "amazon.titan-text-express-v1:0:8k"
HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
JOBS = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:model-customization-job/*"


def rows(count: int) -> list[dict[str, str]]:
    return [{"prompt": f"what is number {number % 7}", "completion": f"it is {number % 7} of course"} for number in range(count)]


def lines(found: list[dict[str, str]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in found).encode()


class Shop:
    """Clients of one account, with what a customization job needs already there."""

    def __init__(self, aws: LocalAws, client: Callable[..., Any]) -> None:
        self.aws, self.bedrock, self.runtime = aws, client("bedrock"), client("bedrock-runtime")
        self.s3, self.iam = client("s3"), client("iam")
        self.s3.create_bucket(Bucket="model-training")
        condition = {"StringEquals": {"aws:SourceAccount": ACCOUNT}, "ArnEquals": {"aws:SourceArn": JOBS}}
        policy = document(trust({"Service": "bedrock.amazonaws.com"}, Condition=condition))
        self.iam.create_role(RoleName="BedrockCM-runner", AssumeRolePolicyDocument=policy)
        self.iam.put_role_policy(RoleName="BedrockCM-runner", PolicyName="data", PolicyDocument=document(allow("s3:*")))
        self.put("training_data_v1/train.jsonl", lines(rows(40)))

    def put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket="model-training", Key=key, Body=data)

    def listen(self) -> Stage:
        """From now on, events of Bedrock come to a queue."""
        stage = Stage(self.aws, self.aws.client)
        stage.listen()
        stage.events.put_rule(Name="sagemaker", EventPattern=json.dumps({"source": ["aws.bedrock"]}))
        return stage

    def request(self, name: str = "one", **changes: Any) -> dict[str, Any]:
        return {
            "jobName": f"job.{name}",
            "customModelName": f"cm_{name}",
            "roleArn": ROLE,
            "baseModelIdentifier": LIGHT,
            "customizationType": "FINE_TUNING",
            "hyperParameters": {"epochCount": "2", "batchSize": "8"},
            "trainingDataConfig": {"s3Uri": "s3://model-training/training_data_v1/train.jsonl"},
            "outputDataConfig": {"s3Uri": "s3://model-training/output_data_v1/"},
            **changes,
        }

    def create(self, name: str = "one", **changes: Any) -> str:
        return str(self.bedrock.create_model_customization_job(**self.request(name, **changes))["jobArn"])

    def job(self, name: str = "job.one") -> dict[str, Any]:
        return dict(self.bedrock.get_model_customization_job(jobIdentifier=name))

    def tuned(self, name: str = "one", **changes: Any) -> str:
        """The ARN of a custom model whose job has ended, with losses that a script has told."""
        told = [f"Step: {step} Train Loss: {4 / step:.4f}" for step in range(1, 11)]
        self.aws.admin.plan("training", "script", f"job.{name}", logs=told)
        self.create(name, **changes)
        self.aws.admin.step(600)
        found = self.job(f"job.{name}")
        assert found["status"] == "Completed", found.get("failureMessage")
        return str(found["outputModelArn"])

    def buy(self, model: str, name: str = "cm_one-provisioned", **more: Any) -> str:
        """Provisioned throughput, in service."""
        more = {"modelUnits": 1} | more
        made = self.bedrock.create_provisioned_model_throughput(provisionedModelName=name, modelId=model, **more)
        self.aws.admin.step(400)
        return str(made["provisionedModelArn"])

    def bought(self, name: str = "cm_one-provisioned") -> dict[str, Any]:
        return dict(self.bedrock.get_provisioned_model_throughput(provisionedModelId=name))

    def table(self, name: str, column: str) -> list[tuple[int, int, float]]:
        """A file of metrics below the job's output."""
        key = self.job()["jobArn"].rpartition("/")[2]
        path = f"output_data_v1/model-customization-job-{key}/{name}"
        body = self.s3.get_object(Bucket="model-training", Key=path)["Body"].read().decode()
        found = list(csv.DictReader(io.StringIO(body)))
        return [(int(row["step_number"]), int(row["epoch_number"]), float(row[column])) for row in found]

    def says(self, name: str, text: str, finish: str = "stop", read: int = 7, written: int = 3, chat: bool = True) -> None:
        """What the scripted container of this model answers."""
        content: dict[str, Any] = {"message": {"content": text}} if chat else {"text": text}
        usage = {"prompt_tokens": read, "completion_tokens": written}
        body = json.dumps({"choices": [content | {"finish_reason": finish}], "usage": usage})
        self.aws.admin.plan("endpoint", "script", f"*:{name}", answer={"body": body})

    def invoke(self, model: str, **body: Any) -> dict[str, Any]:
        return dict(json.load(self.runtime.invoke_model(modelId=model, body=json.dumps(body))["body"]))


def eventually(look: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """The first true answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"within {seconds} seconds there was no {what}")
