"""Requests and tokens a minute of each foundation model on demand. A request takes its input and all that it may write when it
begins; what it did not write is given back when it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from millrace_local_aws.admin.api import Body, route
from millrace_local_aws.engine.meter import Meter
from millrace_local_aws.services.bedrock.foundation import models
from millrace_local_aws.services.bedrock.service import table
from millrace_local_aws.services.bedrock_runtime.families import Asked
from millrace_local_aws.services.bedrock_runtime.targets import Target
from millrace_local_aws.wire.errors import AwsError

if TYPE_CHECKING:
    from millrace_local_aws.world import World

_CHARACTERS = 4.0
"""A token's, in the estimate that is taken before the input was counted."""
_MINUTE = 60.0


def limits(world: World, scope: str, model: str) -> tuple[float, float]:
    """Requests and tokens a minute: the account's own, or AWS's defaults."""
    own = table(world, "limits").get(scope, model)
    if own is not None:
        return own["requests"], own["tokens"]
    return models()[model].limits or (float("inf"), float("inf"))


def _meter(world: World, scope: str, model: str, what: str, most: float) -> Meter:
    """Real time plus steps: clients wait by their own clocks."""
    now, name = world.clock.wall(), f"bedrock/{scope}/{model}/{what}"
    return world.meters.setdefault(name, Meter.full(most / _MINUTE, most, now)).at(now, most / _MINUTE, most)


def _throttled(what: str) -> AwsError:
    return AwsError("ThrottlingException", f"Too many {what}, please wait before trying again.", 429)


def reserve(world: World, scope: str, target: Target, asked: Asked) -> float:
    """Tokens taken, or ThrottlingException. What was bought has no such quota."""
    if target.kind != "foundation":
        return 0.0
    requests, tokens = limits(world, scope, target.base.id)
    wanted = asked.characters() / _CHARACTERS + asked.most
    waiting, budget = (
        _meter(world, scope, target.base.id, "requests", requests),
        _meter(world, scope, target.base.id, "tokens", tokens),
    )
    if waiting.left < 1:
        raise _throttled("requests")
    if not budget.reserve(wanted):
        raise _throttled("tokens")
    waiting.reserve(1)
    return wanted


def settle(world: World, scope: str, target: Target, reserved: float, used: int) -> None:
    """The request has ended."""
    if target.kind == "foundation":
        tokens = limits(world, scope, target.base.id)[1]
        _meter(world, scope, target.base.id, "tokens", tokens).give_back(reserved - used)


@route("POST", "bedrock/limits")
def set_limits(world: World, body: Body) -> Any:
    """model, requests and tokens a minute; account and region where not the default."""
    if body["model"] not in models():
        raise ValueError(f"there is no foundation model '{body['model']}'")
    scope = f"{body.get('account', '123456789012')}/{body.get('region', 'us-east-1')}"
    record = {"requests": float(body["requests"]), "tokens": float(body["tokens"])}
    table(world, "limits").put(scope, body["model"], record)
    for what, most in record.items():
        world.meters.pop(f"bedrock/{scope}/{body['model']}/{what}", None)
        _meter(world, scope, body["model"], what, most)
