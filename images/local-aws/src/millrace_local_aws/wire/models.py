"""AWS's own service models, as botocore ships them.

They, and botocore itself, are read when a service is first called (0.1 s for SageMaker), so that the server starts at once.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.loaders import Loader
    from botocore.model import OperationModel, ServiceModel, Shape

__all__ = [
    "OperationModel",
    "ServiceModel",
    "Shape",
    "error_shape",
    "known_services",
    "members",
    "operation_model",
    "service_model",
]


@cache
def _loader() -> Loader:
    from botocore.loaders import Loader

    return Loader()


@cache
def service_model(name: str) -> ServiceModel:
    """The model of one service, by botocore's name of it."""
    from botocore.model import ServiceModel

    return ServiceModel(_loader().load_service_model(name, "service-2"), name)


@cache
def operation_model(service: str, operation: str) -> OperationModel | None:
    """None where AWS has no such operation."""
    model = service_model(service)
    return model.operation_model(operation) if operation in model.operation_names else None


@cache
def known_services() -> frozenset[str]:
    """Every service that botocore knows."""
    return frozenset(_loader().list_available_services("service-2"))


@cache
def _errors(service: str) -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    for shape in service_model(service).error_shapes:
        found[shape.name] = shape
        code = (shape.metadata.get("error") or {}).get("code")
        if code:
            found[code] = shape
    return found


def error_shape(service: str, code: str) -> Shape | None:
    """The modelled error that goes by this name or code."""
    return _errors(service).get(code)


def members(shape: Any) -> dict[str, Shape]:
    """A structure's members; botocore types them as a plain attribute."""
    return shape.members  # type: ignore[no-any-return]
