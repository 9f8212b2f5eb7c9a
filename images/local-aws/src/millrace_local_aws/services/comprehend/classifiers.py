"""Classifiers as clients see them; what happens to them is in classifier_life."""

from __future__ import annotations

from typing import Any

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.comprehend import classifier_life, tags
from millrace_local_aws.services.comprehend.documents import DEFAULT_DELIMITER
from millrace_local_aws.services.comprehend.service import (
    COMPREHEND,
    LANGUAGES,
    check_role,
    check_tags,
    filtered,
    find,
    in_use,
    invalid,
    page,
    remember,
    replayed,
    table,
    unavailable,
    view,
)
from millrace_local_aws.state.store import Record
from millrace_local_aws.wire.errors import AwsError, NotServed

KIND = classifier_life.KIND


def arn_of(call: Call, name: str, version: str | None = None) -> str:
    return call.arn(f"{KIND}/{name}" + (f"/version/{version}" if version else ""))


def _new(call: Call, request: Input) -> str:
    return arn_of(call, str(request.get("DocumentClassifierName", "*")), request.get("VersionName"))


def _asked(call: Call, request: Input) -> str:
    return str(request["DocumentClassifierArn"])


def _check_served(request: Input) -> None:
    config = request["InputDataConfig"]
    manifests = config.get("AugmentedManifests", [])
    native = any(one.get("DocumentType") == "SEMI_STRUCTURED_DOCUMENT" for one in (config, *manifests))
    if native or "Documents" in config or "DocumentReaderConfig" in config:
        raise NotServed("comprehend", "a classifier of native documents")
    if "ModelPolicy" in request:
        raise NotServed("comprehend", "CreateDocumentClassifier with ModelPolicy")


def check_input(config: dict[str, Any], mode: str) -> None:
    """The members that a format and a mode need, and those that they have no use for."""
    if config["DataFormat"] == "COMPREHEND_CSV" and ("S3Uri" not in config or "AugmentedManifests" in config):
        raise invalid("S3Uri is required when the data format is COMPREHEND_CSV, and AugmentedManifests is not allowed.")
    if config["DataFormat"] == "AUGMENTED_MANIFEST" and ("AugmentedManifests" not in config or "S3Uri" in config):
        raise invalid("AugmentedManifests is required when the data format is AUGMENTED_MANIFEST, and S3Uri is not allowed.")
    if mode == "MULTI_CLASS" and "LabelDelimiter" in config:
        raise invalid("LabelDelimiter can be set only in MULTI_LABEL mode.")


def check_language(language: str) -> None:
    if language not in LANGUAGES:
        raise AwsError(
            "UnsupportedLanguageException",
            f"Custom classification does not support the language {language}. Supported languages: {', '.join(LANGUAGES)}.",
            400,
        )


def _input(request: Input) -> tuple[dict[str, Any], str]:
    """With what AWS fills in."""
    mode = request.get("Mode", "MULTI_CLASS")
    config = {"DataFormat": "COMPREHEND_CSV", "DocumentType": "PLAIN_TEXT_DOCUMENT"} | request["InputDataConfig"]
    check_input(config, mode)
    return config | ({"LabelDelimiter": config.get("LabelDelimiter", DEFAULT_DELIMITER)} if mode == "MULTI_LABEL" else {}), mode


@COMPREHEND.operation("CreateDocumentClassifier", resource=_new)
def create_document_classifier(call: Call, request: Input) -> dict[str, Any]:
    if (answer := replayed(call, request)) is not None:
        return dict(answer)
    _check_served(request)
    check_language(request["LanguageCode"])
    config, mode = _input(request)
    name, arn = request["DocumentClassifierName"], _new(call, request)
    if table(call.world, KIND).get(call.scope, arn) is not None:
        raise in_use()
    check_tags(request)
    check_role(call, request["DataAccessRoleArn"], arn_of(call, name))
    unwanted = ("DocumentClassifierName", "Tags", "ClientRequestToken")
    record = {key: value for key, value in request.items() if key not in unwanted}
    record |= {"DocumentClassifierArn": arn, "InputDataConfig": config, "Mode": mode, "_name": name}
    tags.put(call.world, arn, request.get("Tags"))
    classifier_life.begin(call.world, call.scope, record)
    return remember(call, request, {"DocumentClassifierArn": arn})


@COMPREHEND.operation("DescribeDocumentClassifier", resource=_asked)
def describe_document_classifier(call: Call, request: Input) -> dict[str, Any]:
    return {"DocumentClassifierProperties": view(find(call, request["DocumentClassifierArn"]))}


@COMPREHEND.operation("ListDocumentClassifiers")
def list_document_classifiers(call: Call, request: Input) -> dict[str, Any]:
    records = table(call.world, KIND).of(call.scope)
    found = filtered(request, records, "SubmitTime", {"DocumentClassifierName": "_name"})
    return page(request, found, "DocumentClassifierPropertiesList")


@COMPREHEND.operation("ListDocumentClassifierSummaries")
def list_document_classifier_summaries(call: Call, request: Input) -> dict[str, Any]:
    by_name: dict[str, list[Record]] = {}
    for record in table(call.world, KIND).of(call.scope):
        by_name.setdefault(record["_name"], []).append(record)
    return page(request, [_summary(name, versions) for name, versions in by_name.items()], "DocumentClassifierSummariesList")


def _summary(name: str, versions: list[Record]) -> dict[str, Any]:
    last = max(versions, key=lambda record: float(record["SubmitTime"]))
    return {
        "DocumentClassifierName": name,
        "NumberOfVersions": len(versions),
        "LatestVersionCreatedAt": last["SubmitTime"],
        "LatestVersionName": last.get("VersionName"),
        "LatestVersionStatus": last["Status"],
    }


@COMPREHEND.operation("StopTrainingDocumentClassifier", resource=_asked)
def stop_training_document_classifier(call: Call, request: Input) -> None:
    classifier_life.stop(call.world, call.scope, find(call, request["DocumentClassifierArn"]))


def usable(call: Call, arn: str) -> Record:
    """A trained classifier of this account."""
    record = find(call, arn)
    if record["Status"] not in classifier_life.USABLE:
        raise unavailable(f"The specified model is not available: its status is {record['Status']}. Use a model that is trained.")
    return record


def _users(call: Call, arn: str) -> list[str]:
    """What needs a classifier."""
    endpoints = [
        record["EndpointArn"]
        for record in table(call.world, "document-classifier-endpoint").of(call.scope)
        if arn in (record["ModelArn"], record["DesiredModelArn"])
    ]
    jobs = [
        record["JobArn"]
        for record in table(call.world, "job").of(call.scope)
        if record["DocumentClassifierArn"] == arn and record["JobStatus"] in ("SUBMITTED", "IN_PROGRESS")
    ]
    flywheels = [
        record["FlywheelArn"] for record in table(call.world, "flywheel").of(call.scope) if record.get("ActiveModelArn") == arn
    ]
    return endpoints + jobs + flywheels


@COMPREHEND.operation("DeleteDocumentClassifier", resource=_asked)
def delete_document_classifier(call: Call, request: Input) -> None:
    record = find(call, request["DocumentClassifierArn"])
    if users := _users(call, record["DocumentClassifierArn"]):
        raise in_use(f"The specified model is in use by {', '.join(users)}. Delete what uses it and try your request again.")
    if record["Status"] not in classifier_life.ENDED:
        raise unavailable(f"The specified classifier cannot be deleted while its status is {record['Status']}.")
    classifier_life.delete(call.world, call.scope, record)
