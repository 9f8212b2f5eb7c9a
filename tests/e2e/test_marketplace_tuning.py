"""System 15 on real nodes: film reviews that people rated become conversations in S3, a product of the Marketplace tunes on them, its
container answers with one of the five classes, and nothing that bills is left."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from millrace.kube.client import Client
from support import cloud, examples
from support.cloud import Aws
from support.cluster import CLOUD_ACCOUNTS, DATASETS, MODEL_ENDPOINTS, TRAINING_JOBS, condition, gone, reaches

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
Object = dict[str, Any]
FOLDER = "examples/15-marketplace-finetuning/overlays/local"
BUCKET = "tuning-111122223333"
CLASSES = ("very negative", "negative", "neutral", "positive", "very positive")


@pytest.fixture
async def aws(ns: str, tmp_path: Path) -> AsyncIterator[Aws]:
    async with cloud.local_aws(ns, tmp_path) as made:
        made.client("s3").create_bucket(Bucket=BUCKET)
        yield made


@pytest.mark.proves("15.3", "15.11")
async def test_rated_reviews_tune_a_product_whose_container_answers_and_nothing_is_left(
    client: Client, ns: str, aws: Aws
) -> None:
    await examples.apply(client, ns, await examples.manifests(FOLDER))
    train, evaluation = await asyncio.gather(*(reaches(client, DATASETS, ns, n, "Published") for n in ("train", "evaluation")))
    assert train["status"]["conversations"]["examples"] == 120
    assert condition(train, "ExamplesWarning") == {}, "100 are enough"
    asked = check_examples(aws, train, evaluation)
    run = await reaches(client, TRAINING_JOBS, ns, "tuned", "Succeeded", timeout=420)
    check_run(aws, run, train, evaluation)
    ready = await reaches(client, MODEL_ENDPOINTS, ns, "tuned", "Serving", timeout=180)
    assert ready["status"]["model"]["uri"] == run["status"]["model"]["uri"]
    check_answers(aws, ready["status"]["sageMaker"]["endpointName"], asked)
    await removed(client, ns, aws)


def rows(aws: Aws, dataset: Object) -> list[list[Object]]:
    """The conversations as they lie in S3."""
    bucket, _, key = dataset["status"]["splits"][0]["uri"].removeprefix("s3://").partition("/")
    body = aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    return [json.loads(line)["messages"] for line in body.splitlines()]


def check_examples(aws: Aws, train: Object, evaluation: Object) -> list[list[Object]]:
    """As many of each class, and no sentence in both; those of the evaluation are given."""
    learned, kept = rows(aws, train), rows(aws, evaluation)
    assert {turns[1]["content"] for turns in learned} & {turns[1]["content"] for turns in kept} == set()
    shared = {"dataset": "train", "digest": train["status"]["digest"], "rows": 0}
    assert evaluation["status"]["quality"]["shared"] == [shared], "the report says so, too"
    assert Counter(turns[-1]["content"] for turns in learned) == dict.fromkeys(CLASSES, 24)
    return kept


def check_run(aws: Aws, run: Object, train: Object, evaluation: Object) -> None:
    """It read what the Datasets published, learned from it, and is told of as SageMaker tells."""
    status = run["status"]
    assert {i["name"]: i["digest"] for i in status["lineage"]["inputs"]} == {
        "train": train["status"]["digest"],
        "evaluation": evaluation["status"]["digest"],
    }
    loss = {m["name"]: float(m["value"]) for m in status["metrics"]}["loss"]
    first = first_loss(aws, run)
    assert loss < first / 2, f"it learned nothing: {first} became {loss}"
    job = aws.client("sagemaker").describe_training_job(TrainingJobName=status["externalID"].rpartition("/")[2])
    assert status["usage"] == [{"instanceType": "ml.g5.2xlarge", "seconds": job["BillableTimeInSeconds"]}]


def first_loss(aws: Aws, run: Object) -> float:
    """As the container's log has it."""
    name = run["status"]["externalID"].rpartition("/")[2]
    asked = {"logGroupName": "/aws/sagemaker/TrainingJobs", "logStreamNamePrefix": f"{name}/", "filterPattern": "Loss"}
    told = aws.client("logs").filter_log_events(**asked)["events"]
    return float(told[0]["message"].partition("Train Loss: ")[2].split()[0])


def check_answers(aws: Aws, endpoint: str, conversations: list[list[Object]]) -> None:
    """Sentences that it never saw are answered with classes and nothing else."""
    runtime, answers = aws.client("sagemaker-runtime"), []
    for turns in conversations[:10]:
        told = "".join(f"{turn['role']}: {turn['content']}\n" for turn in turns[:-1]) + "Chatbot:"
        parameters = {"max_new_tokens": 6, "return_full_text": False, "stop": ["\n"]}
        body = json.dumps({"inputs": told, "parameters": parameters})
        answer = runtime.invoke_endpoint(EndpointName=endpoint, ContentType="application/json", Body=body)
        answers.append(json.loads(answer["Body"].read())[0]["generated_text"].strip())
    assert set(answers) <= set(CLASSES), answers


async def removed(client: Client, ns: str, aws: Aws) -> None:
    """As `kubectl delete -k` does it; what was tuned stays, as the policy says."""
    everything = (
        (MODEL_ENDPOINTS, "tuned"),
        (TRAINING_JOBS, "tuned"),
        (DATASETS, "train"),
        (DATASETS, "evaluation"),
        (CLOUD_ACCOUNTS, "default"),
    )
    for resource, name in everything:
        await client.delete(resource, ns, name)
    for resource, name in everything:
        await gone(client, resource, ns, name)
    assert aws.left() == cloud.NOTHING
    await cloud.nothing_runs(client, ns)
    kept = aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="models/")["Contents"]
    assert any(item["Key"].endswith("/model.tar.gz") for item in kept)
