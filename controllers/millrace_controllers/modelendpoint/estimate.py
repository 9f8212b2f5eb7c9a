"""What a ModelEndpoint would cost, before it is made. Pure."""

from __future__ import annotations

from typing import Any

from millrace.api.v1alpha1.modelendpoint import ModelEndpointSpec
from millrace.aws.costs import Estimate
from millrace.data.prices import HOSTING
from millrace.engine.controller import Price

Object = dict[str, Any]


def estimate(obj: Object, price: Price) -> Estimate | None:
    """Of one whose instances are paid for by the hour; None for pods."""
    spec = ModelEndpointSpec.model_validate(obj["spec"])
    serving = spec.sage_maker
    if serving is None:
        return None
    each = tuple((name, price(HOSTING, name)) for name in serving.instance_types or ())
    times = (serving.replicas.min, serving.replicas.max or serving.replicas.min)
    hours = "while spec.schedule has it up" if spec.schedule else "all the time"
    idle = f", until nobody has asked it for {spec.idle_seconds} s" if spec.idle_seconds else ""
    return Estimate(each, times, note=f"{hours}{idle}")
