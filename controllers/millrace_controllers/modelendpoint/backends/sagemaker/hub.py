"""A hub model's card as what an endpoint is made of. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from millrace.api.sagemaker import JumpStartModel
from millrace.aws.hub import Card, image, not_accepted, variant
from millrace.engine.errors import Refused
from millrace_controllers.modelendpoint.backends.sagemaker.requests import Recipe
from millrace_controllers.modelendpoint.errors import LicenceNotAccepted

PLACE = "spec.model.jumpStart"
_VARIANTS = "HostingInstanceTypeVariants"
_INPUT = ("MAX_INPUT_LENGTH", "MAX_INPUT_TOKENS")
_TOTAL = "MAX_TOTAL_TOKENS"
"""As Text Generation Inference, in which the hub serves language models, reads them: an input must leave room for an answer."""
_NEEDED = ("HostingEcrUri", "HostingArtifactUri", "DefaultInferenceInstanceType")
"""What a proprietary model's card has not: it is a model package of Marketplace."""


def check(found: Card, asked: JumpStartModel, types: Sequence[str], *, override: bool) -> None:
    """Before anything is made. Raises LicenceNotAccepted or Refused."""
    if found.gated and not asked.accept_eula:
        raise LicenceNotAccepted(not_accepted(found, asked.model_id, PLACE))
    missing = [name for name in _NEEDED if not found.document.get(name)]
    if missing:
        raise Refused(f"{asked.model_id} {found.version} cannot be deployed from its card, which has no {', '.join(missing)}")
    if found.document.get("HostingUseScriptUri") and found.document.get("HostingScriptUri"):
        raise Refused(f"{asked.model_id} {found.version} needs inference code beside its weights, which is not supported")
    unknown = [name for name in types if name not in found.types]
    if unknown and not override:
        raise Refused(
            f"spec.sageMaker.instanceTypes: {', '.join(unknown)} is not among {', '.join(found.types)}, which {asked.model_id} "
            "is made for; choose one of them, or set overrideInstanceTypes"
        )


def recipe(found: Card, asked: JumpStartModel, instance_type: str) -> Recipe:
    """Image, weights and environment for an instance type."""
    document, special = found.document, variant(found.document, instance_type, _VARIANTS)
    prefix = document.get("HostingArtifactCompressionType", "Gzip") == "None"
    return Recipe(
        image=image(document, str(special.get("ImageUri") or document["HostingEcrUri"]), _VARIANTS),
        model_uri=str(document["HostingArtifactUri"]),
        compressed=not prefix,
        env={**_environment(document), **{k: str(v) for k, v in (special.get("EnvironmentVariables") or {}).items()}},
        accept_eula=asked.accept_eula if found.gated else None,
        isolated=bool(document.get("InferenceEnableNetworkIsolation")),
        volume_gib=document.get("InferenceVolumeSize"),
        start_seconds=_whole(document.get("ContainerStartupHealthCheckTimeout")),
        download_seconds=_whole(document.get("ModelDataDownloadTimeout")),
        ami_version=str(document.get("InferenceAmiVersion") or ""),
    )


def check_limits(env: Mapping[str, str]) -> None:
    """Of the container's tokens, which it would refuse minutes after it was paid for. Raises Refused."""
    limits = {name: _count(name, env[name]) for name in (*_INPUT, _TOTAL) if env.get(name)}
    total = limits.pop(_TOTAL, None)
    for name, value in limits.items():
        if total is not None and value >= total:
            raise Refused(
                f"spec.sageMaker.env: {name} is {value} and {_TOTAL} is {total}: it must be less, so that there is room to answer"
            )


def _count(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise Refused(f"spec.sageMaker.env: {name} must be a number of tokens, not {text!r}")
    return int(text)


def _environment(document: Mapping[str, Any]) -> dict[str, str]:
    """What the card says that the container needs; the SDK's own variables stay out."""
    wanted = document.get("InferenceEnvironmentVariables") or ()
    return {v["Name"]: str(v["Default"]) for v in wanted if v.get("RequiredForModelClass") and v.get("Default") is not None}


def _whole(value: Any) -> int | None:
    return int(value) if value else None
