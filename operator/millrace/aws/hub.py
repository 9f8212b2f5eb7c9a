"""Models of SageMaker's public hub: a version's card (HubContentDocument, schema 2.3), for whoever serves or tunes it.

Field names are those that the SageMaker Python SDK reads (sagemaker.jumpstart.hub.interfaces.HubModelDocument).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from millrace.aws.account import Account

HUB = "SageMakerPublicHub"


@dataclass(frozen=True)
class Card:
    """A version of a model in the hub."""

    version: str
    document: Mapping[str, Any]

    @property
    def types(self) -> tuple[str, ...]:
        """Instance types that the model is served on; its default first."""
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


async def find(account: Account, model_id: str, version: str | None) -> Card | None:
    """The card of a model, of its newest version where none is named; None where the Region's hub has none."""
    wanted = {"HubContentVersion": version} if version else {}
    answer = await account.find(
        "sagemaker", "DescribeHubContent", HubName=HUB, HubContentType="Model", HubContentName=model_id, **wanted
    )
    return None if answer is None else card(answer)


def none_such(region: str, model_id: str, version: str | None, place: str) -> str:
    """What is said where the hub has it not."""
    which = f"{model_id} {version}" if version else model_id
    return f"the hub of {region} has no model {which}: correct {place}, or use another Region"


def not_accepted(found: Card, model_id: str, place: str) -> str:
    """What is said of a licence that nobody accepted."""
    where = found.licence or "the model's card in SageMaker Studio"
    return f"{model_id} is gated: read its licence ({where}) and set {place}.acceptEULA: true"


def image(document: Mapping[str, Any], told: str, variants: str) -> str:
    """An image, which may be named by an alias of the card's variants."""
    aliases = (document.get(variants) or {}).get("Aliases") or {}
    return str(aliases.get(told.removeprefix("$"), told)) if told.startswith("$") else told


def variant(document: Mapping[str, Any], instance_type: str, variants: str) -> dict[str, Any]:
    """What differs for an instance type or its family: ml.g5.12xlarge over g5."""
    known = (document.get(variants) or {}).get("Variants") or {}
    family = instance_type.removeprefix("ml.").partition(".")[0]
    told: dict[str, Any] = {}
    for name in (family, instance_type):
        properties = dict((known.get(name) or {}).get("Properties") or {})
        env = {**(told.get("EnvironmentVariables") or {}), **(properties.get("EnvironmentVariables") or {})}
        told |= properties | ({"EnvironmentVariables": env} if env else {})
    return told
