"""What is to happen to the next job or endpoint, set through the admin API.

A plan: `kind` (one of KINDS), `name` (a pattern), `effect`, `times` (how many are hit; None for all), and
fail: `reason`. capacity: no more. interrupt: `after` seconds of training, spot only. script: what the scripted runner does
(`seconds`, `exit_code`, `failure`, `metrics`, `logs`, `files`; for endpoints `answer`, `ping_failure`).
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from millrace_local_aws.admin.api import Body, route

if TYPE_CHECKING:
    from millrace_local_aws.world import World

KINDS = (
    "training",
    "endpoint",
    "classifier",
    "classifier-endpoint",
    "classification-job",
    "customization",
    "throughput",
    "deployment",
)
EFFECTS = {"fail", "capacity", "interrupt", "script"}
NO_CAPACITY = {
    "training": (
        "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML instance type."
    ),
    "endpoint": (
        "Unable to provision requested ML compute capacity due to InsufficientInstanceCapacity error. Please retry using a"
        " different ML instance type."
    ),
}


def take(world: World, kind: str, name: str, *effects: str) -> dict[str, Any] | None:
    """The first plan for this one, used up by once."""
    table = world.store.table("sagemaker.plan")
    for scope, key, plan in table.everything():
        if plan["kind"] == kind and plan["effect"] in effects and fnmatchcase(name, plan["name"]):
            left = None if plan["times"] is None else plan["times"] - 1
            if left == 0:
                table.drop(scope, key)
            else:
                table.put(scope, key, plan | {"times": left})
            return dict(plan)
    return None


def script(world: World, name: str) -> dict[str, Any]:
    """What the scripted runner is to do; scripts are not used up."""
    plans = [plan for plan in world.store.table("sagemaker.plan").of("") if plan["effect"] == "script"]
    return next((dict(plan) for plan in reversed(plans) if fnmatchcase(name, plan["name"])), {})


def failure(world: World, kind: str, name: str) -> str | None:
    """The reason that this one is to fail with, if it is."""
    plan = take(world, kind, name, "fail", "capacity")
    if plan is None:
        return None
    return NO_CAPACITY.get(kind, NO_CAPACITY["training"]) if plan["effect"] == "capacity" else str(plan["reason"])


@route("POST", "sagemaker/plans")
def add(world: World, body: Body) -> Any:
    if body.get("kind") not in KINDS or body.get("effect") not in EFFECTS:
        raise ValueError(f"a plan has a kind ({', '.join(KINDS)}) and an effect ({', '.join(sorted(EFFECTS))})")
    if body["effect"] == "fail" and "reason" not in body:
        raise ValueError("a plan that fails has a reason")
    table = world.store.table("sagemaker.plan")
    key = f"{1 + max((int(one) for one in table.keys('')), default=0):06d}"
    table.put("", key, {"name": "*", "times": 1} | body)
    return {"id": key}


@route("DELETE", "sagemaker/plans")
def clear(world: World, body: Body) -> Any:
    table = world.store.table("sagemaker.plan")
    for key in table.keys(""):
        table.drop("", key)
