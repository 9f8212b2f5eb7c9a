"""What a TrainingJob would cost, before it is made. Pure."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from millrace.api.v1alpha1.trainingjob import Limits, TrainingJobSpec
from millrace.aws import costs
from millrace.aws.costs import Estimate
from millrace.data.prices import TRAINING
from millrace.engine.controller import Price

Object = dict[str, Any]


def estimate(obj: Object, price: Price) -> Estimate | None:
    """Of one whose instances are paid for by the hour; None for pods."""
    spec = TrainingJobSpec.model_validate(obj["spec"])
    job = spec.sage_maker
    if job is None:
        return None
    each = tuple((name, price(TRAINING, name)) for name in job.instance_types)
    limits = spec.limits or Limits()
    most, bound = _bounded(limits, [p and p * job.instance_count for _, p in each])
    note = "on demand; spot costs less" if job.spot else ""
    loose = limits.max_cost_usd is not None and any(price is None for _, price in each)
    warning = "limits.maxCostUSD does not hold on a type without a price" if loose else ""
    return Estimate(each, (job.instance_count, job.instance_count), most, bound, note, warning)


def _bounded(limits: Limits, hourly: list[Decimal | None]) -> tuple[Decimal | None, str]:
    """The lower of both limits; neither holds where an instance type has no price."""
    by_time = costs.at_most(hourly, limits.max_runtime_seconds)
    by_cost = costs.amount(limits.max_cost_usd) if all(price is not None for price in hourly) else None
    bounds = [(by_time, "limits.maxRuntimeSeconds"), (by_cost, "limits.maxCostUSD")]
    known = [(amount, name) for amount, name in bounds if amount is not None]
    return min(known, default=(None, ""))
