"""From the spec, or a hub model's card, to what SageMaker is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from millrace.api.v1alpha1.modelendpoint import JumpStartModel, ModelEndpointSpec, ProbeExpectation
from millrace.aws import hub as cards
from millrace.engine.errors import Refused
from millrace_controllers.modelendpoint import models
from millrace_controllers.modelendpoint.backends.sagemaker import (
    config_name,
    endpoint_name,
    hub,
    judged,
    preview,
    requests,
)
from millrace_controllers.modelendpoint.errors import LicenceNotAccepted

Object = dict[str, Any]
ROLE = "arn:aws:iam::111122223333:role/serving"
CARD: Object = {
    "HostingEcrUri": "763104351884.dkr.ecr.us-east-1.amazonaws.com/tgi:2.0",
    "HostingArtifactUri": "s3://jumpstart-cache-prod-us-east-1/falcon2/artifacts/",
    "HostingArtifactCompressionType": "None",
    "DefaultInferenceInstanceType": "ml.g5.12xlarge",
    "SupportedInferenceInstanceTypes": ["ml.g5.12xlarge", "ml.g5.24xlarge", "ml.p4d.24xlarge"],
    "InferenceEnvironmentVariables": [
        {"Name": "MAX_INPUT_LENGTH", "Type": "text", "Default": 4095, "Scope": "container", "RequiredForModelClass": True},
        {"Name": "SAGEMAKER_SUBMIT_DIRECTORY", "Type": "text", "Default": "/opt/ml/code", "Scope": "container"},
    ],
    "HostingInstanceTypeVariants": {
        "Aliases": {"newer": "763104351884.dkr.ecr.us-east-1.amazonaws.com/tgi:2.1"},
        "Variants": {
            "p4d": {"Properties": {"ImageUri": "$newer"}},
            "ml.g5.12xlarge": {"Properties": {"EnvironmentVariables": {"SM_NUM_GPUS": "4"}}},
            "ml.p4d.24xlarge": {"Properties": {"EnvironmentVariables": {"SM_NUM_GPUS": "8"}}},
        },
    },
    "HostingEulaUri": "s3://jumpstart-cache-prod-us-east-1/eula.txt",
    "GatedBucket": False,
    "DefaultPayloads": {"hello": {"ContentType": "application/json", "Body": {"inputs": "Hello"}}},
}


def spec(model: Object | None = None, **serving: Any) -> ModelEndpointSpec:
    wanted = {"roleARN": ROLE, "instanceTypes": ["ml.m5.large"], "image": "111122223333.dkr.ecr.us-east-1.amazonaws.com/s:1"}
    given = {key: value for key, value in {**wanted, **serving}.items() if value is not None}
    return ModelEndpointSpec.model_validate({"model": model or {"uri": "s3://models/m.tar.gz"}, "sageMaker": given})


def card(**change: Any) -> cards.Card:
    return cards.card({"HubContentVersion": "1.2.3", "HubContentDocument": json.dumps({**CARD, **change})})


def asked(**change: Any) -> JumpStartModel:
    return JumpStartModel.model_validate({"modelID": "huggingface-llm-falcon2-11b", **change})


def test_an_own_model_is_one_archive_or_files_under_a_prefix() -> None:
    serving = spec().sage_maker
    assert serving is not None
    archive = requests.model("n", spec(), requests.own(serving, "s3://models/m.tar.gz"), [])["PrimaryContainer"]
    files = requests.model("n", spec(), requests.own(serving, "s3://models/m/"), [])["PrimaryContainer"]
    assert archive["ModelDataSource"]["S3DataSource"] == {
        "S3Uri": "s3://models/m.tar.gz",
        "S3DataType": "S3Object",
        "CompressionType": "Gzip",
    }
    assert files["ModelDataSource"]["S3DataSource"]["S3DataType"] == "S3Prefix"


def test_a_model_on_a_claim_is_refused_with_what_to_change() -> None:
    serving = spec().sage_maker
    assert serving is not None
    with pytest.raises(Refused, match="output be on S3"):
        requests.own(serving, "claim://results/gpt/model")


@pytest.mark.proves("08.8")
def test_networks_isolation_and_role_reach_the_model() -> None:
    networks = {"subnets": ["subnet-1"], "securityGroupIDs": ["sg-1"]}
    made = requests.model("n", spec(vpc=networks, networkIsolation=True), requests.marketplace("arn:x"), [])
    assert made["VpcConfig"] == {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]}
    assert (made["EnableNetworkIsolation"], made["ExecutionRoleArn"]) == (True, ROLE)
    assert made["PrimaryContainer"] == {"ModelPackageName": "arn:x"}


def test_a_users_variables_replace_the_cards() -> None:
    recipe = hub.recipe(card(), asked(), "ml.g5.12xlarge")
    env = [{"name": "MAX_INPUT_LENGTH", "value": "1024"}, {"name": "SEED", "value": "7"}]
    container = requests.model("n", spec(env=env), recipe, [])["PrimaryContainer"]
    assert container["Environment"] == {"MAX_INPUT_LENGTH": "1024", "SM_NUM_GPUS": "4", "SEED": "7"}


@pytest.mark.proves("08.7")
@pytest.mark.parametrize(("instance_type", "gpus"), [("ml.g5.12xlarge", "4"), ("ml.p4d.24xlarge", "8")])
def test_the_degree_of_parallelism_is_that_of_the_instance_type(instance_type: str, gpus: str) -> None:
    assert hub.recipe(card(), asked(), instance_type).env["SM_NUM_GPUS"] == gpus


def test_an_image_may_be_named_by_an_alias_for_a_family() -> None:
    assert hub.recipe(card(), asked(), "ml.p4d.24xlarge").image.endswith("tgi:2.1")
    assert hub.recipe(card(), asked(), "ml.g5.24xlarge").image.endswith("tgi:2.0")


@pytest.mark.proves("08.3")
def test_the_cards_default_comes_first_and_other_types_need_an_override() -> None:
    found = card()
    assert found.types[0] == "ml.g5.12xlarge"
    hub.check(found, asked(), found.types, override=False)
    with pytest.raises(Refused, match=r"ml\.t2\.medium is not among ml\.g5\.12xlarge, .* overrideInstanceTypes"):
        hub.check(found, asked(), ["ml.t2.medium"], override=False)
    hub.check(found, asked(), ["ml.t2.medium"], override=True)


@pytest.mark.proves("08.2")
def test_a_gated_licence_must_be_accepted_and_an_ungated_one_need_not() -> None:
    gated = card(GatedBucket=True)
    with pytest.raises(LicenceNotAccepted, match=r"s3://jumpstart-cache-prod-us-east-1/eula\.txt"):
        hub.check(gated, asked(), gated.types, override=False)
    accepted = hub.recipe(gated, asked(acceptEULA=True), "ml.g5.12xlarge")
    assert requests.model("n", spec(), accepted, [])["PrimaryContainer"]["ModelDataSource"]["S3DataSource"][
        "ModelAccessConfig"
    ] == {"AcceptEula": True}
    hub.check(card(), asked(acceptEULA=False), ["ml.g5.12xlarge"], override=False)
    assert hub.recipe(card(), asked(), "ml.g5.12xlarge").accept_eula is None, "nothing is said of what nobody asks"


def test_a_hub_models_version_is_pinned_when_it_is_first_made() -> None:
    named = spec({"jumpStart": {"modelID": "m-1"}}, image=None, instanceTypes=None)
    assert models.target(named, {}, lambda _: None).version is None
    made = models.of_version(named, "1.2.3")
    again = models.target(named, {"model": {"uri": made.uri}}, lambda _: None)
    assert (again.version, again.revision) == ("1.2.3", made.revision)
    other = spec({"jumpStart": {"modelID": "m-2"}}, image=None, instanceTypes=None)
    assert models.target(other, {"model": {"uri": made.uri}}, lambda _: None).version is None


def test_how_many_instances_there_are_makes_no_other_revision() -> None:
    one, many = spec(), spec(replicas={"min": 2, "max": 8, "targetInvocationsPerInstance": 100})
    assert models.revision(one, "s3://m", None) == models.revision(many, "s3://m", None)
    assert requests.scaling(one) != requests.scaling(many)
    assert (
        requests.config("n", many, requests.marketplace("a"), "ml.m5.large", [])["ProductionVariants"][0]["InitialInstanceCount"]
        == 2
    )


def test_names_leave_room_and_differ_by_uid_revision_and_type() -> None:
    owner = {"metadata": {"name": "a" * 40, "uid": "0a1b2c3d-0000-4000-8000-000000000000"}}
    endpoint = endpoint_name(owner)
    assert endpoint.endswith("-0a1b2c")
    assert len(config_name(endpoint, "0" * 12, 7)) <= 63
    assert config_name(endpoint, "0" * 12, 0) != config_name(endpoint, "0" * 12, 1)


# answer, expectation, fits, says, reason
ANSWERS: list[tuple[str, Object | None, bool, str, str]] = [
    ("positive", None, True, "positive", "any answer will do"),
    ("very positive", {"contains": "positive"}, True, "very positive", "the text is there"),
    ("no idea", {"contains": "positive"}, False, "does not contain 'positive': no idea", "it is not"),
    ('[{"generated_text": "x"}]', {"matches": r'"generated_text": ?"\w'}, True, "generated_text", "the pattern is found"),
    ("[]", {"matches": "text"}, False, "does not match 'text': []", "it is not found"),
]


@pytest.mark.parametrize(("said", "expect", "fits", "says", "reason"), ANSWERS, ids=[a[-1] for a in ANSWERS])
def test_an_answer_is_judged(said: str, expect: Object | None, fits: bool, says: str, reason: str) -> None:
    answer = judged(said, ProbeExpectation.model_validate(expect) if expect else None)
    assert answer.fits is fits, reason
    assert says in answer.said


PREVIEWED: list[tuple[Object, Object, str]] = [
    ({"uri": "s3://models/m/"}, {}, "ml.m5.large"),
    ({"jumpStart": {"modelID": "m-1"}}, {"image": None, "instanceTypes": None}, "(from the hub's card)"),
    (
        {"marketplace": {"modelPackageARN": "arn:aws:sagemaker:us-east-1:865070037744:model-package/m"}},
        {"image": None},
        "ml.m5.large",
    ),
    ({"trainingJobRef": {"name": "gpt"}}, {}, "ml.m5.large"),
]


@pytest.mark.parametrize(("model", "serving", "instance_type"), PREVIEWED)
def test_a_plan_shows_what_would_be_asked_for(model: Object, serving: Object, instance_type: str) -> None:
    wanted = spec(model, **serving)
    owner = {"metadata": {"name": "t", "uid": "xxxxxx00-0000-0000-0000-000000000000"}}
    shown = preview.everything(owner, wanted)
    assert [child["kind"] for child in shown] == ["SageMakerModel", "SageMakerEndpointConfig", "SageMakerEndpoint"]
    assert shown[1]["spec"]["ProductionVariants"][0]["InstanceType"] == instance_type
    assert shown[2]["metadata"]["name"] == "t-xxxxxx"
    assert shown[2]["spec"]["EndpointConfigName"] == shown[0]["metadata"]["name"]


LIMITS = [
    ({}, "", "no limits of its own"),
    ({"MAX_INPUT_LENGTH": "1024", "MAX_TOTAL_TOKENS": "2048"}, "", "room to answer"),
    ({"MAX_INPUT_TOKENS": "2048"}, "", "the total is the container's own"),
    ({"MAX_INPUT_TOKENS": "2048", "MAX_TOTAL_TOKENS": "2048"}, "must be less", "no room to answer"),
    ({"MAX_TOTAL_TOKENS": "many"}, "must be a number of tokens, not 'many'", "no number"),
    ({"MAX_INPUT_LENGTH": "0"}, "must be a number of tokens", "nothing may be asked"),
]


@pytest.mark.parametrize(("env", "says", "why"), LIMITS, ids=[row[-1] for row in LIMITS])
def test_limits_of_tokens_leave_room_to_answer(env: dict[str, str], says: str, why: str) -> None:
    if not says:
        hub.check_limits(env)
        return
    with pytest.raises(Refused, match=says):
        hub.check_limits(env)
