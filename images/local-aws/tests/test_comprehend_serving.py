"""Comprehend's endpoints, jobs and flywheels: they answer with the model that was trained, within what was bought."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from comprehend_support import ACCOUNT, DOOR, MAIL, ROLE, Desk, mails, sheet
from local_aws_support import refused

from millrace_local_aws import LocalAws, local_aws

BAD, GOOD = "urgent verify the password of your bank account", "agenda and minutes for the team meeting"
WHEEL = f"arn:aws:comprehend:us-east-1:{ACCOUNT}:flywheel/wheel"


@pytest.fixture
def desk(aws: LocalAws, client: Callable[..., Any]) -> Desk:
    return Desk(aws, client)


def top(found: dict[str, Any]) -> str:
    return str(found["Classes"][0]["Name"])


# Endpoints


def test_an_endpoint_answers_with_every_class_and_its_score(desk: Desk) -> None:
    desk.trained()
    desk.serve(units=10)
    found = desk.classify(BAD)["Classes"]
    assert [one["Name"] for one in found] == ["phishing", "nonphishing"]
    assert sum(one["Score"] for one in found) == pytest.approx(1)
    assert top(desk.classify(GOOD)) == "nonphishing"


def test_an_endpoint_that_is_not_in_service_answers_nothing(desk: Desk) -> None:
    desk.trained()
    desk.comprehend.create_endpoint(EndpointName="door", ModelArn=MAIL, DesiredInferenceUnits=1)
    assert (desk.endpoint()["Status"], "CurrentInferenceUnits" in desk.endpoint()) == ("CREATING", False)
    for call in (lambda: desk.classify(GOOD), lambda: desk.comprehend.update_endpoint(EndpointArn=DOOR, DesiredInferenceUnits=2)):
        with refused("ResourceUnavailableException"):
            call()
    with refused("ResourceInUseException"):
        desk.comprehend.delete_endpoint(EndpointArn=DOOR)


def test_current_units_and_model_change_only_when_the_update_is_done_and_it_serves_all_the_while(desk: Desk) -> None:
    desk.trained()
    desk.put("train/mails.csv", sheet((("other", "phishing")[label == "phishing"], text) for label, text in mails(40)))
    second = desk.trained(VersionName="v2")["DocumentClassifierArn"]
    desk.serve(units=2)
    desk.comprehend.update_endpoint(EndpointArn=DOOR, DesiredInferenceUnits=5, DesiredModelArn=second)
    found = desk.endpoint()
    assert (found["Status"], found["CurrentInferenceUnits"], found["DesiredInferenceUnits"]) == ("UPDATING", 2, 5)
    assert (found["ModelArn"], found["DesiredModelArn"]) == (MAIL, second)
    assert top(desk.classify(GOOD)) == "nonphishing", "the old model serves"
    desk.aws.admin.step(300)
    found = desk.endpoint()
    assert (found["Status"], found["CurrentInferenceUnits"], found["ModelArn"]) == ("IN_SERVICE", 5, second)
    assert top(desk.classify(GOOD)) == "other", "the new one does"
    with refused("ResourceInUseException"):
        desk.comprehend.delete_document_classifier(DocumentClassifierArn=second)


@pytest.mark.parametrize(
    ("units", "code"),
    [(0, "InvalidRequestException"), (11, "ResourceLimitExceededException")],
    ids=["none", "more than ten"],
)
def test_an_endpoint_has_one_to_ten_units(desk: Desk, units: int, code: str) -> None:
    desk.trained()
    unchecked = desk.aws.client("comprehend", config=Config(parameter_validation=False))
    with refused(code):
        unchecked.create_endpoint(EndpointName="door", ModelArn=MAIL, DesiredInferenceUnits=units)


def test_a_model_that_is_not_trained_is_not_served(desk: Desk) -> None:
    desk.create()
    with refused("ResourceUnavailableException"):
        desk.serve()
    with refused("ResourceNotFoundException"):
        desk.serve(model=f"{MAIL}/version/none")


@pytest.mark.parametrize(
    ("units", "too_soon", "then"), [(1, 8, 2), (4, 1, 1.5)], ids=["one unit: ten seconds", "four units: two and a half"]
)
def test_a_unit_is_a_hundred_characters_a_second(desk: Desk, units: int, too_soon: float, then: float) -> None:
    """A long text is served, and the next ones wait for it."""
    desk.trained()
    desk.serve(units=units)
    desk.classify("x" * 1000)
    desk.aws.admin.step(too_soon)
    with refused("ThrottlingException"):
        desk.classify(GOOD)
    desk.aws.admin.step(then)
    desk.classify(GOOD)


def test_text_and_bytes_have_a_limit_in_bytes(desk: Desk) -> None:
    desk.trained()
    desk.serve(units=10)
    with refused("TextSizeLimitExceededException") as caught:
        desk.classify("ü" * 5001)
    assert "the text size is 10002 bytes" in caught.message
    found = desk.comprehend.classify_document(Bytes=BAD.encode(), EndpointArn=DOOR)
    assert top(found) == "phishing"
    assert found["DocumentType"] == [{"Page": 1, "Type": "PLAIN_TEXT"}]
    assert found["DocumentMetadata"]["ExtractedCharacters"] == [{"Page": 1, "Count": len(BAD)}]
    for wrong in ({}, {"Text": "a", "Bytes": b"a"}, {"Bytes": b"\xff\xff"}):
        with refused("InvalidRequestException"):
            desk.comprehend.classify_document(EndpointArn=DOOR, **wrong)


def test_a_plan_fails_the_next_endpoint(desk: Desk) -> None:
    desk.trained()
    desk.aws.admin.plan("classifier-endpoint", "fail", reason="no capacity")
    desk.serve()
    assert (desk.endpoint()["Status"], desk.endpoint()["Message"]) == ("FAILED", "no capacity")
    desk.comprehend.delete_endpoint(EndpointArn=DOOR)
    desk.aws.admin.step(60)
    assert desk.comprehend.list_endpoints()["EndpointPropertiesList"] == []
    desk.serve()
    assert desk.comprehend.list_endpoints(Filter={"ModelArn": MAIL})["EndpointPropertiesList"][0]["EndpointArn"] == DOOR


# Jobs


def start(desk: Desk, form: str = "ONE_DOC_PER_LINE", **changes: Any) -> str:
    request = {
        "JobName": "nightly",
        "DocumentClassifierArn": MAIL,
        "InputDataConfig": {"S3Uri": "s3://mails/new/", "InputFormat": form},
        "OutputDataConfig": {"S3Uri": "s3://mails/scored/"},
        "DataAccessRoleArn": ROLE,
        **changes,
    }
    return str(desk.comprehend.start_document_classification_job(**request)["JobId"])


def job(desk: Desk, name: str) -> dict[str, Any]:
    return dict(desk.comprehend.describe_document_classification_job(JobId=name)["DocumentClassificationJobProperties"])


@pytest.mark.parametrize(
    ("form", "files", "expected"),
    [
        (
            "ONE_DOC_PER_LINE",
            {"a.txt": f"{BAD}\n{GOOD}\n", "b.txt": GOOD},
            [("a.txt", "0", "phishing"), ("a.txt", "1", "nonphishing"), ("b.txt", "0", "nonphishing")],
        ),
        (
            "ONE_DOC_PER_FILE",
            {"a.txt": f"{BAD}\n{BAD}", "b.txt": GOOD},
            [("a.txt", None, "phishing"), ("b.txt", None, "nonphishing")],
        ),
    ],
    ids=["a line each", "a file each"],
)
def test_a_job_scores_what_lies_in_s3(desk: Desk, form: str, files: dict[str, str], expected: list[Any]) -> None:
    desk.trained()
    for name, text in files.items():
        desk.put(f"new/{name}", text.encode())
    name = start(desk, form)
    assert job(desk, name)["JobStatus"] == "SUBMITTED"
    desk.aws.admin.step(61)
    assert job(desk, name)["JobStatus"] == "IN_PROGRESS"
    desk.aws.admin.step(120)
    found = job(desk, name)
    assert found["JobStatus"] == "COMPLETED"
    assert found["OutputDataConfig"]["S3Uri"] == f"s3://mails/scored/{ACCOUNT}-CLN-{name}/output/output.tar.gz"
    lines = desk.archive(found["OutputDataConfig"]["S3Uri"])["predictions.jsonl"].splitlines()
    told = [json.loads(line) for line in lines]
    assert [(one["File"], one.get("Line"), top(one)) for one in told] == expected
    some = desk.comprehend.list_document_classification_jobs(Filter={"JobName": "nightly"})
    assert [one["JobId"] for one in some["DocumentClassificationJobPropertiesList"]] == [name]


def test_a_job_without_input_has_failed_and_a_document_that_is_too_long_is_told_of(desk: Desk) -> None:
    desk.trained()
    name = start(desk)
    desk.aws.admin.step(200)
    assert (job(desk, name)["JobStatus"], "no object" in job(desk, name)["Message"]) == ("FAILED", True)
    desk.put("new/a.txt", f"{'x' * 10_001}\n{BAD}\n".encode())
    name = start(desk)
    desk.aws.admin.step(200)
    first, second = desk.archive(job(desk, name)["OutputDataConfig"]["S3Uri"])["predictions.jsonl"].splitlines()
    assert json.loads(first)["ErrorCode"] == "DOCUMENT_SIZE_EXCEEDED"
    assert top(json.loads(second)) == "phishing"
    with refused("JobNotFoundException"):
        job(desk, "none")


# Flywheels


def wheel(desk: Desk, **changes: Any) -> None:
    """A flywheel, active."""
    desk.comprehend.create_flywheel(
        FlywheelName="wheel", DataAccessRoleArn=ROLE, DataLakeS3Uri="s3://mails/lake", **(changes or {"ActiveModelArn": MAIL})
    )
    desk.aws.admin.step(200)


def flywheel(desk: Desk) -> dict[str, Any]:
    return dict(desk.comprehend.describe_flywheel(FlywheelArn=WHEEL)["FlywheelProperties"])


def dataset(desk: Desk, name: str, kind: str, rows: list[tuple[str, str]]) -> dict[str, Any]:
    desk.put(f"more/{name}.csv", sheet(rows))
    config = {"DataFormat": "COMPREHEND_CSV", "DocumentClassifierInputDataConfig": {"S3Uri": f"s3://mails/more/{name}.csv"}}
    arn = desk.comprehend.create_dataset(FlywheelArn=WHEEL, DatasetName=name, DatasetType=kind, InputDataConfig=config)[
        "DatasetArn"
    ]
    desk.aws.admin.step(60)
    return dict(desk.comprehend.describe_dataset(DatasetArn=arn)["DatasetProperties"])


def iterate(desk: Desk) -> dict[str, Any]:
    name = desk.comprehend.start_flywheel_iteration(FlywheelArn=WHEEL)["FlywheelIterationId"]
    desk.aws.admin.step(600)
    found = desk.comprehend.describe_flywheel_iteration(FlywheelArn=WHEEL, FlywheelIterationId=name)
    return dict(found["FlywheelIterationProperties"])


def test_an_iteration_trains_a_version_on_all_data_and_compares_it_with_the_active_one(desk: Desk) -> None:
    desk.trained()
    wheel(desk)
    assert flywheel(desk)["DataLakeS3Uri"].startswith("s3://mails/lake/wheel/schemaVersion=1/")
    (first,) = desk.comprehend.list_datasets(FlywheelArn=WHEEL)["DatasetPropertiesList"]
    assert (first["DatasetName"], first["Status"], first["NumberOfDocuments"]) == ("InitialTrainingData", "COMPLETED", 80)
    assert dataset(desk, "more", "TRAIN", mails(30, seed=3))["NumberOfDocuments"] == 60
    assert dataset(desk, "exam", "TEST", mails(20, seed=4))["Status"] == "COMPLETED"
    desk.s3.delete_object(Bucket="mails", Key="more/more.csv")
    found = iterate(desk)
    assert (found["Status"], found["EvaluatedModelArn"]) == ("COMPLETED", MAIL)
    assert found["TrainedModelArn"].startswith(f"{MAIL}/version/Comprehend-Generated-v1-")
    version = desk.described(found["TrainedModelArn"])
    told = version["ClassifierMetadata"]
    assert (told["NumberOfTrainedDocuments"], told["NumberOfTestDocuments"]) == (140, 40), "the lake's copy of what was deleted"
    assert found["TrainedModelMetrics"]["AverageF1Score"] == pytest.approx(told["EvaluationMetrics"]["F1Score"])
    assert 0.5 < found["EvaluatedModelMetrics"]["AverageAccuracy"] <= 1
    assert (version["FlywheelArn"], version["SourceModelArn"]) == (WHEEL, MAIL)
    assert flywheel(desk)["ActiveModelArn"] == MAIL, "people decide which version is active"
    changed = desk.comprehend.update_flywheel(FlywheelArn=WHEEL, ActiveModelArn=found["TrainedModelArn"])["FlywheelProperties"]
    assert (changed["Status"], changed["ActiveModelArn"]) == ("UPDATING", found["TrainedModelArn"])
    desk.aws.admin.step(60)
    history = desk.comprehend.list_flywheel_iteration_history(FlywheelArn=WHEEL)["FlywheelIterationPropertiesList"]
    assert [one["FlywheelIterationId"] for one in history] == [flywheel(desk)["LatestFlywheelIteration"]]


def test_the_first_version_of_a_new_model_becomes_the_active_one(desk: Desk) -> None:
    task = {"LanguageCode": "en", "DocumentClassificationConfig": {"Mode": "MULTI_CLASS"}}
    wheel(desk, ModelType="DOCUMENT_CLASSIFIER", TaskConfig=task)
    with refused("InvalidRequestException") as caught:
        desk.comprehend.start_flywheel_iteration(FlywheelArn=WHEEL)
    assert "no training data" in caught.message
    dataset(desk, "first", "TRAIN", mails(30))
    found = iterate(desk)
    assert (found["Status"], "EvaluatedModelArn" in found) == ("COMPLETED", False)
    assert flywheel(desk)["ActiveModelArn"] == found["TrainedModelArn"]
    made = desk.comprehend.create_endpoint(EndpointName="door", FlywheelArn=WHEEL, DesiredInferenceUnits=5)
    assert made["ModelArn"] == found["TrainedModelArn"]
    desk.aws.admin.step(400)
    assert top(desk.classify(BAD)) == "phishing"


def test_an_iteration_on_data_that_cannot_be_learnt_from_has_failed(desk: Desk) -> None:
    desk.trained()
    wheel(desk)
    dataset(desk, "odd", "TRAIN", [("rare", "one document")])
    found = iterate(desk)
    assert (found["Status"], "'rare' has 1" in found["Message"]) == ("FAILED", True)


def test_an_iteration_whose_training_is_stopped_has_stopped(desk: Desk) -> None:
    desk.trained()
    wheel(desk)
    name = desk.comprehend.start_flywheel_iteration(FlywheelArn=WHEEL)["FlywheelIterationId"]
    asked = {"FlywheelArn": WHEEL, "FlywheelIterationId": name}
    version = desk.comprehend.describe_flywheel_iteration(**asked)["FlywheelIterationProperties"]["TrainedModelArn"]
    desk.comprehend.stop_training_document_classifier(DocumentClassifierArn=version)
    desk.aws.admin.step(600)
    assert desk.comprehend.describe_flywheel_iteration(**asked)["FlywheelIterationProperties"]["Status"] == "STOPPED"
    assert iterate(desk)["Status"] == "COMPLETED", "the next one may begin"


def test_a_flywheel_is_deleted_alone_and_not_while_it_iterates(desk: Desk) -> None:
    desk.trained()
    wheel(desk)
    desk.comprehend.start_flywheel_iteration(FlywheelArn=WHEEL)
    for call in (desk.comprehend.delete_flywheel, desk.comprehend.start_flywheel_iteration):
        with refused("ResourceInUseException"):
            call(FlywheelArn=WHEEL)
    with refused("ResourceInUseException"):
        desk.comprehend.delete_document_classifier(DocumentClassifierArn=MAIL)
    desk.aws.admin.step(600)
    desk.comprehend.delete_flywheel(FlywheelArn=WHEEL)
    desk.aws.admin.step(60)
    with refused("ResourceNotFoundException"):
        flywheel(desk)
    assert desk.comprehend.list_flywheels()["FlywheelSummaryList"] == []
    assert desk.described()["Status"] == "TRAINED"
    assert desk.s3.list_objects_v2(Bucket="mails", Prefix="lake/")["KeyCount"] > 0


# After a restart


def test_models_and_endpoints_outlive_the_process_and_a_training_goes_on(tmp_path: Path) -> None:
    with local_aws(speed=0, data_dir=tmp_path) as aws:
        desk = Desk(aws, aws.client)
        desk.trained()
        desk.serve(units=10)
        before = desk.classify(BAD)["Classes"]
        desk.create(VersionName="v2")
        aws.admin.step(61)
        assert desk.described(f"{MAIL}/version/v2")["Status"] == "TRAINING"
    with local_aws(data_dir=tmp_path) as aws:
        comprehend = aws.client("comprehend")
        assert comprehend.classify_document(Text=BAD, EndpointArn=DOOR)["Classes"] == before
        aws.admin.step(300)
        found = comprehend.describe_document_classifier(DocumentClassifierArn=f"{MAIL}/version/v2")
        assert found["DocumentClassifierProperties"]["Status"] == "TRAINED"
