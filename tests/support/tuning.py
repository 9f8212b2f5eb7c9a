"""A run of a vendor's algorithm that has succeeded, and an endpoint that refers to it."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from support import hosting
from support.aws import ACCOUNT
from support.sagemaker import ROLE, a_world, prepare

if TYPE_CHECKING:
    from millrace_local_aws import LocalAws

Object = dict[str, Any]
PRODUCT = "prod-tuner"
IMAGE = f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/tuner:1"
TYPE = "ml.g5.2xlarge"
ALGORITHM: Object = {
    "AlgorithmName": "tuner",
    "TrainingSpecification": {
        "TrainingImage": IMAGE,
        "SupportedTrainingInstanceTypes": [TYPE],
        "TrainingChannels": [
            {"Name": "train", "SupportedContentTypes": ["application/jsonlines"], "SupportedInputModes": ["File"]}
        ],
    },
    "InferenceSpecification": {
        "Containers": [{"Image": IMAGE}],
        "SupportedContentTypes": ["application/json"],
        "SupportedResponseMIMETypes": ["application/json"],
    },
}


@contextlib.asynccontextmanager
async def tuned(aws: LocalAws, **serving: Any) -> AsyncIterator[hosting.World]:
    """A run of the algorithm that has succeeded, and an endpoint that refers to it."""
    prepare(aws)
    arn = aws.admin.publish_algorithm(ALGORITHM, PRODUCT)
    aws.admin.subscribe(PRODUCT, ACCOUNT)
    async with a_world(aws, metrics=None, sageMaker={"algorithm": {"algorithmARN": arn}}) as run:
        await run.until("Succeeded")
        job = copy.deepcopy(run.object)
    job["metadata"] |= {"namespace": "team", "resourceVersion": "1"}
    spec = {"roleARN": ROLE, "instanceTypes": [TYPE], **serving}
    async with hosting.a_world(aws, model={"trainingJobRef": {"name": "gpt"}}, sageMaker=spec) as world:
        world.cache.put("trainingjobs", job)
        yield world
