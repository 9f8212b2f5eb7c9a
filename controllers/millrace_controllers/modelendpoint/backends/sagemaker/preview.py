"""What would be made on SageMaker, as `millrace plan` shows it: the requests themselves, under the names that they would have."""

from __future__ import annotations

from typing import Any

from millrace.api.v1alpha1.modelendpoint import ModelEndpointSpec
from millrace.aws.places import CloudLog
from millrace.aws.resolve import account_name
from millrace_controllers.modelendpoint import models
from millrace_controllers.modelendpoint.backends.sagemaker import config_name, endpoint_name, requests

Object = dict[str, Any]
_FROM_THE_CARD = "(from the hub's card)"
_FROM_THE_ALGORITHM = "(from the TrainingJob's algorithm)"


def everything(owner: Object, spec: ModelEndpointSpec) -> list[Object]:
    """Model, configuration and endpoint for the first instance type; what only the hub knows is said to be so."""
    uri = spec.model.uri or "s3://the-output-of-the-trainingjob"
    target = models.target(spec, {}, lambda _: None) if spec.model.training_job_ref is None else None
    revision = target.revision if target else models.revision(spec, uri, None)
    endpoint = endpoint_name(owner)
    name, recipe = config_name(endpoint, revision, 0), _recipe(spec, uri)
    serving = spec.sage_maker
    assert serving is not None, "only asked for the member sageMaker"
    instance_type = (serving.instance_types or [_FROM_THE_CARD])[0]
    return [
        _shown("SageMakerModel", name, requests.model(name, spec, recipe, [])),
        _shown("SageMakerEndpointConfig", name, requests.config(name, spec, recipe, instance_type, [])),
        _shown("SageMakerEndpoint", endpoint, {"EndpointName": endpoint, "EndpointConfigName": name}),
    ]


def _recipe(spec: ModelEndpointSpec, uri: str) -> requests.Recipe:
    if spec.model.marketplace is not None:
        return requests.marketplace(spec.model.marketplace.model_package_arn)
    if spec.model.jump_start is not None:
        return requests.Recipe(image=_FROM_THE_CARD, model_uri=_FROM_THE_CARD)
    assert spec.sage_maker is not None, "only asked for the member sageMaker"
    if spec.sage_maker.image is None:
        return requests.Recipe(image=_FROM_THE_ALGORITHM, model_uri=uri)
    return requests.own(spec.sage_maker, uri)


def _shown(kind: str, name: str, request: Object) -> Object:
    return {"kind": kind, "metadata": {"name": name}, "spec": request}


def log(obj: Object, _attempt: int | None, rank: int) -> CloudLog | None:
    """The containers' log: of the instance that wrote last, or of the one so many before it. None for pods."""
    if "sageMaker" not in obj["spec"]:
        return None
    account = account_name(obj)
    name = ((obj.get("status") or {}).get("sageMaker") or {}).get("endpointName")
    return CloudLog(account, f"{requests.LOG_GROUP}/{name}", place=rank) if name else CloudLog(account)
