"""Who may do what: STS sessions, trust, IAM's policies and their enforcement."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import ANY

import pytest
from local_aws_support import allow, document, refused, trust

from millrace_local_aws import LocalAws, local_aws
from millrace_local_aws.access.conditions import satisfied
from millrace_local_aws.access.policies import Decision, Question, evaluate
from support.tokens import unsigned

ROLE = "arn:aws:iam::123456789012:role/worker"


@pytest.fixture
def iam(client: Callable[..., Any]) -> Any:
    return client("iam")


def make_role(iam: Any, *statements: dict[str, Any], name: str = "worker") -> None:
    iam.create_role(RoleName=name, AssumeRolePolicyDocument=document(*(statements or (trust({"AWS": "*"}),))))


def as_user(aws: LocalAws, iam: Any, name: str, *policies: dict[str, Any]) -> dict[str, Any]:
    iam.create_user(UserName=name)
    if policies:
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=document(*policies))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {"aws_access_key_id": key["AccessKeyId"], "aws_secret_access_key": key["SecretAccessKey"]}


def boto(aws: LocalAws, service: str, credentials: dict[str, Any]) -> Any:
    import boto3

    return boto3.client(service, region_name="us-east-1", endpoint_url=aws.endpoint_url, **credentials)


@pytest.mark.parametrize(
    ("statement", "account", "asked", "lets"),
    [
        (trust({"AWS": "222222222222"}), "222222222222", {}, True),
        (trust({"AWS": "222222222222"}), "333333333333", {}, False),
        (trust({"AWS": "arn:aws:iam::222222222222:root"}), "222222222222", {}, True),
        (
            trust({"AWS": "*"}, Condition={"StringEquals": {"sts:ExternalId": "ours"}}),
            "222222222222",
            {"ExternalId": "ours"},
            True,
        ),
        (
            trust({"AWS": "*"}, Condition={"StringEquals": {"sts:ExternalId": "ours"}}),
            "222222222222",
            {"ExternalId": "theirs"},
            False,
        ),
        (trust({"AWS": "*"}, Condition={"StringEquals": {"sts:ExternalId": "ours"}}), "222222222222", {}, False),
        (trust({"Service": "sagemaker.amazonaws.com"}), "123456789012", {}, False),
    ],
    ids=[
        "named account",
        "other account",
        "root of the account",
        "external id",
        "wrong external id",
        "no external id",
        "service only",
    ],
)
def test_a_role_is_taken_on_by_whom_its_trust_policy_names(
    aws: LocalAws,
    iam: Any,
    client: Callable[..., Any],
    statement: dict[str, Any],
    account: str,
    asked: dict[str, str],
    lets: bool,
) -> None:
    make_role(iam, statement)
    sts = client("sts", account=account)
    if lets:
        found = sts.assume_role(RoleArn=ROLE, RoleSessionName="me", **asked)
        assert found["AssumedRoleUser"]["Arn"] == "arn:aws:sts::123456789012:assumed-role/worker/me"
    else:
        with refused("AccessDenied") as caught:
            sts.assume_role(RoleArn=ROLE, RoleSessionName="me", **asked)
        assert f"is not authorized to perform: sts:AssumeRole on resource: {ROLE}" in caught.message


def test_a_role_that_is_not_there_cannot_be_taken_on(client: Callable[..., Any]) -> None:
    with refused("AccessDenied"):
        client("sts").assume_role(RoleArn="arn:aws:iam::123456789012:role/nobody", RoleSessionName="me")


def test_a_session_ends_when_its_time_is_over_or_when_told_to(aws: LocalAws, iam: Any, client: Callable[..., Any]) -> None:
    make_role(iam)
    session = client("sts", role=ROLE)
    assert session.get_caller_identity()["Arn"].endswith("assumed-role/worker/local")
    aws.admin.step(3601)
    with refused("ExpiredToken") as caught:
        session.get_caller_identity()
    assert caught.message == "The security token included in the request is expired"
    second = client("s3", role=ROLE)
    second.list_buckets()
    aws.admin.expire_credentials("worker")
    with refused("ExpiredToken"):
        second.list_buckets()
    third = client("events", role=ROLE)
    aws.admin.expire_credentials()
    with refused("ExpiredTokenException"):
        third.list_rules()


def test_whoever_does_not_sign_is_nobody(aws: LocalAws) -> None:
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    request = Request(
        aws.endpoint_url, b"{}", {"X-Amz-Target": "AWSEvents.ListRules", "Content-Type": "application/x-amz-json-1.1"}
    )
    with pytest.raises(HTTPError) as caught:
        urlopen(request)
    with caught.value as error:
        assert json.load(error)["__type"] == "MissingAuthenticationTokenException"


def test_the_session_of_another_account_lives_in_that_account(iam: Any, client: Callable[..., Any]) -> None:
    client("iam", account="222222222222").create_role(
        RoleName="in", AssumeRolePolicyDocument=document(trust({"AWS": "123456789012"}))
    )
    inside = client("sqs", role="arn:aws:iam::222222222222:role/in")
    inside.create_queue(QueueName="q")
    assert "QueueUrls" not in client("sqs").list_queues()
    assert "QueueUrls" in client("sqs", account="222222222222").list_queues()


def test_without_a_policy_a_user_is_refused_in_awss_own_words(aws: LocalAws, iam: Any) -> None:
    credentials = as_user(aws, iam, "ann")
    boto(aws, "events", credentials).list_rules()
    aws.admin.settings(enforce_iam=True)
    with refused("AccessDeniedException") as caught:
        boto(aws, "events", credentials).put_rule(Name="r", EventPattern='{"source": ["x"]}')
    assert caught.message == (
        "User: arn:aws:iam::123456789012:user/ann is not authorized to perform: events:PutRule on resource:"
        " arn:aws:events:us-east-1:123456789012:rule/r because no identity-based policy allows the events:PutRule action"
    )


def test_a_policy_lets_a_user_do_just_what_it_says(aws: LocalAws, iam: Any, client: Callable[..., Any]) -> None:
    client("s3").create_bucket(Bucket="data")
    client("s3").create_bucket(Bucket="other")
    aws.admin.settings(enforce_iam=True)
    user = boto(aws, "s3", as_user(aws, iam, "ann", allow(["s3:Get*", "s3:Put*"], "arn:aws:s3:::data/in/*")))
    user.put_object(Bucket="data", Key="in/a", Body=b"")
    for bucket, key in (("data", "out/a"), ("other", "in/a")):
        with refused("AccessDenied"):
            user.put_object(Bucket=bucket, Key=key, Body=b"")
    with refused("AccessDenied"):
        user.list_objects_v2(Bucket="data")


def test_a_denied_role_works_again_once_it_is_granted(aws: LocalAws, iam: Any, client: Callable[..., Any]) -> None:
    make_role(iam)
    aws.admin.settings(enforce_iam=True)
    queues = client("sqs", role=ROLE)
    with refused("AccessDenied"):
        queues.create_queue(QueueName="q")
    iam.attach_role_policy(RoleName="worker", PolicyArn="arn:aws:iam::aws:policy/AmazonSQSFullAccess")
    url = queues.create_queue(QueueName="q")["QueueUrl"]
    iam.put_role_policy(
        RoleName="worker", PolicyName="no", PolicyDocument=document({"Effect": "Deny", "Action": "sqs:Send*", "Resource": "*"})
    )
    with refused("AccessDenied"):
        queues.send_message(QueueUrl=url, MessageBody="x")


def test_an_action_can_be_denied_on_demand(aws: LocalAws, client: Callable[..., Any]) -> None:
    fault = aws.admin.add_fault("deny", service="events", operation="PutRule")
    with refused("AccessDeniedException") as caught:
        client("events").put_rule(Name="r", EventPattern='{"source": ["x"]}')
    assert "is not authorized to perform: events:PutRule" in caught.message
    aws.admin.clear_faults(fault)
    client("events").put_rule(Name="r", EventPattern='{"source": ["x"]}')


def test_roles_and_policies_with_users_left_cannot_be_deleted(iam: Any) -> None:
    make_role(iam)
    arn = iam.create_policy(PolicyName="p", PolicyDocument=document(allow("s3:*")))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="worker", PolicyArn=arn)
    assert iam.list_attached_role_policies(RoleName="worker")["AttachedPolicies"] == [{"PolicyName": "p", "PolicyArn": arn}]
    with refused("DeleteConflict"):
        iam.delete_role(RoleName="worker")
    with refused("DeleteConflict"):
        iam.delete_policy(PolicyArn=arn)
    iam.detach_role_policy(RoleName="worker", PolicyArn=arn)
    iam.delete_policy(PolicyArn=arn)
    iam.delete_role(RoleName="worker")
    with refused("NoSuchEntity"):
        iam.get_role(RoleName="worker")


def test_a_broken_policy_is_refused_when_it_is_put(iam: Any) -> None:
    make_role(iam)
    for text in (
        "{",
        '{"Statement": [{"Effect": "Maybe", "Action": "*", "Resource": "*"}]}',
        document({"Effect": "Allow", "Action": "*"}),
    ):
        with refused("MalformedPolicyDocument"):
            iam.put_role_policy(RoleName="worker", PolicyName="p", PolicyDocument=text)


def test_the_simulator_agrees_with_the_policies(iam: Any) -> None:
    make_role(iam)
    iam.put_role_policy(RoleName="worker", PolicyName="p", PolicyDocument=document(allow("sagemaker:Describe*")))
    answer = iam.simulate_principal_policy(
        PolicySourceArn=ROLE, ActionNames=["sagemaker:DescribeEndpoint", "sagemaker:CreateEndpoint"]
    )
    assert [one["EvalDecision"] for one in answer["EvaluationResults"]] == ["allowed", "implicitDeny"]


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([allow("sqs:SendMessage", "arn:aws:sqs:*:*:q")], Decision.ALLOW),
        ([allow("SQS:send*")], Decision.ALLOW),
        ([allow("sqs:Send?essage")], Decision.ALLOW),
        ([allow("sqs:Receive*")], Decision.NONE),
        ([allow("*", "arn:aws:sqs:*:*:other")], Decision.NONE),
        ([allow("*"), {"Effect": "Deny", "Action": "sqs:*", "Resource": "*"}], Decision.DENY),
        ([{"Effect": "Allow", "NotAction": "sqs:*", "Resource": "*"}], Decision.NONE),
        ([{"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}], Decision.ALLOW),
        ([{"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:sqs:*:*:q"}], Decision.NONE),
    ],
    ids=[
        "exact",
        "case does not matter",
        "question mark",
        "other action",
        "other resource",
        "deny wins",
        "not action",
        "not another action",
        "not resource",
    ],
)
def test_statements_speak_of_actions_and_resources(statements: list[dict[str, Any]], expected: Decision) -> None:
    question = Question("sqs:SendMessage", "arn:aws:sqs:us-east-1:123456789012:q")
    assert evaluate([json.loads(document(*statements))], question) is expected


@pytest.mark.parametrize(
    ("block", "holds"),
    [
        ({"StringEquals": {"aws:SourceAccount": "1"}}, True),
        ({"StringEquals": {"AWS:sourceaccount": ["2", "1"]}}, True),
        ({"StringEquals": {"aws:SourceAccount": "2"}}, False),
        ({"StringNotEquals": {"aws:SourceAccount": "2"}}, True),
        ({"StringLike": {"aws:SourceArn": "arn:aws:events:*:1:rule/*"}}, True),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:events:*:1:rule/r*"}}, True),
        ({"ArnEquals": {"aws:SourceArn": "arn:aws:*:1:rule/r"}}, False),
        ({"Bool": {"secure": "true"}}, True),
        ({"NumericLessThan": {"n": "6"}}, True),
        ({"NumericLessThan": {"n": "5"}}, False),
        ({"Null": {"absent": "true"}}, True),
        ({"StringEquals": {"absent": "x"}}, False),
        ({"StringEqualsIfExists": {"absent": "x"}}, True),
        ({"ForAnyValue:StringEquals": {"tags": ["b"]}}, True),
        ({"ForAllValues:StringEquals": {"tags": ["b"]}}, False),
        ({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}, True),
        ({"StringEquals": {"aws:SourceAccount": "${account}"}}, True),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else str(value),
)
def test_conditions_hold_or_do_not(block: dict[str, Any], holds: bool) -> None:
    context = {
        "aws:SourceAccount": "1",
        "aws:SourceArn": "arn:aws:events:us-east-1:1:rule/r",
        "secure": True,
        "n": 5,
        "tags": ["a", "b"],
        "aws:SourceIp": "10.1.2.3",
        "account": "1",
    }
    assert satisfied(block, context) is holds


ISSUER = "oidc.cluster.test/id/1"
WHO = "system:serviceaccount:team:default"
PROVIDER = f"arn:aws:iam::123456789012:oidc-provider/{ISSUER}"
TRUSTED = {
    "Effect": "Allow",
    "Principal": {"Federated": PROVIDER},
    "Action": "sts:AssumeRoleWithWebIdentity",
    "Condition": {"StringEquals": {f"{ISSUER}:sub": WHO, f"{ISSUER}:aud": "sts.amazonaws.com"}},
}


def web_token(**claims: Any) -> str:
    given = {"iss": f"https://{ISSUER}", "sub": WHO, "aud": ["sts.amazonaws.com"], "exp": time.time() + 600} | claims
    return unsigned(**given)


def assume(aws: LocalAws, token: str) -> dict[str, Any]:
    """As an SDK does it: without a signature."""
    sts = boto(aws, "sts", {})
    return dict(sts.assume_role_with_web_identity(RoleArn=ROLE, RoleSessionName="pod", WebIdentityToken=token))


def test_a_pods_token_is_worth_the_roles_rights_and_no_more(client: Callable[..., Any]) -> None:
    with local_aws(speed=0, enforce_iam=True) as aws:
        iam = aws.client("iam")
        assert iam.create_open_id_connect_provider(Url=f"https://{ISSUER}", ClientIDList=["sts.amazonaws.com"]) == ANY
        make_role(iam, TRUSTED)
        iam.put_role_policy(RoleName="worker", PolicyName="p", PolicyDocument=document(allow("s3:ListAllMyBuckets")))
        found = assume(aws, web_token())
        assert (found["SubjectFromWebIdentityToken"], found["Provider"]) == (WHO, PROVIDER)
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
        session = dict(
            zip(
                ("aws_access_key_id", "aws_secret_access_key", "aws_session_token"),
                (found["Credentials"][n] for n in names),
                strict=True,
            )
        )
        assert boto(aws, "sts", session).get_caller_identity()["Arn"] == "arn:aws:sts::123456789012:assumed-role/worker/pod"
        boto(aws, "s3", session).list_buckets()
        with refused("AccessDenied"):
            boto(aws, "s3", session).create_bucket(Bucket="data")


BAD_TOKENS = [
    ({"sub": "system:serviceaccount:other:default"}, "AccessDenied", "another ServiceAccount"),
    ({"iss": "https://elsewhere.test"}, "InvalidIdentityToken", "a provider that nobody registered"),
    ({"aud": ["millrace"]}, "InvalidIdentityToken", "a token for somebody else"),
    ({"exp": 1}, "ExpiredTokenException", "a token of yesterday"),
]


@pytest.mark.parametrize(("claims", "code", "reason"), BAD_TOKENS, ids=[b[-1] for b in BAD_TOKENS])
def test_other_tokens_are_worth_nothing(aws: LocalAws, iam: Any, claims: dict[str, Any], code: str, reason: str) -> None:
    iam.create_open_id_connect_provider(Url=f"https://{ISSUER}", ClientIDList=["sts.amazonaws.com"])
    make_role(iam, TRUSTED)
    with refused(code):
        assume(aws, web_token(**claims))


def test_providers_are_kept_listed_and_deleted(iam: Any) -> None:
    iam.create_open_id_connect_provider(Url=f"https://{ISSUER}", ClientIDList=["sts.amazonaws.com"])
    with refused("EntityAlreadyExists"):
        iam.create_open_id_connect_provider(Url=f"https://{ISSUER}")
    assert [one["Arn"] for one in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]] == [PROVIDER]
    assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=PROVIDER)["ClientIDList"] == ["sts.amazonaws.com"]
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=PROVIDER)
    with refused("NoSuchEntity"):
        iam.get_open_id_connect_provider(OpenIDConnectProviderArn=PROVIDER)
