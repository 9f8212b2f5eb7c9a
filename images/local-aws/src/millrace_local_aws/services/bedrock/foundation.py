"""Foundation models: data with its sources, in bedrock/models.json. One may be asked, one may be tuned, by what stands there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from millrace_local_aws.service import Call, Input
from millrace_local_aws.services.bedrock.service import BEDROCK, not_found
from millrace_local_aws.state.store import Record


@dataclass(frozen=True)
class Foundation:
    """One model. `family` is the form of its bodies; `limits` are requests and tokens a minute on demand."""

    id: str
    name: str
    provider: str
    family: str
    inference: tuple[str, ...]
    streaming: bool
    lifecycle: str
    most_tokens: int
    limits: tuple[float, float] | None = None
    customizations: tuple[str, ...] = ()
    hyperparameters: str = ""
    most_records: dict[str, int] = field(default_factory=dict)
    deployable: bool = False
    """Whether what is tuned from it can be served on demand."""

    def arn(self, region: str) -> str:
        return f"arn:aws:bedrock:{region}::foundation-model/{self.id}"


@cache
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((resources.files("millrace_local_aws") / "bedrock/models.json").read_text())
    return found


@cache
def models() -> dict[str, Foundation]:
    """By id."""
    return {one["id"]: _read(one) for one in document()["models"]}


def _read(one: dict[str, Any]) -> Foundation:
    limits = (one["requestsPerMinute"], one["tokensPerMinute"]) if "requestsPerMinute" in one else None
    return Foundation(
        one["id"],
        one["name"],
        one["provider"],
        one["family"],
        tuple(one["inferenceTypes"]),
        one["streaming"],
        one["lifecycle"],
        one["maxTokens"],
        limits,
        tuple(one.get("customizations", ())),
        one.get("hyperparameters", ""),
        one.get("maxRecords", {}),
        one.get("customModelOnDemand", False),
    )


def customizations(model: Foundation, region: str) -> tuple[str, ...]:
    """What a model can be tuned by; in some regions only."""
    return model.customizations if region in document()["customizationRegions"] else ()


def known(name: str) -> Foundation | None:
    """By id or ARN."""
    return models().get(name.rpartition("foundation-model/")[2])


def _view(call: Call, model: Foundation) -> Record:
    return {
        "modelArn": model.arn(call.region),
        "modelId": model.id,
        "modelName": model.name,
        "providerName": model.provider,
        "inputModalities": ["TEXT"],
        "outputModalities": ["TEXT"],
        "responseStreamingSupported": model.streaming,
        "customizationsSupported": list(customizations(model, call.region)),
        "inferenceTypesSupported": list(model.inference),
        "modelLifecycle": {"status": model.lifecycle},
    }


@BEDROCK.operation("ListFoundationModels")
def list_foundation_models(call: Call, request: Input) -> dict[str, Any]:
    found = [_view(call, model) for model in models().values()]
    wanted = {
        "byCustomizationType": "customizationsSupported",
        "byOutputModality": "outputModalities",
        "byInferenceType": "inferenceTypesSupported",
    }
    for asked, member in wanted.items():
        found = [one for one in found if request.get(asked) in (None, *one[member])]
    provider = request.get("byProvider", "").lower()
    return {"modelSummaries": [one for one in found if provider in ("", one["providerName"].lower())]}


def _arn(call: Call, request: Input) -> str:
    name = str(request.get("modelIdentifier", request.get("modelId", "*")))
    return name if name.startswith("arn:") else f"arn:aws:bedrock:{call.region}::foundation-model/{name}"


def _found(name: str) -> Foundation:
    found = known(name)
    if found is None:
        raise not_found(f"Could not resolve the foundation model from the model identifier: {name}")
    return found


@BEDROCK.operation("GetFoundationModel", resource=_arn)
def get_foundation_model(call: Call, request: Input) -> dict[str, Any]:
    return {"modelDetails": _view(call, _found(request["modelIdentifier"]))}


@BEDROCK.operation("GetFoundationModelAvailability", resource=_arn)
def get_foundation_model_availability(call: Call, request: Input) -> dict[str, Any]:
    return {
        "modelId": _found(request["modelId"]).id,
        "agreementAvailability": {"status": "AVAILABLE"},
        "authorizationStatus": "AUTHORIZED",
        "entitlementAvailability": "AVAILABLE",
        "regionAvailability": "AVAILABLE",
    }
