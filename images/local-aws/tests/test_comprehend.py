"""Comprehend's classifiers: really trained on what was uploaded, by the clock, and measured on what was held out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from comprehend_support import ACCOUNT, MAIL, ROLE, Desk, mails, sheet
from local_aws_support import allow, document, refused, trust

from millrace_local_aws import LocalAws


@pytest.fixture
def desk(aws: LocalAws, client: Callable[..., Any]) -> Desk:
    return Desk(aws, client)


def test_a_classifier_goes_through_its_states_by_the_clock_and_not_by_being_looked_at(desk: Desk) -> None:
    assert desk.create(VersionName="v1") == f"{MAIL}/version/v1"
    for _ in range(10):
        assert desk.described(f"{MAIL}/version/v1")["Status"] == "SUBMITTED"
    desk.aws.admin.step(60)
    assert desk.described(f"{MAIL}/version/v1")["Status"] == "TRAINING"
    desk.aws.admin.step(299)
    assert desk.described(f"{MAIL}/version/v1")["Status"] == "TRAINING"
    desk.aws.admin.step(1)
    found = desk.described(f"{MAIL}/version/v1")
    assert (found["Status"], found["VersionName"], found["Mode"]) == ("TRAINED", "v1", "MULTI_CLASS")
    assert (found["TrainingEndTime"] - found["TrainingStartTime"]).total_seconds() == pytest.approx(300, abs=0.01)


def test_a_tenth_is_held_out_and_the_metrics_are_those_of_the_confusion_matrix_on_it(desk: Desk) -> None:
    found = desk.trained()
    told, metrics = found["ClassifierMetadata"], found["ClassifierMetadata"]["EvaluationMetrics"]
    assert (told["NumberOfLabels"], told["NumberOfTrainedDocuments"], told["NumberOfTestDocuments"]) == (2, 72, 8)
    uri = found["OutputDataConfig"]["S3Uri"]
    assert re.fullmatch(rf"s3://mails/out/{ACCOUNT}-CLR-[0-9a-f]{{32}}/output/output\.tar\.gz", uri)
    matrix = desk.matrix(found)
    assert (matrix["type"], matrix["labels"]) == ("multi_class", ["nonphishing", "phishing"])
    (a, b), (c, d) = matrix["confusion_matrix"]
    assert a + b + c + d == 8
    assert metrics["Accuracy"] == pytest.approx((a + d) / 8)
    assert metrics["HammingLoss"] == pytest.approx((b + c) / 8)
    assert metrics["Recall"] == pytest.approx((a / (a + b) + d / (c + d)) / 2)
    assert metrics["Accuracy"] > 0.7, "the two kinds share half of their words, but not the other half"


def test_labels_that_say_nothing_about_the_text_are_learnt_no_better_than_by_guessing(desk: Desk) -> None:
    """Metrics that are made up would be good here, too."""
    rows = mails(200)
    desk.put("train/mails.csv", sheet((("x", "y")[number % 4 < 2], text) for number, (_, text) in enumerate(rows)))
    assert 0.2 < desk.trained()["ClassifierMetadata"]["EvaluationMetrics"]["Accuracy"] < 0.8


def test_a_test_set_is_used_instead_of_a_tenth(desk: Desk) -> None:
    desk.put("test/mails.csv", sheet(mails(15, seed=2)))
    config = {"S3Uri": "s3://mails/train/", "TestS3Uri": "s3://mails/test/"}
    told = desk.trained(InputDataConfig=config)["ClassifierMetadata"]
    assert (told["NumberOfTrainedDocuments"], told["NumberOfTestDocuments"]) == (80, 30)


def multi_label() -> list[tuple[str, str]]:
    rows = mails(40)
    return [(label, text) for label, text in rows] + [
        ("nonphishing;phishing", f"{first} {second}") for (_, first), (_, second) in zip(rows[::2], rows[1::2], strict=True)
    ]


def test_in_multi_label_mode_there_is_a_matrix_of_no_and_yes_a_label(desk: Desk) -> None:
    desk.put("train/mails.csv", sheet(multi_label()))
    found = desk.trained(Mode="MULTI_LABEL", InputDataConfig={"S3Uri": "s3://mails/train/", "LabelDelimiter": ";"})
    matrix = desk.matrix(found)
    assert (matrix["type"], matrix["labels"]) == ("multi_label", ["nonphishing", "phishing"])
    assert [sum(map(sum, one)) for one in matrix["confusion_matrix"]] == [12, 12]
    metrics = found["ClassifierMetadata"]["EvaluationMetrics"]
    wrong = sum(one[0][1] + one[1][0] for one in matrix["confusion_matrix"])
    assert metrics["HammingLoss"] == pytest.approx(wrong / 24)
    right, missed = (sum(one[1][place] for one in matrix["confusion_matrix"]) for place in (1, 0))
    assert metrics["Accuracy"] == metrics["MicroRecall"] == pytest.approx(right / (right + missed))


def test_text_with_commas_quotes_line_breaks_and_other_alphabets_is_one_document(desk: Desk) -> None:
    rows = [*mails(20), ("phishing", 'He said, "pay"\nnow: Überweisung'), ("nonphishing", "日本語, ok")]
    desk.put("train/mails.csv", sheet(rows))
    found = desk.trained()
    assert found["Status"] == "TRAINED"
    assert found["ClassifierMetadata"]["NumberOfTrainedDocuments"] + found["ClassifierMetadata"]["NumberOfTestDocuments"] == 42


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"phishing\n", "The row has 1 columns instead of 2."),
        (b"phishing,pay, now\n", "The row has 3 columns instead of 2."),
        (b"phishing,  \n", "The document is empty."),
        (b",some text\n", "A label is empty."),
        (b"phishing,\xff\xfe\n", "The row is not encoded as UTF-8."),
    ],
    ids=["one column", "a comma that is not quoted", "no text", "no label", "another encoding"],
)
def test_a_row_that_cannot_be_read_is_skipped_and_told_of(desk: Desk, bad: bytes, why: str) -> None:
    desk.put("train/mails.csv", sheet(mails(20)) + bad)
    found = desk.trained()
    assert found["Status"] == "TRAINED_WITH_WARNING"
    assert "skipped" in found["Message"]
    assert found["ClassifierMetadata"]["NumberOfTrainedDocuments"] == 36
    place = found["OutputDataConfig"]["S3Uri"].removeprefix("s3://mails/").removesuffix("output/output.tar.gz")
    (told,) = desk.lines(f"{place}skipped_documents/skipped_documents.jsonl")
    assert told == {"File": "mails.csv", "Line": 40, "ErrorCode": "INVALID_DOCUMENT", "ErrorMessage": why}


def few(count: int) -> bytes:
    return sheet([*mails(20), *[("rare", f"text {number}") for number in range(count)]])


@pytest.mark.parametrize(
    ("data", "changes", "says"),
    [
        (few(9), {}, "Each label requires at least 10 training documents: 'rare' has 9."),
        (sheet(("only", text) for _, text in mails(20)), {}, "The training data has 1 label; at least 2 are required."),
        (
            sheet((f"label{n}", f"text {n} {m}") for n in range(101) for m in range(10)),
            {"Mode": "MULTI_LABEL"},
            "101 labels; at most 100",
        ),
        (b"\xff\n", {}, "No document of the training data could be read."),
        (sheet((label, "!!!") for label, _ in mails(20)), {}, "The training data cannot be learnt from: empty vocabulary"),
        (sheet(mails(20)), {"InputDataConfig": {"S3Uri": "s3://mails/nothing/"}}, "There is no object at s3://mails/nothing/."),
        (sheet(mails(20)), {"InputDataConfig": {"S3Uri": "s3://elsewhere/"}}, "NO_READ_ACCESS_TO_INPUT"),
        (sheet(mails(20)), {"OutputDataConfig": {"S3Uri": "s3://elsewhere/"}}, "NO_WRITE_ACCESS_TO_OUTPUT"),
    ],
    ids=[
        "few of a label",
        "one label",
        "many labels",
        "nothing readable",
        "no words",
        "no object",
        "no such bucket",
        "nowhere to write",
    ],
)
def test_data_that_cannot_be_learnt_from_ends_in_error_and_says_why(
    desk: Desk, data: bytes, changes: dict[str, Any], says: str
) -> None:
    desk.put("train/mails.csv", data)
    found = desk.trained(**changes)
    assert found["Status"] == "IN_ERROR"
    assert says in found["Message"]
    assert "ClassifierMetadata" not in found


def test_an_output_bucket_that_goes_away_while_it_trains_is_an_error(desk: Desk) -> None:
    desk.s3.create_bucket(Bucket="short-lived")
    arn = desk.create(OutputDataConfig={"S3Uri": "s3://short-lived/out"})
    desk.aws.admin.step(100)
    desk.s3.delete_bucket(Bucket="short-lived")
    desk.aws.admin.step(300)
    found = desk.described(arn)
    assert (found["Status"], found["Message"][:25]) == ("IN_ERROR", "NO_WRITE_ACCESS_TO_OUTPUT")


def test_ten_of_a_label_are_enough(desk: Desk) -> None:
    desk.put("train/mails.csv", few(10))
    assert desk.trained()["ClassifierMetadata"]["NumberOfLabels"] == 3


@pytest.mark.parametrize(
    ("test", "says"),
    [
        ([("phishing", "pay")], "no document of the label(s) nonphishing"),
        ([("phishing", "pay"), ("nonphishing", "lunch"), ("spam", "buy")], "label(s) that the training data lacks: spam"),
    ],
    ids=["a label is missing", "a label is strange"],
)
def test_a_test_set_has_the_labels_of_the_training_set(desk: Desk, test: list[tuple[str, str]], says: str) -> None:
    desk.put("test.csv", sheet(test))
    found = desk.trained(InputDataConfig={"S3Uri": "s3://mails/train/", "TestS3Uri": "s3://mails/test.csv"})
    assert (found["Status"], says in found["Message"]) == ("IN_ERROR", True)


@pytest.mark.parametrize(
    ("mode", "entry"),
    [
        (
            "MULTI_CLASS",
            lambda label: {"labels": 0, "labels-metadata": {"class-name": label, "type": "groundtruth/text-classification"}},
        ),
        ("MULTI_LABEL", lambda label: {"labels": [0], "labels-metadata": {"class-map": {"0": label}}}),
    ],
    ids=["one label", "several"],
)
def test_an_augmented_manifest_is_read_and_its_bad_lines_skipped(
    desk: Desk, mode: str, entry: Callable[[str], dict[str, Any]]
) -> None:
    lines = [json.dumps({"source": text} | entry(label)) for label, text in mails(20)]
    desk.put("manifest.jsonl", "\n".join([*lines, '{"source": "no label"}']).encode())
    config = {
        "DataFormat": "AUGMENTED_MANIFEST",
        "AugmentedManifests": [{"S3Uri": "s3://mails/manifest.jsonl", "AttributeNames": ["labels"]}],
    }
    found = desk.trained(Mode=mode, InputDataConfig=config)
    assert (found["Status"], found["ClassifierMetadata"]["NumberOfLabels"]) == ("TRAINED_WITH_WARNING", 2)


@pytest.mark.parametrize(
    ("code", "changes", "says"),
    [
        ("UnsupportedLanguageException", {"LanguageCode": "ja"}, "Supported languages: en, es, de, it, fr, pt"),
        ("InvalidRequestException", {"InputDataConfig": {}}, "S3Uri is required"),
        ("InvalidRequestException", {"InputDataConfig": {"S3Uri": "s3://mails/train/", "LabelDelimiter": "|"}}, "MULTI_LABEL"),
        ("InvalidRequestException", {"InputDataConfig": {"DataFormat": "AUGMENTED_MANIFEST"}}, "AugmentedManifests is required"),
        ("InvalidRequestException", {"DocumentClassifierName": "under_score"}, "regular expression pattern"),
        ("InvalidRequestException", {"DataAccessRoleArn": f"arn:aws:iam::{ACCOUNT}:role/nobody"}, "could not be assumed"),
        ("TooManyTagsException", {"Tags": [{"Key": str(number)} for number in range(51)]}, "more tags"),
    ],
    ids=["language", "no data", "a delimiter of nothing", "no manifest", "name", "no such role", "tags"],
)
def test_a_wrong_request_is_refused_at_once(desk: Desk, code: str, changes: dict[str, Any], says: str) -> None:
    with refused(code) as caught:
        desk.create(**changes)
    assert says in caught.message
    assert desk.comprehend.list_document_classifiers()["DocumentClassifierPropertiesList"] == []


@pytest.mark.parametrize(
    ("condition", "works"),
    [
        ({"StringEquals": {"aws:SourceAccount": ACCOUNT}}, True),
        ({"ArnLike": {"aws:SourceArn": f"{MAIL}*"}}, True),
        ({"StringEquals": {"aws:SourceAccount": "999999999999"}}, False),
    ],
    ids=["this account", "this classifier", "another account"],
)
def test_the_roles_trust_policy_is_evaluated(desk: Desk, condition: dict[str, Any], works: bool) -> None:
    policy = document(trust({"Service": "comprehend.amazonaws.com"}, Condition=condition))
    desk.iam.update_assume_role_policy(RoleName="reader", PolicyDocument=policy)
    if works:
        assert desk.create() == MAIL
    else:
        with refused("InvalidRequestException"):
            desk.create()


def test_a_role_that_may_not_read_the_data_fails_the_training(desk: Desk) -> None:
    desk.iam.put_role_policy(
        RoleName="reader",
        PolicyName="data",
        PolicyDocument=document(allow("s3:*", ["arn:aws:s3:::mails", "arn:aws:s3:::mails/out/*"])),
    )
    desk.aws.admin.settings(enforce_iam=True)
    found = desk.trained()
    assert (found["Status"], found["Message"][:23]) == ("IN_ERROR", "NO_READ_ACCESS_TO_INPUT")


def test_the_same_token_makes_one_classifier_and_a_name_is_taken_once(desk: Desk) -> None:
    request = desk.request(ClientRequestToken="once", VersionName="v1")
    first = desk.comprehend.create_document_classifier(**request)["DocumentClassifierArn"]
    assert desk.comprehend.create_document_classifier(**request)["DocumentClassifierArn"] == first
    with refused("InvalidRequestException"):
        desk.comprehend.create_document_classifier(**request | {"VersionName": "v2"})
    with refused("ResourceInUseException"):
        desk.create(VersionName="v1")
    desk.aws.admin.step(1)
    desk.create(VersionName="v2")
    (told,) = desk.comprehend.list_document_classifier_summaries()["DocumentClassifierSummariesList"]
    assert (told["NumberOfVersions"], told["LatestVersionName"], told["LatestVersionStatus"]) == (2, "v2", "SUBMITTED")


def test_lists_are_filtered_and_paged(desk: Desk) -> None:
    for number in range(3):
        desk.create(DocumentClassifierName=f"c{number}")
        desk.aws.admin.step(1)
    names = [
        one["DocumentClassifierArn"][-2:]
        for one in desk.comprehend.list_document_classifiers()["DocumentClassifierPropertiesList"]
    ]
    assert names == ["c2", "c1", "c0"]
    some = desk.comprehend.list_document_classifiers(Filter={"DocumentClassifierName": "c1"})["DocumentClassifierPropertiesList"]
    assert [one["DocumentClassifierArn"][-2:] for one in some] == ["c1"]
    assert desk.comprehend.list_document_classifiers(Filter={"Status": "TRAINED"})["DocumentClassifierPropertiesList"] == []
    with refused("InvalidFilterException"):
        desk.comprehend.list_document_classifiers(Filter={"Status": "TRAINED", "DocumentClassifierName": "c1"})
    pages = list(desk.comprehend.get_paginator("list_document_classifiers").paginate(PaginationConfig={"PageSize": 2}))
    assert [len(page["DocumentClassifierPropertiesList"]) for page in pages] == [2, 1]


@pytest.mark.parametrize("seconds", [0, 100], ids=["before its turn", "while it trains"])
def test_a_training_can_be_stopped(desk: Desk, seconds: float) -> None:
    desk.create()
    desk.aws.admin.step(seconds)
    desk.comprehend.stop_training_document_classifier(DocumentClassifierArn=MAIL)
    assert desk.described()["Status"] == "STOP_REQUESTED"
    desk.aws.admin.step(1000)
    assert desk.described()["Status"] == "STOPPED"
    desk.comprehend.stop_training_document_classifier(DocumentClassifierArn=MAIL)
    assert desk.described()["Status"] == "STOPPED", "what has ended stays as it is"


def test_a_plan_fails_the_next_training_with_its_reason(desk: Desk) -> None:
    desk.aws.admin.plan("classifier", "fail", reason="INTERNAL_ERROR: try again")
    assert desk.trained()["Message"] == "INTERNAL_ERROR: try again"
    assert desk.trained(VersionName="v2")["Status"] == "TRAINED"


def test_a_classifier_is_deleted_only_when_it_has_ended_and_nothing_uses_it(desk: Desk) -> None:
    desk.create(Tags=[{"Key": "team", "Value": "mail"}])
    with refused("ResourceUnavailableException"):
        desk.comprehend.delete_document_classifier(DocumentClassifierArn=MAIL)
    desk.aws.admin.step(400)
    endpoint = desk.serve()
    with refused("ResourceInUseException") as caught:
        desk.comprehend.delete_document_classifier(DocumentClassifierArn=MAIL)
    assert endpoint in caught.message
    desk.comprehend.delete_endpoint(EndpointArn=endpoint)
    desk.aws.admin.step(60)
    desk.comprehend.delete_document_classifier(DocumentClassifierArn=MAIL)
    assert desk.described()["Status"] == "DELETING"
    desk.aws.admin.step(60)
    with refused("ResourceNotFoundException"):
        desk.described()


def test_tags_are_kept_by_arn(desk: Desk) -> None:
    desk.create(Tags=[{"Key": "team", "Value": "mail"}])
    desk.comprehend.tag_resource(ResourceArn=MAIL, Tags=[{"Key": "stage", "Value": "test"}])
    desk.comprehend.untag_resource(ResourceArn=MAIL, TagKeys=["team"])
    assert desk.comprehend.list_tags_for_resource(ResourceArn=MAIL)["Tags"] == [{"Key": "stage", "Value": "test"}]
    with refused("ResourceNotFoundException"):
        desk.comprehend.list_tags_for_resource(ResourceArn=f"{MAIL}/version/none")


def test_keys_network_and_role_are_told_as_they_were_given(desk: Desk) -> None:
    given = {
        "VolumeKmsKeyId": "alias/volume",
        "ModelKmsKeyId": "alias/model",
        "VpcConfig": {"SecurityGroupIds": ["sg-1"], "Subnets": ["subnet-1"]},
        "DataAccessRoleArn": ROLE,
    }
    desk.create(**given)
    found = desk.described()
    assert {name: found[name] for name in given} == given
