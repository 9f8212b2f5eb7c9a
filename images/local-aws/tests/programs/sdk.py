"""Training and deployment with the SageMaker Python SDK, as its users write it. Runs in the clients' own environment."""

from __future__ import annotations

import json
import sys
import time

# The SDK looks every half minute; its own loops are otherwise as they are.
_sleep = time.sleep
time.sleep = lambda seconds: _sleep(min(seconds, 0.2))

import boto3  # noqa: E402
import sagemaker  # noqa: E402
from sagemaker.deserializers import JSONDeserializer  # noqa: E402
from sagemaker.estimator import Estimator  # noqa: E402
from sagemaker.serializers import JSONSerializer  # noqa: E402


def main(image: str, role: str) -> None:
    session = sagemaker.Session(boto3.Session(region_name="us-east-1"))
    estimator = Estimator(
        image,
        role,
        instance_count=1,
        instance_type="ml.g5.xlarge",
        output_path="s3://data/sdk",
        sagemaker_session=session,
        hyperparameters={"steps": "40"},
        metric_definitions=[{"Name": "loss", "Regex": "loss=([0-9.]+)"}],
        base_job_name="sdk",
    )
    estimator.fit({"train": "s3://data/train/"}, logs="All")
    predictor = estimator.deploy(1, "ml.g5.xlarge", serializer=JSONSerializer(), deserializer=JSONDeserializer())
    answer = predictor.predict({"x": 10})
    predictor.delete_model()
    predictor.delete_endpoint()
    print("RESULT " + json.dumps({"job": estimator.latest_training_job.name, "model": estimator.model_data, "answer": answer}))


if __name__ == "__main__":
    main(*sys.argv[1:])
