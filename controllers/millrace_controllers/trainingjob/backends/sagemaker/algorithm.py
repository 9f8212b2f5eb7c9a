"""What an algorithm takes (DescribeAlgorithm's TrainingSpecification), held against a spec before anything is made. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from millrace.api.v1alpha1.trainingjob import TrainingJobSpec

Object = dict[str, Any]
_NUMERIC = ("IntegerParameterRangeSpecification", "ContinuousParameterRangeSpecification")


def problems(takes: Object, spec: TrainingJobSpec) -> Iterator[str]:
    """What the algorithm would not take, in the order of the spec's fields."""
    job = spec.sage_maker
    assert job is not None, "only asked for the member sageMaker"
    yield from unsupported(takes.get("SupportedTrainingInstanceTypes") or (), job.instance_types)
    if job.instance_count > 1 and not takes.get("SupportsDistributedTraining"):
        yield "spec.sageMaker.instanceCount: it trains on one instance only"
    yield from wrong_parameters(takes.get("SupportedHyperParameters") or (), spec.parameters or {})
    yield from _channels(takes.get("TrainingChannels") or (), {i.name for i in spec.inputs or ()})


def unsupported(supported: Sequence[str], wanted: Sequence[str]) -> Iterator[str]:
    """Instance types that it does not run on."""
    for name in wanted:
        if name not in supported:
            yield f"spec.sageMaker.instanceTypes: {name} is not among {', '.join(supported)}"


def wrong_parameters(supported: Sequence[Object], given: Mapping[str, str]) -> Iterator[str]:
    """Hyperparameters that are unknown, wrong or missing. An algorithm that declares none says nothing of what it takes."""
    known = {each["Name"]: each for each in supported}
    for name in sorted(given):
        if known and name not in known:
            yield f"spec.parameters: {name} is unknown; known are {', '.join(sorted(known))}"
        elif name in known and (wrong := _wrong(known[name], given[name])):
            yield f"spec.parameters.{name}: {given[name]!r} {wrong}"
    for name, each in sorted(known.items()):
        if each.get("IsRequired") and name not in given and each.get("DefaultValue") is None:
            yield f"spec.parameters.{name} is required"


def _wrong(declared: Object, value: str) -> str:
    """What is wrong with a value; "" where it is right."""
    match declared.get("Type"):
        case "Integer" | "Continuous" as kind:
            return _wrong_number(declared.get("Range") or {}, value, whole=kind == "Integer")
        case "Categorical":
            known = ((declared.get("Range") or {}).get("CategoricalParameterRangeSpecification") or {}).get("Values") or ()
            return "" if not known or value in known else f"is not one of {', '.join(known)}"
        case _:
            return ""


def _wrong_number(declared: Object, value: str, *, whole: bool) -> str:
    number = _number(value)
    if number is None or (whole and number != number.to_integral_value()):
        return "is not a whole number" if whole else "is not a number"
    limits = next((declared[name] for name in _NUMERIC if name in declared), None)
    if limits is None or Decimal(limits["MinValue"]) <= number <= Decimal(limits["MaxValue"]):
        return ""
    return f"is not between {limits['MinValue']} and {limits['MaxValue']}"


def _number(value: str) -> Decimal | None:
    try:
        number = Decimal(value)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _channels(declared: Any, given: set[str]) -> Iterator[str]:
    known = {each["Name"] for each in declared}
    for each in declared:
        if each.get("IsRequired") and each["Name"] not in given:
            yield f"spec.inputs: the channel {each['Name']!r} is required"
    for name in sorted(given - known):
        yield f"spec.inputs: {name!r} is no channel of it; those are {', '.join(sorted(known))}"
