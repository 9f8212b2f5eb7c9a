"""Training jobs: their life by the clock, with the scripted runner, which runs nothing."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from local_aws_support import allow, document, refused, trust
from sagemaker_support import ROLE, Stage

from millrace_local_aws import LocalAws


@pytest.fixture
def stage(aws: LocalAws, client: Callable[..., Any]) -> Stage:
    return Stage(aws, client)


def statuses(found: dict[str, Any]) -> list[str]:
    return [one["Status"] for one in found["SecondaryStatusTransitions"]]


def test_a_job_goes_through_its_states_by_the_clock_and_not_by_being_looked_at(stage: Stage) -> None:
    stage.create_job()
    for _ in range(20):
        assert stage.described()["SecondaryStatus"] == "Starting"
    stage.aws.admin.step(60)
    assert stage.described()["SecondaryStatus"] == "Downloading"
    stage.aws.admin.step(30)
    assert (stage.described()["TrainingJobStatus"], stage.described()["SecondaryStatus"]) == ("InProgress", "Training")
    stage.aws.admin.step(120)
    assert stage.described()["SecondaryStatus"] == "Uploading"
    stage.aws.admin.step(15)
    found = stage.described()
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Completed", "Completed")
    assert statuses(found) == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert found["TrainingTimeInSeconds"] == found["BillableTimeInSeconds"] == 165
    assert (found["TrainingEndTime"] - found["TrainingStartTime"]).total_seconds() == pytest.approx(165, abs=0.01)


def test_a_finished_job_has_its_model_in_s3_its_metrics_and_its_log(stage: Stage) -> None:
    metrics = [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]
    stage.plan("training", "script", logs=["step 1 loss=0.9", "step 2 loss=0.4"], files={"weights": "w"})
    stage.create_job(AlgorithmSpecification={"TrainingImage": "i", "TrainingInputMode": "File", "MetricDefinitions": metrics})
    stage.aws.admin.step(300)
    found = stage.described()
    assert found["ModelArtifacts"]["S3ModelArtifacts"] == "s3://data/out/job/output/model.tar.gz"
    body = stage.s3.get_object(Bucket="data", Key="out/job/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        assert tar.getnames() == ["weights"]
    assert [(m["MetricName"], m["Value"]) for m in found["FinalMetricDataList"]] == [("loss", pytest.approx(0.4))]
    group = "/aws/sagemaker/TrainingJobs"
    (stream,) = stage.logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="job/")["logStreams"]
    events = stage.logs.get_log_events(logGroupName=group, logStreamName=stream["logStreamName"], startFromHead=True)["events"]
    assert [event["message"] for event in events] == ["step 1 loss=0.9", "step 2 loss=0.4"]


def test_every_change_is_an_event_with_the_jobs_arn(stage: Stage) -> None:
    stage.listen()
    stage.create_job(Tags=[{"Key": "team", "Value": "red"}])
    stage.aws.admin.step(300)
    heard = stage.heard()
    assert {event["detail-type"] for event in heard} == {"SageMaker Training Job State Change"}
    assert [event["detail"]["SecondaryStatus"] for event in heard] == [
        "Starting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    last = heard[-1]
    assert last["resources"] == [stage.described()["TrainingJobArn"]]
    assert (last["account"], last["detail"]["TrainingJobStatus"], last["detail"]["Tags"]) == (
        "123456789012",
        "Completed",
        {"team": "red"},
    )
    assert isinstance(last["detail"]["CreationTime"], int)


def test_a_name_is_taken_for_good_until_the_job_is_deleted(stage: Stage) -> None:
    stage.create_job()
    with refused("ResourceInUse") as caught:
        stage.create_job()
    assert (
        "a training job with this name already exists (arn:aws:sagemaker:us-east-1:123456789012:training-job/job)"
        in caught.message
    )
    with refused("ResourceInUse"):
        stage.sm.delete_training_job(TrainingJobName="job")
    stage.aws.admin.step(300)
    stage.sm.delete_training_job(TrainingJobName="job")
    assert stage.described()["TrainingJobStatus"] == "Deleting"
    stage.aws.admin.step(10)
    with refused("ValidationException") as caught:
        stage.described()
    assert caught.message == "Requested resource not found."
    stage.create_job()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"RoleArn": "arn:aws:iam::123456789012:role/nobody"},
            "Could not assume role arn:aws:iam::123456789012:role/nobody. Please",
        ),
        ({"EnableManagedSpotTraining": True}, "MaxWaitTimeInSeconds is required"),
        (
            {"AlgorithmSpecification": {"TrainingInputMode": "File"}},
            "You must specify either an algorithm name or a training image",
        ),
        (
            {"TrainingJobName": "under_score"},
            "'trainingJobName' failed to satisfy constraint: Member must satisfy regular expression",
        ),
        ({"OutputDataConfig": {"S3OutputPath": "ftp://x"}}, "'outputDataConfig.s3OutputPath' failed to satisfy constraint"),
    ],
    ids=["no such role", "spot without a wait", "no image", "name", "output path"],
)
def test_a_wrong_request_is_refused_at_once(stage: Stage, changes: dict[str, Any], says: str) -> None:
    with refused("ValidationException") as caught:
        stage.sm.create_training_job(**(stage.job() | changes))
    assert says in caught.message
    assert stage.sm.list_training_jobs()["TrainingJobSummaries"] == []


def test_inputs_that_are_not_there_are_refused_in_awss_words(stage: Stage) -> None:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://data/nothing/"}}
    with refused("ValidationException") as caught:
        stage.create_job(InputDataConfig=[{"ChannelName": "train", "DataSource": source}])
    assert caught.message.startswith(
        'No S3 objects found under S3 URL "s3://data/nothing/" given in input data source. Please ensure'
    )


def test_a_role_that_trusts_another_account_is_of_no_use(stage: Stage) -> None:
    condition = {"StringEquals": {"aws:SourceAccount": "999999999999"}}
    statement = trust({"Service": "sagemaker.amazonaws.com"}, Condition=condition)
    stage.iam.update_assume_role_policy(RoleName="runner", PolicyDocument=document(statement))
    with refused("ValidationException"):
        stage.create_job()
    condition = {
        "StringEquals": {"aws:SourceAccount": "123456789012"},
        "ArnLike": {"aws:SourceArn": "arn:aws:sagemaker:*:123456789012:*"},
    }
    statement = trust({"Service": "sagemaker.amazonaws.com"}, Condition=condition)
    stage.iam.update_assume_role_policy(RoleName="runner", PolicyDocument=document(statement))
    stage.create_job()


def test_to_hand_a_role_over_the_caller_needs_pass_role(stage: Stage, client: Callable[..., Any]) -> None:
    stage.iam.create_role(RoleName="op", AssumeRolePolicyDocument=document(trust({"AWS": "*"})))
    stage.iam.put_role_policy(RoleName="op", PolicyName="p", PolicyDocument=document(allow("sagemaker:*")))
    operator = client("sagemaker", role="arn:aws:iam::123456789012:role/op")
    stage.aws.admin.settings(enforce_iam=True)
    with refused("AccessDeniedException") as caught:
        operator.create_training_job(**stage.job())
    assert f"is not authorized to perform: iam:PassRole on resource: {ROLE}" in caught.message
    condition = {"StringEquals": {"iam:PassedToService": "sagemaker.amazonaws.com"}}
    stage.iam.put_role_policy(
        RoleName="op",
        PolicyName="p",
        PolicyDocument=document(allow("sagemaker:*"), allow("iam:PassRole", ROLE, Condition=condition)),
    )
    operator.create_training_job(**stage.job())


def test_a_quota_of_an_instance_type_counts_what_runs(stage: Stage) -> None:
    stage.aws.admin.set_quota("training", "ml.g5.xlarge", 1)
    stage.create_job("first")
    with refused("ResourceLimitExceeded") as caught:
        stage.create_job("second")
    assert caught.message.startswith(
        "The account-level service limit 'ml.g5.xlarge for training job usage' is 1 Instances, with current utilization of 1 Instances"
        " and a request delta of 1 Instances."
    )
    stage.aws.admin.step(300)
    stage.create_job("second")


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        ({"effect": "capacity"}, "CapacityError: Unable to provision requested ML compute capacity."),
        (
            {"effect": "fail", "reason": "InternalServerError: We encountered an internal error."},
            "InternalServerError: We encountered",
        ),
        (
            {"effect": "script", "exit_code": 1, "failure": "ValueError: bad row 7"},
            "AlgorithmError: ValueError: bad row 7, exit code: 1",
        ),
    ],
    ids=["capacity", "a given reason", "the container's own words"],
)
def test_the_next_job_fails_as_it_is_told_to(stage: Stage, plan: dict[str, Any], expected: str) -> None:
    stage.plan("training", name="jo*", **plan)
    stage.create_job()
    stage.aws.admin.step(300)
    found = stage.described()
    assert found["TrainingJobStatus"] == "Failed"
    assert found["FailureReason"].startswith(expected)
    assert stage.sm.list_training_jobs(StatusEquals="Failed")["TrainingJobSummaries"][0]["TrainingJobName"] == "job"


def test_a_job_that_is_stopped_keeps_what_it_had(stage: Stage) -> None:
    stage.create_job()
    stage.aws.admin.step(100)
    stage.sm.stop_training_job(TrainingJobName="job")
    assert stage.described()["TrainingJobStatus"] == "Stopping"
    stage.aws.admin.step(60)
    found = stage.described()
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert stage.s3.head_object(Bucket="data", Key="out/job/output/model.tar.gz")["ContentLength"] > 0
    with refused("ValidationException"):
        stage.sm.stop_training_job(TrainingJobName="job")


def test_a_job_that_is_stopped_before_it_starts_leaves_nothing(stage: Stage) -> None:
    stage.create_job()
    stage.sm.stop_training_job(TrainingJobName="job")
    stage.aws.admin.step(60)
    assert stage.described()["TrainingJobStatus"] == "Stopped"
    assert "Contents" not in stage.s3.list_objects_v2(Bucket="data", Prefix="out/")


def test_a_job_ends_at_its_longest_run(stage: Stage) -> None:
    stage.plan("training", "script", seconds=10_000)
    stage.create_job(StoppingCondition={"MaxRuntimeInSeconds": 600})
    stage.aws.admin.step(900)
    found = stage.described()
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")


SPOT = {"EnableManagedSpotTraining": True, "StoppingCondition": {"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200}}


def test_a_spot_job_is_interrupted_and_goes_on(stage: Stage) -> None:
    stage.plan("training", "interrupt", after=20)
    stage.create_job(**SPOT)
    stage.aws.admin.step(1000)
    found = stage.described()
    assert statuses(found) == [
        "Starting",
        "Downloading",
        "Training",
        "Interrupted",
        "Restarting",
        "Downloading",
        "Training",
        "Uploading",
        "Completed",
    ]
    assert found["TrainingTimeInSeconds"] == 215
    assert found["BillableTimeInSeconds"] < found["TrainingTimeInSeconds"]


def test_a_spot_job_that_waits_too_long_is_stopped(stage: Stage) -> None:
    stage.plan("training", "interrupt", after=20, times=None)
    stage.create_job(EnableManagedSpotTraining=True, StoppingCondition={"MaxRuntimeInSeconds": 600, "MaxWaitTimeInSeconds": 800})
    stage.aws.admin.step(2000)
    found = stage.described()
    assert (found["TrainingJobStatus"], found["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")


def test_jobs_are_listed_by_name_state_and_time_in_pages(stage: Stage) -> None:
    for number in range(5):
        stage.create_job(f"job-{number}")
        stage.aws.admin.step(1)
    pages = stage.sm.get_paginator("list_training_jobs").paginate(
        SortBy="CreationTime", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    assert [one["TrainingJobName"] for page in pages for one in page["TrainingJobSummaries"]] == [f"job-{n}" for n in range(5)]
    assert len(stage.sm.list_training_jobs(NameContains="job-3")["TrainingJobSummaries"]) == 1
    assert stage.sm.list_training_jobs(StatusEquals="Completed")["TrainingJobSummaries"] == []


def test_tags_are_put_listed_and_removed(stage: Stage) -> None:
    stage.create_job(Tags=[{"Key": "a", "Value": "1"}])
    arn = stage.described()["TrainingJobArn"]
    stage.sm.add_tags(ResourceArn=arn, Tags=[{"Key": "b", "Value": "2"}])
    stage.sm.delete_tags(ResourceArn=arn, TagKeys=["a"])
    assert stage.sm.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "b", "Value": "2"}]


def algorithm(**changes: Any) -> dict[str, Any]:
    number = {"IntegerParameterRangeSpecification": {"MinValue": "1", "MaxValue": "10"}}
    specification = {
        "TrainingImage": "seller/image:1",
        "SupportedTrainingInstanceTypes": ["ml.g5.xlarge"],
        "TrainingChannels": [
            {"Name": "train", "IsRequired": True, "SupportedContentTypes": ["text/csv"], "SupportedInputModes": ["File"]}
        ],
        "SupportedHyperParameters": [
            {"Name": "epochs", "Type": "Integer", "Range": number, "IsRequired": True, "IsTunable": False}
        ],
    }
    return {"AlgorithmName": "tune", "TrainingSpecification": specification | changes}


def test_a_marketplace_algorithm_is_for_subscribers_and_checks_what_it_is_given(stage: Stage) -> None:
    arn = stage.aws.admin.call("POST", "marketplace/algorithms", {"request": algorithm(), "product": "prod-1"})["arn"]
    wanted = {"AlgorithmSpecification": {"AlgorithmName": arn, "TrainingInputMode": "File"}, "HyperParameters": {"epochs": "3"}}
    with refused("ValidationException") as caught:
        stage.create_job(**wanted)
    assert caught.message == "Caller is not subscribed to the marketplace offering."
    stage.aws.admin.call("POST", "marketplace/subscriptions", {"product": "prod-1"})
    for changes, says in (
        ({"HyperParameters": {"epochs": "11"}}, "is not within [1, 10]"),
        ({"HyperParameters": {}}, "Required hyperparameter epochs is missing"),
        ({"HyperParameters": {"epochs": "3", "speed": "1"}}, "Hyperparameter speed is not supported"),
        (
            {"ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1}},
            "Instance type ml.m5.large is not",
        ),
    ):
        with refused("ValidationException") as caught:
            stage.create_job(**(wanted | changes))
        assert says in caught.message
    stage.create_job(**wanted)
    assert stage.sm.describe_algorithm(AlgorithmName=arn)["ProductId"] == "prod-1"


def test_an_algorithm_says_itself_what_its_log_is_read_for(stage: Stage) -> None:
    request = algorithm(MetricDefinitions=[{"Name": "loss", "Regex": "loss=([0-9.]+)"}])
    arn = stage.aws.admin.publish_algorithm(request, "prod-1")
    stage.aws.admin.subscribe("prod-1")
    stage.plan("training", "script", logs=["loss=0.5", "loss=0.25"])
    stage.create_job(AlgorithmSpecification={"AlgorithmName": arn, "TrainingInputMode": "File"}, HyperParameters={"epochs": "3"})
    stage.aws.admin.step(3600)
    (metric,) = stage.described()["FinalMetricDataList"]
    assert (metric["MetricName"], metric["Value"]) == ("loss", 0.25)


def test_an_accounts_own_algorithm_completes_before_it_is_used(stage: Stage) -> None:
    stage.sm.create_algorithm(**algorithm())
    assert stage.sm.describe_algorithm(AlgorithmName="tune")["AlgorithmStatus"] == "InProgress"
    wanted = {
        "AlgorithmSpecification": {"AlgorithmName": "tune", "TrainingInputMode": "File"},
        "HyperParameters": {"epochs": "3"},
    }
    with refused("ValidationException"):
        stage.create_job(**wanted)
    stage.aws.admin.step(10)
    stage.create_job(**wanted)
    assert stage.sm.list_algorithms()["AlgorithmSummaryList"][0]["AlgorithmName"] == "tune"
    stage.sm.delete_algorithm(AlgorithmName="tune")
