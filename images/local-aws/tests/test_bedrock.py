"""Bedrock's customization jobs, custom models, and what is bought or deployed for them: states by the clock, refusals as AWS's."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from bedrock_support import ACCOUNT, HAIKU, JOBS, LIGHT, LLAMA, ROLE, TITAN, Shop, lines, rows
from local_aws_support import allow, document, refused, trust

from millrace_local_aws import LocalAws

FINE, CONTINUED = "FINE_TUNING", "CONTINUED_PRE_TRAINING"


@pytest.fixture
def shop(aws: LocalAws, client: Callable[..., Any]) -> Shop:
    return Shop(aws, client)


# Foundation models


@pytest.mark.parametrize(
    ("region", "kind", "has", "lacks"),
    [
        ("us-east-1", FINE, LIGHT, HAIKU),
        ("us-west-2", CONTINUED, TITAN, LIGHT),
        ("eu-west-1", FINE, None, LIGHT),
    ],
    ids=["fine-tuning", "continued pre-training", "a region without customization"],
)
def test_models_are_listed_by_what_they_can_be_tuned_by(
    aws: LocalAws, region: str, kind: str, has: str | None, lacks: str
) -> None:
    found = aws.client("bedrock", region=region).list_foundation_models(byCustomizationType=kind)["modelSummaries"]
    names = [one["modelId"] for one in found]
    assert (has is None and names == []) or has in names
    assert lacks not in names


def test_a_model_is_got_by_id_and_arn_and_says_how_it_is_asked(shop: Shop) -> None:
    found = shop.bedrock.get_foundation_model(modelIdentifier=LIGHT)["modelDetails"]
    assert (found["providerName"], found["customizationsSupported"], found["inferenceTypesSupported"]) == (
        "Cohere",
        [FINE],
        ["PROVISIONED"],
    )
    assert shop.bedrock.get_foundation_model(modelIdentifier=found["modelArn"])["modelDetails"] == found
    assert all(
        "ON_DEMAND" in one["inferenceTypesSupported"]
        for one in shop.bedrock.list_foundation_models(
            byProvider="Anthropic", byInferenceType="ON_DEMAND", byOutputModality="TEXT"
        )["modelSummaries"]
    )
    assert shop.bedrock.get_foundation_model_availability(modelId=HAIKU)["authorizationStatus"] == "AUTHORIZED"
    with refused("ResourceNotFoundException"):
        shop.bedrock.get_foundation_model(modelIdentifier="nobody.nothing-v1")


# Jobs


def phases(found: dict[str, Any]) -> list[str]:
    details = found["statusDetails"]
    return [details[name]["status"] for name in ("validationDetails", "dataProcessingDetails", "trainingDetails")]


def test_a_job_goes_through_its_phases_by_the_clock_and_leaves_a_model(shop: Shop) -> None:
    arn = shop.create(jobTags=[{"key": "a", "value": "job"}], customModelTags=[{"key": "a", "value": "model"}])
    assert re.fullmatch(rf"arn:aws:bedrock:us-east-1:{ACCOUNT}:model-customization-job/{re.escape(LIGHT)}/[a-z0-9]{{12}}", arn)
    for seconds, expected in (
        (0, ["InProgress", "NotStarted", "NotStarted"]),
        (60, ["Completed", "InProgress", "NotStarted"]),
        (60, ["Completed", "Completed", "InProgress"]),
    ):
        shop.aws.admin.step(seconds)
        assert (shop.job()["status"], phases(shop.job())) == ("InProgress", expected)
        assert shop.bedrock.list_custom_models()["modelSummaries"] == []
    shop.aws.admin.step(200)
    found = shop.job()
    assert (found["status"], phases(found)) == ("Completed", ["Completed"] * 3)
    assert "trainingMetrics" not in found, "no container ran, so there is no loss"
    model = shop.bedrock.get_custom_model(modelIdentifier="cm_one")
    assert (model["modelArn"], model["modelStatus"], model["jobArn"]) == (found["outputModelArn"], "Active", arn)
    tags = [shop.bedrock.list_tags_for_resource(resourceARN=one)["tags"][0]["value"] for one in (arn, model["modelArn"])]
    assert tags == ["job", "model"]


def test_the_losses_that_the_container_tells_are_in_the_files_and_the_metrics(shop: Shop) -> None:
    shop.put("validation.jsonl", lines(rows(8)))
    told = [
        f"Step: {n} Train Loss: {5 / n:.4f}" + (f" Eval Average Loss: {6 / n:.4f}" if n % 5 == 0 else "") for n in range(1, 11)
    ]
    shop.aws.admin.plan("training", "script", logs=["begins", *told, "is read again:", *told[:3]])
    shop.create(validationDataConfig={"validators": [{"s3Uri": "s3://model-training/validation.jsonl"}]})
    shop.aws.admin.step(600)
    trained = shop.table("training_artifacts/step_wise_training_metrics.csv", "training_loss")
    assert trained == [(n - 1, (n - 1) // 5, pytest.approx(5 / n, abs=1e-4)) for n in range(1, 11)], "40 rows by 8 are 5 steps"
    held = shop.table("validation_artifacts/post_fine_tuning_validation/validation_metrics.csv", "validation_loss")
    assert held == [(4, 0, 1.2), (9, 1, 0.6)]
    found = shop.bedrock.get_custom_model(modelIdentifier="cm_one")
    assert found["trainingMetrics"]["trainingLoss"] == pytest.approx(0.5)
    assert found["validationMetrics"] == [{"validationLoss": pytest.approx(0.6)}]


def test_without_validation_data_there_is_no_file_of_it(shop: Shop) -> None:
    shop.tuned()
    keys = [one["Key"] for one in shop.s3.list_objects_v2(Bucket="model-training", Prefix="output_data_v1/")["Contents"]]
    assert [key.partition("/")[2].partition("/")[2] for key in keys] == ["training_artifacts/step_wise_training_metrics.csv"]
    assert [one["Name"] for one in shop.s3.list_buckets()["Buckets"]] == ["model-training"], "the weights are Bedrock's own"


@pytest.mark.parametrize("form", ["encoded", "plain", "name"])
def test_a_job_is_found_by_name_and_by_arn_however_its_slashes_are_written(shop: Shop, form: str) -> None:
    arn = shop.create()
    shown = {"encoded": urllib.request.quote(arn, safe=""), "plain": arn, "name": "job.one"}[form]
    header = f"AWS4-HMAC-SHA256 Credential={ACCOUNT}/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=0"
    base = f"{shop.aws.endpoint_url}/model-customization-jobs/{shown}"
    with urllib.request.urlopen(urllib.request.Request(base, headers={"Authorization": header})) as answer:
        assert json.load(answer)["jobArn"] == arn
    stop = urllib.request.Request(f"{base}/stop", b"", headers={"Authorization": header}, method="POST")
    with urllib.request.urlopen(stop) as answer:
        assert answer.status == 200
    assert shop.job(arn)["status"] == "Stopping"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"hyperParameters": {"epochs": "1"}}, "not supported by cohere.command-light-text-v14:7:4k: epochs"),
        ({"hyperParameters": {"epochCount": "101"}}, "epochCount must be between 1 and 100"),
        ({"hyperParameters": {"epochCount": "1.5"}}, "epochCount must be of type integer"),
        ({"hyperParameters": {"learningRate": "1e-7"}}, "learningRate must be between 5e-06 and 0.1"),
        ({"hyperParameters": {"batchSize": "64"}}, "batchSize must be between 8 and 32"),
        (
            {"customizationType": CONTINUED},
            f"does not support customization by {CONTINUED} in us-east-1. Models that do: amazon.titan",
        ),
        ({"baseModelIdentifier": HAIKU}, "does not support customization"),
        ({"baseModelIdentifier": "nobody.nothing-v1"}, "The provided model identifier is invalid"),
        ({"jobName": "under_score"}, "regular expression pattern"),
        ({"roleArn": f"arn:aws:iam::{ACCOUNT}:role/nobody"}, "Could not assume provided IAM role"),
        ({"trainingDataConfig": {"s3Uri": "s3://model-training/none.jsonl"}}, "Could not access the S3 object"),
        ({"outputDataConfig": {"s3Uri": "s3://elsewhere/"}}, "Could not write to s3://elsewhere/"),
    ],
    ids=[
        "unknown",
        "too many",
        "no integer",
        "too small",
        "batch",
        "type",
        "no tuning",
        "no model",
        "name",
        "role",
        "data",
        "output",
    ],
)
def test_a_wrong_request_is_refused_at_once(shop: Shop, changes: dict[str, Any], says: str) -> None:
    with refused("ValidationException") as caught:
        shop.create(**changes)
    assert says in caught.message
    assert shop.bedrock.list_model_customization_jobs()["modelCustomizationJobSummaries"] == []


def test_hyperparameters_that_are_not_given_are_the_base_models_defaults(shop: Shop) -> None:
    """The example's six, as strings; two of them are left out."""
    given = {"epochCount": "1", "learningRate": "0.00001", "earlyStoppingPatience": "6", "evalPercentage": "20.0"}
    shop.create(hyperParameters=given)
    assert shop.job()["hyperParameters"] == given | {"batchSize": "8", "earlyStoppingThreshold": "0.01"}


@pytest.mark.parametrize(
    ("base", "kind", "data", "says"),
    [
        (LIGHT, FINE, b'{"prompt": "a", "completion": "b"}\nnot json\n', "Line 2 of the training dataset is not valid JSON."),
        (LIGHT, FINE, b'{"input": "text"}\n', "exactly the keys prompt, completion"),
        (LIGHT, FINE, b'{"prompt": "a", "completion": "b", "id": 1}\n', "exactly the keys prompt, completion"),
        (LIGHT, FINE, b'{"prompt": "a", "completion": ""}\n', "Line 1 of the training dataset has a value that is empty"),
        (TITAN, CONTINUED, lines(rows(3)), "exactly the keys input"),
        (LIGHT, FINE, b"\n", "The training dataset is empty."),
        (LIGHT, FINE, lines(rows(10_001)), "10001 records together"),
    ],
    ids=["json", "unlabelled", "another key", "no completion", "labelled", "empty", "too many"],
)
def test_data_are_checked_line_by_line_and_the_job_says_which_one(
    shop: Shop, base: str, kind: str, data: bytes, says: str
) -> None:
    shop.put("training_data_v1/train.jsonl", data)
    shop.create(baseModelIdentifier=base, customizationType=kind, hyperParameters={})
    shop.aws.admin.step(60)
    found = shop.job()
    assert (found["status"], phases(found)[0]) == ("Failed", "Failed")
    assert says in found["failureMessage"]


def test_continued_pre_training_reads_text(shop: Shop) -> None:
    shop.put("training_data_v1/train.jsonl", lines([{"input": f"text {number}"} for number in range(20)]))
    shop.tuned(baseModelIdentifier=TITAN, customizationType=CONTINUED, hyperParameters={})
    assert shop.bedrock.get_custom_model(modelIdentifier="cm_one")["customizationType"] == CONTINUED


@pytest.mark.parametrize(
    ("condition", "works"),
    [
        ({"ArnEquals": {"aws:SourceArn": f"arn:aws:bedrock:us-east-1:{ACCOUNT}:model-customization-job/*"}}, True),
        ({"ArnEquals": {"aws:SourceArn": f"arn:aws:bedrock:eu-west-1:{ACCOUNT}:model-customization-job/*"}}, False),
        ({"StringEquals": {"aws:SourceAccount": "999999999999"}}, False),
    ],
    ids=["its jobs", "another region's jobs", "another account"],
)
def test_the_roles_trust_policy_is_evaluated_for_the_job(shop: Shop, condition: dict[str, Any], works: bool) -> None:
    policy = document(trust({"Service": "bedrock.amazonaws.com"}, Condition=condition))
    shop.iam.update_assume_role_policy(RoleName="BedrockCM-runner", PolicyDocument=policy)
    if works:
        shop.create()
    else:
        with refused("ValidationException"):
            shop.create()


def test_a_role_that_may_not_read_the_data_is_refused_where_iam_is_enforced(shop: Shop) -> None:
    policy = document(allow("s3:*", "arn:aws:s3:::model-training/output_data_v1/*"))
    shop.iam.put_role_policy(RoleName="BedrockCM-runner", PolicyName="data", PolicyDocument=policy)
    shop.aws.admin.settings(enforce_iam=True)
    with refused("ValidationException") as caught:
        shop.create()
    assert f"the role {ROLE} has s3:GetObject permissions" in caught.message


def test_a_user_is_allowed_by_the_jobs_and_models_that_policies_name(shop: Shop) -> None:
    shop.iam.create_user(UserName="scientist")
    policy = document(
        allow(["bedrock:CreateModelCustomizationJob", "iam:PassRole"]), allow("bedrock:GetModelCustomizationJob", JOBS)
    )
    shop.iam.put_user_policy(UserName="scientist", PolicyName="tuning", PolicyDocument=policy)
    key = shop.iam.create_access_key(UserName="scientist")["AccessKey"]
    shop.aws.admin.settings(enforce_iam=True)
    own = boto3.Session(key["AccessKeyId"], key["SecretAccessKey"], region_name="us-east-1")
    bedrock = own.client("bedrock", endpoint_url=shop.aws.endpoint_url)
    arn = bedrock.create_model_customization_job(**shop.request())["jobArn"]
    assert bedrock.get_model_customization_job(jobIdentifier=arn)["status"] == "InProgress"
    with refused("AccessDeniedException") as caught:
        bedrock.get_custom_model(modelIdentifier="cm_one")
    assert caught.status == 403
    assert f"bedrock:GetCustomModel on resource: arn:aws:bedrock:us-east-1:{ACCOUNT}:custom-model/cm_one" in caught.message


def test_the_same_token_makes_one_job_and_names_are_taken_for_good(shop: Shop) -> None:
    request = shop.request(clientRequestToken="once")
    first = shop.bedrock.create_model_customization_job(**request)["jobArn"]
    assert shop.bedrock.create_model_customization_job(**request)["jobArn"] == first
    for changes in ({"roleArn": ROLE + "x"}, {"clientRequestToken": "twice"}, {"clientRequestToken": "x", "jobName": "other"}):
        with refused("ConflictException"):
            shop.bedrock.create_model_customization_job(**request | changes)
    shop.aws.admin.step(600)
    shop.bedrock.delete_custom_model(modelIdentifier="cm_one")
    with refused("ConflictException") as caught:
        shop.create()
    assert "job.one" in caught.message, "the model's name is free again, the job's is not"


@pytest.mark.parametrize("seconds", [10, 150], ids=["while its data are checked", "while it trains"])
def test_a_job_can_be_stopped(shop: Shop, seconds: float) -> None:
    shop.create()
    shop.aws.admin.step(seconds)
    shop.bedrock.stop_model_customization_job(jobIdentifier="job.one")
    shop.aws.admin.step(60)
    found = shop.job()
    assert (found["status"], "outputModelArn" in found) == ("Stopped", False)
    with refused("ConflictException"):
        shop.bedrock.stop_model_customization_job(jobIdentifier="job.one")


def test_every_change_of_status_is_an_event(shop: Shop) -> None:
    stage = shop.listen()
    arn = shop.create()
    shop.aws.admin.step(600)
    shop.aws.admin.plan("customization", "fail", reason="no capacity")
    shop.create("two")
    shop.aws.admin.step(600)
    heard = stage.heard()
    assert {event["detail-type"] for event in heard} == {"Model Customization Job State Change"}
    told = [(event["detail"]["jobName"], event["detail"]["jobStatus"]) for event in heard]
    assert told == [("job.one", "InProgress"), ("job.one", "Completed"), ("job.two", "InProgress"), ("job.two", "Failed")]
    assert (heard[1]["resources"], heard[1]["detail"]["outputModelArn"]) == ([arn], shop.job()["outputModelArn"])
    assert heard[3]["detail"]["failureMessage"] == "no capacity"


def test_a_container_that_fails_says_why(shop: Shop) -> None:
    shop.aws.admin.plan("training", "script", exit_code=1, failure="OutOfMemory: a smaller batch")
    shop.create()
    shop.aws.admin.step(600)
    assert (shop.job()["status"], shop.job()["failureMessage"]) == ("Failed", "OutOfMemory: a smaller batch")


def test_lists_are_filtered_sorted_and_paged(shop: Shop) -> None:
    for name in ("a1", "a2", "b1"):
        shop.tuned(name)
    jobs = shop.bedrock.list_model_customization_jobs(nameContains="job.a", sortOrder="Ascending", sortBy="CreationTime")
    assert [one["jobName"] for one in jobs["modelCustomizationJobSummaries"]] == ["job.a1", "job.a2"]
    assert shop.bedrock.list_model_customization_jobs(statusEquals="Failed")["modelCustomizationJobSummaries"] == []
    pages = list(shop.bedrock.get_paginator("list_custom_models").paginate(PaginationConfig={"PageSize": 2}))
    assert [[one["modelName"] for one in page["modelSummaries"]] for page in pages] == [["cm_b1", "cm_a2"], ["cm_a1"]]
    base = shop.bedrock.get_foundation_model(modelIdentifier=TITAN)["modelDetails"]["modelArn"]
    assert shop.bedrock.list_custom_models(baseModelArnEquals=base)["modelSummaries"] == []


def test_an_output_bucket_that_goes_away_while_a_job_trains_fails_it(shop: Shop) -> None:
    shop.s3.create_bucket(Bucket="short-lived")
    shop.create(outputDataConfig={"s3Uri": "s3://short-lived/"})
    shop.aws.admin.step(150)
    shop.s3.delete_bucket(Bucket="short-lived")
    shop.aws.admin.step(300)
    found = shop.job()
    assert (found["status"], found["failureMessage"][:37]) == ("Failed", "Could not write to s3://short-lived/:")
    assert shop.bedrock.list_custom_models()["modelSummaries"] == []


def test_containers_of_the_account_reach_the_weights_and_nobody_else_does(shop: Shop) -> None:
    """Pods of the data plane are the account's root; the bucket is Bedrock's own, and in no list of the account's."""
    key = shop.tuned().rpartition("/")[2]
    weights = {"Bucket": f"bedrock-models-{ACCOUNT}-us-east-1", "Key": f"{key}/output/model.tar.gz"}
    assert shop.s3.head_object(**weights)["ContentLength"] > 0
    with refused("403"):
        shop.aws.client("s3", account="444455556666").head_object(**weights)
    shop.bedrock.delete_custom_model(modelIdentifier="cm_one")
    with refused("404"):
        shop.s3.head_object(**weights)


# Provisioned throughput


def test_throughput_is_bought_moved_to_another_model_and_given_back(shop: Shop) -> None:
    first, second = shop.tuned("one"), shop.tuned("two")
    made = shop.bedrock.create_provisioned_model_throughput(
        provisionedModelName="cm_one-provisioned", modelId="cm_one", modelUnits=1
    )
    assert shop.bought()["status"] == "Creating"
    with refused("ConflictException"):
        shop.bedrock.delete_provisioned_model_throughput(provisionedModelId="cm_one-provisioned")
    shop.aws.admin.step(400)
    found = shop.bought(made["provisionedModelArn"])
    assert (found["status"], found["modelArn"], found["modelUnits"]) == ("InService", first, 1)
    assert found["foundationModelArn"].endswith(LIGHT)
    assert "commitmentExpirationTime" not in found
    shop.bedrock.update_provisioned_model_throughput(
        provisionedModelId="cm_one-provisioned", desiredModelId="cm_two", desiredProvisionedModelName="live"
    )
    found = shop.bought("live")
    assert (found["status"], found["modelArn"], found["desiredModelArn"]) == ("Updating", first, second)
    for model in ("cm_one", "cm_two"):
        with refused("ConflictException"):
            shop.bedrock.delete_custom_model(modelIdentifier=model)
    shop.aws.admin.step(400)
    assert (shop.bought("live")["status"], shop.bought("live")["modelArn"]) == ("InService", second)
    shop.bedrock.delete_provisioned_model_throughput(provisionedModelId="live")
    with refused("ResourceNotFoundException"):
        shop.bought("live")
    shop.bedrock.delete_custom_model(modelIdentifier="cm_two")


def test_the_quotas_are_one_unit_without_a_commitment_and_two_models(shop: Shop) -> None:
    model = shop.tuned()
    with refused("ServiceQuotaExceededException"):
        shop.buy(model, modelUnits=2)
    shop.buy(model)
    shop.buy(LIGHT, "base")
    with refused("ServiceQuotaExceededException") as caught:
        shop.buy(model, "third")
    assert "2 Provisioned Throughputs" in caught.message
    shop.bedrock.delete_provisioned_model_throughput(provisionedModelId="base")
    shop.buy(model, "third", modelUnits=2, commitmentDuration="OneMonth")
    found = shop.bedrock.list_provisioned_model_throughputs(nameContains="third")["provisionedModelSummaries"]
    assert [(one["modelUnits"], one["commitmentDuration"]) for one in found] == [(2, "OneMonth")]


@pytest.mark.parametrize(("term", "days"), [("OneMonth", 30), ("SixMonths", 180)])
def test_a_commitment_is_kept_to_its_end(shop: Shop, term: str, days: int) -> None:
    shop.buy(LIGHT, commitmentDuration=term)
    found = shop.bought()
    assert (found["commitmentExpirationTime"] - found["creationTime"]).days == days
    shop.aws.admin.step((days - 1) * 86_400)
    with refused("ConflictException") as caught:
        shop.bedrock.delete_provisioned_model_throughput(provisionedModelId="cm_one-provisioned")
    assert "commitment term" in caught.message
    shop.aws.admin.step(86_400)
    shop.bedrock.delete_provisioned_model_throughput(provisionedModelId="cm_one-provisioned")


def test_a_container_that_does_not_answer_fails_what_is_new_and_leaves_what_serves(shop: Shop) -> None:
    first = shop.tuned("one")
    shop.tuned("two")
    shop.buy(first)
    shop.aws.admin.plan("throughput", "fail", reason="no capacity")
    shop.bedrock.update_provisioned_model_throughput(provisionedModelId="cm_one-provisioned", desiredModelId="cm_two")
    shop.aws.admin.step(400)
    assert (shop.bought()["status"], shop.bought()["modelArn"], shop.bought()["failureMessage"]) == (
        "InService",
        first,
        "no capacity",
    )
    shop.aws.admin.plan("endpoint", "script", "*:new", ping_failure="it does not answer")
    shop.buy(first, "new")
    assert (shop.bought("new")["status"], shop.bought("new")["failureMessage"]) == ("Failed", "it does not answer")
    shop.bedrock.delete_provisioned_model_throughput(provisionedModelId="new")


def test_what_is_bought_serves_models_of_one_base(shop: Shop) -> None:
    model = shop.tuned()
    shop.put("training_data_v1/train.jsonl", lines(rows(20)))
    shop.tuned("llama", baseModelIdentifier=LLAMA, hyperParameters={})
    shop.buy(model)
    with refused("ValidationException"):
        shop.bedrock.update_provisioned_model_throughput(provisionedModelId="cm_one-provisioned", desiredModelId="cm_llama")
    with refused("ValidationException"):
        shop.buy(HAIKU, "on-demand-only")


# Deployments on demand


def test_a_custom_model_is_deployed_on_demand_where_its_base_allows_it(shop: Shop) -> None:
    first = shop.tuned("one", baseModelIdentifier=LLAMA, hyperParameters={})
    second = shop.tuned("two", baseModelIdentifier=LLAMA, hyperParameters={})
    other = shop.tuned("light")
    with refused("ValidationException"):
        shop.bedrock.create_custom_model_deployment(modelDeploymentName="live", modelArn=other)
    arn = shop.bedrock.create_custom_model_deployment(modelDeploymentName="live", modelArn=first)["customModelDeploymentArn"]

    def look() -> dict[str, Any]:
        return dict(shop.bedrock.get_custom_model_deployment(customModelDeploymentIdentifier="live"))

    assert (look()["status"], look()["customModelDeploymentArn"]) == ("Creating", arn)
    shop.aws.admin.step(200)
    assert look()["status"] == "Active"
    shop.bedrock.update_custom_model_deployment(customModelDeploymentIdentifier=arn, modelArn=second)
    assert (look()["status"], look()["modelArn"], look()["updateDetails"]["updateStatus"]) == ("Active", first, "Updating")
    shop.aws.admin.step(200)
    assert (look()["modelArn"], look()["updateDetails"]["updateStatus"]) == (second, "UpdateCompleted")
    shown = shop.bedrock.list_custom_model_deployments(modelArnEquals=second)["modelDeploymentSummaries"]
    assert [one["customModelDeploymentName"] for one in shown] == ["live"]
    with refused("ConflictException"):
        shop.bedrock.delete_custom_model(modelIdentifier=second)
    shop.bedrock.delete_custom_model_deployment(customModelDeploymentIdentifier="live")
    with refused("ResourceNotFoundException"):
        look()


def test_tags_are_kept_by_arn(shop: Shop) -> None:
    arn = shop.buy(LIGHT, tags=[{"key": "team", "value": "red"}])
    shop.bedrock.tag_resource(resourceARN=arn, tags=[{"key": "stage", "value": "test"}])
    shop.bedrock.untag_resource(resourceARN=arn, tagKeys=["team"])
    assert shop.bedrock.list_tags_for_resource(resourceARN=arn)["tags"] == [{"key": "stage", "value": "test"}]
    shop.bedrock.delete_provisioned_model_throughput(provisionedModelId=arn)
    with refused("ResourceNotFoundException"):
        shop.bedrock.list_tags_for_resource(resourceARN=arn)
