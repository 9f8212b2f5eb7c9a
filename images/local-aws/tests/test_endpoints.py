"""Models, endpoints, autoscaling, hubs and packages, with the scripted runner."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from local_aws_support import refused
from sagemaker_support import IMAGE, ROLE, Stage

from millrace_local_aws import LocalAws


@pytest.fixture
def stage(aws: LocalAws, client: Callable[..., Any]) -> Stage:
    return Stage(aws, client)


def test_an_endpoint_is_created_serves_and_is_deleted(stage: Stage) -> None:
    stage.listen()
    stage.model()
    stage.config()
    stage.sm.create_endpoint(EndpointName="endpoint", EndpointConfigName="config")
    assert stage.endpoint()["EndpointStatus"] == "Creating"
    assert "ProductionVariants" not in stage.endpoint()
    with refused("ValidationException") as caught:
        stage.sm.delete_endpoint(EndpointName="endpoint")
    assert caught.message.startswith("Cannot update in-progress endpoint")
    stage.aws.admin.step(300)
    (variant,) = stage.endpoint()["ProductionVariants"]
    assert (variant["CurrentInstanceCount"], variant["DeployedImages"][0]["SpecifiedImage"]) == (1, IMAGE)
    stage.sm.delete_endpoint(EndpointName="endpoint")
    assert stage.endpoint()["EndpointStatus"] == "Deleting"
    stage.aws.admin.step(60)
    with refused("ValidationException") as caught:
        stage.endpoint()
    assert caught.message == 'Could not find endpoint "arn:aws:sagemaker:us-east-1:123456789012:endpoint/endpoint".'
    heard = [
        event["detail"]["EndpointStatus"] for event in stage.heard() if event["detail-type"] == "SageMaker Endpoint State Change"
    ]
    assert heard == ["CREATING", "IN_SERVICE", "DELETING"]


def test_what_is_missing_or_there_already_is_said_in_awss_words(stage: Stage) -> None:
    with refused("ValidationException") as caught:
        stage.config()
    assert caught.message == 'Could not find model "arn:aws:sagemaker:us-east-1:123456789012:model/model".'
    stage.model()
    with refused("ValidationException") as caught:
        stage.model()
    assert caught.message.startswith("Cannot create already existing model")
    with refused("ValidationException") as caught:
        stage.sm.create_endpoint(EndpointName="e", EndpointConfigName="config")
    assert caught.message.startswith("Could not find endpoint configuration")
    with refused("ValidationException") as caught:
        stage.model("other", ModelDataUrl="s3://data/nothing.tar.gz")
    assert caught.message.startswith("Could not access model data at s3://data/nothing.tar.gz.")


def test_models_and_configurations_may_go_while_the_endpoint_serves(stage: Stage) -> None:
    stage.serve()
    stage.sm.delete_endpoint_config(EndpointConfigName="config")
    stage.sm.delete_model(ModelName="model")
    assert stage.endpoint()["EndpointStatus"] == "InService"


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"effect": "capacity"}, "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error."),
        (
            {"effect": "script", "ping_failure": "did not pass the ping health check", "times": None},
            "did not pass the ping health check",
        ),
    ],
    ids=["no capacity", "the container never answers"],
)
def test_an_endpoint_that_cannot_be_made_has_failed_and_can_be_deleted(stage: Stage, plan: dict[str, Any], says: str) -> None:
    stage.plan("endpoint", **plan)
    stage.model()
    stage.config()
    stage.sm.create_endpoint(EndpointName="endpoint", EndpointConfigName="config")
    stage.aws.admin.step(300)
    assert stage.endpoint()["EndpointStatus"] == "Failed"
    assert says in stage.endpoint()["FailureReason"]
    stage.sm.delete_endpoint(EndpointName="endpoint")


def test_an_update_brings_the_new_configuration(stage: Stage) -> None:
    stage.serve()
    stage.config("second", count=2)
    stage.sm.update_endpoint(EndpointName="endpoint", EndpointConfigName="second")
    found = stage.endpoint()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("Updating", "config")
    assert found["PendingDeploymentSummary"]["EndpointConfigName"] == "second"
    with refused("ValidationException") as caught:
        stage.sm.update_endpoint(EndpointName="endpoint", EndpointConfigName="config")
    assert caught.message.startswith("Cannot update in-progress endpoint")
    stage.aws.admin.step(300)
    found = stage.endpoint()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "second")
    assert found["ProductionVariants"][0]["CurrentInstanceCount"] == 2


def test_a_failed_update_goes_silently_back_to_the_old_configuration(stage: Stage) -> None:
    stage.serve()
    stage.config("second")
    stage.plan("endpoint", "fail", reason="The primary container did not start")
    stage.sm.update_endpoint(EndpointName="endpoint", EndpointConfigName="second")
    stage.aws.admin.step(245)
    assert stage.endpoint()["EndpointStatus"] == "RollingBack"
    stage.aws.admin.step(100)
    found = stage.endpoint()
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "config")
    assert found["FailureReason"] == "The primary container did not start"
    stage.sm.update_endpoint(EndpointName="endpoint", EndpointConfigName="second")
    stage.aws.admin.step(300)
    assert stage.endpoint()["EndpointConfigName"] == "second"


@pytest.mark.parametrize(("retain", "expected"), [(True, 3), (False, 1)], ids=["retained", "as the configuration says"])
def test_a_scaled_count_is_kept_through_an_update_where_asked(stage: Stage, retain: bool, expected: int) -> None:
    stage.serve()
    wanted = [{"VariantName": "AllTraffic", "DesiredInstanceCount": 3}]
    stage.sm.update_endpoint_weights_and_capacities(EndpointName="endpoint", DesiredWeightsAndCapacities=wanted)
    assert stage.endpoint()["EndpointStatus"] == "Updating"
    stage.aws.admin.step(300)
    assert stage.endpoint()["ProductionVariants"][0]["CurrentInstanceCount"] == 3
    stage.config("second")
    stage.sm.update_endpoint(EndpointName="endpoint", EndpointConfigName="second", RetainAllVariantProperties=retain)
    stage.aws.admin.step(300)
    assert stage.endpoint()["ProductionVariants"][0]["CurrentInstanceCount"] == expected


def test_the_quota_of_an_endpoints_instances_is_its_own(stage: Stage) -> None:
    stage.aws.admin.set_quota("endpoint", "ml.g5.xlarge", 1)
    stage.serve()
    with refused("ResourceLimitExceeded") as caught:
        stage.sm.create_endpoint(EndpointName="more", EndpointConfigName="config")
    assert "'ml.g5.xlarge for endpoint usage' is 1 Instances, with current utilization of 1 Instances" in caught.message


def test_a_quota_is_found_by_name_and_raised_by_a_request(stage: Stage, client: Callable[..., Any]) -> None:
    stage.aws.admin.set_quota("endpoint", "ml.g5.12xlarge", 0)
    quotas = client("service-quotas")
    pages = quotas.get_paginator("list_service_quotas").paginate(ServiceCode="sagemaker")
    (found,) = (one for page in pages for one in page["Quotas"] if one["QuotaName"] == "ml.g5.12xlarge for endpoint usage")
    assert found["Value"] == 0
    code = {"ServiceCode": "sagemaker", "QuotaCode": found["QuotaCode"]}
    asked = quotas.request_service_quota_increase(**code, DesiredValue=2)["RequestedQuota"]
    assert asked["Status"] == "PENDING"
    with refused("ResourceAlreadyExistsException"):
        quotas.request_service_quota_increase(**code, DesiredValue=3)
    stage.aws.admin.step(3600)
    assert quotas.get_requested_service_quota_change(RequestId=asked["Id"])["RequestedQuota"]["Status"] == "APPROVED"
    assert quotas.get_service_quota(**code)["Quota"]["Value"] == 2


# what AWS decides, in order; state, whether the quota rises, whether another request may be made, reason
DECISIONS = [
    (["DENIED"], "DENIED", False, True, "turned down"),
    (["CASE_OPENED"], "CASE_OPENED", False, False, "people look at it"),
    (["CASE_OPENED", "APPROVED"], "APPROVED", True, True, "people said yes"),
    (["CASE_OPENED", "NOT_APPROVED"], "NOT_APPROVED", False, True, "people said no"),
    (["CASE_OPENED", "CASE_CLOSED"], "CASE_CLOSED", False, True, "nobody answered them"),
    (["DENIED", "APPROVED"], "DENIED", False, True, "what has ended is not decided again"),
]


@pytest.mark.parametrize(("decided", "state", "rises", "again", "reason"), DECISIONS, ids=[d[-1] for d in DECISIONS])
def test_a_request_for_a_quota_is_decided(
    stage: Stage, client: Callable[..., Any], decided: list[str], state: str, rises: bool, again: bool, reason: str
) -> None:
    stage.aws.admin.set_quota("endpoint", "ml.g5.12xlarge", 0)
    quotas = client("service-quotas")
    pages = quotas.get_paginator("list_aws_default_service_quotas").paginate(ServiceCode="sagemaker")
    names = {one["QuotaName"]: one["QuotaCode"] for page in pages for one in page["Quotas"]}
    code = {"ServiceCode": "sagemaker", "QuotaCode": names["ml.g5.12xlarge for endpoint usage"]}
    quotas.request_service_quota_increase(**code, DesiredValue=2)
    for status in decided:
        stage.aws.admin.decide_quota_requests(status)
    (found,) = quotas.list_requested_service_quota_change_history_by_quota(**code)["RequestedQuotas"]
    assert (found["Status"], "CaseId" in found) == (state, "CASE_OPENED" in decided), reason
    assert quotas.get_service_quota(**code)["Quota"]["Value"] == (2 if rises else 0), reason
    if again:
        quotas.request_service_quota_increase(**code, DesiredValue=3)
    else:
        with refused("ResourceAlreadyExistsException"):
            quotas.request_service_quota_increase(**code, DesiredValue=3)
    stage.aws.admin.step(7200)
    if not again:
        assert quotas.get_service_quota(**code)["Quota"]["Value"] == 0, "an opened case is not decided by the hour"


def test_autoscaling_keeps_its_bounds_and_follows_its_target(stage: Stage, client: Callable[..., Any]) -> None:
    stage.serve()
    scaling = client("application-autoscaling")
    name = {
        "ServiceNamespace": "sagemaker",
        "ResourceId": "endpoint/endpoint/variant/AllTraffic",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }
    scaling.register_scalable_target(**name, MinCapacity=2, MaxCapacity=4)
    stage.aws.admin.step(300)
    assert stage.endpoint()["ProductionVariants"][0]["CurrentInstanceCount"] == 2
    tracking = {
        "TargetValue": 10.0,
        "PredefinedMetricSpecification": {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
        "ScaleOutCooldown": 0,
        "ScaleInCooldown": 100_000,
    }
    scaling.put_scaling_policy(
        **name, PolicyName="p", PolicyType="TargetTrackingScaling", TargetTrackingScalingPolicyConfiguration=tracking
    )
    stage.plan("endpoint", "script", answer={"body": "[]"})
    for _ in range(25):
        stage.runtime.invoke_endpoint(EndpointName="endpoint", Body=b"x")
    stage.aws.admin.step(400)
    assert stage.endpoint()["ProductionVariants"][0]["CurrentInstanceCount"] == 3
    activities = scaling.describe_scaling_activities(ServiceNamespace="sagemaker")["ScalingActivities"]
    assert [one["Description"] for one in activities] == [
        "Setting desired instance count to 3.",
        "Setting desired instance count to 2.",
    ]
    assert scaling.describe_scaling_policies(ServiceNamespace="sagemaker")["ScalingPolicies"][0]["PolicyName"] == "p"
    scaling.delete_scaling_policy(**name, PolicyName="p")
    scaling.deregister_scalable_target(**name)
    assert scaling.describe_scalable_targets(ServiceNamespace="sagemaker")["ScalableTargets"] == []


def test_an_endpoint_without_a_container_says_so(stage: Stage) -> None:
    stage.serve()
    with refused("ModelError") as caught:
        stage.runtime.invoke_endpoint(EndpointName="endpoint", Body=b"x")
    assert caught.status == 424
    with refused("ValidationError") as caught:
        stage.runtime.invoke_endpoint(EndpointName="nobody", Body=b"x")
    assert caught.message == "Endpoint nobody of account 123456789012 not found."
    stage.plan("endpoint", "script", answer={"body": '{"ok": true}'})
    answer = stage.runtime.invoke_endpoint(EndpointName="endpoint", Body=b"x", ContentType="application/json")
    assert (json.load(answer["Body"]), answer["InvokedProductionVariant"]) == ({"ok": True}, "AllTraffic")


FALCON = {
    "HubContentName": "huggingface-llm-falcon2-11b",
    "HubContentVersion": "1.0.0",
    "HubContentDisplayName": "Falcon 2 11B",
    "HubContentSearchKeywords": ["@task:llm"],
    "HubContentDocument": {
        "HostingEcrUri": IMAGE,
        "HostingArtifactUri": "s3://data/falcon/",
        "DefaultInferenceInstanceType": "ml.g5.12xlarge",
    },
}


def test_the_public_hub_is_searched_and_its_documents_read(stage: Stage) -> None:
    stage.aws.admin.publish_model(FALCON)
    stage.aws.admin.publish_model(FALCON | {"HubContentVersion": "1.10.0"})
    assert stage.sm.list_hubs()["HubSummaries"][0]["HubName"] == "SageMakerPublicHub"
    wanted = {"HubName": "SageMakerPublicHub", "HubContentType": "Model"}
    (found,) = stage.sm.list_hub_contents(**wanted, NameContains="falcon")["HubContentSummaries"]
    assert (found["HubContentVersion"], found["HubContentDisplayName"]) == ("1.10.0", "Falcon 2 11B")
    assert stage.sm.list_hub_contents(**wanted, NameContains="llama")["HubContentSummaries"] == []
    card = stage.sm.describe_hub_content(**wanted, HubContentName=found["HubContentName"], HubContentVersion="1.0.0")
    assert json.loads(card["HubContentDocument"])["DefaultInferenceInstanceType"] == "ml.g5.12xlarge"
    assert (
        card["HubContentArn"]
        == "arn:aws:sagemaker:us-east-1:aws:hub-content/SageMakerPublicHub/Model/huggingface-llm-falcon2-11b/1.0.0"
    )
    with refused("ResourceNotFound"):
        stage.sm.describe_hub_content(**wanted, HubContentName="nobody")


@pytest.mark.parametrize(
    ("gated", "accepted", "made"),
    [(True, None, False), (True, False, False), (True, True, True), (False, False, True), (False, None, True)],
    ids=["gated, nothing said", "gated, refused", "gated, accepted", "open, refused", "open, nothing said"],
)
def test_a_licence_is_asked_for_where_the_model_is_gated_and_nowhere_else(
    stage: Stage, gated: bool, accepted: bool | None, made: bool
) -> None:
    stage.s3.put_object(Bucket="data", Key="falcon/weights", Body=b"w")
    document = FALCON["HubContentDocument"] | {"GatedBucket": gated, "HostingEulaUri": "https://example.com/licence"}  # type: ignore[operator]
    stage.aws.admin.publish_model(FALCON | {"HubContentDocument": document})
    source: dict[str, Any] = {"S3Uri": "s3://data/falcon/", "S3DataType": "S3Prefix", "CompressionType": "None"}
    if accepted is not None:
        source["ModelAccessConfig"] = {"AcceptEula": accepted}
    if made:
        stage.model(ModelDataSource={"S3DataSource": source})
        return
    with refused("ValidationException") as caught:
        stage.model(ModelDataSource={"S3DataSource": source})
    assert "https://example.com/licence" in caught.message


def test_an_account_keeps_a_hub_of_its_own(stage: Stage) -> None:
    stage.sm.create_hub(HubName="ours", HubDescription="ours")
    card = {"HubContentName": "m", "HubContentType": "Model", "DocumentSchemaVersion": "2.3.0", "HubContentDocument": "{}"}
    stage.sm.import_hub_content(HubName="ours", **card)
    assert stage.sm.list_hub_content_versions(HubName="ours", HubContentType="Model", HubContentName="m")["HubContentSummaries"]
    with refused("ResourceInUse"):
        stage.sm.delete_hub(HubName="ours")
    stage.sm.delete_hub_content(HubName="ours", HubContentType="Model", HubContentName="m", HubContentVersion="1.0.0")
    stage.sm.delete_hub(HubName="ours")


def package(**changes: Any) -> dict[str, Any]:
    inference = {
        "Containers": [{"Image": IMAGE}],
        "SupportedContentTypes": ["application/json"],
        "SupportedResponseMIMETypes": ["application/json"],
    }
    return {"InferenceSpecification": inference, **changes}


def test_versions_of_a_package_are_approved_and_deployed(stage: Stage) -> None:
    stage.sm.create_model_package_group(ModelPackageGroupName="group")
    arns = [stage.sm.create_model_package(ModelPackageGroupName="group", **package())["ModelPackageArn"] for _ in range(2)]
    assert arns[1].endswith(":model-package/group/2")
    stage.aws.admin.step(10)
    found = stage.sm.describe_model_package(ModelPackageName=arns[0])
    assert (found["ModelPackageStatus"], found["ModelApprovalStatus"]) == ("Completed", "PendingManualApproval")
    stage.sm.update_model_package(ModelPackageArn=arns[0], ModelApprovalStatus="Approved")
    listed = stage.sm.list_model_packages(ModelPackageGroupName="group", ModelApprovalStatus="Approved")[
        "ModelPackageSummaryList"
    ]
    assert [one["ModelPackageArn"] for one in listed] == [arns[0]]
    stage.sm.create_model(ModelName="m", PrimaryContainer={"ModelPackageName": arns[0]}, ExecutionRoleArn=ROLE)
    with refused("ValidationException"):
        stage.sm.delete_model_package_group(ModelPackageGroupName="group")
    for arn in arns:
        stage.sm.delete_model_package(ModelPackageName=arn)
    stage.sm.delete_model_package_group(ModelPackageGroupName="group")


def test_a_marketplace_package_is_for_subscribers(stage: Stage) -> None:
    arn = stage.aws.admin.call(
        "POST", "marketplace/model-packages", {"request": package(ModelPackageName="m"), "product": "prod-2"}
    )["arn"]
    wanted = {
        "ModelName": "m",
        "PrimaryContainer": {"ModelPackageName": arn},
        "ExecutionRoleArn": ROLE,
        "EnableNetworkIsolation": True,
    }
    with refused("ValidationException") as caught:
        stage.sm.create_model(**wanted)
    assert caught.message == "Caller is not subscribed to the marketplace offering."
    stage.aws.admin.subscribe("prod-2")
    stage.sm.create_model(**wanted)
