"""What a hub model's card makes of a training job, and which cards make none."""

from __future__ import annotations

import json
from typing import Any

import botocore.session
import pytest
from botocore.validate import validate_parameters

from millrace.api.sagemaker import JumpStartModel
from millrace.api.v1alpha1.trainingjob import TrainingJobSpec
from millrace.aws import hub
from millrace.engine.errors import Refused
from millrace_controllers.trainingjob.backends.sagemaker import jumpstart, request
from millrace_controllers.trainingjob.errors import LicenceNotAccepted, NotTrainable, UnfitForAlgorithm
from millrace_controllers.trainingjob.observed import ResolvedInput

Object = dict[str, Any]
ROLE = "arn:aws:iam::111122223333:role/sagemaker"
OWNER = {"kind": "TrainingJob", "metadata": {"name": "tune", "namespace": "team", "uid": "0a1b2c3d-0000-4000-8000-000000000000"}}
CARD: Object = {
    "TrainingSupported": True,
    "TrainingEcrUri": "repo/train:1",
    "TrainingScriptUri": "s3://hub/scripts/transfer.tar.gz",
    "TrainingArtifactUri": "s3://hub/weights/",
    "SupportedTrainingInstanceTypes": ["ml.g5.2xlarge", "ml.p4d.24xlarge"],
    "TrainingVolumeSize": 256,
    "TrainingEnableNetworkIsolation": True,
    "EncryptInterContainerTraffic": True,
    "TrainingMetrics": [{"Name": "eval:loss", "Regex": "eval_loss=([0-9.]+)"}],
    "Hyperparameters": [
        {"Name": "epoch", "Type": "int", "Default": "1", "Scope": "algorithm", "Min": 1, "Max": 1000},
        {"Name": "learning_rate", "Type": "float", "Default": "0.0001", "Scope": "algorithm", "Min": 1e-8, "Max": 1},
        {"Name": "peft_type", "Type": "text", "Default": "lora", "Scope": "algorithm", "Options": ["lora", "None"]},
        {"Name": "sagemaker_program", "Type": "text", "Default": "transfer_learning.py", "Scope": "container"},
    ],
    "TrainingInstanceTypeVariants": {
        "Aliases": {"big": "repo/train:1-big"},
        "Variants": {
            "p4d": {"Properties": {"ImageUri": "$big", "EnvironmentVariables": {"SHARDS": "8"}}},
            "ml.p4d.24xlarge": {"Properties": {"Hyperparameters": [{"Name": "batch", "Default": 8, "Scope": "algorithm"}]}},
        },
    },
}


def card(**change: Any) -> hub.Card:
    return hub.card({"HubContentVersion": "1.2.0", "HubContentDocument": json.dumps({**CARD, **change})})


def asked(accept: bool = False) -> JumpStartModel:
    return JumpStartModel(model_id="falcon2", version="1.2.0", accept_eula=accept)


def spec(parameters: Object | None = None, inputs: tuple[str, ...] = ("training",), **job: Any) -> TrainingJobSpec:
    member = {"algorithm": {"jumpStart": {"modelID": "falcon2", "version": "1.2.0"}}, "roleARN": ROLE, **job}
    return TrainingJobSpec.model_validate(
        {
            "inputs": [{"name": name, "uri": f"s3://data/{name}/"} for name in inputs],
            "output": {"uri": "s3://results/models"},
            "parameters": parameters,
            "sageMaker": {"instanceTypes": ["ml.g5.2xlarge"], **member},
        }
    )


def created(found: hub.Card, wanted: TrainingJobSpec, instance_type: str = "ml.g5.2xlarge", accept: bool = False) -> Object:
    recipe = jumpstart.recipe(found, asked(accept), wanted, instance_type)
    return request.create(OWNER, wanted, 1, instance_type, (ResolvedInput("training", "", "s3://data/t/"),), {}, 0, recipe)


# card's change, accepted, spec, error, said, reason
REFUSALS: list[tuple[Object, bool, TrainingJobSpec, type[Refused], str, str]] = [
    ({"TrainingSupported": False}, False, spec(), NotTrainable, "supports no training", "the hub does not allow it"),
    ({"TrainingSupported": None}, False, spec(), NotTrainable, "supports no training", "the card does not say so"),
    ({"TrainingScriptUri": None}, False, spec(), NotTrainable, "has no TrainingScriptUri", "half a section"),
    ({"GatedBucket": True}, False, spec(), LicenceNotAccepted, "acceptEULA: true", "gated"),
    ({}, False, spec(instanceTypes=["ml.t3.medium"]), UnfitForAlgorithm, "ml.t3.medium is not among", "another type"),
    ({}, False, spec({"epochs": "1"}), UnfitForAlgorithm, "epochs is unknown; known are epoch", "mistyped"),
    ({}, False, spec({"epoch": "0"}), UnfitForAlgorithm, "'0' is not between 1 and 1000", "out of range"),
    ({}, False, spec({"peft_type": "dora"}), UnfitForAlgorithm, "is not one of lora, None", "no option"),
    ({}, False, spec(inputs=("model",)), UnfitForAlgorithm, "the channel of its own weights", "a channel that is taken"),
    ({}, False, spec({"sagemaker_program": "x"}), UnfitForAlgorithm, "is unknown", "what the container is started by"),
]


@pytest.mark.parametrize(("change", "accept", "wanted", "error", "said", "reason"), REFUSALS, ids=[row[-1] for row in REFUSALS])
def test_what_cannot_be_tuned_is_refused(
    change: Object, accept: bool, wanted: TrainingJobSpec, error: type[Refused], said: str, reason: str
) -> None:
    with pytest.raises(error, match=said) as raised:
        jumpstart.check(card(**change), asked(accept), wanted)
    assert type(raised.value) is error, reason


def test_what_fits_is_not_refused() -> None:
    jumpstart.check(card(), asked(), spec({"epoch": "3", "learning_rate": "1e-4"}))
    jumpstart.check(card(GatedBucket=True), asked(accept=True), spec())
    old = {"TrainingModelPackageArtifactUri": "s3://vendor/m.tar.gz"}
    jumpstart.check(card(**old), asked(), spec(inputs=("model",)))


def test_a_job_is_made_of_the_card_with_the_users_words_over_it() -> None:
    made = created(card(), spec({"epoch": "3"}))
    shape = botocore.session.get_session().get_service_model("sagemaker").operation_model("CreateTrainingJob").input_shape
    validate_parameters(made, shape)
    assert {name: json.loads(value) for name, value in made["HyperParameters"].items()} == {
        "epoch": 3, "learning_rate": 0.0001, "peft_type": "lora",
        "sagemaker_program": "transfer_learning.py", "sagemaker_submit_directory": "s3://hub/scripts/transfer.tar.gz",
    }  # fmt: skip
    assert made["AlgorithmSpecification"] == {
        "TrainingImage": "repo/train:1", "TrainingInputMode": "File", "MetricDefinitions": CARD["TrainingMetrics"],
    }  # fmt: skip
    assert [c["ChannelName"] for c in made["InputDataConfig"]] == ["training", "model"]
    assert made["InputDataConfig"][1]["DataSource"]["S3DataSource"]["S3Uri"] == "s3://hub/weights/"
    assert "ModelAccessConfig" not in made["InputDataConfig"][1]["DataSource"]["S3DataSource"], "nobody asks"
    assert made["ResourceConfig"]["VolumeSizeInGB"] == 256
    assert made["EnableNetworkIsolation"]
    assert made["EnableInterContainerTrafficEncryption"]


def test_an_instance_type_has_its_own_image_variables_and_parameters() -> None:
    made = created(card(), spec(env={"MINE": "1"}, volumeGiB=500), "ml.p4d.24xlarge")
    assert made["AlgorithmSpecification"]["TrainingImage"] == "repo/train:1-big"
    assert made["Environment"] == {"SHARDS": "8", "MINE": "1"}
    assert made["HyperParameters"]["batch"] == "8"
    assert made["ResourceConfig"]["VolumeSizeInGB"] == 500


def test_gated_weights_are_asked_for_with_the_licence_accepted() -> None:
    source = created(card(GatedBucket=True), spec(), accept=True)["InputDataConfig"][1]["DataSource"]["S3DataSource"]
    assert source["ModelAccessConfig"] == {"AcceptEula": True}


def test_models_from_before_the_channel_name_their_weights_by_a_variable() -> None:
    old = card(GatedBucket=True, TrainingModelPackageArtifactUri="s3://vendor/m.tar.gz")
    made = created(old, spec(), accept=True)
    assert made["Environment"] == {"SageMakerGatedModelS3Uri": "s3://vendor/m.tar.gz", "accept_eula": "true"}
    assert [c["ChannelName"] for c in made["InputDataConfig"]] == ["training"]
