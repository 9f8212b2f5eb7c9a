"""The training section of a hub model's card as what a training job is made of. Pure.

It is put together as sagemaker.jumpstart.factory.estimator of the SageMaker Python SDK does: the card's script, its
hyperparameters with the user's over them, and the weights as the channel `model`, or named by a variable for older models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from millrace.api.sagemaker import JumpStartModel
from millrace.api.v1alpha1.trainingjob import TrainingJobSpec
from millrace.aws.hub import Card, image, not_accepted, variant
from millrace_controllers.trainingjob.backends.sagemaker import algorithm
from millrace_controllers.trainingjob.errors import LicenceNotAccepted, NotTrainable, UnfitForAlgorithm

Object = dict[str, Any]
PLACE = "spec.sageMaker.algorithm.jumpStart"
MODEL_CHANNEL = "model"
_ENTRY_POINT = "transfer_learning.py"
_GATED_WEIGHTS = "SageMakerGatedModelS3Uri"
_VARIANTS = "TrainingInstanceTypeVariants"
_NEEDED = ("TrainingEcrUri", "TrainingScriptUri")
_TYPES = {"int": "Integer", "float": "Continuous"}


@dataclass(frozen=True)
class Recipe:
    """What a hub model's job is made of, on one instance type."""

    image: str
    script: str
    entry_point: str
    parameters: Mapping[str, str]
    env: Mapping[str, str]
    metrics: tuple[Object, ...] = ()
    weights: str = ""
    """Where the channel `model` reads; "" where there is none."""
    accept_eula: bool = False
    volume_gib: int = 0
    isolated: bool = False
    encrypted: bool = False


def check(found: Card, asked: JumpStartModel, spec: TrainingJobSpec) -> None:
    """Before anything is made. Raises NotTrainable, LicenceNotAccepted or UnfitForAlgorithm."""
    which = f"{asked.model_id} {found.version}"
    if not found.document.get("TrainingSupported"):
        raise NotTrainable(f"{which} cannot be tuned: its card in the hub supports no training")
    if missing := [name for name in _NEEDED if not found.document.get(name)]:
        raise NotTrainable(f"{which} cannot be tuned from its card, which has no {', '.join(missing)}")
    if found.gated and not asked.accept_eula:
        raise LicenceNotAccepted(not_accepted(found, asked.model_id, PLACE))
    if wrong := "; ".join(_problems(found, spec)):
        raise UnfitForAlgorithm(f"{which} does not take it: {wrong}")


def _problems(found: Card, spec: TrainingJobSpec) -> Iterator[str]:
    job = spec.sage_maker
    assert job is not None, "only asked for the member sageMaker"
    supported = found.document.get("SupportedTrainingInstanceTypes") or ()
    yield from algorithm.unsupported(supported, job.instance_types)
    yield from algorithm.wrong_parameters([_declared(h) for h in _tunable(found.document)], spec.parameters or {})
    if MODEL_CHANNEL in {i.name for i in spec.inputs or ()} and _weights(found.document, {}):
        yield f"spec.inputs: {MODEL_CHANNEL!r} is the channel of its own weights"


def _tunable(document: Mapping[str, Any]) -> list[Object]:
    """Hyperparameters of the algorithm; those of the container are for whoever starts it."""
    return [h for h in document.get("Hyperparameters") or () if h.get("Scope") == "algorithm"]


def _declared(told: Object) -> Object:
    """A hyperparameter of a card in the words of DescribeAlgorithm."""
    if told.get("Options"):
        values = {"CategoricalParameterRangeSpecification": {"Values": [str(o) for o in told["Options"]]}}
        return {"Name": told["Name"], "Type": "Categorical", "Range": values}
    kind = _TYPES.get(str(told.get("Type")), "FreeText")
    limits = {"MinValue": str(told.get("Min", "-Infinity")), "MaxValue": str(told.get("Max", "Infinity"))}
    return {"Name": told["Name"], "Type": kind, "Range": {"ContinuousParameterRangeSpecification": limits}}


def recipe(found: Card, asked: JumpStartModel, spec: TrainingJobSpec, instance_type: str) -> Recipe:
    """What the job is made of on an instance type. The card must have been checked."""
    document, special = found.document, variant(found.document, instance_type, _VARIANTS)
    defaults = {h["Name"]: str(h["Default"]) for h in (*_tunable(document), *(special.get("Hyperparameters") or ()))}
    weights = _weights(document, special)
    return Recipe(
        image=image(document, str(special.get("ImageUri") or document["TrainingEcrUri"]), _VARIANTS),
        script=str(document["TrainingScriptUri"]),
        entry_point=_ENTRY_POINT,
        parameters={**defaults, **(spec.parameters or {})},
        env=_environment(found, special, accepted=asked.accept_eula),
        metrics=tuple({"Name": m["Name"], "Regex": m["Regex"]} for m in document.get("TrainingMetrics") or ()),
        weights=weights,
        accept_eula=found.gated and asked.accept_eula,
        volume_gib=int(document.get("TrainingVolumeSize") or 0),
        isolated=bool(document.get("TrainingEnableNetworkIsolation")),
        encrypted=bool(document.get("EncryptInterContainerTraffic")),
    )


def _named_weights(document: Mapping[str, Any], special: Object) -> str:
    """Weights that the script fetches itself: of models from before the channel."""
    return str(special.get("GatedModelEnvVarUri") or document.get("TrainingModelPackageArtifactUri") or "")


def _weights(document: Mapping[str, Any], special: Object) -> str:
    if _named_weights(document, special):
        return ""
    return str(special.get("TrainingArtifactUri") or document.get("TrainingArtifactUri") or "")


def _environment(found: Card, special: Object, *, accepted: bool) -> dict[str, str]:
    made = {name: str(value) for name, value in (special.get("EnvironmentVariables") or {}).items()}
    if named := _named_weights(found.document, special):
        made[_GATED_WEIGHTS] = named
        if found.gated and accepted:
            made["accept_eula"] = "true"
    return made


def channel(made: Recipe) -> Object | None:
    """The weights, as an input."""
    if not made.weights:
        return None
    source: Object = {"S3DataType": "S3Prefix", "S3Uri": made.weights, "S3DataDistributionType": "FullyReplicated"}
    if made.accept_eula:
        source["ModelAccessConfig"] = {"AcceptEula": True}
    told = {"ContentType": "application/x-sagemaker-model", "InputMode": "File"}
    return {"ChannelName": MODEL_CHANNEL, "DataSource": {"S3DataSource": source}, **told}


def base_model(spec: TrainingJobSpec) -> str | None:
    """For the lineage."""
    asked = spec.sage_maker.algorithm.jump_start if spec.sage_maker else None
    return f"jumpstart://{asked.model_id}/{asked.version}" if asked else None
