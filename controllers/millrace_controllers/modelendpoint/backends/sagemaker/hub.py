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


def _environment(document: Mapping[str, Any]) -> dict[str, str]:
    """What the card says that the container needs; the SDK's own variables stay out."""
    wanted = document.get("InferenceEnvironmentVariables") or ()
    return {v["Name"]: str(v["Default"]) for v in wanted if v.get("RequiredForModelClass") and v.get("Default") is not None}


def _whole(value: Any) -> int | None:
    return int(value) if value else None
