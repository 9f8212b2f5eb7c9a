"""Tables of error codes: what each answer of AWS means to a pass, and whether the tables speak of codes that exist."""

from __future__ import annotations

import botocore.session
import pytest

from millrace.aws import codes, errors, failures
from millrace.aws.codes import COMMON, Meaning
from millrace.aws.errors import Where
from millrace.engine import conditions
from millrace.engine.errors import MillraceError, from_aws

ROLE = "arn:aws:iam::111122223333:role/millrace"

# service, operation, code, message, class of the error, reason of the condition, why
ANSWERS = [
    ("sagemaker", "CreateTrainingJob", "ThrottlingException", "Rate exceeded", errors.Throttled, "RetryingAfterError", "the common throttle"),
    ("sagemaker", "DescribeTrainingJob", "ValidationException", "Requested resource not found.", errors.NotFound, "RetryingAfterError", "no code of its own"),
    ("sagemaker", "DescribeModel", "ValidationException", 'Could not find model "arn:aws:sagemaker:x".', errors.NotFound, "RetryingAfterError", "no code of its own"),
    ("sagemaker", "CreateModel", "ValidationException", 'Cannot create already existing model "arn".', errors.AlreadyExists, "NameConflict", "no code of its own"),
    ("sagemaker", "CreateTrainingJob", "ResourceInUse", "Training job names must be unique within an AWS account and region, and a training job with this name already exists (arn)", errors.AlreadyExists, "NameConflict", "a taken name"),
    ("sagemaker", "DeleteModelPackageGroup", "ResourceInUse", "it is used", errors.InUse, "RetryingAfterError", "the same code, something else"),
    ("sagemaker", "UpdateEndpoint", "ValidationException", "Cannot update in-progress endpoint", errors.InUse, "RetryingAfterError", "passes by itself"),
    ("sagemaker", "CreateTrainingJob", "ResourceLimitExceeded", "The account-level service limit 'ml.p4d.24xlarge for training job usage' is 0 Instances", errors.QuotaExceeded, "QuotaExceeded", "waited for, not failed"),
    ("sagemaker", "CreateModel", "ValidationException", "Caller is not subscribed to the marketplace offering.", errors.NotSubscribed, "NotSubscribed", "somebody must subscribe"),
    ("sagemaker", "CreateTrainingJob", "ValidationException", f"Could not assume role {ROLE}. Please ensure that the role exists and allows principal 'sagemaker.amazonaws.com' to assume the role.", errors.Denied, "PermissionDenied", "a role that does not trust the service"),
    ("sagemaker", "CreateTrainingJob", "ValidationException", "1 validation error detected", errors.Invalid, "InvalidSpec", "only the spec can change it"),
    ("s3", "HeadObject", "404", "Not Found", errors.NotFound, "RetryingAfterError", "HEAD answers have no body"),
    ("s3", "HeadObject", "403", "Forbidden", errors.Denied, "PermissionDenied", "HEAD answers have no body"),
    ("sqs", "GetQueueUrl", "AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist", errors.NotFound, "RetryingAfterError", "the code of the query protocol"),
    ("sts", "GetCallerIdentity", "InvalidClientTokenId", "The security token included in the request is invalid.", errors.NoCredentials, "PermissionDenied", "somebody must give credentials"),
    ("sts", "GetCallerIdentity", "ExpiredToken", "expired", errors.Expired, "RetryingAfterError", "renewed by the account first"),
    ("comprehend", "DescribeFlywheel", "TooManyRequestsException", "slow down", errors.Throttled, "RetryingAfterError", "a service without a table"),
    ("sagemaker", "CreateTrainingJob", "BrandNewException", "what is this?", errors.Unavailable, "RetryingAfterError", "an unknown code is tried again"),
]  # fmt: skip


@pytest.mark.parametrize(("service", "operation", "code", "message", "type_", "reason", "why"), ANSWERS)
def test_an_answer_becomes_its_error_and_its_reason(
    service: str, operation: str, code: str, message: str, type_: type[errors.CallError], reason: str, why: str
) -> None:
    error, known = failures.understood(Where(service, operation, code), message)
    assert type(error) is type_, why
    assert known == (code != "BrandNewException"), why
    meant = from_aws(error)
    assert isinstance(meant, MillraceError)
    assert conditions.for_error("Ready", meant)[0].reason == reason, why


@pytest.mark.parametrize("service", codes.services())
def test_every_table_is_of_a_service_and_speaks_of_operations_that_it_has(service: str) -> None:
    model = botocore.session.get_session().get_service_model(service)
    table = codes.table(service)
    told = {*table.actions, *(operation for row in table.rows for operation in row.operations)}
    assert told <= set(model.operation_names)


PROTOCOL_CODES = {
    "403", "404", "412", "500", "301", "AWS.SimpleQueueService.NonExistentQueue", "AWS.SimpleQueueService.QueueDeletedRecently",
    "QueueAlreadyExists", "PreconditionFailed", "BucketNotEmpty", "AllAccessDisabled", "InvalidArgument", "InvalidBucketName",
    "EntityTooLarge", "EntityTooSmall", "KeyTooLongError", "PermanentRedirect", "ConditionalRequestConflict", "NoSuchVersion",
    "ValidationException", "ValidationError", "ModelNotReadyException",
}  # fmt: skip
"""Codes that the services document in prose only: S3's list of error responses, SQS' old protocol, the common errors."""


@pytest.mark.parametrize("service", codes.services())
def test_every_code_of_a_table_is_one_of_the_services_model_or_a_documented_one(service: str) -> None:
    """A misspelt code would make an error of AWS unknown for ever."""
    model = botocore.session.get_session().get_service_model(service)
    known = {str(shape.error_code) for shape in model.error_shapes} | {shape.name for shape in model.error_shapes}
    assert {row.code for row in codes.table(service).rows} - known - PROTOCOL_CODES == set()


def test_no_code_of_a_table_stands_twice_without_words_to_tell_its_meanings_apart() -> None:
    for service in (*codes.services(), COMMON):
        plain = [(row.code, row.operations) for row in codes.table(service).rows if not row.says]
        assert len(plain) == len(set(plain)), service


def test_every_meaning_has_an_error_class() -> None:
    assert set(failures.CLASSES) == set(Meaning)


# message, service, operation, as whom, action, identity, text, why
DENIALS = [
    (
        "User: arn:aws:sts::111122223333:assumed-role/millrace/millrace-team is not authorized to perform: "
        "sagemaker:CreateTrainingJob on resource: arn:aws:sagemaker:us-east-1:111122223333:training-job/x because no "
        "identity-based policy allows the sagemaker:CreateTrainingJob action",
        "sagemaker", "CreateTrainingJob", "", "sagemaker:CreateTrainingJob", ROLE,
        f"{ROLE} is not allowed sagemaker:CreateTrainingJob on arn:aws:sagemaker:us-east-1:111122223333:training-job/x",
        "the role behind the session is named, not the session",
    ),
    (
        f"User: arn:aws:sts::111122223333:assumed-role/millrace/s is not authorized to perform: iam:PassRole on resource: {ROLE}",
        "sagemaker", "CreateTrainingJob", "", "iam:PassRole", ROLE, f"{ROLE} is not allowed iam:PassRole on {ROLE}",
        "the missing action is another than the call's",
    ),
    ("Forbidden", "s3", "HeadObject", ROLE, "s3:GetObject", ROLE, f"{ROLE} is not allowed s3:GetObject", "HEAD says nothing: the table knows"),
    ("Access Denied", "s3", "ListObjectsV2", "", "s3:ListBucket", "", "the operator is not allowed s3:ListBucket", "nobody is named"),
    (
        "User: arn:aws:iam::111122223333:user/ci is not authorized to perform: sts:AssumeRole on resource: " + ROLE,
        "sts", "AssumeRole", ROLE, "sts:AssumeRole", "arn:aws:iam::111122223333:user/ci",
        f"arn:aws:iam::111122223333:user/ci is not allowed sts:AssumeRole on {ROLE}", "the trust policy refuses",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("message", "service", "operation", "as_whom", "action", "identity", "text", "why"), DENIALS)
def test_a_denial_names_the_missing_action_and_who_lacks_it(
    message: str, service: str, operation: str, as_whom: str, action: str, identity: str, text: str, why: str
) -> None:
    error, _ = failures.understood(Where(service, operation, "AccessDenied"), message, as_whom=as_whom)
    assert isinstance(error, errors.Denied)
    assert (error.action, error.identity, error.message) == (action, identity, text), why


def test_a_message_does_not_change_with_every_try() -> None:
    said = [
        failures.understood(Where("s3", "GetObject", "InternalError"), f"We erred (Service: Amazon S3; Request ID: {n}; x)")[
            0
        ].message
        for n in ("ABC123", "DEF456")
    ]
    assert said[0] == said[1] == "s3:GetObject: We erred"
