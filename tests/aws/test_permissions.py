"""docs/iam.md is true: it has every call of the code and no other, and each use works with nothing else allowed."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from millrace.aws import codes, permissions
from millrace.aws.permissions import Feature
from millrace.engine.registry import controllers
from millrace_controllers.cloudaccount.backends import permissions as of_account
from millrace_controllers.dataset.backends import permissions as of_dataset
from millrace_controllers.modelendpoint.backends.sagemaker import permissions as of_endpoint
from millrace_controllers.trainingjob.backends.sagemaker import permissions as of_training
from support import hosting, sagemaker, tuning
from support.accounts import a_world as an_account
from support.aws import ACCOUNT, ROLE, a_cloud, make_role, until
from support.sagemaker import World as Training

if TYPE_CHECKING:
    from millrace_local_aws import LocalAws

Object = dict[str, Any]
ROOT = Path(__file__).parents[2]
OPERATOR, CONTROLLERS = ROOT / "operator/millrace/aws", ROOT / "controllers/millrace_controllers"
METHODS = {"call", "timed", "find", "make", "remove", "items", "pages", "poll"}
UNASKED = {"sts:GetCallerIdentity"}
"""What everybody may."""
KINDS = {
    "CloudAccount": (of_account.FEATURES, [CONTROLLERS / "cloudaccount", OPERATOR / "plumbing.py", OPERATOR / "listener.py"]),
    "Dataset": (of_dataset.FEATURES, [CONTROLLERS / "dataset"]),
    "TrainingJob": (of_training.FEATURES, [CONTROLLERS / "trainingjob", OPERATOR / "hub.py", OPERATOR / "quotas.py"]),
    "ModelEndpoint": (of_endpoint.FEATURES, [CONTROLLERS / "modelendpoint", OPERATOR / "hub.py", OPERATOR / "quotas.py"]),
}


# -- the table and the code ------------------------------------------------------------------------------------------------


def modules(places: list[Path]) -> Iterator[Path]:
    for place in places:
        yield from sorted(place.rglob("*.py")) if place.is_dir() else [place]


def operations(module: Path) -> Iterator[tuple[str, str]]:
    """Service and operation of each call that a module makes through an account."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
            words = [a.value for a in node.args[:2] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            if len(words) == 2:
                yield words[0], words[1]


def actions_called(places: list[Path]) -> set[str]:
    found = {codes.table(service).action(name) for module in modules(places) for service, name in operations(module)}
    return found - UNASKED


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_has_every_call_of_the_code_and_no_other(kind: str) -> None:
    features, places = KINDS[kind]
    declared = {action for feature in features for grant in feature.grants for action in grant.actions}
    assert declared == actions_called(places)


def test_no_part_of_the_operator_calls_without_being_looked_at() -> None:
    looked_at = {module for _, places in KINDS.values() for module in modules(places)}
    asking = {m for folder in ("operator", "controllers") for m in (ROOT / folder).rglob("*.py") if list(operations(m))}
    users_own = {
        OPERATOR / "logs.py",
        OPERATOR / "hub_search.py",
        OPERATOR / "account.py",
    }  # as the user; and an example in a docstring
    assert asking - users_own <= looked_at


def test_each_kind_declares_what_is_tested_here() -> None:
    declared = {c.kind.name: c.aws for c in controllers() if c.aws}
    assert declared == {kind: features for kind, (features, _) in KINDS.items()}


def test_a_feature_names_others_of_its_kind() -> None:
    for features, _ in KINDS.values():
        names = {feature.name for feature in features}
        assert all(set(feature.beside) <= names for feature in features)


# -- each use, with nothing else allowed -------------------------------------------------------------------------------------


def allow(aws: LocalAws, features: tuple[Feature, ...], wanted: Feature, **known: str) -> None:
    """The role `millrace` may do what the page says, and nothing else."""
    places = {"REGION": "us-east-1", "ACCOUNT": ACCOUNT, "BUCKET": "data", **{k.replace("_", "-"): v for k, v in known.items()}}
    document = permissions.policy(permissions.with_beside(wanted, features), places)
    text = json.dumps(document)
    assert not any(name in text for name in permissions.PLACEHOLDERS if name not in {"ACCOUNT", "REGION"}), "all is filled in"
    aws.client("iam", account=ACCOUNT).put_role_policy(RoleName="millrace", PolicyName="allowed", PolicyDocument=text)


def feature(features: tuple[Feature, ...], word: str) -> Feature:
    return next(f for f in features if word in f.name)


# what of the list of features, what of the spec
RUNS: list[tuple[str, Object]] = [
    ("on SageMaker", {}),
    ("dataPolicy", {"dataPolicy": "Delete"}),
    ("algorithmARN", {"parameters": {"epochs": "1"}}),
    ("jumpStart", {}),
    ("quotaIncreases", {}),
]


@pytest.mark.parametrize(("word", "spec"), RUNS, ids=[row[0] for row in RUNS])
async def test_a_run_needs_no_more_than_the_page_says(still: LocalAws, word: str, spec: Object) -> None:
    still.admin.settings(enforce_iam=True)
    role = make_role(still, external_id="0d9c2f1e-cluster/team-a", actions=())
    allow(still, of_training.FEATURES, feature(of_training.FEATURES, word), EXECUTION_ROLE="sagemaker")
    made = {"algorithmARN": of_an_algorithm, "jumpStart": of_the_hub, "quotaIncreases": short_of_quota}
    job = made.get(word, lambda _: {})(still)
    async with a_cloud(still) as cloud:
        world = Training(still, cloud, sageMaker=job, **spec)
        world.account["spec"] |= {"roleARN": role, "quotaIncreases": [{"quota": LACKING, "upTo": 1}]}
        await world.once()
        world.change(suspend=True)
        for _ in range(4):
            await world.once()
            world.step(120)
        assert world.reason == "Suspended"
        world.change(suspend=False)
        await world.until("Succeeded")
        assert still.admin.requests("service-quotas.RequestServiceQuotaIncrease") == (word == "quotaIncreases")
        for _ in range(5):
            await world.once(finalize=True)
        assert world.released
        assert world.a_pass().account().missing == ()


LACKING = "ml.g5.2xlarge for training job usage"


def short_of_quota(still: LocalAws) -> Object:
    """It asks for more, and gets it after an hour."""
    still.admin.set_quota("training", "ml.g5.2xlarge", 0, account=ACCOUNT)
    still.admin.settings(durations={"quotas.request/PENDING": 60})
    return {}


def of_an_algorithm(still: LocalAws) -> Object:
    takes = {
        "TrainingImage": "repo/vendor:1",
        "SupportedTrainingInstanceTypes": ["ml.g5.2xlarge"],
        "SupportedHyperParameters": [{"Name": "epochs", "Type": "Integer", "IsRequired": True}],
        "TrainingChannels": [{"Name": "train", "SupportedContentTypes": ["text/csv"], "SupportedInputModes": ["File"]}],
    }
    arn = still.admin.publish_algorithm({"AlgorithmName": "tuning", "TrainingSpecification": takes}, "prod-1")
    still.admin.subscribe("prod-1", account=ACCOUNT)
    return {"algorithm": {"algorithmARN": arn}}


def of_the_hub(still: LocalAws) -> Object:
    document = {
        "TrainingSupported": True,
        "TrainingEcrUri": "repo/tune:1",
        "TrainingScriptUri": "s3://data/scripts/t.tar.gz",
        "SupportedTrainingInstanceTypes": ["ml.g5.2xlarge"],
    }
    still.admin.publish_model({"HubContentName": "m", "HubContentVersion": "1.0.0", "HubContentDocument": document})
    return {"algorithm": {"jumpStart": {"modelID": "m", "version": "1.0.0"}}}


SERVING = {"roleARN": hosting.SERVING_ROLE, "image": hosting.IMAGE, "instanceTypes": [hosting.FIRST, hosting.SECOND]}
SCALED = {"min": 1, "max": 3, "targetInvocationsPerInstance": 9}
# what of the list of features, what of the spec
SERVES: list[tuple[str, Object]] = [
    ("on SageMaker", {}),
    ("targetInvocations", {"sageMaker": {**SERVING, "replicas": SCALED}}),
    ("idleSeconds", {"idleSeconds": 300}),
    (
        "jumpStart",
        {"model": {"jumpStart": {"modelID": "falcon2"}}, "probe": None, "sageMaker": {"roleARN": hosting.SERVING_ROLE}},
    ),
]


@pytest.mark.parametrize(("word", "spec"), SERVES, ids=[row[0] for row in SERVES])
async def test_serving_needs_no_more_than_the_page_says(aws: LocalAws, word: str, spec: Object) -> None:
    """Up, to another configuration and number, down by idleness or suspension, and away; and the log of one that failed."""
    async with hosting.a_world(aws, **spec) as world:
        allow(aws, of_endpoint.FEATURES, feature(of_endpoint.FEATURES, word), EXECUTION_ROLE="serving")
        world.clock = hosting.AwsClock(aws)
        await world.until("Serving", seconds=30)
        aws.admin.step(900)
        await world.once()
        if word == "on SageMaker":
            world.change(sageMaker={**SERVING, "replicas": {"min": 2}, "env": [{"name": "A", "value": "b"}]})
            aws.admin.plan("endpoint", "fail", reason="The container did not pass the ping health check.")
            await world.until("RolledBack")
            world.change(sageMaker={**SERVING, "replicas": {"min": 2}})
            for _ in range(3):
                await world.once()
                aws.admin.step(300)
            await world.until("Serving")
        assert (world.said()[1] == "Idle") is (word == "idleSeconds")
        await world.gone()
        assert world.a_pass().account().missing == ()


async def test_serving_what_an_algorithm_tuned_needs_no_more_than_the_page_says(aws: LocalAws) -> None:
    async with tuning.tuned(aws) as world:
        allow(aws, of_endpoint.FEATURES, feature(of_endpoint.FEATURES, "algorithmARN tuned"), EXECUTION_ROLE="sagemaker")
        await world.until("Serving")
        await world.gone()
        assert world.a_pass().account().missing == ()


async def test_events_need_no_more_than_the_page_says(aws: LocalAws) -> None:
    make_role(aws, actions=())
    for wanted, events in ((of_account.FEATURES[0], {"managed": {}}), (of_account.FEATURES[1], None)):
        allow(aws, of_account.FEATURES, wanted, QUEUE="given")
        if events is None:
            url = aws.client("sqs", account=ACCOUNT).create_queue(QueueName="given")["QueueUrl"]
            events = {"queueURL": url}
        async with an_account(aws, roleARN=ROLE, events=events) as world:
            await world.settled()
            assert world.said("Listening") == ("True", "Listening")
            listener = world.cloud._ears["team", "default"].listener
            queue = world.told["events"]["queueURL"]
            aws.client("sqs", account=ACCOUNT).send_message(QueueUrl=queue, MessageBody="{}")
            await until(lambda listener=listener: listener.heard, "the message")  # type: ignore[misc]
            await world.once(finalize=True)
            assert world.released
            assert world.said("Permitted") in {None, ("True", "Permitted")}, world.told


async def test_what_the_page_leaves_out_is_denied(still: LocalAws) -> None:
    """So that the runs above prove something: without one action of the page they do not get there."""
    still.admin.settings(enforce_iam=True)
    role = make_role(still, external_id="0d9c2f1e-cluster/team-a", actions=())
    document = permissions.policy((of_training.RUNS,), {"REGION": "us-east-1", "ACCOUNT": ACCOUNT, "BUCKET": "data"})
    text = json.dumps(document).replace('"sagemaker:AddTags", ', "").replace("EXECUTION-ROLE", "sagemaker")
    still.client("iam", account=ACCOUNT).put_role_policy(RoleName="millrace", PolicyName="allowed", PolicyDocument=text)
    async with sagemaker.a_world(still) as world:
        world.account["spec"]["roleARN"] = role
        await world.once()
        assert world.reason == "PermissionDenied"
        assert [m.action for m in world.a_pass().account().missing] == ["sagemaker:AddTags"]
