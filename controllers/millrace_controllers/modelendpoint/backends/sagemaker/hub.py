"""A hub model's card (HubContentDocument of SageMakerPublicHub, schema 2.3) as what an endpoint is made of. Pure.

Field names are those that the SageMaker Python SDK reads (sagemaker.jumpstart.hub.interfaces.HubModelDocument).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millrace.api.v1alpha1.modelendpoint import JumpStartModel
from millrace.engine.errors import Refused
from millrace_controllers.modelendpoint.backends.sagemaker.requests import Recipe
from millrace_controllers.modelendpoint.errors import LicenceNotAccepted

HUB = "SageMakerPublicHub"
_PLACE = "spec.model.jumpStart"
_NEEDED = ("HostingEcrUri", "HostingArtifactUri", "DefaultInferenceInstanceType")
"""What a proprietary model's card has not: it is a model package of Marketplace."""


@dataclass(frozen=True)
class Card:
    """A version of a model in the hub."""

    version: str
    document: Mapping[str, Any]

    @property
    def types(self) -> tuple[str, ...]:
        """Instance types that the model is made for; its default first."""
        default = self.document.get("DefaultInferenceInstanceType")
        known = self.document.get("SupportedInferenceInstanceTypes") or ()
        return (*filter(None, [default]), *(t for t in known if t != default))

    @property
    def licence(self) -> str:
        """Where its licence is, as far as the card tells."""
        return str(self.document.get("HostingEulaUri") or "")

    @property
    def gated(self) -> bool:
        """Whether its licence must be accepted."""
        return bool(self.document.get("GatedBucket"))

    @property
    def probe(self) -> dict[str, Any] | None:
        """The body of its first example request."""
        payloads = (self.document.get("DefaultPayloads") or {}).values()
        return next((dict(p["Body"]) for p in payloads if isinstance(p.get("Body"), dict)), None)


def card(answer: Mapping[str, Any]) -> Card:
    """What DescribeHubContent answers."""
    return Card(str(answer["HubContentVersion"]), json.loads(answer["HubContentDocument"]))


def check(found: Card, asked: JumpStartModel, types: Sequence[str], *, override: bool) -> None:
    """Before anything is made. Raises LicenceNotAccepted or Refused."""
    if found.gated and not asked.accept_eula:
        where = found.licence or "the model's card in SageMaker Studio"
        raise LicenceNotAccepted(f"{asked.model_id} is gated: read its licence ({where}) and set {_PLACE}.acceptEULA: true")
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
    document, variant = found.document, _variant(found.document, instance_type)
    prefix = document.get("HostingArtifactCompressionType", "Gzip") == "None"
    return Recipe(
        image=_image(document, variant),
        model_uri=str(document["HostingArtifactUri"]),
        compressed=not prefix,
        env={**_environment(document), **{k: str(v) for k, v in (variant.get("EnvironmentVariables") or {}).items()}},
        accept_eula=asked.accept_eula if found.gated else None,
        isolated=bool(document.get("InferenceEnableNetworkIsolation")),
        volume_gib=document.get("InferenceVolumeSize"),
        start_seconds=_whole(document.get("ContainerStartupHealthCheckTimeout")),
        download_seconds=_whole(document.get("ModelDataDownloadTimeout")),
        ami_version=str(document.get("InferenceAmiVersion") or ""),
    )


def _image(document: Mapping[str, Any], variant: Mapping[str, Any]) -> str:
    """A variant may name an image by an alias of the card."""
    told = str(variant.get("ImageUri") or document["HostingEcrUri"])
    aliases = (document.get("HostingInstanceTypeVariants") or {}).get("Aliases") or {}
    return str(aliases.get(told.removeprefix("$"), told)) if told.startswith("$") else told


def _environment(document: Mapping[str, Any]) -> dict[str, str]:
    """What the card says that the container needs; the SDK's own variables stay out."""
    wanted = document.get("InferenceEnvironmentVariables") or ()
    return {v["Name"]: str(v["Default"]) for v in wanted if v.get("RequiredForModelClass") and v.get("Default") is not None}


def _variant(document: Mapping[str, Any], instance_type: str) -> dict[str, Any]:
    """What differs for an instance type or its family: ml.g5.12xlarge over g5."""
    variants = (document.get("HostingInstanceTypeVariants") or {}).get("Variants") or {}
    family = instance_type.removeprefix("ml.").partition(".")[0]
    told: dict[str, Any] = {}
    for name in (family, instance_type):
        properties = dict((variants.get(name) or {}).get("Properties") or {})
        env = {**(told.get("EnvironmentVariables") or {}), **(properties.get("EnvironmentVariables") or {})}
        told |= properties | ({"EnvironmentVariables": env} if env else {})
    return told


def _whole(value: Any) -> int | None:
    return int(value) if value else None
